"""A runtime without processes: scripted outcomes on a clock that tests move, with real faults.

Its behaviour under faults is what was measured on Docker (SAFETY.md A3, A4): answers are lost with
the effect now, later or never; a killed engine leaves ghosts; a restart kills everything; a
container is removed behind our back. `starts` and `processes` are the truth that tests compare
the engine's word with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from gpuboard.errors import Conflict, HostError, NotFound, OutcomeUnknown, Unavailable
from gpuboard.model.ids import DeviceUuid
from gpuboard.runtimes.protocol import (
    ImageInfo,
    Observed,
    RunRequest,
    RunState,
    RuntimeCapabilities,
)

T = TypeVar("T")

KILLED = 137
"""Exit code after SIGKILL."""
_LIVING = (RunState.RUNNING, RunState.PAUSED)
_NEVER = 2**62


class RunClock(Protocol):
    """What the simulation needs of a clock."""

    def now_ms(self) -> int:
        """Return the wall clock."""

    def boot_ms(self) -> int:
        """Return time since boot."""


class Script(msgspec.Struct, frozen=True):
    """What one attempt will do."""

    run_s: float = 60.0
    exit_code: int = 0
    log: bytes = b""
    oom_killed: bool = False
    term_exit_code: int | None = 143
    """Its exit code after the stop signal; None: it ignores the signal."""
    create_error: Exception | None = None
    start_error: Exception | None = None
    is_unkillable: bool = False
    """SIGKILL has no effect (a process in D state)."""


class Effect(StrEnum):
    """When a call whose answer was lost takes effect."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


class LostAnswer(msgspec.Struct, frozen=True):
    """The next call of this kind times out."""

    call: str
    effect: Effect
    after_s: float = 5.0


@dataclass
class Process:
    """A process that really lives."""

    name: str
    job_id: int
    devices: tuple[DeviceUuid, ...]
    ends_boot_ms: int
    script: Script
    left_ms: int = 0
    """Of its run, while it is paused."""


@dataclass
class Container:
    """What the simulated engine believes of one attempt."""

    handle: str
    request: RunRequest
    script: Script
    state: RunState = RunState.CREATED
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: int | None = None
    ended_at: int | None = None
    error: str = ""
    is_wedged: bool = False
    """Stuck by an engine that was killed inside its start: it cannot be started any more."""


@dataclass
class Truth:
    """What really happened, for the invariants of tests."""

    processes: dict[str, Process] = field(default_factory=dict)
    """Living ones, by attempt name."""
    starts: list[str] = field(default_factory=list)
    """Attempt names, one entry a process started."""
    exits: dict[str, int] = field(default_factory=dict)
    """True exit code by attempt name."""


class SimulatedRuntime:
    """Implements the runtime protocol over scripts; one thread at a time."""

    name = "simulated"

    def __init__(
        self, clock: RunClock, script: Callable[[RunRequest], Script] | None = None
    ) -> None:
        self._clock = clock
        self._script = script or (lambda _request: Script())
        self.truth = Truth()
        self.containers: dict[str, Container] = {}
        self.is_down = False
        self.restarts = 0
        self.lost_answers: list[LostAnswer] = []
        self.wrong_devices: tuple[DeviceUuid, ...] | None = None
        """When set, what `devices_of` claims."""
        self.missing_images: set[str] = set()
        self.image_ids: dict[str, str] = {}
        self.written: dict[str, int] = {}
        self.can_open: dict[str, bool] = {}
        """What is to be seen of attempts' device rules."""
        self.pull_error: Exception | None = None
        """Why no image can be pulled now."""
        self._late: list[tuple[int, Callable[[], object]]] = []
        self._handles = 0

    # the protocol

    def check(self) -> RuntimeCapabilities:
        """Say that all is well, unless the engine is down."""
        self._reach()
        return RuntimeCapabilities(version="simulated", images=True, devices="request")

    def resolve_image(self, reference: str, pull: bool, progress: Callable[[str], None]) -> str:
        """Return the id that a test gave the reference, or one made of it."""
        self._reach()
        if reference in self.missing_images:
            if not pull:
                raise NotFound(f"there is no local image {reference}", field="image")
            progress(f"pulling {reference}")
            if self.pull_error is not None:
                raise self.pull_error
            self.missing_images.discard(reference)
        if reference in self.image_ids:
            return self.image_ids[reference]
        return f"sha256:{reference.encode().hex():0<64.64}"

    def images(self) -> list[ImageInfo]:
        """List one image."""
        self._reach()
        return [ImageInfo(reference="simulated:latest", id="sha256:" + "0" * 64)]

    def create(self, request: RunRequest) -> str:
        """Create the attempt, or adopt one of this name and spec hash."""
        return self._call("create", lambda: self._create(request))

    def start(self, handle: str) -> None:
        """Start an attempt."""
        self._call("start", lambda: self._start(handle))

    def incarnation(self) -> str:
        """Count the restarts."""
        return "" if self.is_down else str(self.restarts)

    def observe(self) -> Mapping[str, Observed]:
        """Return what the engine believes, and which attempts are populated."""
        return self._call("observe", self._observe)

    def devices_of(self, handle: str) -> tuple[DeviceUuid, ...] | None:
        """Return the devices asked for, or what a test says."""
        self._reach()
        if self.wrong_devices is not None:
            return self.wrong_devices
        return self._container(handle).request.devices

    def written_bytes(self) -> Mapping[str, int]:
        """Return what a test says, by attempt."""
        self._reach()
        return {
            container.handle: self.written[name]
            for name, container in self.containers.items()
            if name in self.written
        }

    def signal(self, handle: str, signal: str) -> None:
        """Deliver a signal to a running attempt."""

        def effect() -> None:
            container = self._container(handle)
            process = self.truth.processes.get(container.request.name)
            if process is None or container.state is not RunState.RUNNING:
                return
            code = KILLED if signal == "SIGKILL" else process.script.term_exit_code
            if code is not None and not process.script.is_unkillable:
                self._end(process, code)

        self._call("signal", effect)

    def kill(self, handle: str) -> None:
        """SIGKILL by the kernel: works when the engine is down, on ghosts too."""
        self.settle()
        name = self._name_of(handle)
        process = self.truth.processes.get(name)
        if process is not None and not process.script.is_unkillable:
            self._end(process, KILLED)

    def is_gone(self, handle: str) -> bool:
        """Whether no process lives, read from the kernel: works when the engine is down."""
        self.settle()
        return self._name_of(handle) not in self.truth.processes

    def read_log(
        self,
        handle: str,
        *,
        tail: int | None = None,
        since_at: int | None = None,  # noqa: ARG002
        follow: bool = False,  # noqa: ARG002
        is_cancelled: Callable[[], bool] | None = None,  # noqa: ARG002
    ) -> Iterator[bytes]:
        """Yield the scripted log."""
        self._reach()
        lines = self._container(handle).script.log.splitlines(keepends=True)
        yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]

    def save_log(self, handle: str, path: str) -> None:
        """Write the scripted log."""

        def effect() -> None:
            Path(path).write_bytes(self._container(handle).script.log)

        self._call("save_log", effect)

    def remove(self, handle: str) -> None:
        """Forget an attempt; a ghost's process survives that, as on Docker 20.10."""

        def effect() -> None:
            for name, container in list(self.containers.items()):
                if container.handle == handle:
                    process = self.truth.processes.get(name)
                    if process is not None and container.state in _LIVING:
                        self._end(process, KILLED)
                    self._forget(name)

        self._call("remove", effect)

    def wait_event(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Know nothing."""
        return False

    def close(self) -> None:
        """Let go of nothing."""

    # what tests do to it

    def ghost(self, name: str) -> None:
        """Kill the engine inside the start: the process lives, the engine says created."""
        container = self.containers[name]
        container.state = RunState.CREATED
        container.started_at = None
        container.is_wedged = True

    def pause(self, name: str) -> None:
        """Freeze a running attempt by hand: no time passes for it."""
        container, process = self.containers[name], self.truth.processes[name]
        if container.state is RunState.RUNNING:
            container.state = RunState.PAUSED
            process.left_ms = process.ends_boot_ms - self._clock.boot_ms()
            process.ends_boot_ms = _NEVER

    def unpause(self, name: str) -> None:
        """Let a frozen attempt go on, if it is still there."""
        container, process = self.containers.get(name), self.truth.processes.get(name)
        if container is not None and container.state is RunState.PAUSED and process is not None:
            container.state = RunState.RUNNING
            process.ends_boot_ms = self._clock.boot_ms() + process.left_ms

    def restart(self, *, live_restore: bool = False) -> None:
        """Restart the engine; without live-restore everything in it dies."""
        self.settle()
        self._late.clear()
        self.restarts += 1
        if live_restore:
            return
        for container in self.containers.values():
            process = self.truth.processes.get(container.request.name)
            if process is not None and container.state in _LIVING:
                self._end(process, KILLED)

    def reboot(self) -> None:
        """Lose every process with the box; the engine finds its containers exited."""
        self._late.clear()
        self.restarts += 1
        for process in list(self.truth.processes.values()):
            self._end(process, KILLED)

    def remove_behind(self, name: str) -> None:
        """Remove a container by hand, as an admin would."""
        process = self.truth.processes.get(name)
        if process is not None:
            self._end(process, KILLED)
        self._forget(name)

    def lose(self, call: str, effect: Effect, after_s: float = 5.0) -> None:
        """Lose the answer of the next call of this kind."""
        self.lost_answers.append(LostAnswer(call, effect, after_s))

    def settle(self) -> None:
        """Let happen what is due by now: late effects, natural ends."""
        boot = self._clock.boot_ms()
        for due, effect in [late for late in self._late if late[0] <= boot]:
            self._late.remove((due, effect))
            try:
                effect()
            except (NotFound, Conflict, HostError):
                continue
        for process in list(self.truth.processes.values()):
            if process.ends_boot_ms <= boot:
                self._end(process, process.script.exit_code)

    # inside

    def _reach(self) -> None:
        self.settle()
        if self.is_down:
            raise Unavailable("the simulated engine does not answer")

    def _call(self, call: str, effect: Callable[[], T]) -> T:
        self._reach()
        lost = next((lost for lost in self.lost_answers if lost.call == call), None)
        if lost is None:
            return effect()
        self.lost_answers.remove(lost)
        if lost.effect is Effect.NOW:
            try:
                effect()
            except (NotFound, Conflict, HostError):
                pass
        elif lost.effect is Effect.LATER:
            self._late.append((self._clock.boot_ms() + int(lost.after_s * 1000), effect))
        raise OutcomeUnknown(f"the answer of {call} was lost")

    def _create(self, request: RunRequest) -> str:
        present = self.containers.get(request.name)
        if present is not None:
            if present.request.spec_hash() != request.spec_hash():
                raise Conflict(f"the name {request.name} is taken by something else")
            return present.handle
        if request.image in self.missing_images:
            raise NotFound(f"the image {request.image} is gone from this box", field="image")
        script = self._script(request)
        if script.create_error is not None:
            raise script.create_error
        self._handles += 1
        handle = f"c{self._handles:04d}/{request.name}"
        self.containers[request.name] = Container(handle, request, script)
        return handle

    def _start(self, handle: str) -> None:
        container = self._container(handle)
        if container.state is RunState.RUNNING:
            return
        if container.is_wedged:
            raise HostError("the engine says: task already exists")
        if container.script.start_error is not None:
            container.error = str(container.script.start_error)
            container.exit_code = 128
            raise container.script.start_error
        name = container.request.name
        container.state = RunState.RUNNING
        container.started_at = self._clock.now_ms()
        self.truth.starts.append(name)
        self.truth.processes[name] = Process(
            name,
            container.request.job_id,
            container.request.devices,
            self._clock.boot_ms() + int(container.script.run_s * 1000),
            container.script,
        )

    def _observe(self) -> Mapping[str, Observed]:
        return {
            name: Observed(
                name=name,
                handle=container.handle,
                state=container.state,
                spec_hash=container.request.spec_hash(),
                exit_code=container.exit_code,
                oom_killed=container.oom_killed,
                started_at=container.started_at,
                ended_at=container.ended_at,
                error=container.error,
                is_populated=name in self.truth.processes,
                can_open_devices=self.can_open.get(name),
            )
            for name, container in sorted(self.containers.items())
        }

    def _end(self, process: Process, code: int) -> None:
        del self.truth.processes[process.name]
        self.truth.exits[process.name] = code
        container = self.containers.get(process.name)
        if container is not None and container.state in _LIVING:
            container.state = RunState.EXITED
            container.exit_code = code
            container.oom_killed = process.script.oom_killed
            container.ended_at = self._clock.now_ms()

    def _forget(self, name: str) -> None:
        self.containers.pop(name, None)

    def _container(self, handle: str) -> Container:
        for container in self.containers.values():
            if container.handle == handle:
                return container
        raise NotFound(f"no such attempt: {handle}")

    def _name_of(self, handle: str) -> str:
        return handle.partition("/")[2]
