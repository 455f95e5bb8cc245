"""What a person may ask of a job: refused with the field's name, or harmless.

Pure: no file is looked at here (`mounts.py` does that), so that every attack of SAFETY.md B7 is one
line of a table test. Nothing that a person sends reaches the engine by itself: `check_submission`
refuses at submit, and `profile.py` builds every field of the engine's create call and checks
again, since a spec may have been stored by an older version.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import posixpath
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from gpuboard.errors import InvalidRequest, PermissionDenied, Refused, StateError
from gpuboard.model.durations import format_duration
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.job import JobSpec, Mount, RuntimeName
from gpuboard.model.person import Person
from gpuboard.model.scripts import check_script
from gpuboard.model.sizes import format_size
from gpuboard.runtimes.ports import check_ports

STOP_SIGNALS = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"})
DRIVER_CAPABILITIES = frozenset({"compute", "utility"})
MIN_MEMORY_BYTES = 6 * 2**20
"""Docker's own floor."""
MAX_MOUNTS = 32
MAX_ARGUMENTS = 4096
MAX_ARGUMENT_BYTES = 131_071
"""The kernel's MAX_ARG_STRLEN, less its NUL."""
MAX_COMMAND_BYTES = 1 << 20
MAX_NAME_BYTES = 255
"""The kernel's NAME_MAX: of one component of a path."""

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DEVICE_UUID = re.compile(rf"GPU-{_UUID}|MIG-{_UUID}|MIG-GPU-{_UUID}/[0-9]{{1,3}}/[0-9]{{1,3}}")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_THIS_BOX = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_MAGIC = ("/proc", "/sys", "/dev")
"""Links there lead where nobody reads from their names."""
_FORBIDDEN_TARGETS = (
    *("/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"),
    *("/libx32", "/run", "/var/run", "/boot"),
)


class SandboxSettings(msgspec.Struct, frozen=True):
    """What the admin allows; the daemon fills it from [docker] and [jobs]."""

    images: tuple[str, ...] = ("*",)
    """Globs of references that may run; `*` = every local image."""
    pull: str = "never"
    """`never` or `missing`."""
    mount_roots: tuple[str, ...] = ("{home}",)
    """Directories that may be mounted; `{home}` and `{user}` are the person's."""
    mount_home: bool = False
    network: str = "bridge"
    """`bridge`: the person's own; or `none`."""
    port_range: str = "20000-20999"
    """Ports of the box's loopback for ports of containers; empty: none are published."""
    max_ports: int = 8
    log_max_bytes: int = 10 * 2**20
    log_files: int = 3
    default_shm_bytes: int = 16 * 2**30
    pids_limit: int = 4096
    max_cpus: float | None = None
    max_memory_bytes: int | None = None
    """Of both the daemon fills in the box's when the admin set none."""
    default_memory_bytes: int | None = None
    min_uid: int = 0
    max_env_bytes: int = 65_536
    max_grace_s: int = 300
    max_disk_bytes: int | None = None
    """What a container may write beside its mounts."""
    read_only_root: bool = False
    """Whether it can write only to its mounts and to a `/tmp` in memory."""
    tmp_bytes: int = 4 * 2**30
    """Size of that `/tmp`, and of `/var/tmp`."""
    device_injection: str = "auto"
    """`auto`, `request`, `cdi`, or `label` (simulated devices: recorded, nothing is opened)."""


@runtime_checkable
class TakesSettings(Protocol):
    """A runtime that can be told what the admin allows now."""

    def take_settings(self, settings: SandboxSettings) -> None:
        """Have attempts created from now on be what the admin allows now."""


def check_submission(spec: JobSpec, person: Person, settings: SandboxSettings) -> None:
    """Refuse what no job of this person may be; the error names the field.

    Raises InvalidRequest (malformed, out of range), PermissionDenied (not this person's),
    Refused (not on the allow-list).
    """
    if person.uid < settings.min_uid:
        raise PermissionDenied(
            f"uid {person.uid} may not run jobs here",
            hint=f"jobs belong to people: uids from {settings.min_uid} up",
        )
    check_script(spec.script, spec.command)
    check_command(spec.command)
    check_environment(spec.env, settings.max_env_bytes, has_devices=spec.gpus > 0)
    check_resources(
        settings, cpus=spec.cpus, memory_bytes=spec.memory_bytes, shm_bytes=spec.shm_bytes
    )
    check_stop(spec.stop_signal, spec.grace_s, settings.max_grace_s)
    check_workdir(spec.workdir)
    if spec.runtime is RuntimeName.DOCKER:
        check_workdir_inside(spec.workdir)
        check_image(spec.image, settings.images)
        check_mounts(spec.mounts, mount_roots(settings, person.name, person.home))
        check_ports(spec.ports, settings.network, settings.port_range, settings.max_ports)
        return
    if spec.image:
        raise InvalidRequest("a process has no image", field="image", hint="leave it out")
    if spec.mounts:
        raise InvalidRequest(
            "a process sees the box's own files: nothing to mount",
            field="mounts",
            hint="leave out --volume, or name an image with --image",
        )
    if spec.ports:
        raise InvalidRequest(
            "a process listens on the box itself: there is nothing to publish",
            field="ports",
            hint="let it listen on 127.0.0.1; or name an --image",
        )
    if not spec.command:
        raise InvalidRequest("nothing to run: the command is empty", field="command")


def check_command(command: Sequence[str]) -> None:
    """Refuse argument lists that the kernel would not take."""
    if len(command) > MAX_ARGUMENTS:
        raise InvalidRequest(f"{len(command)} arguments; at most {MAX_ARGUMENTS}", field="command")
    total = 0
    for argument in command:
        if "\0" in argument:
            raise InvalidRequest("an argument contains a NUL character", field="command")
        size = len(argument.encode("utf-8", "surrogateescape"))
        total += size + 1
        if size > MAX_ARGUMENT_BYTES or total > MAX_COMMAND_BYTES:
            raise InvalidRequest(
                "the command is too long",
                field="command",
                hint="put the script into a file and name the file",
            )
    if command and not command[0]:
        raise InvalidRequest("the first word of the command is empty", field="command")


def check_environment(env: Mapping[str, str], max_bytes: int, *, has_devices: bool) -> None:
    """Refuse names and values that cannot be, and those that would open devices or bend a root hook."""
    total = 0
    for key, value in env.items():
        if not _ENV_KEY.fullmatch(key):
            raise InvalidRequest(
                f"{_shown(key)} is no name of an environment variable", field="env"
            )
        if "\0" in value:
            raise InvalidRequest(f"the value of {key} contains a NUL character", field="env")
        total += len(key) + len(value.encode("utf-8", "surrogateescape")) + 2
        _check_reserved(key, value, has_devices=has_devices)
    if total > max_bytes:
        raise InvalidRequest(
            f"the environment has {total} bytes; at most {max_bytes}",
            field="env",
            hint="put large values into a file",
        )


def _check_reserved(key: str, value: str, *, has_devices: bool) -> None:
    upper = key.upper()
    if upper == "NVIDIA_DRIVER_CAPABILITIES" and key == upper:
        wanted = set(value.split(","))
        if not wanted <= DRIVER_CAPABILITIES:
            raise InvalidRequest(
                f"NVIDIA_DRIVER_CAPABILITIES={_shown(value)}: only compute and utility",
                field="env",
            )
    elif upper.startswith("NVIDIA_"):
        raise InvalidRequest(
            f"{_shown(key)} cannot be set: which devices a job sees is gpuboard's to say",
            field="env",
            hint="ask with --gpus, --gpu-ids or --gpu-type",
        )
    elif upper.startswith("GPUBOARD_"):
        raise InvalidRequest(f"{_shown(key)} cannot be set: GPUBOARD_* is ours", field="env")
    elif has_devices and (complaint := hook_complaint(upper, value)):
        raise InvalidRequest(
            f"{_shown(key)}={_shown(value)} cannot be set for a job with GPUs: {complaint}",
            field="env",
            hint=f"set it in the command: env {upper}=... your-command",
        )


def hook_complaint(name: str, value: str) -> str:
    """Say how a variable bends the hooks that run as root with a job's environment; empty when not.

    They stand in the container's root, so that whatever the loader takes from a relative path is
    the image's (CVE-2025-23266).
    """
    if name in {"LD_PRELOAD", "LD_AUDIT"} and value:
        return "hooks that run as root inherit it"
    if name == "LD_LIBRARY_PATH" and value:
        for part in re.split("[:;]", value):
            if not part.startswith("/") or "$" in part or ".." in part.split("/"):
                return f"hooks that run as root inherit it, and {_shown(repr(part))} is no plain absolute path"
            path = plain_path(part)
            if any(is_below(path, bad) for bad in _MAGIC):
                return f"hooks that run as root inherit it, and {_shown(part)} leads anywhere"
    return ""


def check_image_environment(env: Mapping[str, str]) -> None:
    """Refuse what an image sets and a hook that runs as root would inherit."""
    for name, value in env.items():
        complaint = hook_complaint(name, value)
        if complaint:
            raise Refused(
                f"the image sets {name}={_shown(value)}: not with GPUs, since {complaint}",
                field="image",
                hint=f"take it away with --env {name}= and set it in the command",
            )


def check_volume(path: str) -> str:
    """Return where an image's volume lies, as a plain path; refuse one on the system's parts."""
    try:
        return check_target(path)
    except InvalidRequest as error:
        raise Refused(f"the image declares a volume: {error.message}", field="image") from error


def check_resources(
    settings: SandboxSettings,
    *,
    cpus: float | None,
    memory_bytes: int | None,
    shm_bytes: int | None,
) -> None:
    """Refuse sizes out of range; Docker takes 0 and negative ones for `unlimited`."""
    if cpus is not None and not 0.01 <= cpus <= (settings.max_cpus or 4096):
        raise InvalidRequest(
            f"--cpus {cpus:g}: between 0.01 and {settings.max_cpus or 4096:g}", field="cpus"
        )
    ceiling = settings.max_memory_bytes or 2**50
    if memory_bytes is not None and not MIN_MEMORY_BYTES <= memory_bytes <= ceiling:
        raise InvalidRequest(
            f"--memory {format_size(memory_bytes)}: between {format_size(MIN_MEMORY_BYTES)} and"
            f" {format_size(ceiling)}",
            field="memory",
        )
    shm_ceiling = memory_bytes or settings.default_memory_bytes or ceiling
    if shm_bytes is not None and not 4096 <= shm_bytes <= shm_ceiling:
        raise InvalidRequest(
            f"--shm-size {format_size(shm_bytes)}: between 4K and {format_size(shm_ceiling)}"
            " (it counts as memory)",
            field="shm_size",
        )


def check_stop(stop_signal: str, grace_s: int, max_grace_s: int) -> None:
    """Refuse what is no signal to stop by, and a grace out of range."""
    if stop_signal not in STOP_SIGNALS:
        raise InvalidRequest(
            f"{_shown(stop_signal)} is no stop signal",
            field="stop_signal",
            hint="one of " + ", ".join(sorted(STOP_SIGNALS)),
        )
    if not 0 <= grace_s <= max_grace_s:
        raise InvalidRequest(
            f"--grace {format_duration(grace_s)}: between 0s and {format_duration(max_grace_s)}",
            field="grace",
        )


def check_workdir(workdir: str) -> None:
    """Refuse a working directory that is relative or climbs."""
    if workdir:
        _check_path(workdir, "workdir")
        if ".." in workdir.split("/"):
            raise InvalidRequest(f"{_shown(workdir)} contains `..`", field="workdir")


def check_workdir_inside(workdir: str) -> None:
    """Refuse a container's working directory that is no plain path, or leads anywhere.

    The engine makes a missing one as root: by `/proc/self/root/work/x` in a mount on `/work`; and
    `/proc/self/fd/7` may be a directory of the host (CVE-2024-21626).
    """
    check_workdir(workdir)
    path = plain_path(workdir)
    if any(is_below(path, bad) for bad in _MAGIC) and not is_below(path, "/dev/shm"):  # noqa: S108
        raise InvalidRequest(
            f"{_shown(workdir)} cannot be a container's working directory: it lies in the kernel's own",
            field="workdir",
            hint="choose one such as /work or /tmp",
        )


def check_image(reference: str, allowed: Sequence[str]) -> None:
    """Refuse what is no image reference, and what the allow-list does not name; asks nobody."""
    if not reference or len(reference) > 512 or not _IMAGE.fullmatch(reference):
        raise InvalidRequest(
            f"{_shown(reference) or 'an empty string'} is no image reference",
            field="image",
            hint="like python:3.12 or nvcr.io/nvidia/pytorch:24.05-py3; `gpuboard images` lists them",
        )
    if not is_image_allowed(reference, allowed):
        raise Refused(
            f"the image {_shown(reference)} may not run on this box",
            field="image",
            hint="allowed: " + ", ".join(allowed),
        )


def is_image_allowed(reference: str, allowed: Sequence[str]) -> bool:
    """Whether a glob of the allow-list matches, in the spelling given or with `:latest` added."""
    names = {reference, canonical_reference(reference)}
    return any(fnmatch.fnmatchcase(name, glob) for name in names for glob in allowed)


def canonical_reference(reference: str) -> str:
    """Return the reference as Docker lists it: without `docker.io/library/`, with a tag or digest."""
    name = reference
    for prefix in ("docker.io/library/", "docker.io/", "index.docker.io/"):
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    if "@" not in name and ":" not in name.rsplit("/", 1)[-1]:
        name += ":latest"
    return name


def full_reference(reference: str) -> str:
    """Return the reference with registry and tag: never what the engine could take for an image's id."""
    name = canonical_reference(reference)
    host, separator, _ = name.partition("/")
    if separator and (host == "localhost" or "." in host or ":" in host or host != host.lower()):
        return name
    return f"docker.io/{name}" if separator else f"docker.io/library/{name}"


def may_pull(reference: str, settings: SandboxSettings) -> bool:
    """Whether a missing image may be fetched: allowed, and not from a bare address that only `*` allows."""
    if settings.pull != "missing" or not is_image_allowed(reference, settings.images):
        return False
    host, separator, _ = reference.partition("/")
    if not separator or not _is_address(host):
        return True
    return is_image_allowed(reference, [glob for glob in settings.images if glob != "*"])


def _is_address(host: str) -> bool:
    """Whether a registry is named by its address, in any spelling that the resolver takes, or is this box."""
    name = host.rsplit(":", 1)[0] if host.count(":") == 1 else host
    name = name.rstrip(".").lower()
    if name in _THIS_BOX or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return ("." in host or ":" in host) and _is_old_address(name)
    return True


def _is_old_address(name: str) -> bool:
    """Whether inet_aton(3) takes it: `127.1`, `2130706433`, `0x7f.1`; a bare number is no host."""
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


def mount_roots(settings: SandboxSettings, user: str, home: str) -> tuple[str, ...]:
    """Return the directories that this person may mount, as they are written in the configuration."""
    roots = []
    for root in settings.mount_roots:
        if "{home}" in root and not home.startswith("/"):
            continue
        path = posixpath.normpath(root.replace("{home}", home).replace("{user}", user))
        if path.startswith("/") and path not in {"/", "//"}:
            roots.append("/" + path.lstrip("/"))
    return tuple(roots)


def plain_path(path: str) -> str:
    """Return an absolute path in its one spelling: POSIX keeps two slashes at the beginning."""
    return "/" + posixpath.normpath(path).lstrip("/")


def is_below(path: str, root: str) -> bool:
    """Whether a path is a directory or lies in it, by component: `/home/bobby` is not in `/home/bob`."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def check_mounts(mounts: Sequence[Mount], roots: Sequence[str]) -> None:
    """Refuse what by its name alone can be no mount; `mounts.py` then looks as the person."""
    if len(mounts) > MAX_MOUNTS:
        raise InvalidRequest(f"{len(mounts)} mounts; at most {MAX_MOUNTS}", field="mounts")
    targets: set[str] = set()
    for mount in mounts:
        _check_path(mount.source, "mounts")
        source = plain_path(mount.source)
        if not any(is_below(source, root) for root in roots):
            raise PermissionDenied(
                f"{_shown(mount.source)} may not be mounted",
                field="mounts",
                hint="below " + ", ".join(roots) if roots else "no directory may be mounted here",
            )
        target = check_target(mount.target)
        if target in targets:
            raise InvalidRequest(f"two mounts on {_shown(target)}", field="mounts")
        targets.add(target)
    for mount, outer in zip(mounts, mounts_around(mounts), strict=True):
        if outer is not None and mounts[outer].read_only and not mount.read_only:
            raise InvalidRequest(
                f"{_shown(mount.target)} lies in {_shown(mounts[outer].target)}, which is mounted read-only",
                field="mounts",
                hint="mount both read-only, or this one elsewhere",
            )


def mounts_around(mounts: Sequence[Mount]) -> list[int | None]:
    """Return for each mount the number of the one that its target lies in, the innermost."""
    targets = [plain_path(mount.target) for mount in mounts]
    return [
        max(
            (n for n, other in enumerate(targets) if other != target and is_below(target, other)),
            key=lambda n: len(targets[n]),
            default=None,
        )
        for target in targets
    ]


def check_target(target: str) -> str:
    """Return the target without a trailing slash; refuse those that would replace the system's parts."""
    _check_path(target, "mounts")
    if ".." in target.split("/"):
        raise InvalidRequest(f"the target {_shown(target)} contains `..`", field="mounts")
    path = plain_path(target)
    if path == "/" or any(is_below(path, bad) for bad in _FORBIDDEN_TARGETS):
        raise InvalidRequest(
            f"nothing may be mounted on {_shown(target)} in the container",
            field="mounts",
            hint="choose a target such as /work or /data",
        )
    return path


def _check_path(path: str, field: str) -> None:
    if not path.startswith("/"):
        raise InvalidRequest(f"{_shown(path)} is no absolute path", field=field)
    if len(path.encode("utf-8", "surrogateescape")) > 4095:
        raise InvalidRequest("a path is longer than 4095 bytes", field=field)
    longest = max(len(part.encode("utf-8", "surrogateescape")) for part in path.split("/"))
    if longest > MAX_NAME_BYTES:
        raise InvalidRequest(
            f"{_shown(path)} has a name of {longest} bytes; at most {MAX_NAME_BYTES}", field=field
        )
    if _CONTROL.search(path) or any("\ud800" <= char <= "\udfff" for char in path):
        raise InvalidRequest(
            f"{_shown(path)} contains control characters or is not UTF-8", field=field
        )


def check_devices(devices: Iterable[DeviceUuid]) -> None:
    """Refuse anything but full UUIDs: the engine takes `all` and `0,1` without a word."""
    for device in devices:
        if not _DEVICE_UUID.fullmatch(device):
            raise StateError(f"{_shown(device)} is no UUID of a device")


def _shown(text: str) -> str:
    """Return hostile text cut and with everything unprintable escaped."""
    cut = text if len(text) <= 80 else text[:77] + "..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
