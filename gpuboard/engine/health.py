"""Health of devices: a faulty or lost one is drained with words, and its job stopped if so configured."""

from __future__ import annotations

from collections.abc import Container

from gpuboard.devices.roster import is_nameless
from gpuboard.engine.change import Change
from gpuboard.engine.core import Core, log
from gpuboard.engine.stopping import Stopper
from gpuboard.errors import DeviceDriverFailed, HostError
from gpuboard.model.device import Health, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.job import Job, StopCause
from gpuboard.model.reservation import Drain

CLOSED = (
    "its container may no longer open its GPUs (NVML: Unknown Error); `systemctl daemon-reload` does"
    " that, `gpuboard doctor` says how to prevent it"
)


class HealthWatch:
    """Looks at each new sweep. A driver that does not answer is no fault of a device: nothing is done."""

    def __init__(self, core: Core, stopper: Stopper) -> None:
        self._core = core
        self._stopper = stopper
        self._seen: dict[DeviceUuid, DeviceUuid | None] = {}
        """Devices that were there, each with the GPU of which it is a part."""

    def look(self, snapshot: ProbeSnapshot) -> None:
        """Act on a new sweep."""
        if snapshot.fault:
            return
        faults = {
            reading.device.uuid: f"{reading.health}: {reading.fault}".rstrip(": ")
            for reading in snapshot.readings
            if reading.health in (Health.FAULTY, Health.LOST)
        }
        present = {reading.device.uuid: reading.device.parent for reading in snapshot.readings}
        boards = present.keys() | {parent for parent in present.values() if parent is not None}
        leased = set(self._core.ledger.leases)
        for uuid in sorted((self._seen.keys() | leased) - present.keys()):
            board = self._seen.get(uuid) or uuid
            if board in boards:  # an admin split its GPU, or joined its parts
                self._stop_jobs_on(uuid, "its GPU was divided anew")
            else:
                faults[uuid] = "lost: the driver names it no more"
        self._seen = {
            uuid: parent
            for uuid, parent in self._seen.items()
            if uuid in leased or (parent or uuid) not in boards
        } | present
        for uuid, words in faults.items():
            if not is_nameless(uuid):  # it is not given out either way
                self._act(uuid, words)
        self._forget_nameless(present)

    def _forget_nameless(self, present: Container[DeviceUuid]) -> None:
        """Let drains go that stand for a GPU of no name: it came back under its own, or is not there."""
        gone = [uuid for uuid in self._core.ledger.drains if is_nameless(uuid)]
        gone = [uuid for uuid in gone if uuid not in present]
        if gone:
            change = Change("device.resume", resumed=gone)
            for uuid in gone:
                change.event("device.resumed", device=uuid, by="gpuboard")
            self._core.journal.commit(change)

    def _act(self, uuid: DeviceUuid, words: str) -> None:
        core = self._core
        if uuid not in core.ledger.drains:
            log.error("device %s: %s", uuid, words)
            change = Change("device.fault")
            change.drained.append(Drain(uuid, core.clock.now_ms(), "gpuboard", words))
            change.event("device.drained", device=uuid, note=words, by="gpuboard")
            core.journal.commit(change)
            core.plan_soon()
        self._stop_jobs_on(uuid, words)

    def _stop_jobs_on(self, uuid: DeviceUuid, words: str) -> None:
        core = self._core
        if core.config.jobs.on_device_fault != "stop":
            return
        own = core.ledger.leases.get(uuid)
        for lease in core.ledger.shares_of(uuid) or ([own] if own is not None else []):
            job = core.ledger.holding.get(lease.job_id) if lease.job_id is not None else None
            if job is not None and job.stop_cause is None:
                self._stopper.request(
                    job, StopCause.DEVICE_FAULT, "gpuboard", reason=f"its device failed, {words}"
                )

    def devices_seen(self, job: Job, can_open: bool | None) -> None:
        """Act on a job that could open its devices, which are well, and runs on shut out of them.

        That it could is on record: the doors may be closed while no daemon looks. One that never
        could is no news, since where the toolkit works otherwise none can.
        """
        journal, name = self._core.journal, job.runtime_name
        if can_open and name not in journal.opened:
            living = {other.runtime_name for other in self._core.ledger.holding.values()}
            journal.keep_opened((journal.opened & living) | {name})
        elif can_open is False and name in journal.opened and job.stop_cause is None:
            self._devices_closed(job)
            journal.keep_opened(journal.opened - {name})

    def _devices_closed(self, job: Job) -> None:
        core = self._core
        log.error("job %d: %s", job.id, CLOSED)
        change = Change("device.closed")
        change.event("job.devices_closed", job_id=job.id, note=CLOSED, by="gpuboard")
        core.journal.commit(change)
        if core.config.jobs.on_device_fault == "stop":
            self._stopper.request(job, StopCause.DEVICE_FAULT, "gpuboard", reason=CLOSED)


MAX_FAILED_STARTS = 3
"""So many different jobs in a row that the box could not start on a device: it may be at fault."""


class StartFailures:
    """Counts starts that failed by the box's fault, by device (a broken driver hook, say).

    A device is drained after three different jobs in a row, if they were of two people or the
    runtime itself says that the driver failed: otherwise one person's way of asking may be what
    fails, which must not take devices from everybody.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._failed: dict[DeviceUuid, dict[JobId, int]] = {}
        """By device: jobs, and whose (uid) they were."""

    def succeeded(self, job: Job) -> None:
        """Forget what failed before on this job's devices."""
        for device in job.devices:
            self._failed.pop(device, None)

    def failed(self, job: Job, error: HostError) -> None:
        """Count a failure; drain a device that must be what fails."""
        change = Change("device.fault")
        for device in job.devices:
            failed = self._failed.setdefault(device, {})
            failed[job.id] = job.owner.uid
            is_of_box = len({*failed.values()}) > 1 or isinstance(error, DeviceDriverFailed)
            if len(failed) < MAX_FAILED_STARTS or not is_of_box:
                continue
            if device not in self._core.ledger.drains:
                note = f"{len(failed)} jobs in a row failed to start on it: {error}"
                now = self._core.clock.now_ms()
                change.drained.append(Drain(device, now, "gpuboard", note))
                change.event("device.drained", device=device, note=note, by="gpuboard")
                del self._failed[device]
        if change.drained:
            self._core.journal.commit(change)
