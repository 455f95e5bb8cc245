"""Which container a process is in, read from its cgroup paths and from nothing else.

A person may make cgroups of any name below their own slice, so a search for 64 hex digits lets
one blame (or hide behind) somebody else's container. Here a path counts only when it begins, at
the root of its hierarchy, where only root can make directories: `/docker/<id>` (cgroupfs driver)
or `/system.slice/docker-<id>.scope` (systemd driver), cgroup v1 and v2 alike. An engine with
another cgroup parent is learnt once from a container that is known to be ours
(`container_parent`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

import msgspec

CGROUPFS_PARENT = "/docker"
SYSTEMD_PARENT = "/system.slice"

_ID = r"([0-9a-f]{64})"
_DELETED = " (deleted)"
"""What the kernel appends for a process that outlives its cgroup's directory."""
_MAIN_CONTROLLERS = frozenset({"devices", "memory", "pids"})


class CgroupKind(StrEnum):
    """What a process's cgroup says about where it came from."""

    CONTAINER = "container"
    """A container of the engine; `name` is its 64-hex id."""
    CONFLICT = "conflict"
    """Two containers at once: somebody moved it. Belongs to nobody of ours."""
    OTHER_CONTAINER = "other-container"
    """Podman, Kubernetes: `name` is its id."""
    USER = "user"
    """A login or user service; `name` is the uid."""
    SERVICE = "service"
    """A system service; `name` is the unit."""
    SLURM = "slurm"
    """A Slurm step; `name` is the job's number."""
    OUTSIDE = "outside"
    """Outside the reader's cgroup namespace: the daemon runs in a container, and cannot tell."""
    HOST = "host"
    """Anything else; `name` is the path."""


class CgroupIdentity(msgspec.Struct, frozen=True):
    """What a cgroup file says."""

    kind: CgroupKind
    name: str = ""


_OTHERS: tuple[tuple[CgroupKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            CgroupKind.OTHER_CONTAINER,
            rf"/(?:machine\.slice|libpod_parent)/libpod-{_ID}(?:\.scope)?(?:/.*)?",
        ),
        (
            CgroupKind.OTHER_CONTAINER,
            (
                r"/user\.slice/user-(?P<uid>\d+)\.slice/user@(?P=uid)\.service/"
                r"(?:user\.slice|app\.slice)/(?:[^/]+/)*libpod-(?P<id>[0-9a-f]{64})\.scope(?:/.*)?"
            ),
        ),
        (CgroupKind.OTHER_CONTAINER, rf"/kubepods(?:\.slice)?/.*{_ID}(?:\.scope)?"),
        (
            CgroupKind.SLURM,
            r"/(?:system\.slice/)?(?:[\w-]*slurmstepd\.scope|slurm(?:/uid_\d+)?)/job_(\d+)(?:/.*)?",
        ),
        (CgroupKind.USER, r"/user\.slice/user-(\d+)\.slice(?:/.*)?"),
        (CgroupKind.SERVICE, r"/system\.slice/([^/]+\.service)(?:/.*)?"),
    )
)


def parse_cgroup(text: str, parents: Iterable[str] = ()) -> CgroupIdentity:
    """Return where a process with this `/proc/<pid>/cgroup` belongs.

    `parents` are further cgroup parents of the engine (from `container_parent`). Malformed lines
    are passed over; the unified hierarchy is believed first, then v1 controllers.
    """
    paths = cgroup_paths(text)
    if any(path.startswith("/..") or "/../" in path for path in paths):
        return CgroupIdentity(CgroupKind.OUTSIDE, paths[0])
    anchored = _anchored(tuple(parents))
    ids = sorted({match[1] for path in paths if (match := anchored.fullmatch(path))})
    if len(ids) == 1:
        return CgroupIdentity(CgroupKind.CONTAINER, ids[0])
    if ids:
        return CgroupIdentity(CgroupKind.CONFLICT, " ".join(ids))
    return _other_identity(paths)


def container_parent(text: str, container_id: str) -> str | None:
    """Return the cgroup parent of a container that is known to be the engine's, or None.

    Give it the cgroup file of the main process of a container that the engine itself named
    (`State.Pid`). A parent below a user's slice is never learnt: people make directories there.
    """
    for path in cgroup_paths(text):
        head, found, _ = path.partition(container_id)
        if not found or head.startswith("/user.slice") or "/.." in head:
            continue
        parent = head.removesuffix("docker-").rstrip("/")
        if head in (f"{parent}/", f"{parent}/docker-"):
            return parent
    return None


def cgroup_paths(text: str) -> list[str]:
    """Return the paths that name something, the most trustworthy hierarchy first."""
    ranked: list[tuple[int, str]] = []
    # Not splitlines: the kernel escapes only a line feed, and a cgroup's name may hold a \r or
    # U+2028 followed by a whole line that its maker would like us to read.
    for line in text.split("\n"):
        hierarchy, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon or not path.startswith("/") or path == "/":
            continue
        if hierarchy == "0" and not controllers:
            rank = 0
        else:
            rank = 1 if _MAIN_CONTROLLERS.intersection(controllers.split(",")) else 2
        ranked.append((rank, path.removesuffix(_DELETED)))
    return [path for _, path in sorted(ranked)]


def _other_identity(paths: list[str]) -> CgroupIdentity:
    """Return what a process outside the engine's containers is part of."""
    for path in paths:
        for kind, pattern in _OTHERS:
            match = pattern.fullmatch(path)
            if match:
                return CgroupIdentity(kind, match["id"] if "id" in match.groupdict() else match[1])
    return CgroupIdentity(CgroupKind.HOST, paths[0] if paths else "/")


@lru_cache(maxsize=8)
def _anchored(parents: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of a path inside a container below one of the parents."""
    places = [
        rf"{re.escape(CGROUPFS_PARENT)}/",
        rf"{re.escape(SYSTEMD_PARENT)}/docker-(?=[0-9a-f]{{64}}\.scope)",
        *(rf"{re.escape(parent.rstrip('/'))}/(?:docker-)?" for parent in parents),
    ]
    return re.compile(rf"(?:{'|'.join(places)}){_ID}(?:\.scope)?(?:/.*)?")
