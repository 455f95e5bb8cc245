"""The one profile that every container gets: each field of the engine's create call, built here.

Pure. The engine takes `privileged`, `pid=host`, `group_add 0` and a mount of /etc without a word
(SAFETY.md B3), so nothing is passed through: what a person asked for was checked by `sandbox.py`
and is checked again, and what is not built here is not in the container.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gpuboard.errors import InvalidRequest
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.job import Mount
from gpuboard.runtimes.ports import port_fields
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.sandbox import (
    SandboxSettings,
    check_command,
    check_devices,
    check_environment,
    check_image_environment,
    check_stop,
    check_volume,
    check_workdir_inside,
    is_below,
    plain_path,
)

LABEL_JOB = "gpuboard.job"
LABEL_ATTEMPT = "gpuboard.attempt"
LABEL_UID = "gpuboard.uid"
LABEL_SPEC = "gpuboard.spec"
LABEL_BOX = "gpuboard.box"
LABEL_DEVICES = "gpuboard.devices"

_HOOK_SWITCHES = (
    *("NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_IMEX_CHANNELS"),
    *("NVIDIA_GDS", "NVIDIA_MOFED", "NVIDIA_NVSWITCH", "NVIDIA_GDRCOPY"),
)
"""What an image's ENV could ask of the container toolkit beyond the lease: emptied for every job."""
_CHANGE_DIRECTORY = 'cd "$1" && shift && exec "$@"'


class ImageDefaults(msgspec.Struct, frozen=True):
    """What an image brings along."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    workdir: str = ""
    volumes: tuple[str, ...] = ()


def container_profile(
    request: RunRequest,
    settings: SandboxSettings,
    *,
    box_id: str,
    mounts: Sequence[Mount],
    image: ImageDefaults = ImageDefaults(),  # noqa: B008 - frozen
    injection: str = "request",
    can_size_disk: bool = False,
    network: str = "none",
) -> dict[str, Any]:
    """Return the whole body of the engine's create call.

    Args:
        request: the attempt; its own `mounts` are what was asked for and are not used here.
        settings: what the admin allows.
        box_id: whose container it is, when several daemons share an engine.
        mounts: sources that `mounts.py` found safe, home included.
        image: what the image brings along.
        injection: how devices are opened here: `request`, `cdi` or `label`.
        can_size_disk: whether the engine's storage driver bounds the writable layer.
        network: the network to join, the person's own; used unless the admin allows none.
    """
    person_env = {k: v for k, v in request.env.items() if not k.startswith("GPUBOARD_")}
    has_devices = bool(request.devices)
    check_environment(person_env, settings.max_env_bytes, has_devices=has_devices)
    check_command(request.command)
    check_devices(request.devices)
    check_workdir_inside(request.workdir)
    check_stop(request.stop_signal, request.grace_s, settings.max_grace_s)
    if has_devices:
        inherited = {**image.env, **_library_path(image.env)}
        check_image_environment({k: v for k, v in inherited.items() if k not in person_env})
    exposed, bound = port_fields(request.ports, settings.network)
    entrypoint, command, workdir = _launch(request, mounts, image)
    body: dict[str, Any] = {
        "Image": request.image_id or request.image,
        "User": f"{request.uid}:{request.gid}",
        "Env": [f"{k}={v}" for k, v in _environment(request, mounts, image, injection).items()],
        "Labels": _labels(request, box_id),
        "StopSignal": request.stop_signal,
        "StopTimeout": request.grace_s,
        **exposed,
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": {
            **_host_config(request, settings, mounts, injection),
            **bound,
            "NetworkMode": network if settings.network != "none" else "none",
            **_disk(settings, mounts, image.volumes, can_size_disk=can_size_disk),
        },
    }
    if command:
        body["Cmd"] = command
    if entrypoint:
        body["Entrypoint"] = entrypoint
    if workdir:
        body["WorkingDir"] = workdir
    return body


def _host_config(
    request: RunRequest, settings: SandboxSettings, mounts: Sequence[Mount], injection: str
) -> dict[str, Any]:
    memory = request.memory_bytes or settings.default_memory_bytes or settings.max_memory_bytes
    shm = request.shm_bytes or settings.default_shm_bytes
    config: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "Init": True,
        "IpcMode": "private",
        "GroupAdd": [str(gid) for gid in request.groups if gid != request.gid],
        "PidsLimit": request.pids or settings.pids_limit,
        "ShmSize": min(shm, memory) if memory else shm,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {
            "Type": "local",
            "Config": {
                "max-size": str(settings.log_max_bytes),
                "max-file": str(settings.log_files),
            },
        },
        "Mounts": [_bind(mount) for mount in mounts],
    }
    if memory:
        config["Memory"] = config["MemorySwap"] = memory
    if request.cpus or settings.max_cpus:
        config["NanoCpus"] = round((request.cpus or settings.max_cpus or 0) * 1e9)
    if request.cpuset:
        config["CpusetCpus"] = request.cpuset
    if request.devices and injection != "label":
        config["DeviceRequests"] = [_device_request(request.devices, injection)]
    if not request.devices or injection != "request":
        config["Runtime"] = "runc"
    return config


def _disk(
    settings: SandboxSettings,
    mounts: Sequence[Mount],
    volumes: Sequence[str],
    *,
    can_size_disk: bool,
) -> dict[str, Any]:
    """Return what bounds that which is written beside the mounts.

    A volume that the image declares would be a directory of the engine's that no bound knows of. One
    that lies in a mount would be made there by root on the host, or follow a link to any place.
    """
    options = f"rw,nosuid,nodev,exec,mode=1777,size={settings.tmp_bytes}"
    tmpfs = {check_volume(path): options for path in volumes}
    for mount in mounts:
        for path in tmpfs:
            if path != mount.target and is_below(path, mount.target):
                raise InvalidRequest(
                    f"the image keeps a volume on {path}, which lies in the mount on {mount.target}",
                    field="mounts",
                    hint="mount it elsewhere",
                )
    bounds: dict[str, Any] = {}
    if settings.read_only_root:
        tmpfs |= dict.fromkeys(("/tmp", "/var/tmp"), options.replace(",exec", ""))  # noqa: S108
        bounds["ReadonlyRootfs"] = True
    elif settings.max_disk_bytes is not None and can_size_disk:
        bounds["StorageOpt"] = {"size": str(settings.max_disk_bytes)}
    tmpfs = {
        path: how
        for path, how in tmpfs.items()
        if not any(is_below(path, m.target) for m in mounts)
    }
    return {**bounds, "Tmpfs": tmpfs} if tmpfs else bounds


def _bind(mount: Mount) -> dict[str, Any]:
    """Return a mount whose missing source is an error; Docker's `Binds` would create it as root."""
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _device_request(devices: Sequence[DeviceUuid], injection: str) -> dict[str, Any]:
    """Return the one request: of two, the engine keeps only the last."""
    if injection == "cdi":
        return {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}" for uuid in devices]}
    return {"Driver": "nvidia", "DeviceIDs": list(devices), "Capabilities": [["gpu"]]}


def _environment(
    request: RunRequest, mounts: Sequence[Mount], image: ImageDefaults, injection: str
) -> dict[str, str]:
    has_home = any(is_below(request.home, mount.target) for mount in mounts) and request.home
    opens = bool(request.devices) and injection == "request"
    env = {
        "HOME": request.home if has_home else "/tmp",  # noqa: S108 - inside the container
        "USER": request.user,
        "LOGNAME": request.user,
        **{name: "" for name in _HOOK_SWITCHES if name in image.env},
        **(_library_path(image.env) if request.devices else {}),
        "CUDA_VISIBLE_DEVICES": _cuda_devices(request.devices),
        **request.env,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "NVIDIA_VISIBLE_DEVICES": ",".join(request.devices) if opens else "void",
    }
    if opens:
        env.setdefault("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")
    return env


def _library_path(env: Mapping[str, str]) -> dict[str, str]:
    """Return the image's path without its empty parts, which many have by a slip and mean `.`."""
    parts = env.get("LD_LIBRARY_PATH", "").split(":")
    return {"LD_LIBRARY_PATH": ":".join(filter(None, parts))} if any(parts) else {}


def _cuda_devices(devices: Sequence[DeviceUuid]) -> str:
    """Return how CUDA calls the devices inside, where there are no others: from 0 on.

    Launchers read numbers here. MIG instances have none that is sure; `-1` hides every device.
    """
    if any(device.startswith("MIG-") for device in devices):
        return ",".join(devices)
    return ",".join(map(str, range(len(devices)))) or "-1"


def _labels(request: RunRequest, box_id: str) -> dict[str, str]:
    return {
        LABEL_JOB: str(request.job_id),
        LABEL_ATTEMPT: str(request.attempt),
        LABEL_UID: str(request.uid),
        LABEL_SPEC: request.spec_hash(),
        LABEL_BOX: box_id,
        LABEL_DEVICES: ",".join(request.devices),
    }


def _launch(
    request: RunRequest, mounts: Sequence[Mount], image: ImageDefaults
) -> tuple[list[str], list[str], str]:
    """Return entrypoint, command and working directory (empty: the image's own).

    A working directory below a mount, the image's own too, is entered by a shell inside, as the
    person: the engine would create a missing one there as root, on the host (measured).
    """
    command = list(request.command)
    workdir = plain_path(request.workdir or image.workdir or "/")
    below = any(workdir != m.target and is_below(workdir, m.target) for m in mounts)
    if not below:
        return [], command, workdir if request.workdir else ""
    words = [*image.entrypoint, *(command or image.command)]
    if not words:
        raise InvalidRequest("the image has no command of its own: give one", field="command")
    return ["sh", "-c", _CHANGE_DIRECTORY, "sh", workdir], words, "/"
