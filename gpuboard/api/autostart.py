"""How the first command starts a personal daemon: once, detached, and with its last words kept.

Ten commands at the same moment start one daemon: they queue at a lock beside the socket, and
whoever comes after the first finds it answering.
"""

# pathlib would cost every command an import:
# ruff: noqa: PTH105, PTH110, PTH116, PTH100, PTH118, PTH120, PTH123, PTH202

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time

from gpuboard.api.places import personal_state_dir, private_dir
from gpuboard.api.wire import Connection
from gpuboard.errors import Unavailable

START_TIMEOUT_S = 30.0
_LONGEST_LOG_BYTES = 5 * 2**20
_LAST_WORDS_BYTES = 16_384


def start_personal_daemon(socket_path: str, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Start the person's daemon unless one answers, and return once it does.

    Raises Unavailable with the error that it ended with when it does not come up, HostError when the
    directory of its socket is not safe.
    """
    deadline = time.monotonic() + timeout_s
    runtime_dir = private_dir(os.path.dirname(socket_path))
    log_path = os.path.join(private_dir(personal_state_dir()), "daemon.log")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(os.path.join(runtime_dir, "start.lock"), flags, 0o600)
    try:
        _lock_until(lock, deadline)
        if not _answers(socket_path):
            _put_long_log_aside(log_path)
            begins = os.path.getsize(log_path) if os.path.exists(log_path) else 0
            if not _spawn(log_path, deadline) or not _answers(socket_path):
                raise _did_not_start(log_path, begins)
    finally:
        os.close(lock)


def _answers(socket_path: str) -> bool:
    try:
        Connection(socket_path, 5.0).close()
    except Unavailable:
        return False
    return True


def _lock_until(lock: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(
                    "another command has been starting the daemon for too long",
                    hint="see why: `gpuboard daemon` in the foreground",
                ) from None
            time.sleep(0.02)
        else:
            return


def _spawn(log_path: str, deadline: float) -> bool:
    """Start the daemon and wait until it says on a pipe that it is ready; False: it ended, or is slow."""
    ready, tell = os.pipe()
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(log_path, flags, 0o600), "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gpuboard.daemon", "--personal", f"--ready-fd={tell}"],
                env=package_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                pass_fds=(tell,),
            )
        os.close(tell)
        tell = -1
        answer = b""
        if select.select([ready], [], [], max(0.0, deadline - time.monotonic()))[0]:
            answer = os.read(ready, 16)
        if not answer:
            return False
        # The daemon outlives us; init reaps it. Popen would warn of a child that still runs.
        process.returncode = 0
        return True
    finally:
        os.close(ready)
        if tell >= 0:
            os.close(tell)


def package_environment() -> dict[str, str]:
    """Return ours, with the place of this very gpuboard: a packaged one is on nobody's path."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    others = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{others}" if others else root}


def _put_long_log_aside(log_path: str) -> None:
    try:
        if os.stat(log_path).st_size > _LONGEST_LOG_BYTES:
            os.replace(log_path, log_path + ".1")
    except FileNotFoundError:
        pass


def _did_not_start(log_path: str, begins: int) -> Unavailable:
    """Return the error for a daemon that did not come up: its own last error, with that one's hint.

    `begins`: where in the log its words begin (bytes).
    """
    lines: list[str] = []
    try:
        with open(log_path, "rb") as log:
            log.seek(max(begins, os.path.getsize(log_path) - _LAST_WORDS_BYTES))
            lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line]
    except OSError:
        pass
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    last = lines[errors[-1]].removeprefix("error: ") if errors else "".join(lines[-1:])
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    words = "the personal daemon did not start"
    return Unavailable(
        f"{words}: {last}" if last else words,
        hint="; ".join([*hints[-1:], f"the whole story is in {log_path}"]),
    )
