"""What the policy sees: an immutable picture of devices, leases, bookings and people at an instant.

Built by `engine` each round, by `simulate` from a trace, by the forecast from a prediction. The
waiting jobs come beside it in `policy.queue.WaitingQueue`, which is kept up to date job by job so
that a queue of 100,000 costs what a queue of 10 costs.
"""

from __future__ import annotations

import msgspec

from gpuboard.model.ids import DeviceUuid, JobId, ReservationId, Uid


class DeviceFact(msgspec.Struct, frozen=True, gc=False):
    """A device as the policy needs it."""

    uuid: DeviceUuid
    index: int
    type_name: str = ""
    available: bool = True
    """False: drained, faulty, lost, or used from outside the queue: nothing starts on it."""
    unavailable_reason: str = ""
    """`drained: fan broken`, `faulty: fell off the bus`, `used outside gpuboard by alice`."""
    memory_bytes: int = 0
    numa_node: int | None = None


class Holder(msgspec.Struct, frozen=True, gc=False):
    """A job that holds devices now (starting, running or stopping).

    A running job without devices is a holder of none: arrays and dependents count on it.
    """

    job_id: JobId
    uid: Uid
    devices: tuple[DeviceUuid, ...]
    ends_at: int
    """When the devices are free at the latest: limit plus grace from the grant of the lease, on the
    policy's clock; once `stopping`, no later than the stop's request plus grace."""
    started_at: int = 0
    user: str = ""
    reservation_id: ReservationId | None = None
    preemptible: bool = False
    stopping: bool = False
    array_id: JobId | None = None
    grace_s: int = 10
    """From a stop signal to the end at the latest: how soon a preemptible holder can be gone."""
    predicted_s: int | None = None
    """As in `Waiting`: feeds the forecast, promises nothing."""


class Booking(msgspec.Struct, frozen=True, gc=False):
    """A reservation that has not ended, or a blackout (then `uid` is -1 and nobody may use it)."""

    reservation_id: ReservationId
    uid: Uid
    gpus: int
    from_at: int
    until_at: int
    user: str = ""
    gpu_uuids: tuple[DeviceUuid, ...] = ()
    gpu_type: str = ""
    devices: tuple[DeviceUuid, ...] = ()
    """Bound so far; non-empty only once active."""
    is_blackout: bool = False


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A queued job as the policy needs it."""

    job_id: JobId
    uid: Uid
    submitted_at: int
    gpus: int
    limit_s: int
    user: str = ""
    gpu_uuids: tuple[DeviceUuid, ...] = ()
    gpu_type: str = ""
    begin_at: int | None = None
    is_held: bool = False
    held_by: str = ""
    depends_on: tuple[JobId, ...] = ()
    """Jobs that still have to end (met ones are left out)."""
    is_dependency_broken: bool = False
    """A dependency ended so that it can never be met."""
    preemptible: bool = False
    array_id: JobId | None = None
    array_limit: int | None = None
    grace_s: int = 10
    predicted_s: int | None = None
    """Mean of the last two runs of the same person, width and limit; orders, never promises."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """A person's decayed usage at `World.usage_at`."""

    uid: Uid
    device_seconds: float
    shares: float = 1.0


class Quota(msgspec.Struct, frozen=True):
    """Hard limits of a person; None = no limit."""

    running_gpus: int | None = None
    queued_jobs: int | None = None


class PolicySettings(msgspec.Struct, frozen=True):
    """Parameters of the policy; the defaults are DESIGN.md's."""

    half_life_s: int = 7 * 86400
    priority_window_s: int = 7 * 86400
    """D of the virtual submit time: nobody is passed by a job submitted D later. 0 = FIFO."""
    backfill: bool = True
    backfill_scan: int = 1000
    """At most so many candidates a round."""
    backfill_shortest_first: bool = True
    """Whether of each person's candidates the shortest predicted is tried first; among people, and
    where this is off, the queue's order holds."""
    sticky_head: bool = True
    """Whether the head stays head until it starts; else the order alone says who is next."""
    promise_head: bool = True
    """Whether a job that does not fit is promised a start; else whatever fits starts, in order."""
    default_quota: Quota = Quota()
    quotas: dict[int, Quota] = {}
    """By uid."""


class World(msgspec.Struct, frozen=True):
    """Everything the policy knows besides the waiting jobs."""

    devices: tuple[DeviceFact, ...]
    holders: tuple[Holder, ...] = ()
    bookings: tuple[Booking, ...] = ()
    usage: tuple[Usage, ...] = ()
    usage_at: int = 0
    head: JobId | None = None
    """The sticky head of the last round (kept by the engine, in the database)."""
    settings: PolicySettings = PolicySettings()
