"""Other people's tools to measure beside: nvitop and gpustat by pip, nvtop from Debian's contrib.

They live in build/rivals, which git ignores: a virtual environment of their own, and nvtop's
package unpacked (with lists and a cache of its own, so neither root nor the system's sources are
touched). All are optional: what cannot be had is said in one line.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "rivals"
BIN = FOLDER / "venv" / "bin"
APT = FOLDER / "apt"
NVTOP = FOLDER / "nvtop" / "usr" / "bin" / "nvtop"
BY_PIP = ("nvitop", "gpustat")


class Missing(Exception):
    """A tool cannot be had here; the message says why."""


def find_rivals(*names: str) -> dict[str, Path]:
    """Return the programs that can be had, by name, installed where need be; print what cannot."""
    found = {}
    for name in names:
        try:
            found[name] = _by_pip(name) if name in BY_PIP else _nvtop()
        except Missing as why:
            print(f"without {name}: {why}", flush=True)
    return found


def _by_pip(name: str) -> Path:
    program = BIN / name
    if not program.exists():
        if not (BIN / "python").exists():
            _run([sys.executable, "-m", "venv", str(BIN.parent)])
        _run(
            [str(BIN / "python"), "-m", "pip", "-q", "--disable-pip-version-check", "install", name]
        )
    return program


def _nvtop() -> Path:
    installed = shutil.which("nvtop")
    if installed:
        return Path(installed)
    if not NVTOP.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise Missing("no apt-get here, and it is not installed")
        _unpack(_downloaded())
    return _checked(NVTOP)


def _downloaded() -> Path:
    """Return nvtop's package: from the system's own sources, else from their contrib section."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (APT / folder).mkdir(parents=True, exist_ok=True)
    try:
        _run(["apt-get", "download", "nvtop"], APT)
    except Missing:
        (APT / "contrib.list").write_text(_contrib())
        options = [
            *("-o", f"Dir::Etc::SourceList={APT}/contrib.list", "-o", "Dir::Etc::SourceParts=-"),
            *("-o", f"Dir::State::Lists={APT}/lists", "-o", f"Dir::Cache={APT}/cache"),
            *("-o", "APT::Sandbox::User="),  # apt's own user may not write here
        ]
        _run(["apt-get", *options, "update"], APT)
        _run(["apt-get", *options, "download", "nvtop"], APT)
    packages = sorted(APT.glob("nvtop_*.deb"))
    if not packages:
        raise Missing("apt-get download gave no package")
    return packages[-1]


def _contrib() -> str:
    """Return apt source lines for the contrib section of every archive that the system uses."""
    wanted = ["--format", "$(SITE) $(RELEASE)", "Created-By: Packages"]
    archives = sorted(set(_run(["apt-get", "indextargets", *wanted]).splitlines()))
    if not archives:
        raise Missing("apt has no sources")
    keys = next(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"), None)
    signed = f"[signed-by={keys}] " if keys else ""
    return "".join(f"deb {signed}{archive} contrib\n" for archive in archives)


def _unpack(package: Path) -> None:
    _run(["dpkg-deb", "-x", str(package), str(FOLDER / "nvtop")])


def _checked(program: Path) -> Path:
    lacking = [
        line.split()[0] for line in _run(["ldd", str(program)]).splitlines() if "not found" in line
    ]
    if lacking:
        raise Missing(f"it lacks {', '.join(lacking)}")
    return program


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    """Return what the command printed; raise Missing with its last words when it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Missing(str(error)) from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Missing(f"{Path(command[0]).name} failed: {words[-1] if words else 'no words'}")
    return done.stdout


if __name__ == "__main__":
    for name, program in find_rivals(*BY_PIP, "nvtop").items():
        print(name, program)
