"""Devices as the board shows them: who has each, until when, in what state, with which processes."""

from __future__ import annotations

from collections.abc import Sequence

from gpuboard.devices.attribution import ProcessUse
from gpuboard.engine.protocol import Engine
from gpuboard.model.device import DeviceReading, Health
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.instants import iso
from gpuboard.model.job import Job
from gpuboard.model.person import Caller
from gpuboard.model.reservation import Lease, Reservation
from gpuboard.model.sizes import format_size
from gpuboard.model.views.devices import BookingRef, DeviceView, ProcessView, SharerView
from gpuboard.service.rights import Action, may


class DeviceViews:
    """Makes views of devices at one instant, for one caller."""

    def __init__(self, engine: Engine, caller: Caller, now: int, idle_after_s: int) -> None:
        self._engine = engine
        self._caller = caller
        self._now = now
        self._idle_after_s = idle_after_s
        self._leases = engine.leases()
        self._shares = engine.shares()
        self._drains = engine.drains()
        self._foreign = engine.foreign_use()
        self._in_use_words = engine.in_use_words()
        self._uses = engine.device_uses()
        self._idle = engine.idle_s()
        self._jobs: dict[int, Job] = {job.id: job for job in engine.running_jobs()}
        self._by_name = {job.runtime_name: job for job in self._jobs.values()}
        self._bookings = engine.reservations()

    def view(self, reading: DeviceReading) -> DeviceView:
        """Return a device as the board shows it."""
        device = reading.device
        lease = self._leases.get(device.uuid)
        job = self._jobs.get(lease.job_id) if lease and lease.job_id is not None else None
        state, words = self._state(reading, lease)
        shares = self._shares.get(device.uuid, ())
        idle_s = self._idle.get(device.uuid)
        return DeviceView(
            uuid=device.uuid,
            label=device.label,
            index=device.index,
            name=device.name,
            kind=str(device.kind),
            parent=device.parent,
            state=state,
            state_words=words,
            user=self._user(device.uuid, lease, state),
            mine=any(x.uid == self._caller.uid for x in shares or (lease,) if x is not None),
            job_id=job.id if job else None,
            job_name=job.spec.name if job else "",
            reservation_id=lease.reservation_id if lease else None,
            since_at=iso(lease.granted_at) if lease else None,
            until_at=iso(self._last_end(shares) if shares else self._until(lease, job)),
            idle_s=idle_s if idle_s is not None and idle_s >= self._idle_after_s else None,
            next_booking=self._next_booking(device.uuid),
            utilization=reading.utilization,
            memory_utilization=reading.memory_utilization,
            memory_used_bytes=reading.memory_used_bytes,
            memory_total_bytes=reading.memory_total_bytes or device.memory_bytes,
            temperature_c=reading.temperature_c,
            power_w=reading.power_w,
            power_limit_w=reading.power_limit_w,
            fan_percent=reading.fan_percent,
            sm_clock_mhz=reading.sm_clock_mhz,
            throttle=list(reading.throttle),
            ecc_uncorrected=reading.ecc_uncorrected,
            processes=self._processes(device.uuid),
            processes_known=reading.processes is not None,
            sharers=[self._sharer(reading, share) for share in shares],
            given_bytes=sum(x.share.memory_bytes for x in shares if x.share is not None),
            shareable_bytes=max((x.share.capacity_bytes for x in shares if x.share), default=0),
            numa_node=device.numa_node,
            cpus=device.cpus,
            bus_id=device.bus_id,
        )

    def _sharer(self, reading: DeviceReading, lease: Lease) -> SharerView:
        job = self._jobs.get(lease.job_id) if lease.job_id is not None else None
        return SharerView(
            user=self._engine.person_of(lease.uid),
            mine=lease.uid == self._caller.uid,
            job_id=lease.job_id or 0,
            job_name=job.spec.name if job else "",
            memory_bytes=lease.share.memory_bytes if lease.share else 0,
            used_bytes=self._used_by(reading.device.uuid, job) if job else None,
            until_at=iso(self._until(lease, job)),
        )

    def _used_by(self, uuid: DeviceUuid, job: Job) -> int | None:
        """Return how much of a device's memory a job's processes have, where the driver says so."""
        use = self._uses.get(uuid)
        return use.memory_of(job.runtime_name) if use is not None else None

    def _last_end(self, shares: Sequence[Lease]) -> int | None:
        ends = (
            self._until(lease, self._jobs.get(lease.job_id) if lease.job_id is not None else None)
            for lease in shares
        )
        return max((at for at in ends if at is not None), default=None)

    def _state(self, reading: DeviceReading, lease: Lease | None) -> tuple[str, str]:
        uuid = reading.device.uuid
        drain = self._drains.get(uuid)
        if reading.health is not Health.OK:
            return "faulty", reading.fault or str(reading.health)
        if lease is not None and lease.job_id is not None:
            words = [f"drained by {drain.by}: {drain.note}"] if drain else []
            return "leased", "; ".join([*self._shared_words(uuid), *words])
        if drain is not None:
            return "drained", f"by {drain.by}: {drain.note}" if drain.note else f"by {drain.by}"
        if lease is not None:
            return "booked", ""
        if uuid in self._foreign:
            return "foreign", self._in_use_words[uuid]
        return "free", ""

    def _shared_words(self, uuid: DeviceUuid) -> list[str]:
        """Return how much of a shared device is given to how many jobs; nothing when it is not shared."""
        shares = [lease.share for lease in self._shares.get(uuid, ()) if lease.share is not None]
        if not shares:
            return []
        given = format_size(sum(share.memory_bytes for share in shares))
        most = format_size(shares[0].capacity_bytes)
        jobs = "1 job" if len(shares) == 1 else f"{len(shares)} jobs"
        return [f"shared by {jobs}, {given} of {most}"]

    def _user(self, uuid: DeviceUuid, lease: Lease | None, state: str) -> str:
        if lease is not None:
            uids = {x.uid: None for x in self._shares.get(uuid, (lease,))}
            return ", ".join(self._engine.person_of(uid) for uid in uids)
        return self._foreign[uuid] if state == "foreign" else ""

    def _until(self, lease: Lease | None, job: Job | None) -> int | None:
        """Return until when the holder has the device at the latest: a job's grace is counted in."""
        if lease is None:
            return None
        return job.held_until_at if job is not None else lease.until_at

    def _next_booking(self, uuid: DeviceUuid) -> BookingRef | None:
        """Return the next booking that names this device; others are bound late."""
        for booking in self._bookings:
            if booking.from_at > self._now and uuid in (booking.devices or booking.gpu_uuids):
                return _ref(booking)
        return None

    def _processes(self, uuid: DeviceUuid) -> list[ProcessView]:
        use = self._uses.get(uuid)
        return [self._process(each) for each in use.processes] if use is not None else []

    def _process(self, use: ProcessUse) -> ProcessView:
        process, job = use.process, self._by_name.get(use.process.job_name)
        owner = job.owner.uid if job is not None else process.uid
        may_read = may(self._caller, Action.READ_PRIVATE, owner)
        return ProcessView(
            pid=process.pid,
            user=job.owner.name if job is not None else process.user,
            command=process.command if may_read else _program(process.command),
            memory_bytes=process.memory_bytes,
            utilization=process.utilization,
            kind=process.kind,
            started_at=iso(process.started_at),
            job_id=job.id if job is not None else None,
            container=job.runtime_name if job is not None else "",
            belongs=str(use.belongs),
        )


def _program(command: str) -> str:
    """Return the program's name alone: arguments are the person's own."""
    words = command.split()
    return words[0].rsplit("/", 1)[-1] if words else ""


def _ref(booking: Reservation) -> BookingRef:
    return BookingRef(
        booking.id, booking.owner.name, iso(booking.from_at) or "", iso(booking.until_at) or ""
    )
