"""A Debian 13 root with Docker Engine 26.1, made once a machine: for `trixie.py`, which runs it.

Standard library only, so that CI can make it while it checks other things:
`python3 -m tests.support.trixie_root`. It lies in `build/engines` (git ignores that), or where
GPUBOARD_TEST_CACHE says; GPUBOARD_DEBIAN_MIRROR names a mirror other than debootstrap's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "trixie"
PACKAGES = "docker.io,ca-certificates"
NEEDED = ("debootstrap", "unshare", "nsenter", "mount")
LIMIT_S = 540


def cache() -> Path:
    """Return where the root is kept."""
    named = os.environ.get("GPUBOARD_TEST_CACHE", "")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "build" / "engines"


def missing_parts() -> str:
    """Return in words what a Debian 13 engine lacks here; empty when nothing."""
    if os.geteuid() != 0:
        return "Docker 26.1 in a Debian 13 root needs root"
    lacking = [name for name in NEEDED if not shutil.which(name)]
    return "Docker 26.1 in a Debian 13 root needs " + ", ".join(lacking) if lacking else ""


def made_root() -> Path:
    """Return the root, made when it is not there yet; RuntimeError in words when that fails."""
    folder = cache()
    root = folder / f"debian-{SUITE}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{SUITE}.lock").open(
        "w"
    ) as lock:  # several test processes may come here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "usr/sbin/dockerd").exists():
            _make(root)
    return root


def _make(root: Path) -> None:
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    mirror = os.environ.get("GPUBOARD_DEBIAN_MIRROR", "")
    log = root.with_name(f"{SUITE}.log")
    words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(part)]
    with log.open("wb") as file:
        try:
            code = subprocess.run(
                [*words, *([mirror] if mirror else [])],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=LIMIT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code:
        last = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1][:200]
        shutil.rmtree(part, ignore_errors=True)
        raise RuntimeError(f"debootstrap of {SUITE} failed ({code}): {last}")
    for package in (part / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    for name in ("old", "etc/cdi", "etc/docker"):
        (part / name).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(root)
    part.rename(root)


def main() -> int:
    """Make the root and print where it is; 1 with one line when it cannot be made."""
    if words := missing_parts():
        print(words, file=sys.stderr)
        return 1
    try:
        print(made_root())
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
