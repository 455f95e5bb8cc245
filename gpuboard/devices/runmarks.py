"""Which plain-process job of ours a process belongs to, by the marks that the process runtime makes.

Two marks, of one run directory (`runtimes.process`), so that two daemons never mix up their jobs:

- The control group `/gpuboard/gb-<job>-<attempt>-<box>` at the root of its hierarchy: only root can
  make or join one, so it proves the job.
- `GPUBOARD_RUN` in the environment, which whoever starts a process chooses: believed only by a
  personal daemon, of its own user's processes. There nobody could deceive but oneself.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

MARKER = "GPUBOARD_RUN"
CGROUP_PARENT = "gpuboard"

_NAME = r"(gb-\d+-\d+)"


class RunMarks:
    """Reads the marks of the process jobs of one run directory."""

    def __init__(self, run_dir: str, *, cgroup_parent: str = CGROUP_PARENT) -> None:
        directory = Path(run_dir).absolute()
        box = hashlib.sha256(os.fsencode(directory)).hexdigest()[:8]
        self._cgroup = re.compile(rf"/{re.escape(cgroup_parent)}/{_NAME}-{box}(?:/.*)?")
        start = re.escape(os.fsencode(f"{MARKER}={directory}/"))
        self._variable = re.compile(rb"(?:^|\0)" + start + rb"(gb-\d+-\d+)(?:\0|$)")

    def job_by_cgroup(self, paths: list[str]) -> str:
        """Return the runtime name of the job in whose control group a process is, or nothing.

        A process in the groups of two jobs is nobody's.
        """
        names = {match[1] for path in paths if (match := self._cgroup.fullmatch(path))}
        return names.pop() if len(names) == 1 else ""

    def job_by_environment(self, environment: bytes) -> str:
        """Return the runtime name of the job that an environment names, or nothing."""
        match = self._variable.search(environment)
        return match[1].decode() if match else ""
