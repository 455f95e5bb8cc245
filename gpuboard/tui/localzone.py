"""The name of the person's time zone, which goes with every `at` they type."""

from __future__ import annotations

import os


def zone_name() -> str:
    """Return the IANA name from `TZ`; empty where the box's own zone holds."""
    return os.environ.get("TZ", "").lstrip(":")
