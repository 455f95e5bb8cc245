"""The Debian package: built by one command, installed and used in a fresh Debian root."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.timeout(600)]


def _why_not() -> str:
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    if "ID=debian" not in release.split():
        return "the package is built on Debian only"
    if os.geteuid() != 0:
        return "installing a package needs root"
    missing = [t for t in ("debootstrap", "dpkg-deb", "unshare") if not shutil.which(t)]
    if missing:
        return f"needs {', '.join(missing)}"
    if sys.version_info[:2] != _debian_python():
        return "the package is built for Debian's own python3, which is another version"
    return ""


def _debian_python() -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run(["/usr/bin/python3", "-c", code], check=False, capture_output=True)
    return tuple(int(word) for word in done.stdout.split())


def run(*argv: str | Path, timeout_s: float = 300) -> str:
    done = subprocess.run(
        [str(a) for a in argv], check=False, text=True, capture_output=True, timeout=timeout_s
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    target = tmp_path_factory.mktemp("deb")
    run(sys.executable, ROOT / "packaging/make_deb.py", "--target", target)
    (found,) = target.glob("*.deb")
    return found


@pytest.fixture(scope="module")
def debian(package: Path, tmp_path_factory: pytest.TempPathFactory):
    """A minimal Debian with python3, in which the package was installed by dpkg."""
    root = tmp_path_factory.mktemp("debian")
    codename = next(
        line.split("=")[1]
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    run("debootstrap", "--variant=minbase", "--include=python3", codename, root, timeout_s=500)
    shutil.copy(package, root / "gpuboard.deb")
    inside(root, "dpkg", "-i", "/gpuboard.deb")
    yield root
    shutil.rmtree(root, ignore_errors=True)


def inside(root: Path, *argv: str) -> str:
    """Run a command in the root, with /proc, in namespaces that end with it."""
    script = f'mount -t proc proc "{root}/proc" && exec chroot "{root}" "$@"'
    return run(
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", *argv
    )


def test_the_installed_command_answers(debian: Path):
    """After dpkg -i the command runs with the system's python3 and nothing else."""
    assert "gpuboard" in inside(debian, "gpuboard", "--version")


def test_the_installed_configuration_is_right(debian: Path):
    """The configuration that the package installs passes its own check."""
    path = "/etc/gpuboard/config.toml"
    assert inside(debian, "gpuboard", "admin", "config", "check", path) == f"{path} is right\n"


def test_everything_an_admin_expects_is_there(debian: Path):
    """Unit, sysusers, tmpfiles, man pages and completions are where the system looks for them."""
    for path in (
        "usr/lib/systemd/system/gpuboard.service",
        "usr/lib/systemd/system/gpuboard.socket",
        "usr/share/doc/gpuboard/copyright",
        "usr/share/doc/gpuboard/changelog.gz",
        "usr/lib/sysusers.d/gpuboard.conf",
        "usr/lib/tmpfiles.d/gpuboard.conf",
        "usr/share/gpuboard/gpuboard-containers-only.conf",
        "etc/gpuboard/config.toml",
        "usr/share/man/man1/gpuboard.1.gz",
        "usr/share/man/man1/gpuboard-submit.1.gz",
        "usr/share/bash-completion/completions/gpuboard",
        "usr/share/zsh/vendor-completions/_gpuboard",
        "usr/share/fish/vendor_completions.d/gpuboard.fish",
    ):
        assert (debian / path).is_file(), path


def test_the_papers_are_debian_s(debian: Path):
    """Whose each part is, in the format that programs read; what changed, as dpkg's own tools read it."""
    papers = debian / "usr/share/doc/gpuboard"
    text = (papers / "copyright").read_text()
    assert text.startswith("Format: https://www.debian.org/doc/")
    assert all(f"Files: {part}" in text for part in ("*", "usr/lib/gpuboard/aiohttp/*"))
    entry = gzip.decompress((papers / "changelog.Debian.gz").read_bytes()).decode()
    assert re.match(r"gpuboard \(\S+\) unstable; urgency=medium\n\n  \* .*\n\n -- .*> +\w", entry)


def test_the_socket_of_systemd_s_is_there_to_be_enabled(debian: Path):
    """And only that: the daemon's own is what the package starts with."""
    enabled = [path.name for path in (debian / "etc/systemd/system").rglob("gpuboard*")]
    assert "gpuboard.socket" not in enabled


def test_the_state_is_closed_to_others(debian: Path):
    """The database's folder belongs to root and nobody else may enter it."""
    found = (debian / "var/lib/gpuboard").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o700)


def test_the_installed_daemon_runs_a_job(debian: Path):
    """Daemon and command of the package work together: a process job ends with its own exit code."""
    config = debian / "etc/gpuboard/test.toml"
    config.write_text(
        '[daemon]\n[jobs]\nruntimes = ["process"]\ndefault_runtime = "process"\nmin_uid = 0\n'
        '[devices]\nprobe = "simulated"\nscenario = "lab8"\n'
    )
    script = """
        mkdir -p /run/gpuboard
        gpuboard daemon --config /etc/gpuboard/test.toml & daemon=$!
        for i in $(seq 100); do [ -S /run/gpuboard/gpuboard.sock ] && break; sleep 0.1; done
        gpuboard run -g 1 -t 1m --process -- sh -c 'echo hello from the job; exit 3'
        code=$?
        kill $daemon; wait $daemon
        echo "job $code"
    """
    output = inside(debian, "sh", "-c", script)
    assert "hello from the job" in output
    assert "job 3" in output


def test_the_installed_demo_tells_its_story(debian: Path):
    """`gpuboard demo` of the package needs nothing but the package, and leaves nothing running."""
    output = inside(debian, "sh", "-c", "gpuboard demo </dev/null | cat; ps -e 2>/dev/null | cat")
    assert "saved model.pt" in output
    assert "That was it" in output
