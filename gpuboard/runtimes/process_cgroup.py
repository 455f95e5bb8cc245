"""Control groups of plain processes: limits, membership, and a place outside the daemon's own.

A job that stayed in the daemon's group would be ended by systemd with the daemon. Made only by
root, below one parent at the root of each tree; where that cannot be done the job runs without
(no memory, CPU or process limit then; membership is told by its supervisor and session).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from gpuboard.runtimes.cgroups import ROOT
from gpuboard.runtimes.protocol import RunRequest

PERIOD_US = 100_000


def make_groups(request: RunRequest, parent: str, name: str, root: Path = ROOT) -> list[str]:
    """Make the attempt's groups and set its limits, as far as the box lets us; return their paths."""
    made = []
    for tree, limits in _wanted(request, parent, root).items():
        group = tree / parent / name
        try:
            group.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        made.append(str(group))
        for file, value in limits.items():
            with contextlib.suppress(OSError):
                (group / file).write_text(value)
    return made


def _wanted(request: RunRequest, parent: str, root: Path) -> Mapping[Path, dict[str, str]]:
    memory, quota = request.memory_bytes, round((request.cpus or 0) * PERIOD_US)
    if (root / "cgroup.controllers").exists():
        _enable(root, parent)
        limits = {"pids.max": str(request.pids + 1) if request.pids else ""}
        limits |= {"memory.max": str(memory or ""), "memory.swap.max": "0" if memory else ""}
        limits |= {"cpu.max": f"{quota} {PERIOD_US}" if quota else ""}
        return {root: {name: value for name, value in limits.items() if value}}
    by_tree = {
        "pids": {"pids.max": str(request.pids + 1) if request.pids else ""},
        "memory": {
            "memory.limit_in_bytes": str(memory or ""),
            "memory.memsw.limit_in_bytes": str(memory or ""),
        },
        "cpu": {"cpu.cfs_quota_us": str(quota or "")},
        "systemd": {},
    }
    return {
        root / tree: {name: value for name, value in limits.items() if value}
        for tree, limits in by_tree.items()
        if (root / tree / "cgroup.procs").exists()
    }


def _enable(root: Path, parent: str) -> None:
    """Let the groups below the parent limit memory, CPU and processes (v2)."""
    for directory in (root, root / parent):
        with contextlib.suppress(OSError):
            directory.mkdir(exist_ok=True)
            (directory / "cgroup.subtree_control").write_text("+pids +memory +cpu")


def drop_groups(groups: list[str]) -> None:
    """Remove what the supervisor could not (it was killed); a group that is not empty is left."""
    for group in groups:
        with contextlib.suppress(OSError):
            Path(group).rmdir()
