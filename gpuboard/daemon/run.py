"""The life of a daemon: lock, box, socket, READY; reload on SIGHUP; an orderly end on SIGTERM.

Jobs are never ended with the daemon. What it was in the middle of is in the database, and the
next life goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine
from pathlib import Path

from gpuboard import __version__
from gpuboard.api.places import private_dir
from gpuboard.config import Config, config_file, load_config
from gpuboard.daemon.build import Box, build_box
from gpuboard.daemon.lock import DaemonLock
from gpuboard.daemon.notify import Notifier, take_listening_sockets
from gpuboard.daemon.sockets import bind_socket
from gpuboard.errors import GpuboardError, HostError

_LOG = logging.getLogger("gpuboard.daemon")

_PERSONAL_LOCK_WAIT_S = 15.0
"""A personal daemon that is ending (idle) lets go of its lock a moment after its socket."""
_STOP_TIMEOUT_S = 25.0
_IDLE_LOOK_S = 30.0
_STATUS_S = 60.0


def serve(*, config_path: Path | None, personal: bool, ready_fd: int = -1) -> None:
    """Serve until a signal or idleness ends it. Raises GpuboardError when it cannot start.

    `ready_fd`: a pipe on which whoever started us waits for one line.
    """
    os.umask(0o077)
    path = str(config_path) if config_path is not None else None
    config = load_config(path, personal=personal)
    asyncio.run(Daemon(config, config_path=path, personal=personal, ready_fd=ready_fd).run())


class Daemon:
    """One life."""

    def __init__(
        self, config: Config, *, config_path: str | None, personal: bool, ready_fd: int = -1
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._personal = personal
        self._ready_fd = ready_fd
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_socket_ours = False

    async def run(self) -> None:
        """Start in order, serve, end in order."""
        lock = DaemonLock(self._make_directories())
        lock.acquire(_PERSONAL_LOCK_WAIT_S if self._personal else 0.0)
        try:
            await self._live()
        finally:
            lock.release()

    def _make_directories(self) -> Path:
        """Make the state directory, and for a personal daemon the socket's; return the first."""
        state_dir = Path(self._config.daemon.state_dir)
        if self._personal:
            private_dir(str(Path(self._config.daemon.socket).parent))
            private_dir(str(state_dir))
        else:
            try:
                state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise HostError(
                    f"cannot make {state_dir}: {error.strerror}",
                    hint="start the daemon as root, or `gpuboard daemon --personal` as yourself",
                ) from error
        return state_dir

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        box = await asyncio.to_thread(
            build_box,
            self._config,
            personal=self._personal,
            read_config=self._read_config,
            config_file=self._config_file,
        )
        try:
            loop.add_signal_handler(signal.SIGHUP, self._reload_soon, box)
            listening = self._listening_socket()
            server = box.make_server()
            await server.start(listening)
            self._say_ready(box)
            self._begin(self._show_status(box))
            if self._notifier.watchdog_s:
                self._begin(self._feed_watchdog(box))
            if self._config.daemon.idle_exit_s:
                self._begin(self._exit_when_idle(box))
            await self._stop.wait()
            self._notifier.stopping()
            _LOG.info("stopping; jobs go on")
            self._remove_socket()
            for task in self._tasks:
                task.cancel()
            await server.stop()
            listening.close()
        finally:
            await asyncio.to_thread(box.close, _STOP_TIMEOUT_S)
        _LOG.info("ended")

    def _listening_socket(self) -> socket.socket:
        handed = take_listening_sockets()
        if handed:
            for extra in handed[1:]:
                extra.close()
            return handed[0]
        listening = bind_socket(self._config.daemon)
        self._is_socket_ours = True
        return listening

    def _remove_socket(self) -> None:
        """Take the path away first: who comes now starts, or waits for, the next daemon."""
        if self._is_socket_ours:
            Path(self._config.daemon.socket).unlink(missing_ok=True)

    def _say_ready(self, box: Box) -> None:
        _LOG.info(
            "gpuboard %s serves %s (%s)", __version__, self._config.daemon.socket, box.summary()
        )
        self._notifier.ready(box.summary())
        if self._ready_fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._ready_fd, b"ready\n")
            os.close(self._ready_fd)
            self._ready_fd = -1

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- reload ----------------------------------------------------------------------------------

    def _read_config(self) -> Config:
        return load_config(self._config_path, personal=self._personal)

    def _config_file(self) -> str:
        return config_file(self._config_path, personal=self._personal)

    def _reload_soon(self, box: Box) -> None:
        self._begin(self._reload(box))

    async def _reload(self, box: Box) -> None:
        """Take over a changed configuration; a wrong one changes nothing and is logged."""
        self._notifier.reloading()
        try:
            result = await asyncio.wrap_future(box.thread.call(box.reload))
        except GpuboardError as error:
            _LOG.error("the old configuration stays in force: %s %s", error.message, error.hint)
        else:
            _LOG.info("configuration read again: %s", result)
        self._notifier.ready(box.summary())

    # --- while it lives --------------------------------------------------------------------------

    async def _show_status(self, box: Box) -> None:
        """Keep the line in `systemctl status` true."""
        while True:
            await asyncio.sleep(_STATUS_S)
            self._notifier.status(box.summary())

    async def _feed_watchdog(self, box: Box) -> None:
        """Tell the service manager that the engine gets on, as long as it does."""
        while True:
            self._notifier.feed_watchdog(box.thread.last_step_s)
            await asyncio.sleep(self._notifier.watchdog_s / 4)

    async def _exit_when_idle(self, box: Box) -> None:
        """End a personal daemon that nobody has used for a while and that has no job or booking."""
        idle_s = self._config.daemon.idle_exit_s
        since = time.monotonic()
        while True:
            await asyncio.sleep(min(idle_s / 4, _IDLE_LOOK_S))
            is_used = box.connections() > 0 or await asyncio.wrap_future(
                box.thread.call(box.has_work)
            )
            since = time.monotonic() if is_used else max(since, box.last_request_at())
            if time.monotonic() - since >= idle_s:
                _LOG.info("nothing to do for %d s", idle_s)
                self._stop.set()
                return
