"""The one place where real parts are put together: configuration in, a box that serves out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gpuboard.api.dispatch import EngineDispatch
from gpuboard.api.feed import Marks
from gpuboard.api.peer import Peer
from gpuboard.api.server import ApiServer
from gpuboard.config import Config
from gpuboard.daemon.engine_thread import EngineThread
from gpuboard.daemon.metrics import metrics_of
from gpuboard.daemon.parts import HeldDevices, make_probe, make_runtimes, reconfigure_runtimes
from gpuboard.devices.history import HistoryRecorder
from gpuboard.devices.protocol import Probe
from gpuboard.engine import audit
from gpuboard.engine.clock import SystemClock
from gpuboard.engine.local import LocalEngine
from gpuboard.engine.workers import ThreadWorkers
from gpuboard.errors import PermissionDenied, Unavailable
from gpuboard.model.device import ProbeSnapshot
from gpuboard.model.ids import Uid
from gpuboard.model.person import Caller, Person
from gpuboard.model.views.devices import DeviceHistory
from gpuboard.runtimes.protocol import Runtime
from gpuboard.service.context import ServiceContext
from gpuboard.service.people import Directory, HostDirectory, caller_of
from gpuboard.service.services import Services
from gpuboard.store.database import Store

_LOG = logging.getLogger(__name__)
_FIRST_SWEEP_S = 2.0
_LOCK_PATIENCE_MS = 20
"""How long the engine's thread waits for a program that holds the database; then it goes on with
what needs no writing, and tries again."""
_FIXED_KEYS = {
    "daemon": ("socket", "socket_mode", "socket_group", "state_dir", "idle_exit_s"),
    "jobs": ("runtimes",),
    "docker": ("host",),
    "logs": ("max_process_bytes",),
    "devices": ("probe", "scenario", "interval_s", "slow_interval_s", "timeout_s", "ignore"),
}
"""By section of the configuration: what probe, runtimes and socket were made with."""


def build_box(
    config: Config,
    *,
    personal: bool = False,
    read_config: Callable[[], Config] | None = None,
    config_file: Callable[[], str] = lambda: "",
    directory: Directory | None = None,
    runtimes: dict[str, Runtime] | None = None,
) -> Box:
    """Put a box together and let its engine run; the caller holds the lock of `state_dir`.

    `read_config` reads the configuration anew for a reload, `config_file` names its file;
    `directory` names people (default: the host's); `runtimes` run the jobs (default: those that
    the configuration names). Raises what opening the database raises. Runtimes are checked in the
    background: one that is down is tried again.
    """
    holders = HeldDevices()
    probe = make_probe(config, holders)
    runtimes = make_runtimes(config) if runtimes is None else runtimes
    recorder = HistoryRecorder(interval_s=config.devices.interval_s)
    thread = EngineThread(partial(_open_engine, config, probe, runtimes))
    box: list[Box] = []

    def take(snapshot: ProbeSnapshot) -> None:
        """Wake the engine by a sweep, and keep what is shown of it. On the probe's thread."""

        def keep() -> None:
            recorder.record(snapshot)
            for one in box:
                holders.note(one.engine)

        with contextlib.suppress(Unavailable):
            thread.call(keep)
            thread.wake()

    probe.start(take)
    probe.wait_first(_FIRST_SWEEP_S)
    try:
        engine = thread.start()
    except BaseException:
        probe.stop()
        raise
    context = ServiceContext(
        engine=engine,
        config=config,
        clock=engine.core.clock,
        directory=directory or HostDirectory(),
        runtimes=runtimes,
        history=_History(recorder),
        personal=personal,
        simulated=probe.name == "simulated",
        config_file=config_file,
    )
    made = Box(config, personal, thread, engine, Services.over(context), context, probe)
    context.reload_config = partial(made.take_config, read_config) if read_config else None
    box.append(made)
    return made


class _History:
    """The recorder as the services ask for it."""

    def __init__(self, recorder: HistoryRecorder) -> None:
        self._recorder = recorder

    def history(self, seconds: int) -> DeviceHistory:
        """Return the last so many seconds, oldest first."""
        return self._recorder.view(time.time_ns() // 1_000_000, seconds)


def _open_engine(
    config: Config, probe: Probe, runtimes: dict[str, Runtime], thread: EngineThread
) -> LocalEngine:
    """Open database and engine, on the engine's thread: its connection belongs to it."""
    store = Store(config.daemon.state_dir)
    thread.at_end.append(store.close)
    engine = LocalEngine(
        config=config,
        store=store,
        clock=SystemClock(),
        probe=probe,
        runtimes=runtimes,
        workers=ThreadWorkers(thread.wake),
    )
    engine.open()
    store.set_patience(_LOCK_PATIENCE_MS)
    thread.at_end.insert(0, engine.keep_hours)
    return engine


@dataclass
class Box:
    """A running box: its engine's thread, and what serves it."""

    config: Config
    personal: bool
    thread: EngineThread
    engine: LocalEngine
    services: Services
    context: ServiceContext
    probe: Probe
    _server: ApiServer | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def make_server(self) -> ApiServer:
        """Return the API server over this box, not started yet. On the loop that will run it."""
        self._loop = asyncio.get_running_loop()
        self._server = ApiServer(
            self.services,
            EngineDispatch(self.thread.call),
            caller_of=self._caller_of,
            marks=lambda: Marks(self.engine.revision(), self.engine.last_event_id()),
            revision=self.engine.revision,
            limits=self.config.api,
            metrics=metrics_of(self.engine, self.connections, lambda: self.thread.last_step_s),
        )
        return self._server

    def connections(self) -> int:
        """Return how many clients are connected."""
        return self._server.connections if self._server is not None else 0

    def last_request_at(self) -> float:
        """Return when a client last asked something (monotonic seconds)."""
        return self._server.last_request_at if self._server is not None else 0.0

    def has_work(self) -> bool:
        """Say whether anything is queued, running or booked. On the engine's thread."""
        return not self.engine.is_idle() or bool(self.engine.reservations())

    def summary(self) -> str:
        """Return one line about the box, for `systemctl status` and the log."""
        snapshot = self.probe.snapshot()
        devices = f"{len(snapshot.readings)} devices" if not snapshot.fault else snapshot.fault
        return f"{devices}; runtimes: {', '.join(sorted(self.context.runtimes))}"

    def reload(self) -> str:
        """Read the configuration again and take it over. On the engine's thread.

        Raises HostError, with nothing changed, when the file is wrong.
        """
        return self.services.admin.reload(self._own_caller()).words

    def take_config(self, read_config: Callable[[], Config]) -> Config:
        """Return the configuration read anew, after everything but the services has taken it over.

        On the engine's thread. What is fixed for a life (paths, probe, runtimes) waits for the next.
        """
        config = read_config()
        for words in _fixed_changes(self.config, config):
            _LOG.warning("%s: the new value takes effect at the next start", words)
        self.engine.reconfigure(config)
        reconfigure_runtimes(config, self.context.runtimes)
        if self._server is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._server.configure, config.api)
        return config

    def close(self, timeout_s: float) -> None:
        """End the engine's thread and everything below it; jobs go on."""
        self.probe.stop()
        if not self.thread.stop(timeout_s):
            _LOG.warning("a call is still under way; the next start finds its outcome")
        for runtime in self.context.runtimes.values():
            runtime.close()

    def _caller_of(self, peer: Peer) -> Caller:
        """Return the caller behind a peer. Raises PermissionDenied for one who has no business here."""
        try:
            return self._looked_up(peer)
        except PermissionDenied as error:
            audit.refused(peer.uid, "enter", None, error.message)
            raise

    def _looked_up(self, peer: Peer) -> Caller:
        if self.personal and peer.uid not in {0, os.geteuid()}:
            raise PermissionDenied("this is somebody's personal daemon")
        return caller_of(
            self.context.directory,
            self.context.config,
            peer.uid,
            groups=self.context.groups,
            personal=self.personal,
            is_contained=peer.is_contained,
        )

    def _own_caller(self) -> Caller:
        """Return the daemon itself as a caller (a signal has no peer)."""
        own = Person(uid=Uid(os.geteuid()), gid=os.getegid(), name="gpuboard")
        return Caller(person=own, is_admin=True)


def _fixed_changes(old: Config, new: Config) -> list[str]:
    """Return the keys that differ and cannot change while the daemon lives."""
    return [
        f"[{section}] {key}"
        for section, keys in _FIXED_KEYS.items()
        for key in keys
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]
