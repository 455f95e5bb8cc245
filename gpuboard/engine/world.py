"""The policy's picture of the box, built from ledger, probe and clock each round.

A device whose lease has just ended is shown as held for a moment longer, until a sweep of the
driver made after the end names no process on it: the third of the three who must agree before a
device is free (the runtime and the kernel were asked when the attempt ended).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gpuboard.engine.core import Core
from gpuboard.engine.foreign import in_use_words
from gpuboard.engine.ledger import Account
from gpuboard.engine.stopping import limit_boot_ms
from gpuboard.engine.windows import claim_of
from gpuboard.engine.zone import utc_offsets
from gpuboard.model.device import DeviceKind, DeviceReading, Health
from gpuboard.model.ids import DeviceUuid, JobId, ReservationId, Uid
from gpuboard.model.job import Job, JobState
from gpuboard.model.reservation import Lease
from gpuboard.model.world import (
    Booking,
    DeviceFact,
    Group,
    Holder,
    JobClass,
    PolicySettings,
    Quota,
    Spent,
    Usage,
    World,
)
from gpuboard.policy.quota import GPU_HOURS
from gpuboard.policy.usage import charge

LEAST_OWED_S = 1.0
"""Less than that (device-seconds) is what sums in floating point leave over."""
SETTLE_MS = 2_000
"""How long a device is expected to need until the driver shows it empty."""


def build_world(core: Core, now: int) -> World:
    """Return the world as it is now."""
    return World(
        devices=device_facts(core),
        holders=(*job_holders(core, now), *_settling_holders(core, now)),
        bookings=_bookings(core),
        usage=usage_now(core, now),
        usage_at=now,
        head=core.ledger.head,
        fill_head=core.ledger.fill_head,
        promises=core.ledger.promises,
        spent=_spent(core, now),
        utc_offsets=utc_offsets(now),
        links=core.snapshot.links,
        settings=policy_settings(core),
    )


def device_facts(core: Core) -> tuple[DeviceFact, ...]:
    """Return every device known, with why it cannot be given out."""
    ignored = set(core.config.devices.ignore)
    foreign = in_use_words(core) if core.config.devices.foreign == "busy" else {}
    facts = []
    for reading in core.snapshot.readings:
        device = reading.device
        if device.uuid in ignored or device.label in ignored:
            continue
        reason = _unavailable_reason(core, reading, foreign)
        facts.append(
            DeviceFact(
                uuid=device.uuid,
                index=device.index,
                type_name=device.name,
                available=not reason,
                unavailable_reason=reason,
                memory_bytes=device.memory_bytes or 0,
                numa_node=device.numa_node,
                label=device.label,
                is_mig=device.kind is DeviceKind.MIG,
            )
        )
    return tuple(facts)


def _unavailable_reason(core: Core, reading: DeviceReading, foreign: dict[DeviceUuid, str]) -> str:
    uuid = reading.device.uuid
    if core.snapshot.fault:
        return f"the driver does not answer: {core.snapshot.fault}"
    if reading.health is not Health.OK:
        return f"{reading.health}: {reading.fault}".rstrip(": ")
    drain = core.ledger.drains.get(uuid)
    if drain is not None:
        return f"drained: {drain.note}".rstrip(": ")
    lease = core.ledger.leases.get(uuid)
    is_open = lease is None or lease.job_id is None or lease.share is not None
    if uuid in foreign and is_open:
        return foreign[uuid]
    return ""


def job_holders(core: Core, now: int) -> list[Holder]:
    """Return the jobs that hold devices or run."""
    return [_holder(core, job, now) for _, job in sorted(core.ledger.holding.items())]


def _holder(core: Core, job: Job, now: int) -> Holder:
    return Holder(
        job_id=job.id,
        uid=job.owner.uid,
        user=job.owner.name,
        devices=job.devices,
        ends_at=ends_at(core, job, now),
        started_at=job.leased_at or now,
        reservation_id=job.reservation_id,
        preemptible=job.spec.preemptible,
        stopping=job.state is JobState.STOPPING,
        array_id=job.array_id,
        grace_s=job.spec.grace_s,
        predicted_s=core.ledger.predicted.get(job.id),
        lease_until_at=_lease_until(core, job),
        ran_before_s=job.ran_s,
        account=job.spec.account,
        gpu_memory_bytes=_budget(core, job),
    )


def _lease_until(core: Core, job: Job) -> int | None:
    """Return the end (ms) of a preemptible job's lease, where there are leases."""
    lease_s = core.config.policy.lease_s
    if not lease_s or not job.spec.preemptible or job.leased_at is None:
        return None
    ends = (lease.until_at for lease in core.ledger.leases_of(job.id))
    return min(ends, default=job.leased_at + lease_s * 1000)


def shareable_bytes(core: Core, device: DeviceUuid) -> int:
    """Return what the budgets of jobs that share a device may come to."""
    total = next(
        (r.device.memory_bytes for r in core.snapshot.readings if r.device.uuid == device), None
    )
    return max(0, (total or 0) - core.config.policy.sharing_reserve_bytes)


def _budget(core: Core, job: Job) -> int:
    """Return the budget with which a job shares its device now; 0: it has its devices to itself."""
    shares = core.ledger.shares_of(job.devices[0]) if len(job.devices) == 1 else ()
    return next((x.share.memory_bytes for x in shares if x.share and x.job_id == job.id), 0)


def ends_at(core: Core, job: Job, now: int) -> int:
    """Return when its devices are free at the latest (ms): by limit and grace, or by the stop's grace."""
    grace_ms = job.spec.grace_s * 1000
    left_ms = limit_boot_ms(job) - core.clock.boot_ms()
    if job.boot_id != core.clock.boot_id():
        left_ms = 0
    latest = now + max(0, left_ms) + grace_ms
    if job.state is JobState.STOPPING and job.stop_requested_at is not None:
        latest = min(latest, job.stop_requested_at + grace_ms)
    return max(latest, now + 1)


def _settling_holders(core: Core, now: int) -> list[Holder]:
    """Return stand-ins for devices whose emptiness the driver has not confirmed yet."""
    stand_ins = []
    for number, uuid in enumerate(sorted(core.settling), 1):
        lease = core.ledger.leases.get(uuid)
        if lease is not None and lease.job_id is not None:
            continue
        stand_ins.append(
            Holder(
                job_id=JobId(-number),
                uid=Uid(lease.uid if lease else -1),
                devices=(uuid,),
                ends_at=now + SETTLE_MS,
                started_at=core.settling[uuid],
                reservation_id=lease.reservation_id if lease else None,
                grace_s=0,
            )
        )
    return stand_ins


def _bookings(core: Core) -> tuple[Booking, ...]:
    ledger = core.ledger
    booked = [
        claim_of(booking, _bound(ledger.leases.values(), booking.id))
        for _, booking in sorted(ledger.reservations.items())
    ]
    every = tuple(r.device.uuid for r in core.snapshot.readings)
    closed = [
        Booking(
            reservation_id=ReservationId(-b.id),
            uid=Uid(-1),
            gpus=len(b.devices or every),
            from_at=b.from_at,
            until_at=b.until_at,
            gpu_uuids=b.devices or every,
            is_blackout=True,
        )
        for _, b in sorted(ledger.blackouts.items())
    ]
    return (*booked, *closed)


def _bound(leases: Iterable[Lease], reservation_id: ReservationId) -> tuple[DeviceUuid, ...]:
    bound = (lease.device for lease in leases if lease.reservation_id == reservation_id)
    return tuple(sorted(bound))


def usage_now(core: Core, now: int) -> tuple[Usage, ...]:
    """Return everybody's decayed usage at `now`, running leases included; with groups, for each."""
    ledger = core.ledger
    totals = {(uid, ""): total for uid, total in _totals(core, now).items()}
    owed: Mapping[tuple[int, str], float | None] = totals
    if core.config.groups:
        owed = _owed_for_groups(core, now, totals)
    shares = core.config.policy.shares
    return tuple(
        Usage(
            uid=Uid(uid),
            device_seconds=device_seconds,
            shares=shares.get(ledger.names.get(uid, ""), 1.0),
            account=group,
        )
        for (uid, group), device_seconds in sorted(owed.items())
        if device_seconds is not None
    )


def _totals(core: Core, now: int) -> dict[int, float]:
    """Return what people owe at `now` in all (device-seconds)."""
    ledger, half_life_s = core.ledger, core.config.policy.half_life_s
    held: dict[int, float] = {}
    for lease in ledger.every_lease():
        held[lease.uid] = held.get(lease.uid, 0) + lease.devices_charged
    totals = {}
    for uid in ledger.accounts.keys() | held.keys():
        account = ledger.accounts.get(uid, Account(0.0, now))
        spent = account.device_seconds
        totals[uid] = charge(spent, held.get(uid, 0), account.at, now, half_life_s)
    return totals


def _owed_for_groups(
    core: Core, now: int, totals: Mapping[tuple[int, str], float]
) -> dict[tuple[int, str], float | None]:
    """Return what people owe at `now` for each of their groups, and what is left for them alone.

    None for people who owe nothing outside their groups: they have no place beside them.
    """
    ledger, half_life_s = core.ledger, core.config.policy.half_life_s
    held: dict[tuple[int, str], float] = {}
    for lease in ledger.every_lease():
        whose = (lease.uid, ledger.account_of(lease))
        held[whose] = held.get(whose, 0) + lease.devices_charged
    owed: dict[tuple[int, str], float | None] = {}
    left = {uid: total for (uid, _), total in totals.items()}
    for whose in ledger.group_accounts.keys() | {one for one in held if one[1]}:
        account = ledger.group_accounts.get(whose, Account(0.0, now))
        spent = account.device_seconds
        device_seconds = charge(spent, held.get(whose, 0), account.at, now, half_life_s)
        owed[whose] = device_seconds
        left[whose[0]] = left.get(whose[0], 0.0) - device_seconds
    for uid, rest in left.items():
        is_alone = rest > LEAST_OWED_S or (uid, "") in held
        owed[uid, ""] = max(0.0, rest) if is_alone else None
    return owed


def _spent(core: Core, now: int) -> tuple[Spent, ...]:
    """Return what was held in the last week, bookings without a job included; () without weekly quotas."""
    quota = core.config.quota
    named = (own.get(GPU_HOURS) for own in (*quota.users.values(), *quota.groups.values()))
    if quota.gpu_hours_per_week is None and all(limit is None for limit in named):
        return ()
    ledger = core.ledger
    live = (
        (lease.uid, ledger.account_of(lease), lease.granted_at)
        for lease in ledger.leases.values()
        if lease.job_id is None
    )
    return ledger.week.rows(now, live)


def policy_settings(core: Core) -> PolicySettings:
    """Return the configuration as the policy needs it: people by uid."""
    policy, quota = core.config.policy, core.config.quota
    default = Quota(
        running_gpus=quota.running_gpus,
        queued_jobs=quota.queued_jobs,
        gpu_hours_per_week=quota.gpu_hours_per_week,
        soft=frozenset(quota.soft),
    )
    return PolicySettings(
        half_life_s=policy.half_life_s,
        most_promises=policy.most_promises,
        sharing=policy.sharing,
        sharing_reserve_bytes=policy.sharing_reserve_bytes,
        job_mix=core.job_mix,
        priority_window_s=policy.priority_window_s,
        backfill=policy.backfill,
        lease_s=policy.lease_s,
        newcomer_s=policy.lease_newcomer_s,
        checkpoint_cost_s=policy.checkpoint_cost_s,
        default_quota=default,
        quotas={
            uid: _own_quota(quota.users[name], default)
            for uid, name in core.ledger.names.items()
            if name in quota.users
        },
        groups=tuple(
            Group(name, group.parent, group.shares) for name, group in core.config.groups.items()
        ),
        group_quotas={name: _own_quota(own, Quota()) for name, own in quota.groups.items()},
        classes={
            name: JobClass(one.boost_s, one.promised) for name, one in core.config.classes.items()
        },
    )


def _own_quota(own: Mapping[str, Any], default: Quota) -> Quota:
    """Return the default with what a person or group has of its own."""
    soft = own.get("soft", default.soft)
    return msgspec.structs.replace(default, **{**own, "soft": frozenset(soft)})
