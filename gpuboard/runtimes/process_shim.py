"""The supervisor of one plain process: starts it as the person, outlives the daemon, keeps its end.

Run as a script (`python -I -S process_shim.py RUN_DIR`), with the order as `marshal` on stdin, and
with modules that cost nothing to import: json and signal alone would double its start. It forks a
supervisor into a session of its own, which is the subreaper of everything that the job starts; the
first process answers the daemon with `stage errno` on stdout (`ok 0`: it runs) and is gone as soon
as the command was executed or could not be. The supervisor writes `started.json` and `ended.json`
into the run directory (by rename), ends what the job left behind, as the end of a container would,
says with the file `left` that nothing of it lives, and pokes the daemon's FIFO. It keeps no pipe to
the daemon, so nothing that happens to the daemon happens to the job; the job's output comes to it
through one and goes into files that stay bounded. A job whose supervisor was killed ends like any
that writes to a closed pipe.
"""
# a script that starts without pathlib is twice as fast
# ruff: noqa: PTH100, PTH104, PTH106, PTH120, PTH123, PTH208, S606

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # `signal` wraps it in enums, at 10 ms
import ctypes
import errno
import marshal
import os
import resource
import select
import sys
import time

if __name__ == "__main__":  # behind everything else on the path: it hides nothing
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from gpuboard.runtimes.process_shim_log import CHUNK_BYTES, LogKeeper

PR_SET_CHILD_SUBREAPER = 36
REAP_PAUSE_S = 0.02
DRAIN_S = 1.0
"""Whoever holds the job's output after its end, and is none of its descendants, is not waited for."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def start_ticks(pid: int) -> int:
    """Return the start of a process in clock ticks since boot: with the pid, its identity."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def write_record(directory: str, name: str, record: str) -> None:
    """Write a record (JSON) so that a reader sees all of it or nothing."""
    part = f"{directory}/.{name}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(record)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, f"{directory}/{name}")


def try_record(directory: str, name: str, record: str) -> bool:
    """Write a record if there is room for it now; a removed directory needs none."""
    try:
        write_record(directory, name, record)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def join_cgroups(paths: tuple[str, ...]) -> None:
    """Move into the job's control groups; the limits there are best effort."""
    for path in paths:
        try:
            with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        except OSError:
            continue


def was_oom_killed(paths: tuple[str, ...]) -> bool:
    """Whether the kernel killed a process of the job for memory (v2: memory.events)."""
    for path in paths:
        for name in ("memory.events", "memory.oom_control"):
            try:
                with open(f"{path}/{name}", encoding="ascii") as file:
                    words = file.read().split()
                if int(words[words.index("oom_kill") + 1]):
                    return True
            except (OSError, ValueError, IndexError):
                continue
    return False


def leave_cgroups(paths: tuple[str, ...]) -> bool:
    """Move to the tree's root and remove the job's control groups; say whether all were empty."""
    are_empty = True
    for path in paths:
        top = os.path.dirname(os.path.dirname(path))
        join_cgroups((top,))
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:
            are_empty = False
    return are_empty


def say_left(directory: str) -> None:
    """Say that nothing of the job lives; where that cannot be written the daemon looks for itself."""
    try:
        os.close(os.open(f"{directory}/left", os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:
        return


def become(order: dict[str, object]) -> None:
    """Take on the person's identity for good."""
    uid, gid, groups = order["uid"], order["gid"], order["groups"]
    assert isinstance(uid, int)
    assert isinstance(gid, int)
    assert isinstance(groups, tuple)
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif uid != os.geteuid():
        raise PermissionError(errno.EPERM, "only root starts processes of others")


def set_limits(order: dict[str, object]) -> None:
    """Set what the kernel keeps a process: no cores, all the open files allowed, memory, priority."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    data = order.get("data_bytes")
    if isinstance(data, int):
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        data = data if most == resource.RLIM_INFINITY else min(data, most)
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    nice = order.get("nice")
    if isinstance(nice, int) and nice > 0:
        os.nice(nice)
    leave_oom_shelter()


def leave_oom_shelter() -> None:
    """Give up the daemon's shelter from the OOM killer, which a job would inherit (raising is free)."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            if int(file.read()) < 0:
                file.seek(0)
                file.write("0")
    except (OSError, ValueError):
        return


def replace_image(command: tuple[str, ...], env: dict[str, str]) -> None:
    """Execute the command, looked for in the job's own PATH; raises OSError.

    `os.execvpe` would import a module here, as the person, who may not be able to read it.
    """
    if "/" in command[0]:
        os.execve(command[0], command, env)
    failure = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    refused: OSError | None = None
    for folder in env["PATH"].split(":"):
        try:
            os.execve(f"{folder or '.'}/{command[0]}", command, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
    raise refused or failure


def execute(order: dict[str, object], output: int, report: int) -> None:
    """Become the job; a failure is told through `report` as `stage errno` and an exit code."""
    stage = "setup"
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    signal.signal(number, signal.SIG_DFL)
                except (OSError, ValueError):
                    continue
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        set_limits(order)
        become(order)
        os.umask(0o022)
        stage = "workdir"
        os.chdir(str(order["workdir"]))
        stage = "command"
        command, env = order["command"], order["env"]
        assert isinstance(command, tuple)
        assert isinstance(env, dict)
        replace_image(command, env)
    except OSError as error:
        os.write(report, f"{stage} {error.errno or errno.EIO}".encode())
    except BaseException as error:  # noqa: BLE001 - the child must never return into the supervisor
        os.write(report, f"{stage} {errno.EIO} {type(error).__name__}".encode())
    os._exit(NOT_EXECUTABLE)


def launch(order: dict[str, object], output: int) -> tuple[int, str]:
    """Fork the job; return its pid and an empty string, or what failed."""
    reader, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        execute(order, output, report)
    os.close(report)
    failure = os.read(reader, 200).decode()
    os.close(reader)
    return pid, failure


def children() -> list[int]:
    """Return the supervisor's children: what the job left behind is reparented to it."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return _children_by_parent(me)


def _children_by_parent(me: int) -> list[int]:
    """Search /proc: a kernel without CONFIG_PROC_CHILDREN."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == me:
                found.append(int(name))
    return found


def exit_code(status: int) -> int:
    """Return the code as a shell gives it: 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def reap(pid: int) -> int | None:
    """Reap whatever has ended; return the wait status of the main process once it has."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not ended:
            return found
        if ended == pid:
            found = status


def end_rest() -> None:
    """SIGKILL and reap everything that the job left behind, until nothing is."""
    while True:
        for pid in children():
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        time.sleep(REAP_PAUSE_S)


def poke(fifo: str) -> None:
    """Wake the daemon, if there is one."""
    try:
        pipe = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(pipe, b".")
    except OSError:
        pass
    finally:
        os.close(pipe)


class Output:
    """The job's output: a pipe whose one end is the job's, and what keeps that which comes through it.

    Made before the job is, all of it: a job may leave no process or thread to be had.
    """

    def __init__(self, directory: str, order: dict[str, object]) -> None:
        owner = None
        self._pipe, self.end = os.pipe()
        if os.geteuid() == 0:
            # What is kept counts against the person's disk quota, and /dev/stdout opens for them.
            owner = int(str(order["uid"])), int(str(order["gid"]))
            os.fchown(self.end, *owner)
        self._keeper = LogKeeper(
            directory, int(str(order["log_bytes"])), int(str(order["floor_bytes"])), owner
        )
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._is_open = True
        """Whether anybody can still write to it."""
        self._bell, ring = os.pipe()
        os.set_blocking(ring, False)
        self._poll.register(self._bell, select.POLLIN)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(ring)

    def keep_until_end(self, pid: int) -> int:
        """Keep what comes until the main process has ended; return its wait status."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._bell:
                    self._keep()
                elif os.read(self._bell, CHUNK_BYTES) and (status := reap(pid)) is not None:
                    return status

    def finish(self) -> None:
        """Keep what is left of it."""
        signal.set_wakeup_fd(-1)
        self._poll.unregister(self._bell)
        while self._is_open and self._poll.poll(DRAIN_S * 1000):
            self._keep()
        self._keeper.close()

    def _keep(self) -> None:
        data = os.read(self._pipe, CHUNK_BYTES)
        if data:
            self._keeper.write(data)
        else:
            self._is_open = False
            self._poll.unregister(self._pipe)


def supervise(directory: str, order: dict[str, object], answer: int) -> None:
    """Start the job, answer, and stay until nothing of it lives."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    cgroups = order["cgroups"]
    assert isinstance(cgroups, tuple)
    join_cgroups(cgroups)
    output = Output(directory, order)
    os.chdir("/")
    now = int(time.time() * 1000)
    pid, failure = launch(order, output.end)
    if failure:
        os.waitpid(pid, 0)
        stage, number = failure.split()[:2]
        code = NOT_FOUND if int(number) == errno.ENOENT else NOT_EXECUTABLE
        ended = f'{{"exit_code": {code}, "ended_at": {now}, "stage": "{stage}", "errno": {number}}}'
        write_record(directory, "ended.json", ended)
        if leave_cgroups(cgroups):
            say_left(directory)
        os.write(answer, f"{stage} {number}".encode())
        return
    me = os.getpid()
    started = (
        f'{{"pid": {pid}, "start_ticks": {start_ticks(pid)}, "supervisor": {me},'
        f' "supervisor_ticks": {start_ticks(me)}, "boot_id": "{boot_id()}", "started_at": {now}}}'
    )
    try:
        write_record(directory, "started.json", started)
    except OSError:
        # no room for the record: a job that nobody could find again must not run
        end_rest()
        raise
    os.close(output.end)
    os.write(answer, b"ok 0")
    os.close(answer)
    status = output.keep_until_end(pid)
    ended_at = int(time.time() * 1000)
    oom = "true" if was_oom_killed(cgroups) else "false"
    ended = f'{{"exit_code": {exit_code(status)}, "ended_at": {ended_at}, "oom_killed": {oom}}}'
    is_written = try_record(directory, "ended.json", ended)
    poke(str(order["fifo"]))
    end_rest()
    output.finish()
    while not is_written:
        time.sleep(1)
        is_written = try_record(directory, "ended.json", ended)
    if leave_cgroups(cgroups):
        say_left(directory)
    poke(str(order["fifo"]))


def main() -> int:
    """Fork the supervisor and leave it alone."""
    directory = sys.argv[1]
    order = marshal.load(sys.stdin.buffer)  # noqa: S302 - from the daemon, through a pipe
    if os.fork():
        return 0
    answer = os.dup(1)
    os.set_inheritable(answer, False)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    try:
        supervise(directory, order, answer)
    except OSError as error:
        os.write(answer, f"setup {error.errno or errno.EIO}".encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
