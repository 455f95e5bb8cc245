"""Foreign use: whose processes the driver names on a device, and which of them have no business there."""

from __future__ import annotations

import os

from gpuboard.engine.core import Core
from gpuboard.model.device import DeviceProcess
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.job import Job, RuntimeName

GRAPHICS = "G"
"""A desktop's own processes: never foreign, or a workstation could not be used."""


def job_of(core: Core, process: DeviceProcess) -> Job | None:
    """Return the live job to which a process belongs: by name, container or session."""
    for job in core.ledger.holding.values():
        if process.job_name and process.job_name == job.runtime_name:
            return job
        if process.container_id and process.container_id == job.handle:
            return job
        if job.spec.runtime is RuntimeName.PROCESS and _in_session(process.pid, job.handle):
            return job
    return None


def _in_session(pid: int, handle: str) -> bool:
    """Whether a process is in the session of a process job (handle `pid:start-time`)."""
    leader, _, _ = handle.partition(":")
    if not leader.isdigit():
        return False
    try:
        return os.getsid(pid) == int(leader)
    except OSError:
        return False


def is_foreign(core: Core, device: DeviceUuid, process: DeviceProcess) -> bool:
    """Whether a process is on a device without a lease of its job, or of its person's booking."""
    if process.kind == GRAPHICS:
        return False
    lease = core.ledger.leases.get(device)
    if lease is None:
        return True
    if lease.job_id is None:
        return process.uid != lease.uid
    job = job_of(core, process)
    if job is not None:
        return job.id != lease.job_id
    return not _is_unattributed(core, process, lease.job_id, lease.uid)


def _is_unattributed(core: Core, process: DeviceProcess, job_id: int, uid: int) -> bool:
    """Whether the process may belong to the lease's job although nothing names it.

    A driver may name pids that cannot be looked up; a process job's children may leave its session.
    """
    if process.uid is None and not process.container_id and not process.job_name:
        return True
    job = core.ledger.holding.get(job_id)  # type: ignore[call-overload]
    return (
        job is not None
        and job.spec.runtime is not RuntimeName.DOCKER
        and process.uid == uid
        and not process.container_id
    )


def foreign_words(core: Core) -> dict[DeviceUuid, str]:
    """Return devices used from outside the queue, with by whom in words.

    A device that is settling is left out: what still shows there was a job's a moment ago.
    """
    found: dict[DeviceUuid, str] = {}
    for reading in core.snapshot.readings:
        uuid = reading.device.uuid
        if uuid in core.settling or not reading.processes:
            continue
        names = sorted(
            {
                process.user or (f"uid {process.uid}" if process.uid is not None else "unknown")
                for process in reading.processes
                if is_foreign(core, uuid, process)
            }
        )
        if names:
            found[uuid] = ", ".join(names)
    return found


def settle(core: Core) -> None:
    """Free devices whose emptiness a sweep after the end of their lease has shown.

    A list that cannot be read is not an empty list; only a device that never showed one (its
    driver does not support it) is believed empty on the word of the runtime and the kernel.
    """
    snapshot = core.snapshot
    if snapshot.fault:
        return
    readings = {reading.device.uuid: reading for reading in snapshot.readings}
    for uuid, reading in readings.items():
        if reading.processes is not None:
            core.lists_processes.add(uuid)
    for uuid, since in list(core.settling.items()):
        seen = readings.get(uuid)
        if seen is None or snapshot.at <= since:
            continue
        if seen.processes is None:
            is_clear = uuid not in core.lists_processes
        else:
            is_clear = not any(p.kind != GRAPHICS for p in seen.processes)
        if is_clear or _is_held_by_strangers(core, uuid, snapshot.at - since):
            del core.settling[uuid]
            core.plan_soon()


def _is_held_by_strangers(core: Core, device: DeviceUuid, waited_ms: int) -> bool:
    """Whether what shows on the device is no remnant of ours any more: it is foreign use then."""
    return waited_ms > core.pace.settle_s * 1000 and device in core.lists_processes
