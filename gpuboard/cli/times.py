"""Instants that a person wrote on the command line, as the daemon takes them in a query."""

from __future__ import annotations

import time

from gpuboard.model.instants import iso, parse_instant


def instant(text: str, flag: str) -> str:
    """Return ISO-8601 UTC of `text`, read in this shell's zone; empty stays empty. Raises InvalidRequest."""
    if not text:
        return ""
    return iso(parse_instant(text, now_ms=int(time.time() * 1000), field=flag)) or ""
