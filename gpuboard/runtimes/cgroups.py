"""Whether processes live in a control group, and their end: the kernel's word on a job.

Both layouts are known: v2 (one tree) and v1 (a tree a controller). Only reads and kills; the
groups of containers are made by the engine, those of plain processes by `process_cgroup`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gpuboard.errors import HostError

ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("pids", "devices", "memory", "freezer")
_TEMPLATES = ("/docker/{id}", "/system.slice/docker-{id}.scope")
_NVIDIA_NODES = "c 195:"
"""Character devices of NVIDIA's major number (Linux, Documentation/admin-guide/devices.txt)."""
_FULL_ID = re.compile(r"[0-9a-f]{64}")
_ANY_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class ContainerCgroups:
    """Finds the control groups of containers by id; learns an unusual parent from a running one."""

    def __init__(self, root: Path = ROOT, proc: Path = Path("/proc")) -> None:
        self._root = root
        self._proc = proc
        self._templates = list(_TEMPLATES)
        self._seen: set[str] = set()
        """Containers whose group was there once: that it is not there now means that it is empty."""

    def learn(self, container_id: str, pid: int) -> None:
        """Note where the engine puts containers, from the main process of one (cgroup-parent)."""
        if pid <= 0:
            return
        try:
            paths = _paths_in(self._proc / str(pid))
        except OSError:
            return
        for path in paths:
            before, found, after = path.partition(container_id)
            suffix = after.split("/", 1)[0]
            if found:
                template = f"{before}{{id}}{suffix}"
                if template not in self._templates:
                    self._templates.append(template)

    def directories(self, container_id: str) -> list[Path]:
        """Return the existing control groups of a container; raise HostError when none can be seen."""
        if not _FULL_ID.fullmatch(container_id):
            raise HostError(f"{container_id[:80]} is no container id")
        trees = hierarchies(self._root)
        if not trees:
            raise HostError(
                f"no control groups below {self._root}", hint="mount cgroup2 or the v1 controllers"
            )
        found = []
        for tree in trees:
            for template in self._templates:
                directory = tree / template.format(id=container_id).lstrip("/")
                if directory.is_dir():
                    found.append(directory)
        if found:
            self._seen.add(container_id)
        return found

    def pids(self, container_id: str) -> set[int]:
        """Return the processes of a container, from its control group or, lacking one, from /proc."""
        return self.pids_of([container_id])[container_id]

    def pids_of(self, container_ids: Iterable[str]) -> dict[str, set[int]]:
        """Return the processes of each container; /proc is searched once for all, if at all."""
        found = {}
        unseen = []
        for container_id in container_ids:
            directories = self.directories(container_id)
            found[container_id] = members(directories)
            if not self.has_seen(container_id):
                unseen.append(container_id)
        return found | self._scan(unseen) if unseen else found

    def has_seen(self, container_id: str) -> bool:
        """Whether a container's group was ever found: else that nobody is in it is only likely."""
        return container_id in self._seen

    def keep(self, container_ids: set[str]) -> None:
        """Forget all other containers."""
        self._seen &= container_ids

    def _scan(self, container_ids: list[str]) -> dict[str, set[int]]:
        """Search every process: for containers whose group was never seen where we look."""
        found: dict[str, set[int]] = {container_id: set() for container_id in container_ids}
        for entry in self._proc.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                paths = _paths_in(entry)
            except OSError:
                continue
            for path in paths:
                if path.startswith("/user.slice/"):
                    continue
                for container_id in _ANY_ID.findall(path):
                    if container_id in found:
                        found[container_id].add(int(entry.name))
        return found

    def may_open_gpus(self, container_id: str) -> bool | None:
        """Whether a container's rules let NVIDIA's device nodes be opened; None where that is unseen.

        Only v1 shows its rules (v2 keeps them as a program in the kernel).
        """
        if (self._root / "cgroup.controllers").exists():
            return None
        tree = self._root / "devices"
        for template in self._templates:
            path = tree / template.format(id=container_id).lstrip("/") / "devices.list"
            try:
                rules = path.read_text().splitlines()
            except OSError:
                continue
            return any(rule.startswith((_NVIDIA_NODES, "a ")) for rule in rules)
        return None

    def kill(self, container_id: str, grace_s: float = 5.0) -> bool:
        """SIGKILL everything in the container's groups until they are empty; whether they are."""
        directories = self.directories(container_id)
        return kill_members(lambda: self.pids(container_id), directories, grace_s)


def _paths_in(process: Path) -> list[str]:
    """Return the control groups of a process (its folder in /proc). Raises OSError.

    Their names are anybody's: no UTF-8, or with a carriage return that looks like a further line.
    """
    text = os.fsdecode((process / "cgroup").read_bytes())
    return list(dict.fromkeys(line.split(":", 2)[-1] for line in text.split("\n")))


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Return the trees in which membership is read: one on v2, some controllers on v1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return [root / name for name in _V1_CONTROLLERS if (root / name / "cgroup.procs").exists()]


def members(directories: Iterable[Path]) -> set[int]:
    """Return the pids in control groups and in all groups below them."""
    return {pid for top in directories for pid in _walk(top)}


def _walk(top: Path) -> Iterator[int]:
    for directory, _, files in os.walk(top):
        if "cgroup.procs" not in files:
            continue
        try:
            text = Path(directory, "cgroup.procs").read_text()
        except (FileNotFoundError, OSError):
            continue
        yield from (int(word) for word in text.split())


def kill_members(pids: Callable[[], set[int]], directories: Iterable[Path], grace_s: float) -> bool:
    """SIGKILL whole groups (v2: cgroup.kill) until nobody is left or the grace is over."""
    deadline = time.monotonic() + grace_s
    for directory in directories:
        try:
            (directory / "cgroup.kill").write_text("1")
        except OSError:
            continue
    while alive := pids():
        _kill(alive, pids)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _kill(alive: set[int], pids: Callable[[], set[int]]) -> None:
    """SIGKILL those who are still there once they are held: a number may be another's meanwhile."""
    held = {}
    try:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                held[pid] = os.pidfd_open(pid)
        for pid in pids() & held.keys():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(held[pid], signal.SIGKILL)
    finally:
        for descriptor in held.values():
            os.close(descriptor)
