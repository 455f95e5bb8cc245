"""Why the container engine cannot be used, from what the box itself shows, and what mends just that."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

from gpuboard.errors import GpuboardError
from gpuboard.model.views.doctor import CheckView

_PATHS = os.pathsep.join(
    ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/snap/bin")
)


def is_installed() -> bool:
    """Whether there is a Docker Engine to be started on this box."""
    return bool(shutil.which("dockerd") or shutil.which("dockerd", path=_PATHS))


def engine_fault(host: str, error: GpuboardError, *, personal: bool) -> CheckView:
    """Return the finding for an engine at `host` that failed its check with this error."""
    path = Path(host.removeprefix("unix://"))
    if not host.startswith("unix://"):
        return _found("error", str(error), error.hint)
    if not path.exists():
        return _absent(path, personal=personal)
    why = _connect(path)
    if why == errno.ECONNREFUSED:
        words = f"nothing listens on {path}: the engine has ended"
        return _found("error", words, "systemctl restart docker; why: journalctl -u docker -n 50")
    if why in (errno.EACCES, errno.EPERM):
        return _found(
            "error",
            f"{path} may not be opened by uid {os.geteuid()}",
            "ask the admin for a system-wide gpuboard (being in the docker group is being root)"
            if personal
            else "the daemon must run as root: systemctl start gpuboard",
        )
    if why == errno.ETIMEDOUT:
        words = f"the engine does not answer on {path}"
        return _found("error", words, "systemctl restart docker; what runs may end with it")
    return _found("error", str(error), error.hint)


def _absent(path: Path, *, personal: bool) -> CheckView:
    if is_installed():
        return _found(
            "error",
            f"Docker is installed, but {path} is not there: it does not run",
            "systemctl start docker; on each boot: systemctl enable docker",
        )
    if personal:
        return _found("skipped", "no Docker Engine here: jobs are plain processes", "")
    return _found(
        "error",
        "no Docker Engine is installed",
        'apt-get install docker.io; a box without containers: [jobs] runtimes = ["process"]',
    )


def _connect(path: Path) -> int:
    """Return the error number of connecting, 0 where that works."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(path))
        except TimeoutError:
            return errno.ETIMEDOUT
        except OSError as error:
            return error.errno or 0
    return 0


def _found(status: str, words: str, mend: str) -> CheckView:
    return CheckView(name="engine", status=status, words=words, mend=mend)
