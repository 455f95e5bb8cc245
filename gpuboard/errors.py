"""The one tree of errors: who can act decides the class.

Every error carries a stable `code` (for scripts), an `exit_code` (for shells) and a `hint`
(what to do next). Vendor exceptions end in their adapter: `raise HostError(...) from error`.
"""

from __future__ import annotations

from typing import ClassVar


class GpuboardError(Exception):
    """Base of all errors that gpuboard raises on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field
        """Name of the offending input field, as the person wrote it (`--time`, `gpus`); may be empty."""

    def to_json(self) -> dict[str, str]:
        """Return the value of the `error` key that every failed `--json` command prints."""
        body = {"code": self.code, "message": self.message, "hint": self.hint}
        if self.field:
            body["field"] = self.field
        return body


class RequestError(GpuboardError):
    """The person who asked can mend it."""

    code = "request"


class InvalidRequest(RequestError):
    """A value is malformed or out of range; `field` names it."""

    code = "invalid"
    exit_code = 2


class NotExecutable(InvalidRequest):
    """The command is not there (127), or cannot be executed (126), as a shell would say by its `status`."""

    code = "not_executable"

    def __init__(
        self, message: str, *, hint: str = "", field: str = "command", status: int = 127
    ) -> None:
        super().__init__(message, hint=hint, field=field)
        self.status = status


class Refused(RequestError):
    """Well-formed, but the policy or the configuration says no."""

    code = "refused"


class QuotaExceeded(Refused):
    """A limit of the person or group is reached."""

    code = "quota"


class NotFound(RequestError):
    """There is no such thing, or the caller may not know of it."""

    code = "not_found"


class Conflict(RequestError):
    """The thing is in a state in which this cannot be done."""

    code = "conflict"


class PermissionDenied(GpuboardError):
    """The caller may not do this."""

    code = "permission"
    exit_code = 5


class HostError(GpuboardError):
    """The admin can mend it: driver, engine, disk, permissions."""

    code = "host"


class CannotStartNow(HostError):
    """The box can start nothing now (disk full, no memory, no process); nothing ran, the job can wait."""

    code = "cannot_start"


class DeviceSetupBroken(CannotStartNow):
    """The box cannot open devices for a container now; nothing ran, and the job can wait for the admin."""

    code = "device_setup"


class PortTaken(CannotStartNow):
    """Somebody else has a port of the box that was chosen for a job; nothing ran, another will do."""

    code = "port_taken"


class DeviceDriverFailed(HostError):
    """The driver or its toolkit failed during a start, by the runtime's own words and nobody else's."""

    code = "device_driver"


class Unavailable(GpuboardError):
    """The daemon, or the part of it that was asked, cannot be reached now."""

    code = "unavailable"
    exit_code = 3


class DatabaseBusy(Unavailable):
    """Another program holds the database: nothing was changed, and it can be tried again at once."""

    code = "database_busy"


class TooManyRequests(GpuboardError):
    """The caller asks faster than anybody may; nothing was done, later it can be."""

    code = "rate"
    exit_code = 6


class TimedOut(GpuboardError):
    """Waiting ended before the thing waited for came."""

    code = "timeout"
    exit_code = 4


class OutcomeUnknown(GpuboardError):
    """A call's answer was lost: it may or may not have taken effect. Look, never repeat."""

    code = "outcome_unknown"


class StateError(GpuboardError):
    """An invariant does not hold: a bug in gpuboard, never the caller's fault."""

    code = "state"
