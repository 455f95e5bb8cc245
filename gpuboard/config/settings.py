"""Every setting as frozen data, with the defaults of a system daemon.

A field that ends in `_s` or `_bytes` is written in the file without that ending and in words
(`default_time = "4h"`, `default_shm = "16G"`). Every key is explained in packaging/config.toml,
and a test compares the two.
"""

from __future__ import annotations

import msgspec


class DaemonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[daemon]: where it lives and who rules it."""

    socket: str = "/run/gpuboard/gpuboard.sock"
    socket_mode: str = "0666"
    socket_group: str = ""
    state_dir: str = "/var/lib/gpuboard"
    admins: tuple[str, ...] = ("root",)
    """User names."""
    admin_group: str = "gpuboard-admin"
    idle_exit_s: int = 0
    """A personal daemon ends after so long without clients and jobs; 0 = never."""


class JobsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[jobs]: defaults and limits of a job."""

    runtimes: tuple[str, ...] = ("docker", "process")
    default_runtime: str = "docker"
    default_time_s: int = 4 * 3600
    max_time_s: int = 7 * 86400
    default_shm_bytes: int = 16 * 2**30
    max_cpus: float | None = None
    """None = the box's."""
    max_memory_bytes: int | None = None
    """None = the box's less a reserve."""
    default_memory_bytes: int | None = None
    """None = as much as a job may ask for."""
    pids_limit: int = 4096
    max_disk_bytes: int | None = 100 * 2**30
    """What a container may write beside its mounts; None = without limit."""
    default_grace_s: int = 10
    max_grace_s: int = 300
    min_uid: int = 1000
    """Smaller uids may not run jobs on a system daemon."""
    max_env_bytes: int = 65536
    max_array: int = 1000
    max_attempts: int = 3
    numa_bind: bool = False
    """Whether a container runs only on the CPUs near its devices."""
    on_device_fault: str = "stop"
    """`stop` or `keep` a job whose device failed."""


class DockerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[docker]: the container engine and what containers may be."""

    host: str = "unix:///run/docker.sock"
    images: tuple[str, ...] = ("*",)
    """Globs of references that may run; `*` = every local image."""
    pull: str = "never"
    """`never`, or `missing`: pull an allowed image that is not there."""
    mount_roots: tuple[str, ...] = ("{home}",)
    """Directories that may be mounted; `{home}` and `{user}` are the caller's."""
    mount_home: bool = False
    """Whether the caller's home is always mounted at its own path."""
    network: str = "bridge"
    """`bridge` (one of each person's own) or `none`."""
    port_range: str = "20000-20999"
    """Ports of 127.0.0.1 on which ports of containers may be published; empty: none are."""
    max_ports: int = 8
    """A job may publish so many."""
    read_only_root: bool = False
    """Containers write only to their mounts and to a /tmp in memory."""
    tmp_bytes: int = 4 * 2**30
    """Size of that /tmp; counts as the job's memory."""
    log_max_bytes: int = 10 * 2**20
    log_files: int = 3


class DevicesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[devices]: how they are read."""

    probe: str = "nvml"
    """`nvml` or `simulated`."""
    scenario: str = ""
    """File or built-in name for the simulated probe."""
    interval_s: float = 1.0
    slow_interval_s: float = 5.0
    timeout_s: float = 5.0
    """A sweep that takes longer counts as a hung driver."""
    ignore: tuple[str, ...] = ()
    """UUIDs or indices that gpuboard leaves alone."""
    foreign: str = "busy"
    """A device used from outside the queue: `busy` (not given out) or `warn`."""
    idle_after_s: int = 600
    """Held without utilisation for so long counts as idle."""


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[policy]: fairness."""

    half_life_s: int = 7 * 86400
    priority_window_s: int = 7 * 86400
    backfill: bool = True
    lease_s: int = 0
    """Preemptible jobs take turns after so long; 0: they run until somebody with a right comes."""
    lease_newcomer_s: int = 300
    """A preemptible job that ran less need not wait for the end of such turns."""
    checkpoint_cost_s: int = 0
    """What being stopped costs a preemptible job: turns are at least ten times that."""
    most_promises: int = 100
    """Jobs of promised classes that are promised a start at once."""
    shares: dict[str, float] = {}
    """By user name; 1 when absent."""
    sharing: str = "person"
    """Who may share a device by memory budgets (`--gpu-mem`): `off`, `person`, `all`."""
    sharing_reserve_bytes: int = 2**30
    """Memory of a device that is given to no budget."""
    sharing_overuse: str = "stop"
    """A job over its budget: `stop` it, or `warn`."""
    sharing_patience_s: int = 30
    """For how long a job may be over its budget before it is stopped."""
    default_class: str = ""
    """The class of a job that names none; empty: no class."""


class GroupConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[groups.NAME]: people, and groups, that have a share of their own."""

    parent: str = ""
    """The group that it is part of."""
    shares: float = 1.0
    """Its weight among the parts of its parent."""
    members: tuple[str, ...] = ()
    """User names, and Unix groups as `@name`."""
    managers: tuple[str, ...] = ()
    """Who may stop, hold and shorten its jobs and those of the groups below it; spelled alike."""


class ClassConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[classes.NAME]: jobs that count as submitted earlier, or are promised a start; who may use it."""

    boost_s: int = 0
    promised: bool = False
    """Whether each of its jobs is promised a start that only moves earlier."""
    max_time_s: int | None = None
    max_gpus: int | None = None
    members: tuple[str, ...] = ()
    """Who may use it: user names, Unix groups as `@name`. None: everybody."""


class TemplateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[templates.NAME]: a job of the lab's as a beginning for others; each says only what it wants."""

    about: str = ""
    """What it is for, in a few words."""
    image: str = ""
    command: tuple[str, ...] = ()
    """Its words, as they are."""
    name: str = ""
    gpus: int = 1
    gpu_type: str = ""
    gpu_mem: str = ""
    time: str = ""
    env: tuple[str, ...] = ()
    """`NAME=value`."""
    mounts: tuple[str, ...] = ()
    """`/host:/inside` or `/host:/inside:ro`; `{home}` and `{user}` are the caller's, here as in `workdir`."""
    ports: tuple[str, ...] = ()
    """TCP ports of the container to publish."""
    workdir: str = ""
    shm_size: str = ""
    cpus: float | None = None
    memory: str = ""
    class_name: str = ""
    preemptible: bool = False
    requeue: bool = False


class QuotaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[quota], [quota.users.NAME] and [quota.groups.NAME]: limits of a person, and of a group."""

    running_gpus: int | None = None
    queued_jobs: int | None = 10000
    gpu_hours_per_week: int | None = None
    soft: tuple[str, ...] = ()
    """Which of the limits hold only while others wait."""
    users: dict[str, dict[str, int | tuple[str, ...] | None]] = {}
    groups: dict[str, dict[str, int | tuple[str, ...] | None]] = {}
    """Of all in a group together; what is not named here is not limited."""


class ReservationsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[reservations]: what may be booked."""

    max_gpus: int | None = None
    max_duration_s: int = 7 * 86400
    max_ahead_s: int = 90 * 86400
    max_per_user: int = 20
    far_ahead_gpu_hours: int | None = None
    """A person's bookings that begin a day ahead or later, in all. None: no limit."""
    far_ahead_group_gpu_hours: int | None = None
    """The same of all in a group together."""
    no_show_after_s: int | None = 1800
    """An active booking that nobody came to is released after so long. None: never."""


class ApiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[api]: bounds of the socket server."""

    max_connections: int = 1000
    max_connections_per_uid: int = 64
    max_requests_per_second: float | None = 100.0
    """Of one person, in the long run. None: no limit."""
    max_submissions_per_second: float | None = 20.0
    """Of one person; an array is one."""
    max_request_bytes: int = 1 << 20
    read_timeout_s: float = 10.0


class LogsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[logs]: how much of a process's log is kept, and what stays of the logs of ended jobs."""

    max_process_bytes: int = 30 * 2**20
    """Its beginning and its newest output; of containers, [docker] says it."""

    keep_days: int | None = 90
    """None = for ever."""
    max_total_bytes: int | None = 20 * 2**30
    """Of all kept logs together; the oldest go first. None = no limit."""


class UsageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[usage]: what stays of how devices were used."""

    keep_days: int | None = 400
    """Hours of devices older than that are forgotten. None = for ever."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    daemon: DaemonConfig = DaemonConfig()
    jobs: JobsConfig = JobsConfig()
    docker: DockerConfig = DockerConfig()
    devices: DevicesConfig = DevicesConfig()
    policy: PolicyConfig = PolicyConfig()
    groups: dict[str, GroupConfig] = {}
    classes: dict[str, ClassConfig] = {}
    templates: dict[str, TemplateConfig] = {}
    quota: QuotaConfig = QuotaConfig()
    reservations: ReservationsConfig = ReservationsConfig()
    logs: LogsConfig = LogsConfig()
    usage: UsageConfig = UsageConfig()
    api: ApiConfig = ApiConfig()
