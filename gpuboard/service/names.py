"""Names of jobs and bookings: what may be one. A word that means something else could never be reached."""

from __future__ import annotations

import re

from gpuboard.errors import InvalidRequest
from gpuboard.model.text import plain

MAX_NAME = 100
_MEANS_ELSE = re.compile(r"@|[0-9]+(?:[-_][0-9]+)?")
"""My last, a number, a range, one of an array: see `selectors`."""


def split_words(text: str) -> list[str]:
    """Return the words of a text that names several things, with commas or blanks between them."""
    return text.replace(",", " ").split()


def means_else(name: str) -> bool:
    """Whether commands would take the name for numbers, ranges, jobs of arrays or `@`."""
    words = split_words(name)
    return bool(words) and all(map(_MEANS_ELSE.fullmatch, words))


def given_name(name: str) -> str:
    """Return a name that a person gave, control codes stripped. Raises InvalidRequest."""
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"name: {len(name)} characters, at most {MAX_NAME}", field="name")
    if means_else(name):
        raise InvalidRequest(
            f"name: {plain(name, 40)!r} means a number, a range or my last to every command",
            field="name",
            hint="put a letter before it",
        )
    return plain(name).strip()
