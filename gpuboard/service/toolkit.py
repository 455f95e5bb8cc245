"""The NVIDIA Container Toolkit: whether it is there, and whether its version has known holes.

Versions of the security bulletins CVE-2024-0132, CVE-2025-23359 and CVE-2025-23266 (SAFETY.md B5):
with each of them an image that somebody built becomes root on the box.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from gpuboard.model.views.doctor import CheckView

FIXED_IN = {
    "CVE-2024-0132": (1, 16, 2),
    "CVE-2025-23359": (1, 17, 4),
    "CVE-2025-23266": (1, 17, 8),
}
_TOOLS = ("nvidia-ctk", "nvidia-container-cli")
_HOOK = "nvidia-container-runtime-hook"
_PLACES = os.pathsep.join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"))
_VERSION = re.compile(r"\b(\d+)\.(\d+)\.(\d+)")
_INSTALL = "apt-get install nvidia-container-toolkit, then systemctl restart docker"
_UPGRADE = "apt-get install --only-upgrade nvidia-container-toolkit, then systemctl restart docker"


def toolkit_check(devices_path: str) -> Iterator[CheckView]:
    """Yield the finding; `devices_path` is how the engine opens devices (`cdi`, `request`, nothing)."""
    version = _version()
    if version is not None:
        yield judged(version, devices_path)
    elif devices_path == "cdi":
        yield _found("ok", "devices come by CDI; no tool here tells the toolkit's version")
    elif _where(_HOOK):
        words = "found, but neither nvidia-ctk nor nvidia-container-cli tells its version"
        yield _found("warning", words, _UPGRADE)
    else:
        words = "no NVIDIA Container Toolkit on this box: containers get no GPUs"
        yield _found("warning", words, _INSTALL)


def judged(version: tuple[int, int, int], devices_path: str) -> CheckView:
    """Return what is to be said of a version."""
    words = ".".join(map(str, version))
    holes = [name for name, fixed in FIXED_IN.items() if version < fixed]
    if not holes:
        by = ", devices by CDI" if devices_path == "cdi" else ""
        return _found("ok", f"{words}{by}")
    newest = ".".join(map(str, max(FIXED_IN.values())))
    return _found(
        "error",
        f"{words} lets an image become root on the box ({', '.join(holes)}); mended in {newest}",
        f"{_UPGRADE}; until then let only images that you trust run: [docker] images",
    )


def _found(status: str, words: str, mend: str = "") -> CheckView:
    return CheckView(name="container-toolkit", status=status, words=words, mend=mend)


def _where(tool: str) -> str | None:
    return shutil.which(tool) or shutil.which(tool, path=_PLACES)


def _version() -> tuple[int, int, int] | None:
    """Return the version that the first of the tools tells; None when none does."""
    for tool in _TOOLS:
        path = _where(tool)
        if path is None:
            continue
        try:
            done = subprocess.run(
                [path, "--version"], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.SubprocessError):
            continue
        found = _VERSION.search(done.stdout)
        if found:
            return int(found[1]), int(found[2]), int(found[3])
    return None
