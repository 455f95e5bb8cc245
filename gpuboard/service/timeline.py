"""The timeline: what ran, what runs until its limit, bookings, the forecast of the queue, blackouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from gpuboard.engine.protocol import Engine
from gpuboard.errors import NotFound
from gpuboard.model.device import ProbeSnapshot
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.instants import iso
from gpuboard.model.job import Job
from gpuboard.model.person import Caller
from gpuboard.model.reservation import Lease, Reservation
from gpuboard.model.views.timeline import TimelineEntry, TimelineView
from gpuboard.service.devices import DeviceNames

MAX_FORECASTS = 200


def timeline(
    engine: Engine, caller: Caller, now: int, from_at: int, until_at: int
) -> Callable[[], TimelineView]:
    """Return what gives the bars between two instants, devices by number; for a worker.

    What is to come is collected at once; what ran, tens of thousands of leases in a month of a busy
    box, is read there.
    """
    snapshot: ProbeSnapshot = engine.snapshot()
    names = DeviceNames(snapshot)
    maker = _Bars(engine, caller, now, names)
    ahead = [bar for one in engine.reservations(from_at, until_at) for bar in maker.booking(one)]
    ahead += maker.forecasts(until_at)
    ahead += maker.blackouts(from_at, until_at)

    def work() -> TimelineView:
        named = engine.named_leases(from_at, until_at)
        job_names = {lease.job_id: name for lease, name in named}
        ran = [
            maker.lease(lease, job_names[lease.job_id])
            for lease in _as_one_each(lease for lease, _ in named)
            if lease.job_id is not None  # those of bookings alone are shown by the booking
        ]
        return TimelineView(
            at=iso(now) or "",
            from_at=iso(from_at) or "",
            until_at=iso(until_at) or "",
            devices=names.refs(device.uuid for device in names.devices),
            entries=[*ran, *ahead],
        )

    return work


def _as_one_each(leases: Iterable[Lease]) -> Iterator[Lease]:
    """Yield leases, those of an attempt on a shared device as one: each came with company or its going."""
    shared: dict[tuple[DeviceUuid, JobId | None, int], Lease] = {}
    for lease in leases:
        if lease.share is None:
            yield lease
            continue
        which = (lease.device, lease.job_id, lease.attempt)
        first = shared.get(which)
        shared[which] = lease if first is None else replace(lease, granted_at=first.granted_at)
    yield from shared.values()


class _Bars:
    """Makes bars for one caller."""

    def __init__(self, engine: Engine, caller: Caller, now: int, names: DeviceNames) -> None:
        self._engine = engine
        self._caller = caller
        self._now = now
        self._names = names

    def lease(self, lease: Lease, name: str) -> TimelineEntry:
        """Return the bar of a job's lease."""
        is_live = lease.released_at is None
        until_at = max(lease.until_at, self._now) if is_live else (lease.released_at or 0)
        return self._bar(
            "running" if is_live else "ran",
            lease.device,
            lease.uid,
            lease.granted_at,
            until_at,
            job_id=lease.job_id,
            reservation_id=lease.reservation_id,
            name=name,
        )

    def booking(self, booking: Reservation) -> list[TimelineEntry]:
        """Return one bar a bound device, and one for what is not bound yet."""
        if booking.state == "cancelled":
            return []
        until_at = min(booking.until_at, booking.ended_at or booking.until_at)
        devices = booking.devices or booking.gpu_uuids
        bars = [self._booking_bar(booking, device, until_at, 1) for device in devices]
        unbound = booking.gpus - len(devices)
        if unbound > 0 and booking.ended_at is None:
            bars.append(self._booking_bar(booking, None, until_at, unbound))
        return bars

    def _booking_bar(
        self, booking: Reservation, device: DeviceUuid | None, until_at: int, gpus: int
    ) -> TimelineEntry:
        return self._bar(
            "booking",
            device,
            booking.owner.uid,
            booking.from_at,
            max(until_at, booking.from_at),
            reservation_id=booking.id,
            name=booking.name,
            gpus=gpus,
            rule=booking.rule,
        )

    def forecasts(self, until_at: int) -> list[TimelineEntry]:
        """Return the bars of waiting jobs where and when they should run."""
        bars: list[TimelineEntry] = []
        known = sorted(
            (f for f in self._engine.forecasts().values() if f.expected_start_at is not None),
            key=lambda f: (f.expected_start_at or 0, f.job_id),
        )
        for forecast in known[:MAX_FORECASTS]:
            start_at = max(self._now, forecast.expected_start_at or 0)
            job = self._job(forecast.job_id)
            if job is None or job.state != "queued" or start_at >= until_at or not job.spec.gpus:
                continue
            end_at = start_at + job.spec.limit_s * 1000
            targets: tuple[DeviceUuid | None, ...] = forecast.devices or (None,)
            bars.extend(
                self._bar(
                    "forecast",
                    device,
                    job.owner.uid,
                    start_at,
                    end_at,
                    job_id=job.id,
                    name=job.spec.name,
                    gpus=1 if device is not None else job.spec.gpus,
                    latest_at=forecast.latest_start_at,
                )
                for device in targets
            )
        return bars

    def blackouts(self, from_at: int, until_at: int) -> list[TimelineEntry]:
        """Return the bars of maintenance windows, one a device."""
        return [
            self._bar("blackout", device, None, b.from_at, b.until_at, name=b.note)
            for b in self._engine.blackouts()
            if b.from_at < until_at and b.until_at > from_at
            for device in (b.devices or [d.uuid for d in self._names.devices])
        ]

    def _job(self, job_id: JobId) -> Job | None:
        try:
            return self._engine.job(job_id)
        except NotFound:
            return None

    def _bar(
        self,
        kind: str,
        device: DeviceUuid | None,
        uid: int | None,
        from_at: int,
        until_at: int,
        *,
        job_id: int | None = None,
        reservation_id: int | None = None,
        name: str = "",
        gpus: int = 1,
        latest_at: int | None = None,
        rule: str = "",
    ) -> TimelineEntry:
        return TimelineEntry(
            device=self._names.ref(device).label if device is not None else None,
            uuid=device,
            kind=kind,
            user=self._engine.person_of(uid) if uid is not None else "",
            mine=uid is not None and uid == self._caller.uid,
            job_id=job_id,
            reservation_id=reservation_id,
            name=name,
            gpus=gpus,
            from_at=iso(from_at) or "",
            until_at=iso(until_at) or "",
            latest_from_at=iso(latest_at),
            rule=rule,
        )
