"""What leaves the daemon about devices: who has each, how it does, how they are linked, how it did."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA


class DeviceRef(msgspec.Struct, frozen=True):
    """A device in passing."""

    label: str
    """`3`, or `3:1` for a MIG instance."""
    uuid: str


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
