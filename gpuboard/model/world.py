"""What the policy sees: an immutable picture of devices, leases, bookings and people at an instant.

Built by `engine` each round, by `simulate` from a trace, by the forecast from a prediction. The
waiting jobs come beside it in `policy.queue.WaitingQueue`, which is kept up to date job by job so
that a queue of 100,000 costs what a queue of 10 costs.
"""

from __future__ import annotations

import msgspec

from gpuboard.model.device import DeviceLink
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
    label: str = ""
    """How people know it: `3`, or `3:1` for a MIG instance; empty: its index."""
    is_mig: bool = False
    """Part of a GPU: a program sees one such instance at most."""


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
    lease_until_at: int | None = None
    """Of a preemptible job under leases: until when (ms) only somebody with a right may stop it."""
    ran_before_s: int = 0
    """How long its earlier attempts ran."""
    gpu_memory_bytes: int = 0
    """Its budget on the one device that it shares; 0: it has its devices to itself."""
    account: str = ""
    """The group it is charged to; empty: the person alone."""

    @property
    def is_stand_in(self) -> bool:
        """Whether it is no job but a device that is yet to be seen empty; its number is below zero."""
        return self.job_id < 0


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
    ran_s: int = 0
    """How long its earlier attempts ran (a job that was stopped and is queued again)."""
    gpu_memory_bytes: int = 0
    """It may share its one device with others, up to this much memory; 0: whole devices."""
    nvlink: bool = False
    """Only devices that are all linked with each other by NVLink will do."""
    account: str = ""
    """The group it is charged to; empty: the person alone."""
    class_name: str = ""
    """Its class; empty: none."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """A person's decayed usage at `World.usage_at`; with groups, what is charged to one of theirs."""

    uid: Uid
    device_seconds: float
    shares: float = 1.0
    account: str = ""
    """The group; empty: the person alone."""


class Spent(msgspec.Struct, frozen=True, gc=False):
    """Device-seconds that a person held during one hour of the last week, for weekly quotas."""

    uid: Uid
    account: str
    hour_at: int
    """The hour's begin (ms)."""
    device_seconds: float


class Group(msgspec.Struct, frozen=True, gc=False):
    """A group of people, or of groups, that has a share of its own (`lab -> project -> person`)."""

    name: str
    parent: str = ""
    """The group that it is part of; empty: of the box."""
    shares: float = 1.0
    """Its weight among the parts of its parent."""


class JobClass(msgspec.Struct, frozen=True, gc=False):
    """What jobs of a class have ahead of others."""

    boost_s: int = 0
    """B of the virtual submit time: they count as submitted so much earlier."""
    is_promised: bool = False
    """Whether each of its jobs is promised a start that only moves earlier."""


class Quota(msgspec.Struct, frozen=True):
    """Limits of a person or a group; None = no limit."""

    running_gpus: int | None = None
    queued_jobs: int | None = None
    gpu_hours_per_week: int | None = None
    """Device-hours held in the last seven days, what runs now counted up to its limit."""
    soft: frozenset[str] = frozenset()
    """Names of those limits that hold only while others wait."""

    @property
    def is_open(self) -> bool:
        """Whether nothing that starts is limited."""
        return self.running_gpus is None and self.gpu_hours_per_week is None


class Promise(msgspec.Struct, frozen=True, gc=False):
    """A start promised to a waiting job of a class whose jobs are all promised one."""

    job_id: JobId
    start_at: int
    gpus: int
    span_ms: int
    """For how long it may hold its devices: a job that asks for more has to be promised anew."""


class PolicySettings(msgspec.Struct, frozen=True):
    """Parameters of the policy; the defaults are DESIGN.md's."""

    half_life_s: int = 7 * 86400
    priority_window_s: int = 7 * 86400
    """D of the virtual submit time: nobody is passed by a job submitted D later. 0 = FIFO."""
    backfill: bool = True
    backfill_scan: int = 1000
    """At most so many waiting jobs are looked at in a round of backfill, equally many of each line."""
    backfill_shortest_first: bool = True
    """Whether of each person's candidates the shortest predicted is tried first; among people, and
    where this is off, the queue's order holds."""
    sticky_head: bool = True
    """Whether the head stays head until it starts; else the order alone says who is next."""
    promise_head: bool = True
    """Whether a job that does not fit is promised a start; else whatever fits starts, in order."""
    most_promises: int = 100
    """Jobs of promised classes that are promised a start at once; what they cost grows with its square."""
    sharing: str = "person"
    """Who may share a device by memory budgets: `off`, `person` (with oneself), `all`."""
    sharing_reserve_bytes: int = 0
    """Memory of a device that is given to no budget."""
    job_mix: tuple[tuple[int, float], ...] = ()
    """What the box is asked for, as (devices, weight): which free sets are worth keeping together."""
    lease_s: int = 0
    """Preemptible jobs hold their devices by leases of this length; 0: until somebody with a right
    comes. See `policy.leases`."""
    newcomer_s: int = 300
    """A preemptible job that has run less than this need not wait for the end of the leases of people
    who had no less than its owner; 0: it waits as all others do."""
    turns_by_job: bool = False
    """Under leases: whether turns are by what each job ran, in two queues, rather than by what people
    had (Tiresias; for comparison)."""
    checkpoint_cost_s: int = 0
    """What being stopped costs a preemptible job: none is stopped for another one before it has run
    many times that."""
    default_quota: Quota = Quota()
    quotas: dict[int, Quota] = {}
    """By uid."""
    groups: tuple[Group, ...] = ()
    """Without any, people alone have shares."""
    group_quotas: dict[str, Quota] = {}
    """By group; what is charged to a part of a group counts for the group too."""
    classes: dict[str, JobClass] = {}
    """By name."""


class World(msgspec.Struct, frozen=True):
    """Everything the policy knows besides the waiting jobs."""

    devices: tuple[DeviceFact, ...]
    holders: tuple[Holder, ...] = ()
    bookings: tuple[Booking, ...] = ()
    usage: tuple[Usage, ...] = ()
    usage_at: int = 0
    head: JobId | None = None
    """The sticky head of the last round (kept by the engine, in the database)."""
    fill_head: JobId | None = None
    """The preemptible job that was next and did not fit in the last round (kept likewise)."""
    promises: tuple[Promise, ...] = ()
    """The starts promised in the last round to jobs of promised classes (kept likewise)."""
    utc_offsets: tuple[tuple[int, int], ...] = ()
    """For words alone: from when on (ms), and by how many seconds the box's clock is ahead of UTC."""
    spent: tuple[Spent, ...] = ()
    """What was held in the last week, where a weekly quota needs it."""
    links: tuple[DeviceLink, ...] = ()
    """How devices are linked with each other, where that is known."""
    settings: PolicySettings = PolicySettings()
