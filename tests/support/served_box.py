"""The whole real daemon but for what runs jobs, in this process: for tests that send it anything at all.

Jobs are simulated: whatever command a request holds, nothing is executed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuboard.config import parse_config
from gpuboard.daemon.build import Box, build_box
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.simulated import Script, SimulatedRuntime
from tests.support.runtimes import RealClock

CONFIG = """
[daemon]
socket = "{folder}/gpuboard.sock"
state_dir = "{folder}/state"
[jobs]
runtimes = ["simulated"]
default_runtime = "simulated"
[devices]
probe = "simulated"
scenario = "lab8"
interval = "200ms"
{more}
"""
_CALLS = (
    *(
        "check",
        "resolve_image",
        "images",
        "create",
        "start",
        "incarnation",
        "observe",
        "devices_of",
    ),
    *("written_bytes", "signal", "kill", "is_gone", "save_log", "remove"),
)


@dataclass
class ServedBox:
    """A box that answers on a socket."""

    box: Box
    path: str
    loop: asyncio.AbstractEventLoop


def _locked_runtime(script: Callable[[RunRequest], Script]) -> SimulatedRuntime:
    """Return a simulated runtime that real workers may call: it is made for one thread at a time."""
    runtime, lock = SimulatedRuntime(RealClock(), script), threading.RLock()

    def held(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def locked(*arguments: Any, **named: Any) -> Any:
            with lock:
                return call(*arguments, **named)

        return locked

    for name in _CALLS:
        setattr(runtime, name, held(getattr(runtime, name)))
    return runtime


@contextlib.contextmanager
def served_box(folder: Path, more: str = "") -> Iterator[ServedBox]:
    """Serve a box in `folder` while the block runs; jobs end by themselves after a moment."""
    config = parse_config(CONFIG.format(folder=folder, more=more), personal=True)
    (folder / "state").mkdir(mode=0o700)
    runtime = _locked_runtime(lambda _request: Script(run_s=0.05, log=b"line\n"))
    box = build_box(config, personal=True, runtimes={"simulated": runtime})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="api-loop")
    thread.start()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(config.daemon.socket)
    listening.listen(512)

    async def begin() -> None:
        await box.make_server().start(listening)

    try:
        asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        yield ServedBox(box, config.daemon.socket, loop)
    finally:
        server = box._server
        if server is not None:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        box.close(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        listening.close()
        loop.close()
