"""Who may do what: one table. Everything that a service refuses for want of a right is refused here.

Everybody sees who holds what (the board, the queue, bookings, usage). What a job runs, with which
environment, and what it prints is its owner's and the administrators'. In between are the people of
the group that a job is charged to: its members read the note that the owner wrote for others; those
whom the configuration names as its managers may also stop, hold and shorten, and read why it ended.
Touching a job that is somebody else's is refused with the very words for a job that is not there
(SAFETY.md B7, row 36); only the error's code differs.
"""

from __future__ import annotations

from enum import StrEnum

from gpuboard.engine import audit
from gpuboard.errors import NotFound, PermissionDenied
from gpuboard.model.person import Caller


class Role(StrEnum):
    """What the caller is to the thing. One may be several."""

    ADMIN = "admin"
    OWNER = "owner"
    MANAGER = "manager"
    """Named as a manager of the job's group, or of a group above it."""
    MEMBER = "member"
    """Of the job's group."""
    ANYBODY = "anybody"


class Action(StrEnum):
    """What can be done."""

    SEE = "see"
    SUBMIT = "submit"
    BOOK = "book"
    READ_NOTE = "read_note"
    """What the owner wrote beside a job, for others to read."""
    READ_REASON = "read_reason"
    """Why a job is held, or how it ended, in words."""
    READ_PRIVATE = "read_private"
    """Command, environment, image, mounts of a job."""
    READ_LOG = "read_log"
    STOP_JOB = "stop_job"
    """Cancel, hold, release."""
    LIMIT_JOB = "limit_job"
    """Change the kill limit."""
    CHANGE_JOB = "change_job"
    """Change anything else."""
    DEPEND_ON = "depend_on"
    """Have a job wait for this one, and so learn how it ends."""
    RELEASE_ADMIN_HOLD = "release_admin_hold"
    RAISE_LIMIT = "raise_limit"
    """Raise the limit of a running job even where others wait for its devices."""
    CHANGE_BOOKING = "change_booking"
    ADMINISTER = "administer"
    """Drain, resume, notice, blackout, backup, check, reload, state."""


_EVERYBODY = frozenset(Role)
_OWNERS = frozenset({Role.OWNER, Role.ADMIN})
_MANAGERS = _OWNERS | {Role.MANAGER}
_MEMBERS = _MANAGERS | {Role.MEMBER}
_ADMINS = frozenset({Role.ADMIN})

RULES: dict[Action, frozenset[Role]] = {
    Action.SEE: _EVERYBODY,
    Action.SUBMIT: _EVERYBODY,
    Action.BOOK: _EVERYBODY,
    Action.READ_NOTE: _MEMBERS,
    Action.READ_REASON: _MANAGERS,
    Action.READ_PRIVATE: _OWNERS,
    Action.READ_LOG: _OWNERS,
    Action.STOP_JOB: _MANAGERS,
    Action.LIMIT_JOB: _MANAGERS,
    Action.CHANGE_JOB: _OWNERS,
    Action.DEPEND_ON: _OWNERS,
    Action.RELEASE_ADMIN_HOLD: _ADMINS,
    Action.RAISE_LIMIT: _ADMINS,
    Action.CHANGE_BOOKING: _OWNERS,
    Action.ADMINISTER: _ADMINS,
}


def roles_of(caller: Caller, owner_uid: int | None, account: str = "") -> frozenset[Role]:
    """Return what the caller is to a thing of this owner (None: nobody's), charged to this group."""
    found = {Role.ANYBODY}
    if caller.is_admin:
        found.add(Role.ADMIN)
    if owner_uid is not None and caller.uid == owner_uid:
        found.add(Role.OWNER)
    if account and account in caller.managed:
        found.add(Role.MANAGER)
    if account and account in caller.accounts:
        found.add(Role.MEMBER)
    return frozenset(found)


def may(caller: Caller, action: Action, owner_uid: int | None = None, account: str = "") -> bool:
    """Whether the caller may do this to a thing of this owner, charged to this group."""
    return not roles_of(caller, owner_uid, account).isdisjoint(RULES[action])


def insist(
    caller: Caller,
    action: Action,
    owner_uid: int | None = None,
    what: str = "",
    *,
    words: str = "this is not yours",
    hint: str = "",
    is_noted: bool = True,
) -> None:
    """Raise PermissionDenied with these words unless the caller may do this.

    One audit line that names `what`, refused or allowed. What a person does with their own, what
    everybody may, and what is not noted since it only looks, has none when it is allowed.
    """
    if may(caller, action, owner_uid):
        if is_noted and RULES[action] is not _EVERYBODY and caller.uid != owner_uid:
            audit.allowed(caller.uid, action, owner_uid, what)
        return
    audit.refused(caller.uid, action, owner_uid, what)
    if RULES[action] == _ADMINS:
        raise PermissionDenied("only an administrator may do this", hint=hint)
    raise PermissionDenied(words, hint=hint)


def no_such_job(selector: str) -> NotFound:
    """Return the error for a job that is not there, in the words of `not_yours`."""
    return NotFound(_MISSING.format(selector), hint=_HINT)


def not_yours(selector: str) -> PermissionDenied:
    """Return the error for touching somebody else's job."""
    return PermissionDenied(_MISSING.format(selector), hint=_HINT)


_MISSING = "you have no job {}"
_HINT = "see yours with: gpuboard ps --mine"
