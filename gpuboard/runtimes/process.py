"""Jobs as plain processes: a session and supervisor each, run as the person, alive without the daemon.

Devices are given by `CUDA_VISIBLE_DEVICES` with UUIDs: that is an agreement, not a wall, since
every process of the box may open the device nodes. Memory, CPU and process limits hold where the
daemon is root and may make control groups, also for a job that names none. Elsewhere each process of
a job may have as much memory as the job asked for (RLIMIT_DATA; RLIMIT_AS would break CUDA, which
reserves address space by the terabyte), and nothing else is enforced: a person's own daemon guards
the box from nobody. The end of the main process is the end of the
job: its supervisor ends what it left behind, as the end of a container would.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import marshal
import os
import pwd
import select
import signal as signals
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from gpuboard.errors import (
    Conflict,
    HostError,
    InvalidRequest,
    NotExecutable,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
)
from gpuboard.model.ids import DeviceUuid
from gpuboard.runtimes import process_shim
from gpuboard.runtimes.cgroups import kill_members, members
from gpuboard.runtimes.logfiles import TIMES_SUFFIX
from gpuboard.runtimes.process_cgroup import drop_groups, make_groups
from gpuboard.runtimes.process_files import Order, RunDirectory, Started
from gpuboard.runtimes.process_table import (
    await_end,
    boot_id,
    has_marker,
    is_alive,
    looks_at_all,
    real_uid,
    row_of,
    send,
)
from gpuboard.runtimes.protocol import (
    ImageInfo,
    Observed,
    RunRequest,
    RunState,
    RuntimeCapabilities,
)
from gpuboard.runtimes.sandbox import SandboxSettings, check_command
from gpuboard.runtimes.scripts import ScriptFiles

START_TIMEOUT_S = 30.0
KILL_GRACE_S = 5.0
MARKER = "GPUBOARD_RUN"
"""Names the run directory in the environment of everything that a job starts: how it is found if its
supervisor was killed and it has no control group, and told from one of this name of another daemon."""
NO_DEVICES = "-1"
"""Hides every GPU from CUDA; unlike an empty value no script takes it for `not set`."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProcessRuntime:
    """Runs attempts as processes.

    Args:
        run_dir: where the run directories are; made (0700) when absent. Must survive the daemon.
        cgroup_parent: name below which control groups are made when root; empty: none.
        nice: added to the niceness of every job.
        log_bytes: what is kept of a job's log.
        memory_bytes: what a job may have that names no memory; None: all.
        cpus: the same of CPUs.
        script_dir: where files of captured scripts are: every person's job passes through it.
        floor_bytes: output is let go while less than this is free on the run directories' disk.
    """

    name = "process"

    def __init__(
        self,
        run_dir: str,
        *,
        cgroup_parent: str = "gpuboard",
        nice: int = 0,
        log_bytes: int = 30 * 2**20,
        floor_bytes: int = 0,
        memory_bytes: int | None = None,
        cpus: float | None = None,
        script_dir: str = "",
    ) -> None:
        self._run_dir = Path(run_dir).absolute()
        self._cgroup_parent = cgroup_parent if os.geteuid() == 0 else ""
        self._nice = nice
        self._log_bytes = log_bytes
        self._floor_bytes = floor_bytes
        self._memory_bytes = memory_bytes
        self._cpus = cpus
        self._making = threading.Lock()
        """Held while an attempt has the file of its script and no run directory yet."""
        self._scripts = ScriptFiles(script_dir or f"{self._run_dir}-scripts")
        self._fifo = self._run_dir / ".wake"
        self._wake: int | None = None

    # --- the box -------------------------------------------------------------------------------

    def check(self) -> RuntimeCapabilities:
        """Make sure of the run directory, its FIFO and /proc; HostError when one is missing."""
        self._prepare()
        if row_of(os.getpid()) is None:
            raise HostError("/proc does not show processes", hint="mount proc")
        self._sweep_scripts()
        who = "as the person" if os.geteuid() == 0 else "as the daemon's own user only"
        return RuntimeCapabilities(version=os.uname().release, devices="env", detail=f"runs {who}")

    def take_settings(self, settings: SandboxSettings) -> None:
        """Have attempts created from now on be bounded by what the admin sets now."""
        self._memory_bytes = settings.default_memory_bytes or settings.max_memory_bytes
        self._cpus = settings.max_cpus

    def _sweep_scripts(self) -> None:
        """Remove the files of scripts whose attempts are gone: what a crash left behind."""
        with self._making:
            for name in self._scripts.names():
                if not name.startswith(".") and not (self._run_dir / name).exists():
                    self._scripts.drop(name)

    def _prepare(self) -> None:
        try:
            self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._fifo, 0o600)
            if self._wake is None:
                self._wake = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"{self._run_dir}: {error.strerror}") from error

    def resolve_image(self, reference: str, pull: bool, progress: Callable[[str], None]) -> str:
        """Return nothing for nothing: a process has no image."""
        del pull, progress
        if reference:
            raise InvalidRequest("a process has no image", field="image")
        return ""

    def images(self) -> list[ImageInfo]:
        """Return no images."""
        return []

    # --- one attempt's life --------------------------------------------------------------------

    def create(self, request: RunRequest) -> str:
        """Make the run directory and return its name; one of this name and spec is adopted."""
        if not request.command:
            raise InvalidRequest("nothing to run: the command is empty", field="command")
        if request.image or request.mounts:
            raise InvalidRequest("a process has neither image nor mounts", field="image")
        if os.geteuid() not in {0, request.uid}:
            raise PermissionDenied(
                "this daemon is not root: it runs processes of its own user only",
                hint="use --runtime docker",
            )
        self._prepare()
        try:
            with self._making:
                placed = self._scripts.placed(request)
                check_command(placed.command)
                RunDirectory.make(self._run_dir, self._order(placed, request.spec_hash()))
        except FileExistsError:
            found = RunDirectory(self._run_dir / request.name).order()
            if found.spec_hash != request.spec_hash():
                raise Conflict(f"an attempt {request.name} exists that is not this job's") from None
        except OSError as error:
            raise HostError(f"{self._run_dir}: {error.strerror}") from error
        return request.name

    def _order(self, request: RunRequest, spec_hash: str) -> Order:
        groups = []
        if self._cgroup_parent:
            box = hashlib.sha256(os.fsencode(self._run_dir)).hexdigest()[:8]
            bounded = msgspec.structs.replace(
                request,
                memory_bytes=request.memory_bytes or self._memory_bytes,
                cpus=request.cpus or self._cpus,
            )
            groups = make_groups(bounded, self._cgroup_parent, f"{request.name}-{box}")
        return Order(
            name=request.name,
            spec_hash=spec_hash,
            command=request.command,
            env={**_environment(request), MARKER: str(self._run_dir / request.name)},
            uid=request.uid,
            gid=request.gid,
            groups=request.groups,
            workdir=request.workdir or request.home or "/",
            fifo=str(self._fifo),
            devices=tuple(request.devices),
            cgroups=tuple(groups),
            nice=self._nice,
            data_bytes=None if groups else request.memory_bytes,
            log_bytes=self._log_bytes,
            floor_bytes=self._floor_bytes,
        )

    def start(self, handle: str) -> None:
        """Start a created attempt. Conflict the second time, OutcomeUnknown without an answer."""
        run = self._run(handle)
        order = run.order()
        run.issue()
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", process_shim.__file__, str(run.path)],
                input=marshal.dumps(msgspec.to_builtins(order)),
                capture_output=True,
                env={MARKER: str(run.path)},
                cwd="/",
                timeout=START_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OutcomeUnknown(f"the supervisor of {handle} did not answer") from error
        except OSError as error:
            raise HostError(f"no supervisor can be started: {error.strerror}") from error
        _raise_for(done, order)

    def written_bytes(self) -> Mapping[str, int]:
        """Return nothing: a process writes to the box's own disks, within the person's quotas."""
        return {}

    def signal(self, handle: str, signal: str) -> None:
        """Send a signal to the main process; one that does not run is fine."""
        run = self._run(handle)
        run.order()
        started = run.started()
        if started is not None and started.boot_id == boot_id():
            send(started.pid, started.start_ticks, signals.Signals[signal])

    def kill(self, handle: str) -> None:
        """SIGKILL the main process and whatever else lives; the supervisor is left to record it."""
        run = self._run(handle)
        started = run.started()
        if started is not None and started.boot_id == boot_id():
            send(started.pid, started.start_ticks, signals.SIGKILL)
            await_end(started.supervisor, started.supervisor_ticks, KILL_GRACE_S)
        if not self._is_populated(run, started):
            return
        try:
            directories = [Path(group) for group in run.order().cgroups]
        except NotFound:
            directories = []
        kill_members(lambda: self._members(run, started), directories, KILL_GRACE_S)

    def is_gone(self, handle: str) -> bool:
        """Whether no process of the attempt lives."""
        run = self._run(handle)
        return not self._is_populated(run, run.started())

    def _is_populated(self, run: RunDirectory, started: Started | None) -> bool:
        """Whether processes live.

        While the supervisor lives something of the job may: it is the subreaper and leaves only
        when the kernel says that it has no descendant. If it could say so, it is believed; after one
        that was killed the processes are looked for.
        """
        if not run.is_issued() or run.is_left():
            return False
        if started is not None:
            if started.boot_id != boot_id():
                return False
            if is_alive(started.supervisor, started.supervisor_ticks):
                return True
        return bool(self._members(run, started))

    def _members(self, run: RunDirectory, started: Started | None) -> set[int]:
        """Return the pids of an attempt whose supervisor cannot be asked.

        Control groups of ours prove it. Session and environment are looked at where there are none,
        and of the person's own processes only: whoever starts a process chooses its environment, and
        would otherwise hold another's attempt, or have root kill what is not of it.
        """
        try:
            order = run.order()
        except NotFound:
            return set()
        found = members(Path(group) for group in order.cgroups)
        session = _session_of(started)
        marker = b"" if order.cgroups else os.fsencode(f"{MARKER}={run.path}")
        for rows in looks_at_all():
            for row in rows:
                is_marked = row.session == session or (marker and has_marker(row.pid, marker))
                if is_marked and real_uid(row.pid) == order.uid:
                    found.add(row.pid)
        return found

    def remove(self, handle: str) -> None:
        """Forget an attempt that is gone; Conflict while something of it lives."""
        run = self._run(handle)
        try:
            order = run.order()
        except NotFound:
            return
        if not self.is_gone(handle):
            raise Conflict(f"processes of {handle} still live")
        drop_groups(list(order.cgroups))
        self._scripts.drop(order.name)
        run.remove()

    # --- what is there -------------------------------------------------------------------------

    def incarnation(self) -> str:
        """Name none: each process has a supervisor of its own."""
        return ""

    def observe(self) -> Mapping[str, Observed]:
        """Return every attempt by name, from the run directories and /proc.

        A run directory that vanished since the first look is an error: its jobs may well run.
        """
        if self._wake is None:
            self._prepare()
        try:
            names = sorted(entry.name for entry in os.scandir(self._run_dir) if entry.is_dir())
        except OSError as error:
            raise HostError(f"{self._run_dir}: {error.strerror}") from error
        seen = {}
        for name in names:
            if name.startswith("."):
                continue
            with contextlib.suppress(NotFound):
                seen[name] = self._observe_one(name)
        return seen

    def _observe_one(self, name: str) -> Observed:
        run = self._run(name)
        order, started = run.order(), run.started()
        populated = self._is_populated(run, started)
        ended = run.ended()
        state, error = _judge(started, populated=populated, is_ended=ended is not None)
        return Observed(
            name=name,
            handle=name,
            state=state,
            spec_hash=order.spec_hash,
            exit_code=ended.exit_code if ended else None,
            oom_killed=ended is not None and ended.oom_killed,
            started_at=started.started_at if started else None,
            ended_at=ended.ended_at if ended else None,
            error=ended.error if ended else error,
            is_populated=populated,
        )

    def devices_of(self, handle: str) -> tuple[DeviceUuid, ...] | None:
        """Return the devices named in the attempt's environment."""
        return tuple(DeviceUuid(word) for word in self._run(handle).order().devices)

    def wait_event(self, timeout_s: float) -> bool:
        """Block until a supervisor poked us, or the time is over."""
        self._prepare()
        if self._wake is None:
            return False
        ready, _, _ = select.select([self._wake], [], [], timeout_s)
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return bool(ready)

    # --- logs ----------------------------------------------------------------------------------

    def read_log(
        self,
        handle: str,
        *,
        tail: int | None = None,
        since_at: int | None = None,
        follow: bool = False,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[bytes]:
        """Yield the log's bytes; `follow` until nothing of the attempt writes any more."""
        run = self._run(handle)
        run.order()
        return run.log.read(
            tail,
            since_at,
            (lambda: self._is_over(handle)) if follow else None,
            is_cancelled or (lambda: False),
        )

    def _is_over(self, handle: str) -> bool:
        """Whether the attempt ended (or was removed) and nothing of it can write any more."""
        run = self._run(handle)
        started = run.started()
        if started is None:
            return run.ended() is not None or not run.path.exists()
        return not self._is_populated(run, started)

    def save_log(self, handle: str, path: str) -> None:
        """Move the whole log to a file (0600, by rename), and its times beside it."""
        run = self._run(handle)
        run.order()
        target = Path(path)
        run.log.save(target, target.with_suffix(TIMES_SUFFIX), self._floor_bytes)

    def close(self) -> None:
        """Let go of the FIFO."""
        if self._wake is not None:
            os.close(self._wake)
            self._wake = None

    def _run(self, handle: str) -> RunDirectory:
        if not handle or "/" in handle or handle.startswith("."):
            raise NotFound(f"there is no attempt {handle[:80]!r}")
        return RunDirectory(self._run_dir / handle)


def _session_of(started: Started | None) -> int:
    """Return the job's session while it is the job's: its number may have been given out again."""
    if started is None:
        return -1
    leader = row_of(started.pid)
    is_other = (
        leader is not None and not leader.is_dead and leader.start_ticks != started.start_ticks
    )
    return -1 if is_other else started.pid


def _judge(started: Started | None, *, populated: bool, is_ended: bool) -> tuple[RunState, str]:
    """Return the state, and in words why an end has no exit code."""
    if started is None:
        return RunState.CREATED, ""
    if is_ended:
        return RunState.EXITED, ""
    if started.boot_id != boot_id():
        return RunState.EXITED, "the box restarted"
    if populated:
        return RunState.RUNNING, ""
    return RunState.EXITED, "its supervisor was killed: the exit code is not known"


def _environment(request: RunRequest) -> dict[str, str]:
    """Return the whole environment: nothing of the daemon's own is handed on."""
    try:
        shell = pwd.getpwuid(request.uid).pw_shell
    except KeyError:
        shell = ""
    devices = ",".join(request.devices)
    return {
        "HOME": request.home or "/",
        "USER": request.user,
        "LOGNAME": request.user,
        "SHELL": shell or "/bin/sh",
        "PATH": DEFAULT_PATH,
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        **request.env,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": devices or NO_DEVICES,
        "NVIDIA_VISIBLE_DEVICES": devices or "void",
    }


def _raise_for(done: subprocess.CompletedProcess[bytes], order: Order) -> None:
    """Turn the supervisor's answer into our errors."""
    if not done.stdout:
        words = done.stderr.decode(errors="replace").strip()[-300:]
        if done.returncode:
            raise HostError(f"the supervisor of {order.name} failed: {words}")
        raise OutcomeUnknown(f"the supervisor of {order.name} ended without an answer")
    stage, number = done.stdout.decode().split()
    words = os.strerror(int(number))
    if stage == "ok":
        return
    if stage == "workdir":
        raise InvalidRequest(f"{order.workdir}: {words}", field="workdir")
    if stage == "command":
        is_missing = int(number) == errno.ENOENT
        what = "not found" if is_missing else f"cannot be executed ({words})"
        raise NotExecutable(
            f"command {what}: {order.command[0][:200]}",
            status=process_shim.NOT_FOUND if is_missing else process_shim.NOT_EXECUTABLE,
        )
    raise HostError(f"the process could not be set up: {words}")
