"""What leaves the daemon: views for JSON, the command line and the screen. Stable keys.

Instants are ISO-8601 UTC strings (`2026-11-22T20:01:00Z`) in `_at` fields, spans seconds in `_s`,
memory bytes in `_bytes`. What the caller may not know is empty or null, never left out. Every
top-level answer has `schema`: 1.
"""

from __future__ import annotations

import msgspec

from gpuboard.model.requests import SubmitRequest

SCHEMA = 1


class DeviceRef(msgspec.Struct, frozen=True):
    """A device in passing."""

    label: str
    """`3`, or `3:1` for a MIG instance."""
    uuid: str


class CauseView(msgspec.Struct, frozen=True):
    """One reason why a job waits."""

    cause: str
    words: str
    count: int = 1
    devices: list[DeviceRef] = []
    job_ids: list[int] = []
    reservation_id: int | None = None
    user: str = ""
    until_at: str | None = None
    """When it is over at the latest: of devices held, as their `until_at` on the board."""


class PortView(msgspec.Struct, frozen=True):
    """A port of a job's container, published on the box's loopback."""

    port: int
    """The container's."""
    host_port: int | None = None
    """The box's, on 127.0.0.1; null while the job does not run."""


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as lists show it. Private fields are empty unless `mine` or the caller is an admin."""

    id: int
    name: str
    user: str
    uid: int
    mine: bool
    """Whether the caller owns it."""
    state: str
    reason: str = ""
    """One line: why it waits, what it does, how it ended."""
    runtime: str
    image: str = ""
    """Private."""
    command: list[str] = []
    """Private."""
    gpus: int
    gpu_type: str = ""
    gpu_memory_bytes: int | None = None
    """Its budget of the one device, which it may share; null: whole devices."""
    nvlink: bool = False
    """Only devices linked with each other by NVLink will do."""
    devices: list[DeviceRef] = []
    ports: list[PortView] = []
    """Private."""
    limit_s: int
    attempt: int = 1
    submitted_at: str
    begin_at: str | None = None
    expected_start_at: str | None = None
    """Queued: about when it starts; null when that cannot be said."""
    latest_start_at: str | None = None
    """Queued: no later than this, by limits."""
    p90_start_at: str | None = None
    """Queued: nine of ten such forecasts began before it."""
    place: int | None = None
    """Queued and eligible: 0 is served next."""
    started_at: str | None = None
    ends_at: str | None = None
    """Running: when its limit stops it. Its devices are held for its grace longer at most."""
    ended_at: str | None = None
    elapsed_s: int | None = None
    exit_code: int | None = None
    exit_words: str = ""
    """`killed by SIGKILL, out of memory`; empty for 0."""
    oom_killed: bool = False
    held_by: str = ""
    preemptible: bool = False
    requeue: bool = False
    array_id: int | None = None
    array_index: int | None = None
    depends_on: list[str] = []
    """`afterok:12`."""
    reservation_id: int | None = None
    account: str = ""
    """The group that it is charged to."""
    class_name: str = msgspec.field(default="", name="class")
    note: str = ""
    """Private."""


class MountView(msgspec.Struct, frozen=True):
    """A host directory seen by a container."""

    source: str
    target: str
    read_only: bool = False


class EventView(msgspec.Struct, frozen=True):
    """One line of history."""

    id: int
    at: str
    kind: str
    words: str
    job_id: int | None = None
    reservation_id: int | None = None
    device: str | None = None
    user: str = ""
    detail: dict[str, str | int | float | bool | None] = {}


class JobDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`gpuboard show`: everything of one job that the caller may know."""

    schema: int = SCHEMA
    job: JobView
    env: dict[str, str] = {}
    """Private; values of names that look secret are not masked for the owner, always for admins."""
    mounts: list[MountView] = []
    script: str = ""
    """Private: content of the captured script whose name and arguments the command has."""
    workdir: str = ""
    shm_bytes: int | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    stop_signal: str = ""
    grace_s: int = 0
    image_id: str = ""
    events: list[EventView] = []


class AheadView(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting job that is served before another."""

    id: int
    user: str
    gpus: int
    limit_s: int
    expected_start_at: str | None = None


class PriorityView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a waiting job's place comes from."""

    share: float
    """Its owner's part of everybody's decayed usage, 0..1."""
    lead_s: int
    """So much earlier than its submission it counts as submitted."""


class WhyView(msgspec.Struct, frozen=True, kw_only=True):
    """`gpuboard why`: why a job waits, when it starts, what would start it now."""

    schema: int = SCHEMA
    id: int
    state: str
    words: str
    """One paragraph for a person."""
    causes: list[CauseView] = []
    place: int | None = None
    ahead_gpus: int = 0
    expected_start_at: str | None = None
    latest_start_at: str | None = None
    no_start: str = ""
    """Why there is no start time, in words; empty where there is one."""
    would_start_now: str = ""
    p90_start_at: str | None = None
    """Nine of ten such forecasts began before it."""
    ahead: list[AheadView] = []
    """The next ones to be served before it, nearest first, at most three."""
    priority: PriorityView | None = None
    promised_start_at: str | None = None
    """What it was promised as the next one, or by its class: that only moves earlier."""
    rank: int | None = None
    """Its owner's place by fair share, 1 = first; null where there are no groups."""
    ranked: int = 0


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """A process on a device."""

    pid: int
    user: str
    command: str
    memory_bytes: int | None = None
    utilization: int | None = None
    kind: str = "C"
    started_at: str | None = None
    job_id: int | None = None
    container: str = ""
    """Of a job of ours: the name under which its runtime knows it."""
    belongs: str = "job"
    """`job`; `foreign` (outside the queue); `violation` (a job of ours on a device it has no lease
    of); `holder` (of the person whose booking holds the device); `system` (a desktop, NVIDIA's own);
    `unknown`."""


class BookingRef(msgspec.Struct, frozen=True):
    """The next booking on a device."""

    id: int
    user: str
    from_at: str
    until_at: str


class SharerView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the jobs that share a device by memory budgets."""

    user: str
    mine: bool = False
    job_id: int
    job_name: str = ""
    memory_bytes: int
    """Its budget."""
    used_bytes: int | None = None
    """What its processes have of the device now; null where the driver does not say."""
    until_at: str | None = None


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """A device as the board shows it. None = the driver does not say."""

    uuid: str
    label: str
    index: int
    name: str
    kind: str = "gpu"
    parent: str | None = None
    state: str
    """`free`, `leased` (a job runs), `booked` (held by an active booking, no job), `drained`,
    `faulty`, `foreign` (used outside the queue)."""
    state_words: str = ""
    user: str = ""
    """Who has it (or, foreign, whose process is on it)."""
    mine: bool = False
    job_id: int | None = None
    job_name: str = ""
    reservation_id: int | None = None
    since_at: str | None = None
    until_at: str | None = None
    """Until when it is held at the latest: by a job until its limit and its grace are over."""
    idle_s: int | None = None
    """Held, but no utilisation for so long; null when not held or in use."""
    next_booking: BookingRef | None = None
    utilization: int | None = None
    memory_utilization: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    fan_percent: int | None = None
    sm_clock_mhz: int | None = None
    throttle: list[str] = []
    ecc_uncorrected: int | None = None
    processes: list[ProcessView] = []
    processes_known: bool = True
    """False: the list could not be read."""
    sharers: list[SharerView] = []
    """The jobs that share it (then `user`, `job_id` and `job_name` are those of the oldest)."""
    given_bytes: int = 0
    """What their budgets come to."""
    shareable_bytes: int = 0
    """What they may come to; 0: it is not shared now."""
    numa_node: int | None = None
    cpus: str = ""
    """The CPUs that are near: `0-31,64-95`; empty: not known."""
    bus_id: str = ""


class TopologyLink(msgspec.Struct, frozen=True):
    """How two devices are linked."""

    a: str
    """Label."""
    b: str
    kind: str
    """`NV`, `PIX`, `PXB`, `PHB`, `NODE` or `SYS`, as `nvidia-smi topo -m` has them."""
    nvlinks: int = 0
    words: str = ""
    """`NV4`, `SYS`."""


class TopologyDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device and where on the box it is."""

    uuid: str
    label: str
    name: str
    parent: str | None = None
    bus_id: str = ""
    numa_node: int | None = None
    cpus: str = ""


class TopologyView(msgspec.Struct, frozen=True, kw_only=True):
    """`gpuboard gpus --topology`: how the devices are linked with each other and with CPUs."""

    schema: int = SCHEMA
    at: str
    devices: list[TopologyDevice] = []
    links: list[TopologyLink] = []
    """Each pair of which something is known, once."""
    nvlink_sets: list[list[str]] = []
    """The largest sets of devices (labels) that are all linked with each other by NVLink."""


class NoticeView(msgspec.Struct, frozen=True):
    """An admin's words."""

    id: int
    at: str
    by: str
    text: str
    until_at: str | None = None


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """The box besides its devices."""

    hostname: str
    version: str
    personal: bool = False
    simulated: bool = False
    cpu_percent: float | None = None
    cpus: int = 0
    load_1m: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    disk_free_bytes: int | None = None
    """Where the daemon keeps its state."""
    shm_used_bytes: int | None = None
    shm_total_bytes: int | None = None
    """Shared memory of the box itself (`/dev/shm`)."""
    engine: str = ""
    """`docker 20.10.24`; with `engine_fault` when it does not answer."""
    engine_fault: str = ""
    driver: str = ""
    cuda: str = ""
    driver_fault: str = ""
    store_fault: str = ""
    """What is wrong with the daemon's database or its disk."""
    runtimes: list[str] = []
    default_runtime: str = ""
    default_limit_s: int = 0
    max_limit_s: int = 0


class BoardView(msgspec.Struct, frozen=True, kw_only=True):
    """One second of the box: `GET /v1/devices`, and the `board` event of the feed."""

    schema: int = SCHEMA
    at: str
    read_at: str | None = None
    """When the driver last answered; older than some seconds: stale."""
    user: str
    uid: int
    is_admin: bool
    host: HostView
    devices: list[DeviceView] = []
    notices: list[NoticeView] = []
    queued: int = 0
    running: int = 0


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """`gpuboard ps`, `history`, a page of `GET /v1/queue`, and the `queue` event of the feed.

    In the feed: the caller's own live jobs alone, cut at 200; `total` counts everybody's. The rest
    of the queue is asked for page by page when `revision` says that it changed.
    """

    schema: int = SCHEMA
    at: str
    jobs: list[JobView] = []
    """Running ones first, then the queue in serving order."""
    total: int = 0
    """How many match, beyond the cut."""
    offset: int = 0
    """How many of those that match come before the first of `jobs`."""
    revision: int = 0
    """Raised by every change that a list of jobs could show."""


class ReservationView(msgspec.Struct, frozen=True, kw_only=True):
    """A booking."""

    id: int
    user: str
    uid: int
    mine: bool
    name: str = ""
    state: str
    gpus: int
    gpu_type: str = ""
    devices: list[DeviceRef] = []
    """Bound devices; before its start those it would get as things stand."""
    likely: bool = False
    """Whether not all of these are bound yet: other devices may take the place of some."""
    from_at: str
    until_at: str
    on_them_now: list[str] = []
    """In the answer to `reserve`: what is on these devices now, in words."""
    series_id: int | None = None
    """The first booking of the series that it is one of."""
    rule: str = ""
    """How that series repeats (RFC 5545)."""
    account: str = ""
    """The group that it is charged to."""


class ReservationList(msgspec.Struct, frozen=True, kw_only=True):
    """Bookings, by start."""

    schema: int = SCHEMA
    at: str
    reservations: list[ReservationView] = []


class WindowView(msgspec.Struct, frozen=True):
    """A window that could be booked."""

    from_at: str
    until_at: str


class ReserveResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `reserve` (also with `dry_run`). A refusal is the error `refused`, whose
    message gives the causes and whose hint the nearest windows; a dry run with `suggest` gives both here.
    """

    schema: int = SCHEMA
    dry_run: bool = False
    reservation: ReservationView
    """The booking; of a series the first one."""
    series: list[ReservationView] = []
    """All bookings of a series, by start."""
    refused: str = ""
    """With `suggest`: why it cannot be had, in words."""
    notices: list[str] = []
    """Announced maintenance about the time of the window, in words."""
    windows: list[WindowView] = []
    """With `suggest`: the nearest windows of this length that could be had, the earliest first."""


class SubmitResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a submission."""

    schema: int = SCHEMA
    ids: list[int]
    jobs: list[JobView] = []
    """The first 100."""


class JobIds(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers behind selectors: numbers, ranges, `@`, names, array ids."""

    schema: int = SCHEMA
    ids: list[int] = []


class DryRunView(msgspec.Struct, frozen=True, kw_only=True):
    """`submit --dry-run`: which devices, when; nothing was stored."""

    schema: int = SCHEMA
    valid: bool = True
    would_start_now: bool
    devices: list[DeviceRef] = []
    expected_start_at: str | None = None
    latest_start_at: str | None = None
    p90_start_at: str | None = None
    words: str = ""
    causes: list[CauseView] = []
    command_line: str = ""
    """The same thing as a command line to copy."""
    notices: list[str] = []
    """Announced maintenance that it may meet, in words."""


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one job in cancel, hold, release, update."""

    id: int
    ok: bool
    words: str
    code: str = ""
    """Error code when not ok."""
    job: JobView | None = None


class ActionResults(msgspec.Struct, frozen=True, kw_only=True):
    """One result a job; the request fails as a whole only when no job was named."""

    schema: int = SCHEMA
    results: list[ActionResult] = []


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A bar on the timeline."""

    device: str | None
    """Label of the device; null while a booking is not bound."""
    uuid: str | None = None
    kind: str
    """`ran`, `running`, `booking`, `forecast`, `blackout`."""
    user: str = ""
    mine: bool = False
    job_id: int | None = None
    reservation_id: int | None = None
    name: str = ""
    gpus: int = 1
    from_at: str
    until_at: str
    latest_from_at: str | None = None
    """Of a forecast: it starts no later than that."""
    rule: str = ""
    """Of a booking in a series: how that repeats."""


class TimelineView(msgspec.Struct, frozen=True, kw_only=True):
    """Bookings and runs between two instants."""

    schema: int = SCHEMA
    at: str
    from_at: str
    until_at: str
    devices: list[DeviceRef] = []
    entries: list[TimelineEntry] = []


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A person's use."""

    user: str
    uid: int
    mine: bool
    running_gpus: int = 0
    queued_jobs: int = 0
    device_seconds: float = 0.0
    """Charged, decayed with the half-life."""
    share: float = 0.0
    """Of all decayed usage, 0..1."""
    factor: float = 0.0
    """Fair-share factor F, 0..1."""
    device_seconds_7d: float = 0.0
    """Charged in the last seven days, not decayed."""
    group: str = ""
    """The group that it is charged to; a person of several groups has a row for each, and what is the
    person's alone (queued jobs, the last seven days, the quota) is on the first."""
    rank: int | None = None
    """Place by fair share among all, 1 = served first; null where there are no groups."""
    quota_words: str = ""
    """What of a quota is used: `168 of 168 GPU-hours this week`; empty where nothing limits."""


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group's use."""

    name: str
    parent: str = ""
    shares: float = 1.0
    device_seconds: float = 0.0
    """Charged to it and to its parts, decayed."""
    running_gpus: int = 0
    quota_words: str = ""


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of everybody."""

    schema: int = SCHEMA
    at: str
    half_life_s: int = 0
    people: list[UsageRow] = []
    groups: list[GroupRow] = []
    """Those of the configuration, in its order."""
    ranked: int = 0
    """How many ranks there are."""


class ImageView(msgspec.Struct, frozen=True, kw_only=True):
    """A local image that jobs may use."""

    reference: str
    id: str
    created_at: str | None = None
    size_bytes: int | None = None


class ImageList(msgspec.Struct, frozen=True, kw_only=True):
    """Local images."""

    schema: int = SCHEMA
    images: list[ImageView] = []


class TemplateView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the lab's jobs as a beginning for others."""

    name: str
    about: str = ""
    request: SubmitRequest
    """What it asks for, as the caller would."""


class TemplateList(msgspec.Struct, frozen=True, kw_only=True):
    """The lab's templates, by name."""

    schema: int = SCHEMA
    templates: list[TemplateView] = []


class CheckView(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of `doctor`."""

    name: str
    """`driver`, `nvml`, `engine`, `container-toolkit`, `permissions`, `disk`, `clock`, ..."""
    status: str
    """`ok`, `warning`, `error`, `skipped`."""
    words: str
    mend: str = ""
    """The command that mends it."""


class DoctorView(msgspec.Struct, frozen=True, kw_only=True):
    """All findings."""

    schema: int = SCHEMA
    checks: list[CheckView] = []


class DeviceHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Recent samples of the devices, oldest first, one a second; null where nothing was read."""

    schema: int = SCHEMA
    at: str
    interval_s: float = 1.0
    utilization: dict[str, list[int | None]] = {}
    """By UUID, percent."""
    memory: dict[str, list[int | None]] = {}
    """By UUID, percent of the device's memory."""
    temperature: dict[str, list[int | None]] = {}
    """By UUID, degrees Celsius."""
    power: dict[str, list[int | None]] = {}
    """By UUID, percent of the power limit."""


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """Events after an id."""

    schema: int = SCHEMA
    events: list[EventView] = []


class AdminResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin's action did."""

    schema: int = SCHEMA
    ok: bool = True
    words: str
    id: int | None = None
