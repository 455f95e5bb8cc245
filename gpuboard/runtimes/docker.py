"""Jobs as containers of a Docker Engine: the runtime protocol over the SDK's low-level client.

What the engine says is one witness; whether processes live is read from the kernel's control
groups (`cgroups.py`), since a killed engine leaves running processes that it calls `created`.
Created by name exactly once, operated by id ever after, started once.
"""

from __future__ import annotations

import contextlib
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
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from gpuboard.model.ids import DeviceUuid
from gpuboard.runtimes import docker_logs
from gpuboard.runtimes.cgroups import ContainerCgroups
from gpuboard.runtimes.docker_api import DockerConnection
from gpuboard.runtimes.docker_check import EngineFacts, check_engine, engine_incarnation, engine_pid
from gpuboard.runtimes.docker_events import EventWatcher
from gpuboard.runtimes.docker_images import ImageStore
from gpuboard.runtimes.docker_look import INSPECT_TIMEOUT_S, ContainerLook
from gpuboard.runtimes.docker_names import ContainerNames, attempt_name
from gpuboard.runtimes.docker_networks import PersonNetworks
from gpuboard.runtimes.docker_words import words_of
from gpuboard.runtimes.mounts import MountBoard
from gpuboard.runtimes.profile import (
    LABEL_BOX,
    LABEL_DEVICES,
    ImageDefaults,
    container_profile,
)
from gpuboard.runtimes.protocol import (
    ImageInfo,
    Observed,
    RunRequest,
    RuntimeCapabilities,
)
from gpuboard.runtimes.sandbox import SandboxSettings

ADOPT_TIMEOUT_S = 30.0
MEASURE_TIMEOUT_S = 600.0
"""The engine walks every file that containers wrote."""


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
        self._look = ContainerLook(self._connection, box_id, self._cgroups)
        self._closed = (*closed, host.removeprefix("unix://"))
        self._mounts = MountBoard(f"{pin_dir}/{box_id}", closed=self._closed)
        self._networks = PersonNetworks(self._connection, box_id)
        self._events = EventWatcher(self._connection, box_id)
        self._injection = settings.device_injection
        self._can_size_disk = False
        """Whether the engine's storage driver bounds a container's writable layer."""
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
        except GpuboardError as error:
            self._new_since = _now_ms()
            if not isinstance(error, Unavailable | OutcomeUnknown):
                with contextlib.suppress(GpuboardError):
                    self._mounts.release(request.name)
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
            self._look.again(handle)

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
            self._persons.pop(handle, None)
        known_name = self._look.forget(handle)
        self._mounts.release(name or known_name)
        if is_networked:
            self._networks.tidy()

    # --- what is there -------------------------------------------------------------------------

    def incarnation(self) -> str:
        """Name the engine by pid and start time; empty when they cannot be told."""
        return engine_incarnation(self._connection.host)

    def observe(self) -> Mapping[str, Observed]:
        """Return all containers of this box by attempt: one list call, and an inspect for news."""
        with self._lock:
            starting = set(self._starting)
        return self._look.observe(starting)

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
        """Yield the log's bytes; `follow` until the container ended. On a thread of the reader's own."""
        pieces = (
            docker_logs.follow(
                self._connection,
                handle,
                tail=tail,
                since_at=since_at,
                is_cancelled=is_cancelled or (lambda: False),
                is_running=lambda: self._is_running(handle),
            )
            if follow
            else docker_logs.read_once(self._connection, handle, tail, since_at)
        )
        try:
            yield from pieces
        finally:
            self._connection.leave()

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
