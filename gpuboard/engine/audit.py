"""The audit log `gpuboard.audit`: a line for each decision about rights, allowed or refused.

Who (uid), what, whose, which. Never what a job runs, its environment or its log. What people do
with their own has no line, nor has what everybody may.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gpuboard.model.text import plain

_LOG = logging.getLogger("gpuboard.audit")
_LONGEST = 200
"""Characters of what is said of a thing: people choose some of them."""


def allowed(uid: int, action: str, owner_uid: int | None, what: str) -> None:
    """Note what an administrator or a group's manager was let do with what is not theirs."""
    _LOG.info("allowed: %s", _line(uid, action, owner_uid, what))


def refused(uid: int, action: str, owner_uid: int | None, what: str) -> None:
    """Note what somebody was not let do."""
    _LOG.warning("refused: %s", _line(uid, action, owner_uid, what))


def jobs_words(ids: Iterable[int]) -> str:
    """Return the numbers of jobs, ranges drawn together: `jobs 4-7,12`."""
    spans: list[list[int]] = []
    for number in sorted(ids):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return "jobs " + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _line(uid: int, action: str, owner_uid: int | None, what: str) -> str:
    owner = "-" if owner_uid is None else owner_uid
    return f"uid={uid} action={action} owner={owner} {plain(what, _LONGEST)}".rstrip()
