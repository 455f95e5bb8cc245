"""What the engine's refusals mean, told from its own words and never from a person's.

The engine and its runtime quote what they were given: targets, working directories, commands,
variables, images. A path may be called `no space left on device`, or `nvidia`. So a phrase that
accuses the box proves nothing when the job has it anywhere, and counts only where the kernel's
words stand: at the end of the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import requests

from gpuboard.errors import (
    CannotStartNow,
    Conflict,
    DeviceDriverFailed,
    DeviceSetupBroken,
    GpuboardError,
    HostError,
    InvalidRequest,
    NotExecutable,
    NotFound,
    PortTaken,
)
from gpuboard.runtimes.ports import is_taken
from gpuboard.runtimes.profile import ImageDefaults
from gpuboard.runtimes.protocol import RunRequest

CDI_HINT = (
    "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml,"
    " which the engine reads anew by itself"
)
_SHOWN = 500
"""Characters of the engine's words that a message repeats."""
_END = r"(?:: unknown)?\.?\s*$"
_NOT_FOUND_COMMAND = re.compile(
    r"executable file not found|no such file or directory: unknown|stat [^:]+: no such file",
    re.IGNORECASE,
)
_NOT_EXECUTABLE = re.compile(r"permission denied: unknown|is a directory: unknown", re.IGNORECASE)
_PATH_CANNOT_BE = re.compile(
    r"cannot mkdir|not a directory|is a directory|file name too long|file exists"
    r"|too many levels of symbolic links|are you trying to mount a directory onto a file",
    re.IGNORECASE,
)
"""What follows from the paths that a job names and the image's own: targets, working directory."""
_FULL = (
    r"no space left on device|disk quota exceeded|cannot allocate memory"
    r"|resource temporarily unavailable|too many open files"
)
_BOX_IS_FULL = re.compile(f"(?:{_FULL}){_END}", re.IGNORECASE)
_NO_ADDRESSES = r"non-overlapping IPv4 address pool|predefined address pools"
_ADDRESSES_HINT = (
    'the engine has room for about 30 networks: give it more in /etc/docker/daemon.json, "default-address-pools":'
    ' [{"base": "10.201.0.0/16", "size": 26}]'
)
_NETWORK_GONE = re.compile(r"network [\w.-]+ not found")
"""Pruned by somebody between the create and the start: the next attempt makes it anew."""
_CDI = r"CDI device"
_DRIVER = (
    r"nvidia-container-cli: (?:initialization|detection|device|driver) error|nvml error"
    r"|could not select device driver|driver/library version mismatch|libnvidia-ml"
)
"""Not the toolkit's words on an image (`requirement error`, `mount error: ... file exists`)."""
_NAMES_DRIVER = re.compile(_DRIVER, re.IGNORECASE)
_ACCUSES_BOX = re.compile(f"{_FULL}|{_NO_ADDRESSES}|{_CDI}|{_DRIVER}", re.IGNORECASE)


def refusal(what: str, status: int, words: str, persons: Iterable[str] = ()) -> GpuboardError:
    """Return our error for an answer of the engine.

    Args:
        what: what was being done.
        status: the HTTP status; 0 when there was none.
        words: the engine's.
        persons: every text that the job and its image brought along.
    """
    words = " ".join(words.split())
    shown = words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…"
    message = f"{what}: {shown}"
    if _NOT_FOUND_COMMAND.search(words) and "exec" in words:
        return NotExecutable(f"command not found: {shown}", status=127)
    if _NOT_EXECUTABLE.search(words) and "exec" in words:
        return NotExecutable(f"command cannot be executed: {shown}", status=126)
    if _NETWORK_GONE.match(words):
        return CannotStartNow(message)
    if status == requests.codes.not_found:
        return NotFound(message)
    if status == requests.codes.conflict:
        return Conflict(message)
    own = engines_own(words, persons)
    if status == requests.codes.bad_request:
        return _bad_request(own, message)
    return _box_fault(own, words, message)


def words_of(request: RunRequest, image: ImageDefaults) -> tuple[str, ...]:
    """Return every text of a job and its image that the engine may quote."""
    paths = [path for mount in request.mounts for path in (mount.source, mount.target)]
    env = [*request.env, *request.env.values(), *image.env, *image.env.values()]
    own = (request.image, request.workdir, request.home, request.user, image.workdir)
    return (*own, *request.command, *image.entrypoint, *image.command, *image.volumes, *paths, *env)


def engines_own(words: str, persons: Iterable[str]) -> str:
    """Return the engine's words without the phrases against the box that the job has, too."""
    phrases = {found[0] for text in persons for found in _ACCUSES_BOX.finditer(text)}
    for phrase in phrases:
        words = re.sub(re.escape(phrase), "…", words, flags=re.IGNORECASE)
    return words


def _bad_request(own: str, message: str) -> GpuboardError:
    if "bind source path does not exist" in own:
        return InvalidRequest(message, field="mounts")
    if "unknown runtime" in own.lower():
        return HostError(message)
    if _CDI in own:
        return DeviceSetupBroken(f"GPU set-up broken: {message}", hint=CDI_HINT)
    return InvalidRequest(message)


def _box_fault(own: str, words: str, message: str) -> GpuboardError:
    if _BOX_IS_FULL.search(own):
        return CannotStartNow(message, hint="`df /var/lib/docker` and `free` say more")
    if is_taken(words):
        return PortTaken(message)
    if re.search(_NO_ADDRESSES, own, re.IGNORECASE):
        return CannotStartNow(message, hint=_ADDRESSES_HINT)
    if _CDI in own:
        return DeviceSetupBroken(f"GPU set-up broken: {message}", hint=CDI_HINT)
    if _PATH_CANNOT_BE.search(words):
        return InvalidRequest(message)
    if _NAMES_DRIVER.search(own):
        return DeviceDriverFailed(message, hint="`nvidia-smi` and `gpuboard doctor` say more")
    if "nvidia-container" in words:
        return HostError(message, hint="install or mend the NVIDIA container toolkit")
    return HostError(message)
