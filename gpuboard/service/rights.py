"""Who may do what: one table. Everything that a service refuses for want of a right is refused here.

Everybody sees who holds what (the board, the queue, bookings, usage). What a job runs, with which
environment, and what it prints is its owner's and the administrators'. Touching a job that is
somebody else's is refused with the very words for a job that is not there (SAFETY.md B7, row 36);
only the error's code differs.
"""

from __future__ import annotations

import logging
from enum import StrEnum

from gpuboard.errors import NotFound, PermissionDenied
from gpuboard.model.person import Caller

audit = logging.getLogger("gpuboard.audit")


class Role(StrEnum):
    """What the caller is to the thing."""

    ADMIN = "admin"
    OWNER = "owner"
    ANYBODY = "anybody"


class Action(StrEnum):
    """What can be done."""

    SEE = "see"
    SUBMIT = "submit"
    BOOK = "book"
    READ_PRIVATE = "read_private"
    """Command, environment, image, note, reason of a job."""
    READ_LOG = "read_log"
    TOUCH_JOB = "touch_job"
    """Cancel, hold, release, update."""
    RELEASE_ADMIN_HOLD = "release_admin_hold"
    RAISE_LIMIT = "raise_limit"
    """Raise the limit of a running job even where others wait for its devices."""
    CHANGE_BOOKING = "change_booking"
    ADMINISTER = "administer"
    """Drain, resume, notice, blackout, backup, check, reload, state."""


_EVERYBODY = frozenset(Role)
_OWNERS = frozenset({Role.OWNER, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})

RULES: dict[Action, frozenset[Role]] = {
    Action.SEE: _EVERYBODY,
    Action.SUBMIT: _EVERYBODY,
    Action.BOOK: _EVERYBODY,
    Action.READ_PRIVATE: _OWNERS,
    Action.READ_LOG: _OWNERS,
    Action.TOUCH_JOB: _OWNERS,
    Action.RELEASE_ADMIN_HOLD: _ADMINS,
    Action.RAISE_LIMIT: _ADMINS,
    Action.CHANGE_BOOKING: _OWNERS,
    Action.ADMINISTER: _ADMINS,
}


def role_of(caller: Caller, owner_uid: int | None) -> Role:
    """Return what the caller is to a thing of this owner (None: nobody's)."""
    if caller.is_admin:
        return Role.ADMIN
    return Role.OWNER if owner_uid is not None and caller.uid == owner_uid else Role.ANYBODY


def may(caller: Caller, action: Action, owner_uid: int | None = None) -> bool:
    """Whether the caller may do this to a thing of this owner."""
    return role_of(caller, owner_uid) in RULES[action]


def insist(caller: Caller, action: Action, owner_uid: int | None = None, what: str = "") -> None:
    """Raise PermissionDenied unless the caller may do this. One audit line a refusal."""
    if may(caller, action, owner_uid):
        return
    audit_refusal(caller.uid, action, owner_uid, what)
    if RULES[action] == _ADMINS:
        raise PermissionDenied("only an administrator may do this")
    raise PermissionDenied(what or "this is not yours")


def audit_refusal(uid: int, action: Action, owner_uid: int | None, what: str) -> None:
    """Write the audit line of a refused decision: who, what, whose, which."""
    owner = "-" if owner_uid is None else owner_uid
    audit.warning("refused: uid=%d action=%s owner=%s %s", uid, action, owner, what)


def no_such_job(selector: str) -> NotFound:
    """Return the error for a job that is not there, in the words of `not_yours`."""
    return NotFound(_MISSING.format(selector), hint=_HINT)


def not_yours(selector: str) -> PermissionDenied:
    """Return the error for touching somebody else's job."""
    return PermissionDenied(_MISSING.format(selector), hint=_HINT)


_MISSING = "you have no job {}"
_HINT = "see yours with: gpuboard ps --mine"
