"""Who a pid is: start time, command, person and container, read from /proc and kept.

A pid means nothing without its start time: NVML may name one that ended and was given out again.
So what is known is kept for (pid, start time), and believed while the kernel says that this very
process lives (`lives`), or else while its start time, read each time, is the same. It is read again
after some seconds, since a process may change its command and its user: the longer a process has
been what it is, the more seldom.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from gpuboard.devices.cgroups import CgroupKind, cgroup_paths, parse_cgroup
from gpuboard.devices.lives import Lives
from gpuboard.devices.runmarks import RunMarks
from gpuboard.devices.usernames import UserNames
from gpuboard.model.text import plain

REFRESH_S = 5.0
"""How long the facts of a new process are believed."""
LONGEST_REFRESH_S = 30.0
"""How long those of an old one are."""
COMMAND_WIDTH = 64

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_FIELD = 19
"""Of `/proc/<pid>/stat`, counted from the field after the command (proc_pid_stat(5): field 22)."""
_MOST_BYTES = 16384
_ENVIRON_BYTES = 1 << 20


class ProcessFacts(msgspec.Struct, frozen=True):
    """What is known of a living process. A hidden one (hidepid) has nothing but its pid."""

    pid: int
    started_at: int | None = None
    """Milliseconds since the epoch, to the kernel's tick (10 ms)."""
    command: str = ""
    """Name of the program, made harmless; never its arguments, which may hold secrets."""
    uid: int | None = None
    user: str = ""
    container_id: str = ""
    """64-hex id of the engine's container that it is in."""
    job_name: str = ""
    """Runtime name of the process job that it belongs to (see `runmarks`)."""


class _Kept(NamedTuple):
    """What was read of a process, and until when it is believed (monotonic, s)."""

    ticks: int
    first_at: float
    due_at: float
    parents: tuple[str, ...]
    """The cgroup parents that were known when it was read."""
    facts: ProcessFacts


class ProcessTable:
    """Facts of processes by pid. Belongs to one thread."""

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        cgroup_parents: tuple[str, ...] = (),
        run_dir: str = "",
        sees_every_pid: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a table. `run_dir` is the process runtime's: empty = there are no such jobs."""
        self._proc = str(proc)
        self._clock = clock
        self._marks = RunMarks(run_dir) if run_dir else None
        self._sees_every_pid = (
            _is_first_namespace(proc) if sees_every_pid is None else sees_every_pid
        )
        """False in a pid namespace of our own, as in a container: NVML names pids of the host."""
        self._own_uid = os.geteuid()
        self._boot_ms = _boot_ms(proc)
        self._kept: dict[int, _Kept] = {}
        """By pid."""
        self._lives = Lives() if self._proc == "/proc" else None
        self._names = UserNames()
        self.cgroup_parents = cgroup_parents
        """Further cgroup parents of the engine; a new tuple may be set at any time."""

    def begin_sweep(self) -> None:
        """Ask which of the processes known so far have ended; nobody's facts are older than this."""
        if self._lives is not None:
            self._lives.drop_ended()

    def facts(self, pid: int) -> ProcessFacts | None:
        """Return what is known of a process; None when there is no such process (any more).

        A pid that could not be seen if it lived is not called gone: it is hidden.
        """
        now = self._clock()
        kept = self._kept.get(pid)
        is_due = kept is None or now >= kept.due_at or kept.parents is not self.cgroup_parents
        if kept is not None and not is_due and self._lives is not None and pid in self._lives:
            return kept.facts
        stat = self._stat(pid) if pid > 0 else None
        if stat is None:
            is_hidden = not self._sees_every_pid or self._is_alive(pid)
            return ProcessFacts(pid) if is_hidden else None
        ticks, comm = stat
        if kept is not None and kept.ticks != ticks:
            self._forget(pid)
            kept = None
        if kept is not None and not is_due:
            return kept.facts
        parents = self.cgroup_parents
        if self._lives is not None:
            self._lives.watch(pid)
        facts = self._read_facts(pid, ticks, comm, parents)
        again = self._stat(pid)
        if again is None or again[0] != ticks:
            self._forget(pid)
            return None  # ended while we read: the facts may be those of the pid's next owner
        first_at = now if kept is None else kept.first_at
        due_at = now + min(LONGEST_REFRESH_S, max(REFRESH_S, now - first_at))
        self._kept[pid] = _Kept(ticks, first_at, due_at, parents, facts)
        return facts

    def keep_only(self, pids: Collection[int]) -> None:
        """Forget every process that is not among these."""
        for pid in self._kept.keys() - set(pids):
            self._forget(pid)

    def close(self) -> None:
        """Forget everybody."""
        self.keep_only(())
        if self._lives is not None:
            self._lives.close()

    def _forget(self, pid: int) -> None:
        self._kept.pop(pid, None)
        if self._lives is not None:
            self._lives.drop(pid)

    def _read_facts(
        self, pid: int, ticks: int, comm: str, parents: tuple[str, ...]
    ) -> ProcessFacts:
        uid = self._uid(pid)
        cgroup_file = self._text(pid, "cgroup") or ""
        cgroup = parse_cgroup(cgroup_file, parents)
        return ProcessFacts(
            pid,
            started_at=self._boot_ms + ticks * 1000 // _TICKS_PER_S,
            command=self._command(pid, comm),
            uid=uid,
            user="" if uid is None else self._names.of(uid),
            container_id=cgroup.name if cgroup.kind is CgroupKind.CONTAINER else "",
            job_name=self._job_name(pid, uid, cgroup_file),
        )

    def _job_name(self, pid: int, uid: int | None, cgroup_file: str) -> str:
        if self._marks is None:
            return ""
        name = self._marks.job_by_cgroup(cgroup_paths(cgroup_file))
        if not name and uid is not None and uid == self._own_uid != 0:
            name = self._marks.job_by_environment(
                self._bytes(pid, "environ", _ENVIRON_BYTES) or b""
            )
        return name

    def _stat(self, pid: int) -> tuple[int, str] | None:
        """Return start time in ticks and command; the command may hold blanks and brackets."""
        text = self._text(pid, "stat")
        if not text:
            return None
        head, _, tail = text.rpartition(")")
        fields = tail.split(None, _START_FIELD + 1)
        try:
            return int(fields[_START_FIELD]), head.partition("(")[2]
        except (IndexError, ValueError):
            return None

    def _uid(self, pid: int) -> int | None:
        """Return the real uid. The owner of /proc/<pid> would be root for a non-dumpable process."""
        for line in (self._text(pid, "status") or "").split("\n"):  # a name may hold a \r
            if line.startswith("Uid:"):
                return int(line.split()[1])
        return None

    def _command(self, pid: int, comm: str) -> str:
        """Return the program's name: by its argv, since runtimes rename their threads."""
        program = (self._text(pid, "cmdline") or "").partition("\0")[0]
        program = program.rpartition("/")[2] if program.startswith("/") else program
        return plain(program or comm, COMMAND_WIDTH)

    def _text(self, pid: int, name: str) -> str | None:
        data = self._bytes(pid, name)
        return None if data is None else data.decode(errors="replace")

    def _bytes(self, pid: int, name: str, most: int = _MOST_BYTES) -> bytes | None:
        try:
            fd = os.open(f"{self._proc}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(fd, most)
        except OSError:
            return None
        finally:
            os.close(fd)

    def _is_alive(self, pid: int) -> bool:
        """Return whether the pid exists though /proc hides it. Signal 0 is sent to nobody."""
        if pid <= 0:
            return False
        if self._proc != "/proc":
            return Path(self._proc, str(pid)).exists()
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        return True


def _is_first_namespace(proc: Path) -> bool:
    """Return whether we are in the kernel's first pid namespace, in which every process has a pid."""
    try:
        return str((proc / "self/ns/pid").readlink()) == _FIRST_PID_NAMESPACE
    except OSError:
        return True  # not told: as on every kernel without namespaces


_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of the kernel: a fixed number."""


def _boot_ms(proc: Path) -> int:
    """Return when the kernel started (ms since epoch), read once so that start times stand still."""
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) * 1000
    return 0
