"""The runtime protocol: what runs a job. One contract-test suite holds all its implementations.

Calls block and are made from worker threads, never from the engine's own. The three measured
truths (SAFETY.md section 0): `create` is exactly-once by name; `start` is issued once an attempt
(the engine commits the intent before) and a lost answer raises OutcomeUnknown; `observe` raises
rather than returning an empty mapping when it cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from gpuboard.model.ids import DeviceUuid
from gpuboard.model.job import Mount, PublishedPort


class RunState(StrEnum):
    """What a runtime says of one attempt."""

    CREATED = "created"
    """Exists, was never started (or its start never completed)."""
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


class RunRequest(msgspec.Struct, frozen=True):
    """One attempt of one job, resolved: nothing in it comes from a person unchecked."""

    name: str
    """`gb-<job>-<attempt>`."""
    job_id: int
    attempt: int
    uid: int
    gid: int
    groups: tuple[int, ...]
    user: str
    home: str
    image: str = ""
    image_id: str = ""
    command: tuple[str, ...] = ()
    script: str = ""
    """Content of the script whose name and arguments `command` has (`runtimes.scripts`)."""
    env: dict[str, str] = {}
    """The person's and gpuboard's own (job id, array index, ...); device variables are the runtime's."""
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    workdir: str = ""
    devices: tuple[DeviceUuid, ...] = ()
    shm_bytes: int | None = None
    cpus: float | None = None
    cpuset: str = ""
    """Only these CPUs, as the kernel writes lists (`0-31,64-95`); empty: all. Of containers."""
    memory_bytes: int | None = None
    pids: int | None = None
    stop_signal: str = "SIGTERM"
    grace_s: int = 10

    granted_at: int = 0
    """When the attempt was given its devices (ms since the epoch): no other of its number was then."""

    def spec_hash(self) -> str:
        """Return the SHA-256 of what the attempt is recorded with: so that only ours is adopted.

        What follows from the box, its configuration or a later change of the job's name may differ
        when a create is repeated after a crash, and is not in it.
        """
        import hashlib

        recorded = [getattr(self, name) for name in _RECORDED]
        return hashlib.sha256(msgspec.json.encode(recorded)).hexdigest()


_RECORDED = (
    *("name", "job_id", "attempt", "granted_at", "uid", "gid", "image", "command", "mounts"),
    *("workdir", "devices", "stop_signal", "ports"),
)


class Observed(msgspec.Struct, frozen=True):
    """What a runtime shows of one attempt."""

    name: str
    handle: str
    state: RunState
    spec_hash: str = ""
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: int | None = None
    ended_at: int | None = None
    error: str = ""
    """The runtime's own words when the start failed."""
    is_populated: bool | None = None
    """Whether processes of it live (cgroup, session); None = cannot be known now. RUNNING says nothing
    about this; a `created` attempt that is populated is a ghost."""
    can_open_devices: bool | None = None
    """Whether the kernel lets it open NVIDIA's devices now; None = it does not run, or that cannot be seen."""


class RuntimeCapabilities(msgspec.Struct, frozen=True):
    """What `check` found."""

    version: str = ""
    images: bool = False
    devices: str = ""
    """How devices are given: `request` (DeviceRequest with UUIDs), `cdi`, `env` (process), empty = none."""
    detail: str = ""
    setup_fault: str = ""
    """Why the last start that needed devices could not open them; empty once one could."""
    device_risk: str = ""
    """How running attempts may lose their devices on this box, in words."""
    device_risk_mend: str = ""
    data_root: str = ""
    """Where the engine keeps images and containers; empty: it has no such place, or another root."""


class ImageInfo(msgspec.Struct, frozen=True):
    """A local image."""

    reference: str
    id: str
    created_at: int | None = None
    size_bytes: int | None = None


class Runtime(Protocol):
    """Runs attempts. Errors: RequestError (the job's fault), HostError (the box's), Unavailable (does
    not answer now; nothing happened), OutcomeUnknown (may have happened).
    """

    name: str

    def check(self) -> RuntimeCapabilities:
        """Test the runtime for what gpuboard needs; HostError with the reason and the mending command."""

    def resolve_image(self, reference: str, pull: bool, progress: Callable[[str], None]) -> str:
        """Return the image's id; pull it first when absent and `pull`. NotFound with a clear reason."""

    def images(self) -> list[ImageInfo]:
        """List local images."""

    def create(self, request: RunRequest) -> str:
        """Create the attempt and return its handle; one of this name and spec hash is adopted."""

    def start(self, handle: str) -> None:
        """Start a created attempt. Never called twice for one handle."""

    def incarnation(self) -> str:
        """Name the engine process behind the runtime: another answer means that it was restarted.

        Empty when it cannot be told, or where no engine can be restarted below the attempts.
        """

    def observe(self) -> Mapping[str, Observed]:
        """Return every attempt of ours by name, whatever its state; raise when that cannot be known."""

    def devices_of(self, handle: str) -> tuple[DeviceUuid, ...] | None:
        """Read back which devices the attempt was given; None where the runtime cannot say."""

    def written_bytes(self) -> Mapping[str, int]:
        """Return how much each running attempt wrote to a disk of its own, by handle.

        Empty where attempts have none. Takes as long as walking what they wrote.
        """

    def signal(self, handle: str, signal: str) -> None:
        """Send a signal to the attempt's main process."""

    def kill(self, handle: str) -> None:
        """SIGKILL everything in it, whatever the runtime believes (ghosts too)."""

    def is_gone(self, handle: str) -> bool:
        """Whether no process of it lives, read from the kernel and not from the runtime's word."""

    def read_log(
        self,
        handle: str,
        *,
        tail: int | None = None,
        since_at: int | None = None,
        follow: bool = False,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[bytes]:
        """Yield the log's bytes (stdout and stderr as they came); `follow` until the attempt ended."""

    def save_log(self, handle: str, path: str) -> None:
        """Write the whole log to `path` (0600, by rename), for after `remove`."""

    def remove(self, handle: str) -> None:
        """Forget an attempt that is gone; one that is already removed is fine."""

    def wait_event(self, timeout_s: float) -> bool:
        """Block until something may have changed, or the time is over. Only a hint: silence means nothing."""

    def close(self) -> None:
        """Let go of connections and threads."""
