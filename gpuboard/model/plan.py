"""The scheduler's answer, and its explanation. Sets named by fate; no action is taken here."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gpuboard.model.ids import DeviceUuid, JobId, ReservationId
from gpuboard.model.world import Promise


class Start(msgspec.Struct, frozen=True):
    """Start this job on these devices now."""

    job_id: JobId
    devices: tuple[DeviceUuid, ...]
    reservation_id: ReservationId | None = None
    """The owner's active booking whose devices it uses."""
    gpu_memory_bytes: int = 0
    """It shares its device, with this budget; 0: it has its devices to itself."""
    lease_until_at: int | None = None
    """Of a preemptible job under leases: until when (ms) only somebody with a right may stop it."""
    borrowed: tuple[DeviceUuid, ...] = ()
    """Those of its devices that are somebody's booking's, unused: given back when they are wanted."""


class Bind(msgspec.Struct, frozen=True):
    """Give these devices to a booking whose window has begun."""

    reservation_id: ReservationId
    devices: tuple[DeviceUuid, ...]


class Stop(msgspec.Struct, frozen=True):
    """Stop this (preemptible) job; it goes back to the queue."""

    job_id: JobId
    reason: str


class Plan(msgspec.Struct, frozen=True):
    """What to do now."""

    starts: tuple[Start, ...] = ()
    binds: tuple[Bind, ...] = ()
    stops: tuple[Stop, ...] = ()
    head: JobId | None = None
    """The job that is served next and does not fit; nothing may delay it."""
    head_start_at: int | None = None
    """The head's promised start (the shadow): by limits, so it only moves earlier."""
    fill_head: JobId | None = None
    """The preemptible job that is served next and does not fit: no other preemptible one delays it."""
    wake_at: int | None = None
    """When the plan may change although nothing happens (a begin time, a booking, its end)."""
    promises: tuple[Promise, ...] = ()
    """What jobs of promised classes are promised from here on."""


class WaitCause(StrEnum):
    """Why a job waits. One cause a device or a job; shown with counts."""

    DEVICES_BUSY = "devices_busy"
    AHEAD = "ahead"
    """Jobs ahead in the queue need the free devices."""
    BOOKED = "booked"
    WOULD_DELAY_HEAD = "would_delay_head"
    BEGIN_TIME = "begin_time"
    DEPENDENCY = "dependency"
    DEPENDENCY_BROKEN = "dependency_broken"
    HELD = "held"
    QUOTA = "quota"
    ARRAY_LIMIT = "array_limit"
    DEVICE_UNAVAILABLE = "device_unavailable"
    NO_SUCH_DEVICE = "no_such_device"
    """The box has not enough devices of this kind even when all are free."""
    BLACKOUT = "blackout"
    HOST = "host"
    """The runtime or driver does not answer; the engine says so."""


class Cause(msgspec.Struct, frozen=True):
    """One cause, in data and in words."""

    cause: WaitCause
    words: str
    """`GPU 2,3 are held by user7 until 14:10` - instants as `{ms}` are never in here: the renderer
    of words is `policy.explain`, in UTC, and clients may build their own from the data."""
    count: int = 1
    devices: tuple[DeviceUuid, ...] = ()
    job_ids: tuple[JobId, ...] = ()
    reservation_id: ReservationId | None = None
    user: str = ""
    until_at: int | None = None
    words_for_others: str = ""
    """What those are told instead who may not read what the job runs and why it ended; empty: the same."""


class Explanation(msgspec.Struct, frozen=True):
    """Why a waiting job waits, when it should start, and what would start it now."""

    job_id: JobId
    causes: tuple[Cause, ...]
    place: int | None = None
    """0 = next to be served; None when not eligible (held, dependency, begin)."""
    ahead_gpus: int = 0
    expected_start_at: int | None = None
    latest_start_at: int | None = None
    """No later than: by limits."""
    would_start_now: str = ""
    """The smallest change that starts it now: `--gpus 1`, `--time 1h`; empty when there is none."""
    p90_start_at: int | None = None
    """As in `StartForecast`."""
    promised_start_at: int | None = None
    """What a job of a promised class, or the head, was promised: it only moves earlier."""
    rank: int | None = None
    """Where there are groups: the person's place by fair share, 1 = first."""
    ranked: int = 0
    """Among how many."""


class StartForecast(msgspec.Struct, frozen=True):
    """When a waiting job should start."""

    job_id: JobId
    expected_start_at: int | None
    """None: cannot be said (held, a dependency that never ends, no such device)."""
    latest_start_at: int | None = None
    devices: tuple[DeviceUuid, ...] = ()
    """Which devices it would get, as far as is known."""
    p90_start_at: int | None = None
    """Nine of ten starts fall before it, going by how far off forecasts were so far."""


class ReservationRequest(msgspec.Struct, frozen=True):
    """A window asked for."""

    gpus: int
    from_at: int
    until_at: int
    gpu_uuids: tuple[DeviceUuid, ...] = ()
    gpu_type: str = ""
    account: str = ""
    """The group that it is charged to; empty: the person alone."""


class Window(msgspec.Struct, frozen=True):
    """A window that would be accepted."""

    from_at: int
    until_at: int


class Admission(msgspec.Struct, frozen=True):
    """Whether a booking can be promised."""

    accepted: bool
    devices: tuple[DeviceUuid, ...] = ()
    """The devices it would get as things stand (they are bound late)."""
    causes: tuple[Cause, ...] = ()
    nearest: tuple[Window, ...] = ()
    """When refused: the nearest windows of this length that would be accepted, earliest first."""
