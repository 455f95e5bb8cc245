"""Jobs: what was asked for, and what became of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gpuboard.model.ids import DeviceUuid, JobId, ReservationId
from gpuboard.model.person import Person


class JobState(StrEnum):
    """`queued -> starting -> running -> stopping ->` one of the six ends."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    PREEMPTED = "preempted"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in FINAL_STATES

    @property
    def holds_devices(self) -> bool:
        """Whether a job in this state has leases."""
        return self in (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)


FINAL_STATES = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMED_OUT,
        JobState.PREEMPTED,
        JobState.LOST,
    }
)


class RuntimeName(StrEnum):
    """What runs a job."""

    DOCKER = "docker"
    PROCESS = "process"
    SIMULATED = "simulated"


class Mount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host directory seen by a container."""

    source: str
    target: str
    read_only: bool = False


class PublishedPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A container's TCP port, and the port of the box's 127.0.0.1 that leads to it."""

    port: int
    host_port: int


class DependencyKind(StrEnum):
    """When a dependency is met, in Slurm's words."""

    AFTER_OK = "afterok"
    AFTER_ANY = "afterany"
    AFTER_NOT_OK = "afternotok"


class Dependency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job that must end before this one may start."""

    job_id: JobId
    kind: DependencyKind = DependencyKind.AFTER_OK


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person asked for: the closed schema, validated and resolved by `service`."""

    runtime: RuntimeName = RuntimeName.DOCKER
    image: str = ""
    command: tuple[str, ...] = ()
    script: str = ""
    """Content of the captured script whose name and arguments `command` has; empty: a plain command."""
    name: str = ""
    gpus: int = 1
    """Whole devices wanted; 0 = a job without devices."""
    gpu_uuids: tuple[DeviceUuid, ...] = ()
    """Exactly these devices (resolved from `--gpu-ids`); empty = any."""
    gpu_type: str = ""
    """Case-insensitive part of the product name; empty = any."""
    gpu_memory_bytes: int | None = None
    """It may share its one device with other jobs, and keeps to so much of its memory. None: whole
    devices."""
    nvlink: bool = False
    """Only devices that are all linked with each other by NVLink will do."""
    limit_s: int = 0
    """Kill limit (walltime); always > 0 once the service accepted it."""
    env: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    ports: tuple[int, ...] = ()
    """TCP ports of the container to publish on the box's loopback."""
    workdir: str = ""
    shm_bytes: int | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    begin_at: int | None = None
    """Not before (ms since epoch)."""
    depends_on: tuple[Dependency, ...] = ()
    preemptible: bool = False
    requeue: bool = False
    """Whether a lost job goes back to the queue."""
    stop_signal: str = "SIGTERM"
    grace_s: int = 10
    """From the stop signal to SIGKILL."""
    note: str = ""
    account: str = ""
    """The group that it is charged to; empty where there are no groups."""
    class_name: str = msgspec.field(default="", name="class")
    """Its class; empty: none."""


class StopCause(StrEnum):
    """Why a job is being stopped; decides its final state."""

    CANCEL = "cancel"
    TIME_LIMIT = "time_limit"
    PREEMPTION = "preemption"
    DEVICE_FAULT = "device_fault"
    MISMATCH = "mismatch"
    """It has, or takes, other than it was given: devices, memory of a shared one, disk."""


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of an attempt, and of its job."""

    state: JobState
    """A final state; PREEMPTED and LOST with `requeue` put the job back into the queue."""
    reason: str
    exit_code: int | None = None
    oom_killed: bool = False
    ended_at: int | None = None
    """When, by the runtime; None: when it was noticed."""
    requeue: bool = False


class Job(msgspec.Struct, frozen=True):
    """One job as the store keeps it. Changed only by `engine`, one event row a change."""

    id: JobId
    owner: Person
    spec: JobSpec
    state: JobState
    submitted_at: int
    attempt: int = 1
    reason: str = ""
    """In words: how it ended, or why its last attempt did."""
    held_by: str = ""
    """`user` or `admin` while held (a queued job only); empty otherwise."""
    array_id: JobId | None = None
    """Id of the array's first job; None outside an array."""
    array_index: int | None = None
    array_limit: int | None = None
    """At most so many of the array run at once (`%2`)."""
    token: str = ""
    """The client's idempotency key: the same token of the same person is the same submission."""
    image_id: str = ""
    """`sha256:...` admitted at submission or prepared before the start."""
    start_issued: bool = False
    """Committed before the runtime's start call of this attempt: never issue it twice."""
    handle: str = ""
    """The runtime's own id of this attempt (container id; `pid:start-time` of a process)."""
    reservation_id: ReservationId | None = None
    """The booking on whose devices this attempt runs."""
    devices: tuple[DeviceUuid, ...] = ()
    """Devices of this attempt (kept after the end, for the record)."""
    ports: tuple[PublishedPort, ...] = ()
    """Where this attempt's ports are published (kept after the end, for the record)."""
    leased_at: int | None = None
    """When this attempt got its devices."""
    started_at: int | None = None
    started_boot_ms: int | None = None
    """CLOCK_BOOTTIME at the start: limits are kept by it, not by the wall clock."""
    boot_id: str = ""
    stop_cause: StopCause | None = None
    stop_by: str = ""
    """Who asked for the stop."""
    stop_requested_at: int | None = None
    ended_at: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    ran_s: int = 0
    """How long its earlier attempts had their devices."""
    fenced: Verdict | None = None
    """What this attempt ends with once its container, which never ran as far as could be seen, is
    removed: committed before the removal, so that a restart does not blame somebody else for it."""

    @property
    def runtime_name(self) -> str:
        """Return the deterministic name of this attempt in its runtime: the idempotency key."""
        return f"gb-{self.id}-{self.attempt}"

    @property
    def limit_at(self) -> int | None:
        """Return when its limit stops this attempt: it runs from the grant of the devices."""
        return None if self.leased_at is None else self.leased_at + self.spec.limit_s * 1000

    @property
    def held_until_at(self) -> int | None:
        """Return until when it has its devices at the latest: its grace after the stop signal."""
        stops = [at for at in (self.limit_at, self.stop_requested_at) if at is not None]
        return min(stops) + self.spec.grace_s * 1000 if stops else None

    @property
    def is_held(self) -> bool:
        """Whether somebody holds the job back."""
        return bool(self.held_by)


class EventRow(msgspec.Struct, frozen=True):
    """One row of the append-only event table; written in the transaction of the change it records."""

    id: int
    at: int
    kind: str
    """`job.submitted`, `job.starting`, ..., `reservation.created`, `device.drained`, `admin.notice`, ..."""
    job_id: JobId | None = None
    reservation_id: ReservationId | None = None
    device: DeviceUuid | None = None
    uid: int | None = None
    """Who did it (None: the daemon)."""
    detail: dict[str, str | int | float | bool | None] = {}
    """Never a secret: no environment, no command."""
