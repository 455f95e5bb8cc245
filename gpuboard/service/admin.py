"""Use cases of administrators: drain, resume, notice, blackout, backup, check, reload, state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gpuboard.errors import InvalidRequest, NotFound
from gpuboard.model.durations import parse_duration
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.instants import parse_instant
from gpuboard.model.person import Caller
from gpuboard.model.requests import BlackoutRequest, DrainRequest, NoticeRequest
from gpuboard.model.views.admin import AdminResult, AdminState
from gpuboard.service.adminstate import Checked, admin_state
from gpuboard.service.clockwords import clock_words
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames
from gpuboard.service.rights import Action, insist
from gpuboard.service.validation import MAX_NOTE, bounded

_NO_ID = 2**62
"""No number of ours is so large, and the database takes none much larger."""


class AdminService:
    """What only administrators may do. Every method raises PermissionDenied for others."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._engine = context.engine
        self._started_at = context.clock.now_ms()
        self._checked: Checked | None = None

    def drain(self, caller: Caller, request: DrainRequest) -> AdminResult:
        """Take devices out of service; what runs on them goes on."""
        self._insist(caller, "drain")
        note = bounded(request.note, MAX_NOTE, "note")
        devices = self._devices(request.gpu_ids)
        self._engine.drain(devices, caller.person.name, note)
        return AdminResult(words=f"{self._labels(devices)}: out of service; what runs goes on")

    def resume(self, caller: Caller, request: DrainRequest) -> AdminResult:
        """Put devices back into service; also by its UUID one that the box does not have any more."""
        self._insist(caller, "resume")
        drains = self._engine.drains()
        words = [word.strip() for text in request.gpu_ids for word in text.split(",")]
        named = [DeviceUuid(word) for word in words if word in drains] if words else [*drains]
        others = [word for word in words if word and word not in drains]
        if others:
            named += self._devices(others)
        drained = [device for device in dict.fromkeys(named) if device in drains]
        self._engine.resume(drained, caller.person.name)
        if not drained:
            return AdminResult(words="no device was drained")
        return AdminResult(words=f"{self._labels(drained)}: back in service")

    def notice(self, caller: Caller, request: NoticeRequest) -> AdminResult:
        """Publish a notice to everybody; empty text clears."""
        self._insist(caller, "notice")
        text = bounded(request.text, MAX_NOTE, "text").strip()
        until_at = None
        if request.duration != "":
            now = self._context.clock.now_ms()
            until_at = now + parse_duration(request.duration, field="duration") * 1000
        notice = self._engine.add_notice(caller.person.name, text, until_at)
        if notice is None:
            return AdminResult(words="all notices cleared")
        until = f" until {self._clock_words(until_at)}" if until_at is not None else ""
        return AdminResult(words=f"published{until}", id=notice.id)

    def blackout(self, caller: Caller, request: BlackoutRequest) -> AdminResult:
        """Announce a maintenance window, or take one back."""
        self._insist(caller, "blackout")
        if request.cancel is not None:
            if not 0 < request.cancel < _NO_ID:
                raise NotFound(f"there is no blackout {request.cancel}")
            self._engine.cancel_blackout(request.cancel, caller.person.name)
            return AdminResult(words=f"blackout {request.cancel} taken back", id=request.cancel)
        now = self._context.clock.now_ms()
        zone = request.timezone
        from_at = (
            parse_instant(request.at, now_ms=now, zone=zone, field="at") if request.at else now
        )
        if request.until:
            until_at = parse_instant(
                request.until, now_ms=now, after_ms=from_at, zone=zone, field="until"
            )
        elif request.duration != "":
            until_at = from_at + parse_duration(request.duration, field="duration") * 1000
        else:
            raise InvalidRequest(
                "for how long?", field="duration", hint="a span such as 2h, or --until"
            )
        if until_at <= max(now, from_at):
            raise InvalidRequest("the window is over before it begins", field="until")
        note = bounded(request.note, MAX_NOTE, "note")
        devices = self._devices(request.gpu_ids) if request.gpu_ids else []
        made = self._engine.add_blackout(from_at, until_at, devices, caller.person.name, note)
        window = f"from {self._clock_words(from_at)} until {self._clock_words(until_at)}"
        words = f"blackout {made.id} {window}"
        running = self._reaching_into(from_at, devices)
        if running:
            words += f"; still running then, by limit: job {', '.join(map(str, running))}"
        booked = self._booked_between(from_at, until_at, devices)
        if booked:
            words += f"; booked then, and not to be had: booking {', '.join(booked)}"
        return AdminResult(words=words, id=made.id)

    def _clock_words(self, at: int) -> str:
        return clock_words(at, self._context.clock.now_ms())

    def _reaching_into(self, from_at: int, devices: list[DeviceUuid]) -> list[int]:
        """Return running jobs that may still run when the window begins: nothing stops them."""
        return sorted(
            {
                lease.job_id
                for device, first in self._engine.leases().items()
                for lease in self._engine.shares().get(device, (first,))
                if lease.job_id is not None
                and lease.until_at > from_at
                and (not devices or device in devices)
            }
        )

    def _booked_between(self, from_at: int, until_at: int, devices: list[DeviceUuid]) -> list[str]:
        """Return bookings that want what the window takes, each with its owner."""
        return [
            f"{booking.id} of {booking.owner.name}"
            for booking in self._engine.reservations()
            if booking.from_at < until_at
            and from_at < booking.until_at
            and (not devices or not booking.gpu_uuids or set(devices) & set(booking.gpu_uuids))
        ]

    def backup(self, caller: Caller, path: str) -> Callable[[], AdminResult]:
        """Return what writes, on a worker, a consistent copy of the database.

        An empty path: beside it, named by the time.
        """
        self._insist(caller, "backup")
        if not path:
            now = datetime.fromtimestamp(self._context.clock.now_ms() / 1000, tz=UTC)
            folder = Path(self._context.config.daemon.state_dir) / "backups"
            folder.mkdir(mode=0o700, exist_ok=True)
            path = str(folder / f"{now:%Y-%m-%dT%H-%M-%SZ}.db")
        elif not path.startswith("/"):
            raise InvalidRequest("an absolute path is needed", field="path")

        def write() -> AdminResult:
            self._engine.backup(path)
            return AdminResult(words=f"written: {path}")

        return write

    def check_database(self, caller: Caller) -> Callable[[], AdminResult]:
        """Return what runs, on a worker, the database's integrity check."""
        self._insist(caller, "check_database")

        def check() -> AdminResult:
            words = self._engine.check_database()
            self._checked = (self._context.clock.now_ms(), words)
            return AdminResult(ok=words == "ok", words=words)

        return check

    def state(self, caller: Caller) -> Callable[[], AdminState]:
        """Return what says, on a worker, how the daemon itself is."""
        self._insist(caller, "state", is_noted=False)
        return admin_state(self._context, self._started_at, self._checked)

    def reload(self, caller: Caller) -> AdminResult:
        """Read the configuration again; a wrong one raises and leaves the old one in force."""
        self._insist(caller, "reload")
        if self._context.reload_config is None:
            return AdminResult(words="there is no configuration file to read again")
        self._context.config = self._context.reload_config()
        return AdminResult(words="configuration read again")

    def _insist(self, caller: Caller, what: str, *, is_noted: bool = True) -> None:
        """Raise PermissionDenied, with the way to become one, for whoever is no administrator."""
        daemon = self._context.config.daemon
        ways = ["use sudo"]
        if daemon.admin_group:
            ways.append(f"have an administrator add you to the group {daemon.admin_group}")
        hint = ", or ".join(ways)
        insist(caller, Action.ADMINISTER, what=what, hint=hint, is_noted=is_noted)

    def _devices(self, words: list[str]) -> list[DeviceUuid]:
        names = DeviceNames(self._engine.snapshot())
        if not names.devices:
            fault = self._engine.snapshot().fault
            raise NotFound("this box has no GPUs", hint=fault and f"the driver says: {fault}")
        if not words:
            return [device.uuid for device in names.devices]
        return list(names.resolve(words, "gpu_ids", with_parts=True))

    def _labels(self, devices: list[DeviceUuid]) -> str:
        names = DeviceNames(self._engine.snapshot())
        return "GPU " + ",".join(ref.label for ref in names.refs(devices))
