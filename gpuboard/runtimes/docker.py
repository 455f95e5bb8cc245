"""Jobs as containers of a Docker Engine: the runtime protocol over the SDK's low-level client.

What the engine says is one witness; whether processes live is read from the kernel's control
groups (`cgroups.py`), since a killed engine leaves running processes that it calls `created`.
Created by name exactly once, operated by id ever after, started once.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gpuboard.errors import (
    Conflict,
    DeviceSetupBroken,
    GpuboardError,
    HostError,
    NotFound,
    Unavailable,
)
from gpuboard.model.ids import DeviceUuid
from gpuboard.runtimes import docker_logs
from gpuboard.runtimes.cgroups import ContainerCgroups
from gpuboard.runtimes.docker_api import DockerConnection, instant_ms
from gpuboard.runtimes.docker_check import EngineFacts, check_engine, engine_incarnation, engine_pid
from gpuboard.runtimes.docker_events import EventWatcher
from gpuboard.runtimes.docker_images import ImageStore
from gpuboard.runtimes.docker_names import ContainerNames, attempt_name, called
from gpuboard.runtimes.docker_networks import PersonNetworks
from gpuboard.runtimes.docker_words import words_of
from gpuboard.runtimes.mounts import MountBoard
from gpuboard.runtimes.profile import (
    LABEL_BOX,
    LABEL_DEVICES,
    LABEL_SPEC,
    ImageDefaults,
    container_profile,
)
from gpuboard.runtimes.protocol import (
    ImageInfo,
    Observed,
    RunRequest,
    RunState,
    RuntimeCapabilities,
)
from gpuboard.runtimes.sandbox import SandboxSettings

INSPECT_TIMEOUT_S = 2.0
"""Inspecting a container whose start hangs in a hook blocks on the container's lock."""
INSPECTS_A_PASS = 64
CREATED_RECHECK_S = 5.0
"""A container that was only created says nothing new until a start of it failed."""
ADOPT_TIMEOUT_S = 30.0
MEASURE_TIMEOUT_S = 600.0
"""The engine walks every file that containers wrote."""
_EXITED_TEXT = re.compile(r"Exited \((\d+)\)")
_STATES = {
    "created": RunState.CREATED,
    "running": RunState.RUNNING,
    "restarting": RunState.RUNNING,
    "paused": RunState.PAUSED,
    "exited": RunState.EXITED,
    "removing": RunState.EXITED,
    "dead": RunState.EXITED,
}


class DockerRuntime:
    """Runs attempts as containers.

    Args:
        host: the engine's address, `unix:///run/docker.sock`.
        settings: what the admin allows of a container.
        box_id: tells this daemon's containers from another's on the same engine.
        pin_dir: where mounts are pinned (root's own, not on a disk that outlives the box).
        closed: directories that are never mounted: the daemon's own.
    """

    name = "docker"

    def __init__(
        self,
        host: str,
        settings: SandboxSettings,
        box_id: str,
        *,
        pin_dir: str = "/run/gpuboard/mounts",
        closed: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._box_id = box_id
        self._connection = DockerConnection(host)
        self._names = ContainerNames(self._connection, box_id)
        self._images = ImageStore(self._connection, settings)
        self._cgroups = ContainerCgroups()
        self._closed = (*closed, host.removeprefix("unix://"))
        self._mounts = MountBoard(f"{pin_dir}/{box_id}", closed=self._closed)
        self._networks = PersonNetworks(self._connection, box_id)
        self._events = EventWatcher(self._connection, box_id)
        self._injection = settings.device_injection
        self._can_size_disk = False
        """Whether the engine's storage driver bounds a container's writable layer."""
        self._known: dict[str, Observed] = {}
        """Facts of running and ended containers that do not change any more, by id."""
        self._looked_at: dict[str, float] = {}
        """When a created container was last inspected (monotonic seconds), by id."""
        self._setup_fault = ""
        """Why the last container with devices could not start, until one runs."""
        self._persons: dict[str, tuple[str, ...]] = {}
        """What the engine may quote of a created container's job, by id, until it is started."""
        self._starting: set[str] = set()
        self._creating: set[str] = set()
        self._new_since = _now_ms()
        """Of attempts granted later (ms since the epoch) no create was tried that failed."""
        self._lock = threading.Lock()

    # --- engine and images ---------------------------------------------------------------------

    def check(self) -> RuntimeCapabilities:
        """Test the engine for what gpuboard needs; HostError with the reason and the way out."""
        facts: EngineFacts = check_engine(self._connection, self._box_id)
        self._mounts.engine_pid = facts.pid
        self._mounts.closed = (*self._closed, *filter(None, [facts.data_root]))
        self._can_size_disk = facts.can_size_disk
        if self._settings.device_injection == "auto":
            self._injection = facts.capabilities.devices or "request"
        self._sweep_pins()
        self._networks.tidy()
        return msgspec.structs.replace(facts.capabilities, setup_fault=self._setup_fault)

    def take_settings(self, settings: SandboxSettings) -> None:
        """Have attempts created from now on be what the admin allows now."""
        self._settings = self._images.settings = settings

    def _sweep_pins(self) -> None:
        """Let go of pinned mounts whose container is gone: what a crash left behind."""
        pinned = self._mounts.names()
        if not pinned:
            return
        with self._lock:
            busy = set(self._creating)
        for name in pinned - busy - set(self.observe()):
            with contextlib.suppress(GpuboardError):
                self._mounts.release(name)

    def resolve_image(self, reference: str, pull: bool, progress: Callable[[str], None]) -> str:
        """Return the image's id; pull it first when absent, wanted and allowed."""
        return self._images.resolve(reference, pull, progress)

    def images(self) -> list[ImageInfo]:
        """List the local images that jobs may use."""
        return self._images.local()

    # --- one attempt's life --------------------------------------------------------------------

    def create(self, request: RunRequest) -> str:
        """Create the container and return its id; one of this attempt, box and spec is adopted."""
        handle = "" if self._is_new(request) else self._names.find(request)
        image = ImageDefaults()
        if handle:
            with contextlib.suppress(NotFound):
                image = self._image_of(request)
        else:
            image = self._image_of(request)
            handle = self._create_new(request, image)
        with self._lock:
            self._persons[handle] = words_of(request, image)
        return handle

    def _is_new(self, request: RunRequest) -> bool:
        """Whether nobody can have made the attempt: granted in our time, and never tried.

        It saves a round trip. Where it is wrong (a clock set back), the name is taken all the same.
        """
        return request.granted_at > self._new_since

    def _create_new(self, request: RunRequest, image: ImageDefaults) -> str:
        with self._lock:
            self._creating.add(request.name)
        try:
            with self._network_of(request) as network:
                body = self._profile(request, image, network)
                return self._create_once(request, body, words_of(request, image))
        except GpuboardError:
            self._new_since = _now_ms()
            raise
        finally:
            with self._lock:
                self._creating.discard(request.name)

    def _network_of(self, request: RunRequest) -> contextlib.AbstractContextManager[str]:
        if self._settings.network == "none":
            return contextlib.nullcontext("none")
        return self._networks.lent(request.uid)

    def _profile(self, request: RunRequest, image: ImageDefaults, network: str) -> dict[str, Any]:
        if not self._mounts.engine_pid:
            self._mounts.engine_pid = engine_pid(self._connection.host)
        return container_profile(
            request,
            self._settings,
            box_id=self._box_id,
            mounts=self._mounts.resolve(request, self._settings),
            image=image,
            injection="request" if self._injection == "auto" else self._injection,
            can_size_disk=self._can_size_disk,
            network=network,
        )

    def _create_once(
        self, request: RunRequest, body: dict[str, Any], persons: tuple[str, ...]
    ) -> str:
        """Create by name; when another creator was first, adopt what it made.

        Between the other's reservation of the name and its container, the engine answers 409 to a
        create and 404 to an inspect.
        """
        deadline = time.monotonic() + ADOPT_TIMEOUT_S
        name = request.name
        while True:
            try:
                with self._connection.acting(f"creating {name}", persons=persons) as api:
                    return str(api.create_container_from_config(body, name)["Id"])  # type: ignore[no-untyped-call]
            except NotFound as error:
                raise _image_gone(request) from error
            except Conflict:
                found = self._names.find(request)
                if found:
                    return found
                with contextlib.suppress(NotFound):
                    found = self._names.find_called(request)
                    if found:
                        return found
                    other = self._names.other_name(request)
                    if not other:
                        raise self._names.taken(name) from None
                    name = other
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _image_of(self, request: RunRequest) -> ImageDefaults:
        try:
            return self._images.defaults(request.image_id or request.image)
        except NotFound as error:
            raise _image_gone(request) from error

    def start(self, handle: str) -> None:
        """Start a created container; OutcomeUnknown when the answer was lost. Never called twice."""
        with self._lock:
            self._starting.add(handle)
            persons = self._persons.pop(handle, ())
        try:
            with self._connection.acting("starting the container", persons=persons) as api:
                api.start(handle)
        except DeviceSetupBroken as error:
            self._setup_fault = error.message
            raise
        finally:
            with self._lock:
                self._starting.discard(handle)
                self._looked_at.pop(handle, None)

    def signal(self, handle: str, signal: str) -> None:
        """Send a signal to the container's main process; one that does not run is fine."""
        with (
            contextlib.suppress(Conflict),
            self._connection.reading("signalling the container") as api,
        ):
            api.kill(handle, signal)

    def kill(self, handle: str) -> None:
        """SIGKILL everything in the container, through the kernel first: that ends ghosts too."""
        if self._cgroups.kill(handle, grace_s=1.0) and self._cgroups.has_seen(handle):
            return
        with (
            contextlib.suppress(NotFound, Conflict),
            self._connection.reading("killing the container", 20.0) as api,
        ):
            api.kill(handle)
        self._cgroups.kill(handle)

    def is_gone(self, handle: str) -> bool:
        """Whether the container's control group is empty; of one never seen, the engine is asked, too."""
        if self._cgroups.pids(handle):
            return False
        return self._cgroups.has_seen(handle) or not self._main_process(handle)

    def _main_process(self, handle: str) -> int:
        """Return the pid that the engine knows, if it lives; 0 for none. Learn where its group is."""
        with (
            contextlib.suppress(NotFound),
            self._connection.reading("looking at the container", INSPECT_TIMEOUT_S) as api,
        ):
            pid = int(api.inspect_container(handle)["State"].get("Pid") or 0)
            self._cgroups.learn(handle, pid)
            return pid if pid and Path(f"/proc/{pid}").exists() else 0
        return 0

    def remove(self, handle: str) -> None:
        """Remove the container and let go of its mounts; one that is removed already is fine."""
        name, is_networked = "", False
        try:
            with self._connection.reading("removing the container", 120.0) as api:
                found = api.inspect_container(handle)
                labels = found["Config"].get("Labels") or {}
                name = attempt_name(labels, [str(found["Name"])])
                is_networked = found["HostConfig"]["NetworkMode"] != "none"
                api.remove_container(handle, v=True, force=True)
        except NotFound:
            pass
        except Conflict as error:
            if "already in progress" not in error.message:
                raise
        with self._lock:
            known = self._known.pop(handle, None)
            self._persons.pop(handle, None)
        self._mounts.release(name or (known.name if known else ""))
        if is_networked:
            self._networks.tidy()

    # --- what is there -------------------------------------------------------------------------

    def incarnation(self) -> str:
        """Name the engine by pid and start time; empty when they cannot be told."""
        return engine_incarnation(self._connection.host)

    def observe(self) -> Mapping[str, Observed]:
        """Return all containers of this box by attempt: one list call, and an inspect for news.

        One that bears the marks of an attempt that is there already goes by what it is called.
        """
        filters = {"label": f"{LABEL_BOX}={self._box_id}"}
        with self._connection.reading("listing containers") as api:
            rows = api.containers(all=True, filters=filters)
        with self._lock:
            starting = set(self._starting)
        alive = self._alive([str(row["Id"]) for row in rows if str(row["Id"]) not in starting])
        budget = INSPECTS_A_PASS
        seen: dict[str, Observed] = {}
        for row in sorted(rows, key=lambda row: not _is_called_so(row)):
            summary = _summary(row, alive.get(str(row["Id"])))
            if self._needs_inspect(summary) and budget > 0:
                budget -= 1
                summary = self._inspected(summary)
            else:
                summary = self._with_known(summary)
            summary = self._with_devices(summary)
            seen[summary.name if summary.name not in seen else _called(row)] = summary
        live = {item.handle for item in seen.values()}
        with self._lock:
            self._cgroups.keep(live)
            for facts in (self._known, self._looked_at):
                for handle in facts.keys() - live:
                    del facts[handle]
        return seen

    def _with_devices(self, summary: Observed) -> Observed:
        """Return the summary with the kernel's word on whether GPUs can be opened in the container."""
        if summary.state is not RunState.RUNNING:
            return summary
        can_open = self._cgroups.may_open_gpus(summary.handle)
        return msgspec.structs.replace(summary, can_open_devices=can_open)

    def _alive(self, handles: list[str]) -> dict[str, bool]:
        """Return which containers are populated, by the kernel; nothing when that cannot be seen."""
        try:
            return {handle: bool(pids) for handle, pids in self._cgroups.pids_of(handles).items()}
        except HostError:
            return {}

    def _needs_inspect(self, summary: Observed) -> bool:
        """Whether the engine knows more: not of a start that is under way, and once of each state."""
        with self._lock:
            if summary.handle in self._starting:
                return False
            known = self._known.get(summary.handle)
            looked_at = self._looked_at.get(summary.handle, -CREATED_RECHECK_S)
        if summary.state is RunState.CREATED and known is None:
            return time.monotonic() - looked_at >= CREATED_RECHECK_S
        return known is None or known.state is not summary.state

    def _with_known(self, summary: Observed) -> Observed:
        with self._lock:
            known = self._known.get(summary.handle)
        if known is None or known.state is not summary.state:
            return summary
        return _joined(summary, known)

    def _inspected(self, summary: Observed) -> Observed:
        """Return the summary with times, exit code and error; as it is when the engine is slow."""
        try:
            with self._connection.reading("inspecting", INSPECT_TIMEOUT_S) as api:
                state = api.inspect_container(summary.handle)["State"]
        except (NotFound, Unavailable):
            return summary
        self._cgroups.learn(summary.handle, int(state.get("Pid") or 0))
        known = _facts(summary, state)
        with self._lock:
            self._looked_at[summary.handle] = time.monotonic()
            if known.state is not RunState.CREATED or known.error:
                self._known[summary.handle] = known
        return _joined(summary, known)

    def devices_of(self, handle: str) -> tuple[DeviceUuid, ...] | None:
        """Read back the devices of the container's request (or, simulated, of its label)."""
        with self._connection.reading("reading the devices back") as api:
            found = api.inspect_container(handle)
        if self._injection == "label":
            words = (found["Config"].get("Labels") or {}).get(LABEL_DEVICES, "")
            return tuple(DeviceUuid(word) for word in words.split(",") if word)
        requests = found["HostConfig"].get("DeviceRequests") or []
        if requests and found["State"]["Running"]:
            self._setup_fault = ""
        return tuple(
            DeviceUuid(str(word).removeprefix("nvidia.com/gpu="))
            for request in requests
            for word in request.get("DeviceIDs") or ()
        )

    def written_bytes(self) -> Mapping[str, int]:
        """Return the size of each running container's writable layer, by id."""
        filters = {"label": f"{LABEL_BOX}={self._box_id}"}
        with self._connection.reading("measuring containers", MEASURE_TIMEOUT_S) as api:
            rows = api.containers(size=True, filters=filters)
        return {str(row["Id"]): int(row.get("SizeRw") or 0) for row in rows}

    def wait_event(self, timeout_s: float) -> bool:
        """Block until something may have changed, or the time is over."""
        return self._events.wait(timeout_s)

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
        """Yield the log's bytes; `follow` until the container ended."""
        if not follow:
            return docker_logs.read_once(self._connection, handle, tail, since_at)
        return docker_logs.follow(
            self._connection,
            handle,
            tail=tail,
            since_at=since_at,
            is_cancelled=is_cancelled or (lambda: False),
            is_running=lambda: self._is_running(handle),
        )

    def _is_running(self, handle: str) -> bool:
        with self._connection.reading("looking at the container") as api:
            state = api.inspect_container(handle)["State"]
        return bool(state.get("Running"))

    def save_log(self, handle: str, path: str) -> None:
        """Write the whole log to a file (0600, by rename)."""
        docker_logs.save(self._connection, handle, Path(path))

    def close(self) -> None:
        """End the event thread and close all connections."""
        self._events.close()
        self._connection.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _image_gone(request: RunRequest) -> NotFound:
    return NotFound(f"the image {request.image} is gone from this box", field="image")


def _summary(row: Mapping[str, Any], populated: bool | None) -> Observed:
    """Return what the list itself says of a container, with the kernel's word on its processes."""
    code = _EXITED_TEXT.match(str(row.get("Status", "")))
    return Observed(
        name=attempt_name(row.get("Labels") or {}, _names(row)),
        handle=str(row["Id"]),
        state=_STATES.get(str(row.get("State")), RunState.EXITED),
        spec_hash=(row.get("Labels") or {}).get(LABEL_SPEC, ""),
        exit_code=int(code[1]) if code else None,
        is_populated=populated,
    )


def _names(row: Mapping[str, Any]) -> list[str]:
    return row.get("Names") or [str(row["Id"])]


def _called(row: Mapping[str, Any]) -> str:
    return called(_names(row))


def _is_called_so(row: Mapping[str, Any]) -> bool:
    """Whether a container bears the name of the attempt that its labels name."""
    return attempt_name(row.get("Labels") or {}, _names(row)) == _called(row)


def _facts(summary: Observed, state: Mapping[str, Any]) -> Observed:
    """Return what an inspection says."""
    status = _STATES.get(str(state.get("Status")), summary.state)
    error = str(state.get("Error") or "")
    started_at = instant_ms(str(state.get("StartedAt", "")))
    ended_at = instant_ms(str(state.get("FinishedAt", "")))
    has_code = status is RunState.EXITED or (status is RunState.CREATED and error)
    return Observed(
        name=summary.name,
        handle=summary.handle,
        state=status,
        exit_code=int(state.get("ExitCode", 0)) if has_code else None,
        oom_killed=bool(state.get("OOMKilled")),
        started_at=started_at,
        # of a very short run the engine stamps the end before the start
        ended_at=max(ended_at, started_at or 0) if has_code and ended_at else None,
        error=error,
    )


def _joined(summary: Observed, known: Observed) -> Observed:
    """Return the inspection's facts with the list's identity and the kernel's present word."""
    return Observed(
        name=summary.name,
        handle=summary.handle,
        state=known.state,
        spec_hash=summary.spec_hash,
        exit_code=known.exit_code if known.exit_code is not None else summary.exit_code,
        oom_killed=known.oom_killed,
        started_at=known.started_at,
        ended_at=known.ended_at,
        error=known.error,
        is_populated=summary.is_populated,
    )
