"""What leaves the daemon every second: the box with its devices and notices."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA
from gpuboard.model.views.devices import DeviceView


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
