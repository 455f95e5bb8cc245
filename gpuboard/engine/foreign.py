"""Foreign use: who is on each device by the ledger, and which devices strangers keep from the queue."""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.devices.attribution import Belongs, DeviceUse, attribute
from gpuboard.engine.core import Core
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.job import RuntimeName

_HURRY_MS = 1_000
"""So long after a lease's end sweeps are asked for: a driver lets go within milliseconds, mostly."""
_IN_THE_WAY = (Belongs.FOREIGN, Belongs.VIOLATION, Belongs.UNKNOWN)


def device_uses(core: Core) -> Mapping[DeviceUuid, DeviceUse]:
    """Return who is on each device: the last sweep held against the ledger. Made once for both.

    Where neither changed for a device, what was made before stays: most sweeps find what the one
    before them found.
    """
    snapshot, revision = core.snapshot, core.ledger.revision
    if core.uses_of is None or core.uses_of[0] is not snapshot or core.uses_of[1] != revision:
        kept = _unchanged(core) if core.uses_of is not None and core.uses_of[1] == revision else {}
        core.uses_of, core.uses = (snapshot, revision), _attributed(core, kept)
    return core.uses


def _unchanged(core: Core) -> dict[DeviceUuid, DeviceUse]:
    """Return what was made of the devices that show the same processes as in the sweep before."""
    assert core.uses_of is not None
    before = {reading.device.uuid: reading.processes for reading in core.uses_of[0].readings}
    return {
        uuid: core.uses[uuid]
        for reading in core.snapshot.readings
        if (uuid := reading.device.uuid) in before and before[uuid] == reading.processes
    }


def _attributed(core: Core, kept: Mapping[DeviceUuid, DeviceUse]) -> Mapping[DeviceUuid, DeviceUse]:
    ledger = core.ledger
    readings = [each for each in core.snapshot.readings if each.device.uuid not in kept]
    if not readings:
        return kept
    leased: dict[DeviceUuid, tuple[str, ...]] = {}
    booked: dict[DeviceUuid, int] = {}
    for lease in ledger.every_lease():
        job = ledger.holding.get(lease.job_id) if lease.job_id is not None else None
        if job is not None:
            leased[lease.device] = (*leased.get(lease.device, ()), job.runtime_name)
        else:
            booked[lease.device] = lease.uid
    containers = {
        job.handle: job.runtime_name
        for job in ledger.holding.values()
        if job.handle and job.spec.runtime is RuntimeName.DOCKER
    }
    fresh = attribute(readings, leased=leased, booked=booked, containers=containers)
    uuids = [each.device.uuid for each in core.snapshot.readings]
    return {uuid: fresh.get(uuid) or kept[uuid] for uuid in uuids}


def in_use_words(core: Core) -> dict[DeviceUuid, str]:
    """Return why devices without a job of ours are not free, in words.

    A device that is settling is left out: what still shows there was a job's a moment ago. So is
    what cannot be looked up on a job's device: it may well be the job.
    """
    found: dict[DeviceUuid, str] = {}
    for uuid, use in device_uses(core).items():
        if uuid in core.settling:
            continue
        lease = core.ledger.leases.get(uuid)
        has_job = lease is not None and lease.job_id is not None
        parts = [use.foreign_words, use.violation_words, "" if has_job else use.unknown_words]
        words = "; ".join(part for part in parts if part)
        if words:
            found[uuid] = words
    return found


def foreign_people(core: Core) -> dict[DeviceUuid, str]:
    """Return by whom each device is used that has words in `in_use_words`."""
    uses = device_uses(core)
    return {
        uuid: ", ".join(uses[uuid].named(*_IN_THE_WAY)) or "unknown" for uuid in in_use_words(core)
    }


def settle(core: Core) -> None:
    """Free devices whose emptiness a sweep after the end of their lease has shown.

    A list that cannot be read is not an empty list; only a device that never showed one (its
    driver does not support it) is believed empty on the word of the runtime and the kernel.
    """
    snapshot = core.snapshot
    if snapshot.fault:
        return
    uses = device_uses(core)
    core.lists_processes.update(uuid for uuid, use in uses.items() if use.is_known)
    for uuid, since in list(core.settling.items()):
        use = uses.get(uuid)
        if since > core.clock.now_ms():
            # the clock was set back: no sweep would be later before it caught up
            core.settling[uuid] = core.clock.now_ms()
            continue
        if snapshot.at <= since:
            continue
        if use is None:  # a GPU that was divided anew; a lost one is still listed
            del core.settling[uuid]
            continue
        is_clear = _is_clear(core, use) if use.is_known else uuid not in core.lists_processes
        if is_clear or _is_held_by_strangers(core, uuid, snapshot.at - since):
            del core.settling[uuid]
            core.plan_soon()
        elif snapshot.at - since < _HURRY_MS:
            core.probe.sweep_soon()


def _is_clear(core: Core, use: DeviceUse) -> bool:
    """Whether nobody is on the device; of a shared one, nobody but those that share it now."""
    if core.ledger.shares_of(use.uuid):
        return not use.of(Belongs.VIOLATION, Belongs.UNKNOWN)
    return use.is_clear


def _is_held_by_strangers(core: Core, device: DeviceUuid, waited_ms: int) -> bool:
    """Whether what shows on the device is no remnant of ours any more: it is foreign use then."""
    return waited_ms > core.pace.settle_s * 1000 and device in core.lists_processes
