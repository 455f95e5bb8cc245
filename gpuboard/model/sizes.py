"""Sizes of memory as people write them, to bytes and back: `16g`, `512MiB`, `1.5GB`.

As in Docker, every unit is a power of 1024 (`GB`, `G` and `GiB` are all 2**30) and a bare number
is bytes: `--shm-size` and `--memory` are Docker's flags, and people paste their values.
"""

from __future__ import annotations

import re

from gpuboard.errors import InvalidRequest

MAX_BYTES = 2**60
"""The largest size that is taken seriously (1 EiB)."""

FORMS = "512m, 16g, 16GiB, 1.5T, or a bare number of bytes (units are powers of 1024)"
"""The accepted forms, for help texts and hints."""

_LONGEST_TEXT = 64
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([kmgtp]?)(?:i?b|bytes?)?"


def parse_size(text: str | int, *, field: str) -> int:
    """Return the bytes that `text` says: always >= 1 (0 means "no limit" to engines: never pass it on).

    Raises InvalidRequest that names the field, the value and the accepted forms.
    """
    size = _bytes_of(text)
    if size is None:
        raise _invalid(text, field, "is not a size")
    if size <= 0:
        raise _invalid(text, field, "is not more than nothing")
    if size > MAX_BYTES:
        raise _invalid(text, field, "is larger than any memory")
    return size


def format_size(size_bytes: int) -> str:
    """Return the size for people, with at most one decimal: `16G`, `79.6G`, `512M`, `0B`.

    Rounded for display; exact (`parse_size` gives it back) for a whole number of its unit.
    """
    if size_bytes < 0:
        return "-" + format_size(-size_bytes)
    power = 0
    value = float(size_bytes)
    while round(value, 1) >= 1024 and power < 5:
        value /= 1024
        power += 1
    return f"{value:.1f}".removesuffix(".0") + "BKMGTP"[power]


def _bytes_of(text: str | int) -> int | None:
    if isinstance(text, bool):
        return None
    if isinstance(text, int):
        return text
    text = text.strip().lower()
    match = re.fullmatch(_SIZE, text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        return None
    number, unit = match.groups()
    factor = 1 << (10 * _POWERS[unit])
    return int(number) * factor if number.isdigit() else round(float(number) * factor)


def _invalid(text: str | int, field: str, complaint: str) -> InvalidRequest:
    from gpuboard.model.text import plain

    shown = (
        plain(str(text)[:200], 60) if isinstance(text, str) or abs(text) < 10**30 else "that number"
    )
    return InvalidRequest(f"{field}: '{shown}' {complaint}", hint=f"write {FORMS}", field=field)
