"""What leaves the daemon about jobs: in lists, in full, and what became of what was asked of them."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA
from gpuboard.model.views.devices import DeviceRef
from gpuboard.model.views.events import EventView


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


class MountView(msgspec.Struct, frozen=True):
    """A host directory seen by a container."""

    source: str
    target: str
    read_only: bool = False


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
