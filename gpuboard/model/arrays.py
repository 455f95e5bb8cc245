"""Job arrays as people write them: `0-9%2`, `1,3,5`, `0-20:5` (Slurm's `--array`)."""

from __future__ import annotations

import re

from gpuboard.errors import InvalidRequest

MAX_INDICES = 100_000
"""No array is read into more indices than this, whatever the configuration allows."""

MAX_INDEX = 2**31 - 1

FORMS = "0-9, 0-9%2 (two at once), 1,3,5, or 0-20:5 (every fifth)"
"""The accepted forms, for help texts and hints."""

_LONGEST_TEXT = 10_000
_ARRAY = r"([0-9,:\-\s]+)(?:%\s*([0-9]{1,10}))?\s*"
_PART = r"\s*([0-9]{1,10})\s*(?:-\s*([0-9]{1,10})\s*(?::\s*([0-9]{1,10})\s*)?)?"


def parse_array(text: str, *, field: str = "array") -> tuple[tuple[int, ...], int | None]:
    """Return the indices, ascending and each once, and how many may run at once (None: all).

    Raises InvalidRequest that names the field, the value and the accepted forms.
    """
    match = re.fullmatch(_ARRAY, text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise _invalid(text, field, "is not a list of array indices")
    listed, at_once = match.groups()
    limit = None if at_once is None else int(at_once)
    if limit == 0:
        raise _invalid(text, field, "lets no job run: the number after % must be at least 1")
    indices: set[int] = set()
    for part in listed.split(","):
        span = _span(part, text, field)
        if len(indices) + len(span) > MAX_INDICES:
            raise _invalid(text, field, f"has more than {MAX_INDICES} indices")
        indices.update(span)
    return tuple(sorted(indices)), limit


def _span(part: str, text: str, field: str) -> range:
    match = re.fullmatch(_PART, part)
    if match is None:
        raise _invalid(text, field, "is not a list of array indices")
    first = int(match[1])
    last = int(match[2] or first)
    step = int(match[3] or 1)
    if last < first:
        raise _invalid(text, field, f"runs backwards ({first}-{last})")
    if step == 0:
        raise _invalid(text, field, "has a step of 0")
    if last > MAX_INDEX:
        raise _invalid(text, field, f"has an index above {MAX_INDEX}")
    return range(first, last + 1, step)


def _invalid(text: str, field: str, complaint: str) -> InvalidRequest:
    from gpuboard.model.text import plain

    return InvalidRequest(
        f"{field}: '{plain(text[:200], 60)}' {complaint}", hint=f"write {FORMS}", field=field
    )
