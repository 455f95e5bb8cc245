"""Build a Debian package of gpuboard: everything it needs under /usr/lib/gpuboard, nothing from a registry later.

The libraries are the locked, hashed ones of requirements.lock, installed for this Python; so the
package depends on exactly this minor version of python3. Run by `make deb`; needs dpkg-deb and pip.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from email import message_from_string
from email.utils import format_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ROOT / "packaging"
LIBRARY = "usr/lib/gpuboard"
COPYRIGHT_FORMAT = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
MAINTAINER = "The gpuboard developers <gpuboard@localhost>"

LAUNCHER = """#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "/usr/lib/gpuboard")
from gpuboard.cli.quick import run
run()
"""

POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    python3 -m compileall -q /usr/lib/gpuboard >/dev/null 2>&1 || true
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers /usr/lib/sysusers.d/gpuboard.conf || true
    else
        getent group gpuboard-admin >/dev/null || groupadd --system gpuboard-admin
    fi
    if command -v systemd-tmpfiles >/dev/null; then
        systemd-tmpfiles --create /usr/lib/tmpfiles.d/gpuboard.conf || true
    fi
    mkdir -p /var/lib/gpuboard
    chmod 0700 /var/lib/gpuboard
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        systemctl enable gpuboard.service
        # a restart leaves jobs running: the next daemon finds them
        systemctl restart gpuboard.service || true
    fi
fi
"""

PRERM = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now gpuboard.socket gpuboard.service || true
fi
find /usr/lib/gpuboard -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
"""

POSTRM = """#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf /var/lib/gpuboard
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
"""


def run(*argv: str | Path) -> str:
    """Run a command and return its output; a failure ends the build with its words."""
    done = subprocess.run([str(a) for a in argv], check=False, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file of the package, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def install_libraries(stage: Path) -> None:
    """Install gpuboard and the locked libraries under /usr/lib/gpuboard."""
    target = stage / LIBRARY
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
        "--no-compile",
    )
    run(*pip, "--require-hashes", "-r", ROOT / "requirements.lock", "--target", target)
    run(*pip, "--no-deps", "--no-build-isolation", "--target", target, "--upgrade", ROOT)
    for pattern in (
        "setuptools*",
        "pkg_resources",
        "_distutils_hack",
        "distutils-precedence.pth",
        "bin",
    ):
        for found in target.glob(pattern):
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    for cache in target.rglob("__pycache__"):
        shutil.rmtree(cache)


def install_files(stage: Path) -> None:
    """Install the service, its configuration, man pages and completions."""
    write(stage / "usr/bin/gpuboard", LAUNCHER, 0o755)
    copies = {
        "gpuboard.service": "usr/lib/systemd/system/gpuboard.service",
        "gpuboard.sysusers": "usr/lib/sysusers.d/gpuboard.conf",
        "gpuboard.tmpfiles": "usr/lib/tmpfiles.d/gpuboard.conf",
        "gpuboard.socket": "usr/lib/systemd/system/gpuboard.socket",
        "gpuboard-containers-only.conf": "usr/share/gpuboard/gpuboard-containers-only.conf",
        "config.toml": "etc/gpuboard/config.toml",
        "completions/gpuboard.bash": "usr/share/bash-completion/completions/gpuboard",
        "completions/_gpuboard": "usr/share/zsh/vendor-completions/_gpuboard",
        "completions/gpuboard.fish": "usr/share/fish/vendor_completions.d/gpuboard.fish",
    }
    for source, target in copies.items():
        write(stage / target, (PACKAGING / source).read_text())
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"):
        write(stage / "usr/share/doc/gpuboard" / name, (ROOT / name).read_text())
    with tempfile.TemporaryDirectory() as made:
        run(sys.executable, PACKAGING / "make_man.py", made)
        for page in sorted(Path(made).glob("*.[1-8]")):
            target = stage / f"usr/share/man/man{page.suffix[1:]}" / f"{page.name}.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.compress(page.read_bytes(), mtime=0))


def install_papers(stage: Path, version: str) -> None:
    """Install what Debian wants to be told: copyright, and what changed."""
    folder = stage / "usr/share/doc/gpuboard"
    write(folder / "copyright", copyright_text(stage / LIBRARY))
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    at = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    entry = (
        f"gpuboard ({version}) unstable; urgency=medium\n\n"
        "  * What changed for people is in changelog.gz.\n\n"
        f" -- {MAINTAINER}  {format_datetime(at)}\n"
    )
    changes = (ROOT / "CHANGELOG.md").read_text()
    for name, text in (("changelog.Debian.gz", entry), ("changelog.gz", changes)):
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))


def copyright_text(libraries: Path) -> str:
    """Return the machine-readable copyright file: ours, and each library's that comes along."""
    text = (ROOT / "LICENSE").read_text().strip()
    _title, owner, *rest = text.split("\n\n")
    body = "\n".join(f" {line}" if line else " ." for line in "\n\n".join(rest).splitlines())
    found = [
        f"Format: {COPYRIGHT_FORMAT}\nUpstream-Name: gpuboard\n",
        f"Files: *\nCopyright: {owner.removeprefix('Copyright (c) ')}\nLicense: Expat\n{body}\n",
    ]
    for metadata in sorted(libraries.glob("*.dist-info/METADATA")):
        about = message_from_string(metadata.read_text(errors="replace"))
        if about["Name"] == "gpuboard":
            continue
        license = about["License-Expression"] or (about["License"] or "").split("\n")[0]
        classes = [c for c in about.get_all("Classifier", []) if c.startswith("License ::")]
        license = license or " or ".join(c.rpartition(":: ")[2] for c in classes) or "see there"
        by = about["Author"] or about["Author-email"] or about["Maintainer-email"] or "its authors"
        found.append(
            f"Files: {LIBRARY}/{about['Name']}/*\n"
            f"Copyright: {' '.join(by.split())}\n"
            f"License: {license}\n"
            f" The text came with {about['Name']} {about['Version']}: /{LIBRARY}/{metadata.parent.name}\n"
        )
    return "\n".join(found)


def control(stage: Path, version: str) -> str:
    """Return the package's control file."""
    size = sum(f.stat().st_size for f in stage.rglob("*") if f.is_file()) // 1024
    minor = sys.version_info.minor
    return (
        "Package: gpuboard\n"
        f"Version: {version}\n"
        "Section: admin\n"
        "Priority: optional\n"
        f"Architecture: {run('dpkg', '--print-architecture').strip()}\n"
        f"Installed-Size: {size}\n"
        f"Maintainer: {MAINTAINER}\n"
        f"Depends: python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})\n"
        "Recommends: docker.io | docker-ce\n"
        "Description: book GPUs, queue and run containers on them, and watch them\n"
        " A resource manager for one GPU box that a lab shares: a terminal app, a\n"
        " fair queue, bookings, and containers on the GPUs that it assigned, without\n"
        " anybody in the docker group and without cluster software.\n"
    )


def build(target: Path) -> Path:
    """Build the package into the folder `target` and return its path."""
    version = run(sys.executable, "-c", "import gpuboard; print(gpuboard.__version__)").strip()
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "stage"
        stage.mkdir(mode=0o755)
        install_libraries(stage)
        install_files(stage)
        install_papers(stage, version)
        write(stage / "DEBIAN/control", control(stage, version))
        write(stage / "DEBIAN/conffiles", "/etc/gpuboard/config.toml\n")
        for name, text in (("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)):
            write(stage / "DEBIAN" / name, text, 0o755)
        run("chmod", "-R", "u=rwX,go=rX", stage)
        target.mkdir(parents=True, exist_ok=True)
        architecture = run("dpkg", "--print-architecture").strip()
        package = target / f"gpuboard_{version}_{architecture}.deb"
        run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", stage, package)
    return package


def main() -> None:
    """Build and say where the package is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    print(build(arguments.target))


if __name__ == "__main__":
    main()
