"""What a value must be beyond its type: choices, ranges, and what two keys must be to each other.

Keys are written as people see them: `jobs.default_time`, not `jobs.default_time_s`.
"""

from __future__ import annotations

import math
import posixpath
import re

from gpuboard.config.settings import Config
from gpuboard.errors import InvalidRequest
from gpuboard.model.durations import MAX_S, format_duration
from gpuboard.model.ports import parse_range

RUNTIMES = ("docker", "process", "simulated")

QUOTAS = ("running_gpus", "queued_jobs", "gpu_hours_per_week")
"""Limits in `[quota]`, and those that a `[quota.users.NAME]` or `[quota.groups.NAME]` may set."""

CHOICES: dict[str, tuple[str, ...]] = {
    "jobs.runtimes": RUNTIMES,
    "jobs.default_runtime": RUNTIMES,
    "jobs.on_device_fault": ("stop", "keep"),
    "docker.pull": ("never", "missing"),
    "docker.network": ("bridge", "none"),
    "devices.probe": ("nvml", "simulated"),
    "devices.foreign": ("busy", "warn"),
    "policy.sharing": ("off", "person", "all"),
    "policy.sharing_overuse": ("stop", "warn"),
    "quota.soft": QUOTAS,
}
"""The words that a text, or each of a list, may be."""

RANGES: dict[str, tuple[float, float]] = {
    "daemon.idle_exit": (0, MAX_S),
    "jobs.default_time": (1, MAX_S),
    "jobs.max_time": (1, MAX_S),
    "jobs.default_shm": (1, math.inf),
    "jobs.max_cpus": (0.01, math.inf),
    "jobs.max_memory": (6 * 2**20, math.inf),
    "jobs.default_memory": (6 * 2**20, math.inf),
    "jobs.pids_limit": (16, 4_194_304),
    "jobs.default_grace": (0, 86400),
    "jobs.max_grace": (0, 86400),
    "jobs.min_uid": (0, 2**32 - 2),
    "jobs.max_env": (0, 2**20),
    "jobs.max_array": (1, 100_000),
    "jobs.max_attempts": (1, 100),
    "jobs.max_disk": (2**20, math.inf),
    "docker.tmp": (2**20, math.inf),
    "docker.log_max": (2**12, math.inf),
    "docker.max_ports": (1, 64),
    "docker.log_files": (1, 100),
    "devices.interval": (0.1, 60),
    "devices.slow_interval": (0.1, 3600),
    "devices.timeout": (0.1, 600),
    "devices.idle_after": (1, MAX_S),
    "policy.half_life": (1, MAX_S),
    "policy.sharing_reserve": (0, math.inf),
    "policy.sharing_patience": (0, 86400),
    "policy.priority_window": (0, MAX_S),
    "policy.lease": (0, MAX_S),
    "policy.lease_newcomer": (0, MAX_S),
    "policy.checkpoint_cost": (0, 86400),
    "policy.most_promises": (1, 1000),
    "policy.shares": (0, 1e9),
    "groups.*.shares": (0, 1e9),
    "templates.*.gpus": (0, 1024),
    "templates.*.cpus": (0.01, math.inf),
    "classes.*.boost": (0, MAX_S),
    "classes.*.max_time": (1, MAX_S),
    "classes.*.max_gpus": (0, 10**9),
    "quota.running_gpus": (0, 10**9),
    "quota.queued_jobs": (0, 10**9),
    "quota.gpu_hours_per_week": (0, 10**9),
    "reservations.max_gpus": (0, 10**9),
    "reservations.max_duration": (1, MAX_S),
    "reservations.max_ahead": (0, MAX_S),
    "reservations.max_per_user": (0, 10**6),
    "reservations.far_ahead_gpu_hours": (0, 10**9),
    "reservations.far_ahead_group_gpu_hours": (0, 10**9),
    "reservations.no_show_after": (60, MAX_S),
    "logs.keep_days": (1, 36500),
    "usage.keep_days": (1, 36500),
    "logs.max_total": (2**20, math.inf),
    "logs.max_process": (2**16, 2**40),
    "api.max_connections": (1, 100_000),
    "api.max_connections_per_uid": (1, 100_000),
    "api.max_requests_per_second": (1, 1e6),
    "api.max_submissions_per_second": (0.1, 1e6),
    "api.max_request": (1024, 2**30),
    "api.read_timeout": (0.1, 3600),
}
"""Least and most of a number; spans in seconds, sizes in bytes (6 MiB is Docker's least memory)."""

_LONGEST_SOCKET_PATH = 107
"""`sun_path` of unix(7), without its NUL."""

PATTERNS: dict[str, tuple[re.Pattern[str], str]] = {
    "templates.*.env": (re.compile(r"[^=\0]+=[^\0]*"), 'texts such as "NAME=value"'),
    "templates.*.mounts": (
        re.compile(r"(?:/|\{home\})[^:\0]*:/[^:\0]*(?::r[ow])?"),
        'texts such as "/data/{user}:/data" or "/data:/data:ro"',
    ),
    "templates.*.ports": (re.compile(r"[0-9]{1,5}"), 'texts such as "8888"'),
    "daemon.socket": (
        re.compile(rf"(?=.{{2,{_LONGEST_SOCKET_PATH}}}$)/[^\0]*[^/\0]"),
        "an absolute path of at most 107 characters",
    ),
    "daemon.socket_mode": (re.compile(r"0[0-7]{3}"), 'octal digits such as "0660"'),
    "daemon.state_dir": (re.compile(r"/[^\0]*"), "an absolute path"),
    "docker.host": (
        re.compile(r"unix:///[^\0]+"),
        'a Unix socket such as "unix:///run/docker.sock"',
    ),
    "docker.mount_roots": (
        re.compile(r"(?:/|\{home\})[^\0]*"),
        'absolute paths, or ones that begin with "{home}"',
    ),
    "groups.*.members": (re.compile(r"@?[^\s@]+"), 'user names, or Unix groups such as "@vision"'),
    "groups.*.managers": (re.compile(r"@?[^\s@]+"), 'user names, or Unix groups such as "@vision"'),
    "classes.*.members": (re.compile(r"@?[^\s@]+"), 'user names, or Unix groups such as "@vision"'),
}
"""The form of a text, or of each of a list, with its name in words."""


_SYSTEM = ("/etc", "/proc", "/sys", "/dev", "/run", "/var/run", "/boot")
"""No root of mounts is one of these, or in one."""
_WHOLE = ("/", "/var", "/var/lib")
"""Nor one of these, which hold what is the system's."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""Of a group or a class."""

_DEEPEST = 8
"""Levels of groups."""


def contradiction(config: Config) -> tuple[str, str]:
    """Return the key and the complaint of the first pair of settings that cannot hold together."""
    jobs = config.jobs
    if jobs.default_time_s > jobs.max_time_s:
        return "jobs.default_time", (
            f"{format_duration(jobs.default_time_s)} is more than max_time, {format_duration(jobs.max_time_s)}"
        )
    if jobs.default_grace_s > jobs.max_grace_s:
        return "jobs.default_grace", (
            f"{jobs.default_grace_s}s is more than max_grace, {jobs.max_grace_s}s"
        )
    if not jobs.runtimes:
        return "jobs.runtimes", "must name at least one runtime"
    if jobs.default_runtime not in jobs.runtimes:
        return (
            "jobs.default_runtime",
            f'"{jobs.default_runtime}" is not one of runtimes: {", ".join(jobs.runtimes)}',
        )
    try:
        ports = parse_range(config.docker.port_range, field="docker.port_range")
    except InvalidRequest as error:
        return "docker.port_range", f"{error.message}: {error.hint}"
    if config.docker.port_range and len(ports) < config.docker.max_ports:
        return (
            "docker.port_range",
            f"has fewer ports than a job may ask for, {config.docker.max_ports}",
        )
    if (
        jobs.max_memory_bytes
        and jobs.default_memory_bytes
        and jobs.default_memory_bytes > jobs.max_memory_bytes
    ):
        return "jobs.default_memory", "is more than max_memory"
    return _wrong_root(config) or _wrong_name(config)


def _wrong_root(config: Config) -> tuple[str, str] | None:
    """Return the key and the complaint of the first root that nobody may mount.

    By its name; where links lead is looked at with each mount, as the person.
    """
    daemon = config.daemon
    ours = (daemon.state_dir, posixpath.dirname(daemon.socket))
    for root in config.docker.mount_roots:
        path = "/" + posixpath.normpath(root).lstrip("/")
        if root.startswith("{home}"):
            continue
        if path in _WHOLE or any(_is_below(path, bad) for bad in _SYSTEM):
            return "docker.mount_roots", f'"{root}" is the system\'s: nobody may mount it'
        if any(own and _is_below(path, own) for own in ours):
            return "docker.mount_roots", f'"{root}" is the daemon\'s own: nobody may mount it'
    return None


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _wrong_name(config: Config) -> tuple[str, str]:
    """Return the key and the complaint of the first group or class with a wrong name or reference."""
    for table, named in (("groups", config.groups), ("classes", config.classes)):
        for name in named:
            if not _NAME.fullmatch(name):
                return f"{table}.{name}", "a name has letters, digits, dots, dashes; at most 40"
    for name, group in config.groups.items():
        if group.parent and group.parent not in config.groups:
            return f"groups.{name}.parent", f'there is no group "{group.parent}"'
        above, depth = group.parent, 1
        while above and depth <= _DEEPEST:
            above, depth = config.groups[above].parent if above in config.groups else "", depth + 1
        if above:
            return f"groups.{name}.parent", f"a ring, or more than {_DEEPEST} levels of groups"
    for name in config.quota.groups:
        if name not in config.groups:
            return f"quota.groups.{name}", f'there is no group "{name}"'
    if config.policy.default_class and config.policy.default_class not in config.classes:
        return "policy.default_class", f'there is no class "{config.policy.default_class}"'
    return "", ""
