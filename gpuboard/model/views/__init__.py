"""What leaves the daemon: views for JSON, the command line and the screen. Stable keys.

Instants are ISO-8601 UTC strings (`2026-11-22T20:01:00Z`) in `_at` fields, spans seconds in `_s`,
memory bytes in `_bytes`. What the caller may not know is empty or null, never left out. Every
top-level answer has `schema`: 1.
"""

from __future__ import annotations

SCHEMA = 1
