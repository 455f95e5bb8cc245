"""The demo's box: simulated devices, real jobs, a scripted lab; ends with whoever started it.

Run by `gpuboard demo` as `python -m gpuboard.daemon.demo FOLDER`. It says `ready` on stdout, serves
FOLDER/gpuboard.sock, and ends at the end of its stdin, or on SIGTERM, with every job stopped.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gpuboard.api.places import private_dir
from gpuboard.config import (
    Config,
    DaemonConfig,
    DevicesConfig,
    DockerConfig,
    JobsConfig,
    defaults_for,
)
from gpuboard.daemon.build import Box, build_box
from gpuboard.daemon.lab import Lab, LabDirectory
from gpuboard.daemon.lock import DaemonLock
from gpuboard.daemon.parts import make_runtimes
from gpuboard.daemon.sockets import bind_socket
from gpuboard.errors import GpuboardError
from gpuboard.runtimes.protocol import RunRequest, Runtime
from gpuboard.service.people import HostDirectory

STOP_TIMEOUT_S = 20.0
DOCKER_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")


class RunsAsOneself:
    """A runtime whose attempts all run as whoever started the demo: its people have no accounts."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def create(self, request: RunRequest) -> str:
        """Create the attempt as oneself."""
        own = msgspec.structs.replace(
            request, uid=os.geteuid(), gid=os.getegid(), groups=tuple(os.getgroups())
        )
        return self._runtime.create(own)


def demo_config(folder: Path, docker_socket: str) -> Config:
    """Return the demo's configuration: everything in one folder, eight simulated devices."""
    base = defaults_for(personal=True, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)})
    replace = msgspec.structs.replace
    daemon: DaemonConfig = replace(
        base.daemon,
        socket=str(folder / "gpuboard.sock"),
        state_dir=str(folder / "state"),
        socket_mode="0600",
        idle_exit_s=0,
    )
    jobs: JobsConfig = replace(
        base.jobs,
        runtimes=("process", "docker") if docker_socket else ("process",),
        default_runtime="process",
        min_uid=0,
        default_grace_s=2,
    )
    devices: DevicesConfig = replace(
        base.devices, probe="simulated", scenario="lab8", idle_after_s=20
    )
    docker: DockerConfig = replace(base.docker, host=f"unix://{docker_socket}", network="none")
    return replace(base, daemon=daemon, jobs=jobs, devices=devices, docker=docker)


def find_engine() -> tuple[str, str]:
    """Return the socket of a Docker Engine that answers us and the demo's image, or two empty words."""
    named = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    for path in (named, *DOCKER_SOCKETS):
        if path and os.access(path, os.R_OK | os.W_OK):
            from gpuboard.runtimes.docker_demo import make_image

            try:
                return path, make_image(f"unix://{path}")
            except GpuboardError:
                continue
    return "", ""


async def serve(folder: Path) -> None:
    """Serve the demo's box until stdin or a signal ends it."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    _when_stdin_ends(partial(loop.call_soon_threadsafe, stop.set))
    docker_socket, image = await asyncio.to_thread(find_engine)
    print(f"the lab's jobs are {'containers' if image else 'plain processes'}")  # noqa: T201
    config = demo_config(folder, docker_socket)
    private_dir(config.daemon.state_dir)
    lock = DaemonLock(Path(config.daemon.state_dir))
    lock.acquire(0.0)
    host = HostDirectory()
    people = LabDirectory(host, host.person(os.geteuid()))
    runtimes: dict[str, Runtime] = {
        name: RunsAsOneself(runtime) for name, runtime in make_runtimes(config).items()
    }
    box = await asyncio.to_thread(
        build_box, config, personal=True, directory=people, runtimes=runtimes
    )
    listening = bind_socket(config.daemon)
    server = box.make_server()
    await server.start(listening)
    lab = Lab(box.services, box.thread.call, people.callers(), image=image)
    await asyncio.to_thread(lab.start)
    print("ready", flush=True)  # noqa: T201 - the word that our starter waits for
    try:
        await stop.wait()
    finally:
        await asyncio.to_thread(lab.stop)
        await server.stop()
        listening.close()
        await asyncio.to_thread(end_all, box)
        await asyncio.to_thread(box.close, STOP_TIMEOUT_S)
        lock.release()


def end_all(box: Box) -> None:
    """Stop every job of the demo and wait until none is left, within bounds."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if not box.thread.call(lambda: _cancel_all(box)).result(STOP_TIMEOUT_S):
            return
        time.sleep(0.1)


def _cancel_all(box: Box) -> int:
    """Ask every live job to end; return how many there still are. On the engine's thread."""
    jobs = list(box.engine.live_jobs())
    for job in jobs:
        if job.stop_cause is None:
            box.engine.cancel(job.id, job.owner, force=True)
    return len(jobs)


def _when_stdin_ends(act: Callable[[], object]) -> None:
    """Call `act` on another thread when whoever started us is gone."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        act()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def main() -> int:
    """Serve the demo in the folder that the first argument names."""
    from gpuboard.daemon.logs import log_to_stderr

    log_to_stderr()
    folder = Path(sys.argv[1])
    try:
        asyncio.run(serve(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
