"""Whether the engine behind the socket is one that gives a job the devices asked for, and no others.

An engine that ignores device requests starts the job without a GPU and says nothing (Podman 4.3's
compatible API, measured); so the engine is asked, not believed.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gpuboard.errors import HostError, RequestError
from gpuboard.runtimes.docker_api import DockerConnection
from gpuboard.runtimes.docker_words import CDI_HINT
from gpuboard.runtimes.protocol import RuntimeCapabilities

MIN_API = (1, 41)
"""Docker Engine 20.10."""
_HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
_CDI_NAME = re.compile(r"""name"?:\s*["']?((?:GPU|MIG)-[0-9A-Za-z/-]+)""")
_RISK = (
    "`systemctl daemon-reload` takes the GPUs from running containers (NVML: Unknown Error): the engine"
    " keeps them in systemd's control groups, and the toolkit's hook opened the GPUs behind its back"
)
_RISK_UNSEEN = "; control groups v2 do not show it, so nobody is told when it happens"
_RISK_MEND = (
    'let devices come by CDI (Docker 26 or later), or set "exec-opts":'
    ' ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json and restart Docker'
)
_PROBE_UUID = "GPU-00000000-0000-0000-0000-000000000000"
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class EngineFacts(msgspec.Struct, frozen=True):
    """What the check learned beyond the capabilities."""

    capabilities: RuntimeCapabilities
    cgroup_driver: str = ""
    can_size_disk: bool = False
    """Whether the storage driver bounds a container's writable layer."""
    data_root: str = ""
    """Where the engine keeps its images and containers."""
    pid: int = 0
    """The engine's process, from the socket's credentials; 0 when it is not local."""


def check_engine(connection: DockerConnection, box_id: str) -> EngineFacts:
    """Test the engine; raise HostError with the reason and the way out, Unavailable when it is down."""
    with connection.reading("asking the engine's version") as api:
        version = api.version()
        info = api.info()
    _check_product(version)
    _check_version(version)
    pid = engine_pid(connection.host)
    detail = [_check_device_requests(connection, box_id)]
    devices, words = _device_path(info, pid)
    risk = reload_risk(info, devices)
    detail.append(words)
    if info.get("CgroupDriver") == "none":
        raise HostError("the engine runs without control groups (rootless): limits cannot be kept")
    return EngineFacts(
        capabilities=RuntimeCapabilities(
            version=str(version.get("Version", "")),
            images=True,
            devices=devices,
            data_root=_data_root(info, pid),
            detail="; ".join(part for part in detail if part),
            device_risk=risk,
            device_risk_mend=_RISK_MEND if risk else "",
        ),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        can_size_disk=_can_size_disk(connection, box_id),
        data_root=str(info.get("DockerRootDir") or ""),
        pid=pid,
    )


def _check_product(version: Mapping[str, Any]) -> None:
    names = [str(part.get("Name", "")) for part in version.get("Components") or ()]
    if any("podman" in name.lower() for name in names):
        raise HostError(
            "this is Podman's compatible API: it ignores device requests without a word,"
            " so a job would start without its GPUs",
            hint="point [docker] host at a Docker Engine 20.10 or later",
        )


def _check_version(version: Mapping[str, Any]) -> None:
    spoken = str(version.get("ApiVersion", "0.0"))
    numbers = tuple(int(word) for word in spoken.split(".") if word.isdigit())
    if numbers < MIN_API:
        raise HostError(
            f"Docker Engine {version.get('Version')} speaks API {spoken}; 1.41 is needed",
            hint="install Docker Engine 20.10 or later",
        )


def _check_device_requests(connection: DockerConnection, box_id: str) -> str:
    """Create (never start) a container with a device request and read the request back."""
    with connection.reading("testing device requests") as api:
        images = api.images(quiet=True)
        if not images:
            return "no image to test device requests with"
        body = {
            "Image": images[0],
            "Cmd": ["true"],
            "HostConfig": {
                "NetworkMode": "none",
                "DeviceRequests": [
                    {"Driver": "nvidia", "DeviceIDs": [_PROBE_UUID], "Capabilities": [["gpu"]]}
                ],
            },
        }
        name = f"gpuboard-probe-{box_id}-{secrets.token_hex(4)}"[:120]
        made = api.create_container_from_config(body, name)["Id"]  # type: ignore[no-untyped-call]
        try:
            config = api.inspect_container(made)["HostConfig"]
        finally:
            api.remove_container(made, v=True, force=True)
    recorded = config.get("DeviceRequests") or []
    if [request.get("DeviceIDs") for request in recorded] != [[_PROBE_UUID]]:
        raise HostError(
            "the engine ignores device requests: a job would start without its GPUs",
            hint="point [docker] host at a Docker Engine 20.10 or later",
        )
    return ""


def _can_size_disk(connection: DockerConnection, box_id: str) -> bool:
    """Say whether a container with a bounded writable layer can be created; it is never started.

    The engine's own words do not tell: on overlay2 it depends on how its xfs was mounted.
    """
    name = f"gpuboard-probe-{box_id}-{secrets.token_hex(4)}"[:120]
    try:
        with connection.reading("testing bounded disks") as api:
            images = api.images(quiet=True)
            body = {
                "Image": (images or [""])[0],
                "Cmd": ["true"],
                "HostConfig": {"NetworkMode": "none", "StorageOpt": {"size": "1G"}},
            }
            made = api.create_container_from_config(body, name)["Id"]  # type: ignore[no-untyped-call]
            api.remove_container(made, v=True, force=True)
    except (HostError, RequestError):
        return False
    return True


def _device_path(info: Mapping[str, Any], pid: int) -> tuple[str, str]:
    """Return how devices are opened here: `cdi` where its specs name UUIDs, else the toolkit's hook."""
    unnamed = ""
    for directory in info.get("CDISpecDirs") or ():
        named = _cdi_uuids(_as_engine_sees(directory, pid))
        if named:
            return "cdi", f"devices by CDI from {directory} ({len(named)} named by UUID)"
        if named is not None:
            unnamed = f"the CDI specification in {directory} names no device by UUID: {CDI_HINT}"
    for folder in _engine_path(pid).split(":"):
        for hook in _HOOKS:
            if os.access(Path(folder, hook), os.X_OK):
                return "request", f"devices by {hook}"
    if "nvidia" in (info.get("Runtimes") or {}):
        return "request", "devices by the nvidia runtime's toolkit"
    return "", unnamed or "no NVIDIA container toolkit: containers get no GPUs"


def reload_risk(info: Mapping[str, Any], devices: str) -> str:
    """Say how systemd, when it reloads, takes from containers what a hook opened for them; empty: not.

    NVIDIA Container Toolkit, Troubleshooting, "Containers losing access to GPUs with error: Failed to
    initialize NVML: Unknown Error".
    """
    if devices != "request" or info.get("CgroupDriver") != "systemd":
        return ""
    return _RISK + (_RISK_UNSEEN if str(info.get("CgroupVersion")) == "2" else "")


def _data_root(info: Mapping[str, Any], pid: int) -> str:
    """Return where the engine keeps images and containers; empty where we cannot look there."""
    named = str(info.get("DockerRootDir") or "")
    places = (named, str(_as_engine_sees(named, pid))) if named else ()
    return next((place for place in places if Path(place).is_dir()), "")


def _as_engine_sees(path: str, pid: int) -> Path:
    """Return where a path of the engine's lies for us: it may have another root (a snap, a chroot)."""
    inner = Path(f"/proc/{pid}/root") / path.lstrip("/")
    try:
        return inner if pid and inner.is_dir() else Path(path)
    except OSError:
        return Path(path)


def _cdi_uuids(directory: Path) -> set[str] | None:
    """Return the UUIDs by which NVIDIA's CDI specifications name devices; None without any."""
    try:
        files = [*directory.glob("*.yaml"), *directory.glob("*.json")]
        texts = [file.read_text(errors="replace") for file in files]
    except OSError:
        return None
    ours = [text for text in texts if "nvidia.com/gpu" in text]
    return {uuid for text in ours for uuid in _CDI_NAME.findall(text)} if ours else None


def _engine_path(pid: int) -> str:
    """Return the PATH in which the engine looks for hooks."""
    if pid:
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return _USUAL_PATH
        for entry in entries:
            if entry.startswith(b"PATH="):
                return os.fsdecode(entry[5:])
    return _USUAL_PATH


def engine_pid(host: str) -> int:
    """Return the pid behind a unix socket; 0 when it cannot be told (TCP, ssh, another namespace)."""
    path = host.removeprefix("unix://")
    if not path.startswith("/"):
        return 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(path)
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return 0
    pid = int(struct.unpack("3i", raw)[0])
    if pid > 0 and _is_engine(pid):
        return pid
    return _pid_from_file() if pid == 1 else 0


def engine_incarnation(host: str) -> str:
    """Return `pid:start time` of the engine behind a unix socket; empty when it cannot be told."""
    pid = engine_pid(host)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    started = stat.rpartition(")")[2].split()[_START_FIELD]
    return f"{pid}:{started}"


_START_FIELD = 19
"""Of `/proc/<pid>/stat`, counted after the command, which may hold blanks (proc_pid_stat(5): field 22)."""


def _is_engine(pid: int) -> bool:
    try:
        return "dockerd" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False


def _pid_from_file() -> int:
    """Return the engine's pid from its pid file: with socket activation, pid 1 is the listener."""
    try:
        pid = int(Path("/run/docker.pid").read_text())
    except (OSError, ValueError):
        return 0
    return pid if _is_engine(pid) else 0
