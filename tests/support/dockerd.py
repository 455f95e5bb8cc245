"""A Docker Engine of the tests' own: data, socket and containers apart from any other on the box.

It needs root, dockerd, containerd and runc. Networks are off (`--bridge=none`); images are made of
a static busybox; PATH leads to a stub of NVIDIA's hook that records what it is given and can be
slow or fail on demand. `python -m tests.support.dockerd DIR` starts one and prints its address, for a
CI step that shares one engine between test processes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker

from gpuboard.runtimes.cgroups import ContainerCgroups

IMAGE = "gpuboard-test/busybox:1"
IMAGE_ALL_DEVICES = "gpuboard-test/all-devices:1"
"""Its ENV asks for every GPU, as NVIDIA's own images do."""
IMAGE_PRELOAD = "gpuboard-test/preload:1"
IMAGE_SETUID = "gpuboard-test/setuid:1"
"""Holds a setuid-root copy of busybox, and an /etc/group that puts uid 4242 into disk and shadow."""
_APPLETS = (
    *("sh", "cat", "echo", "sleep", "true", "false", "id", "env", "ls", "touch", "kill", "grep"),
    *("head", "tail", "seq", "printf", "yes", "df", "mkdir", "rm", "ps", "nproc", "pwd", "test"),
    *("readlink", "stat", "dd", "mknod", "wc", "tr", "mount", "ln", "chmod", "setsid", "trap"),
)
_HOOK = """#!/bin/sh
# a stub of NVIDIA's hook: records what the real one would be given; slow or failing on demand.
# Also which containers it was called for before live at this moment: by pid and birth, so that a pid
# that was given again is not taken for them. Our own is written before we look, so that of two
# calls at once at least one sees the other. A spec has its name when it is whole: tests wait for it.
born() {{
    read -r line <"/proc/$1/stat" || return
    set -- ${{line##*) }}
    case $1 in Z | X) ;; *) echo "${{20}}" ;; esac
}}
d={directory}
n=$(date +%s%N)
cat > $d/$n.state
b=$(sed -n 's/.*"bundle":"\\([^"]*\\)".*/\\1/p' $d/$n.state)
cp "$b/config.json" $d/$n.copying
mv $d/$n.copying $d/$n.spec
env > $d/$n.env
p=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' $d/$n.state)
echo "$p $(born "$p")" > $d/$n.life
for f in $d/*.life; do
    read -r pid birth < "$f"
    [ "$f" = $d/$n.life ] || [ "$birth" != "$(born "$pid" 2>/dev/null)" ] || echo "${{f##*/}}"
done > $d/$n.alive
s=$(cat $d/behave 2>/dev/null)
[ "$s" = fail ] && {{ echo "nvidia-container-cli: initialization error: driver/library version mismatch" >&2; exit 1; }}
sleep ${{s:-0}}
"""


def missing_parts() -> str:
    """Return in words what an engine of our own lacks here; empty when nothing."""
    if os.geteuid() != 0:
        return "a Docker Engine of the tests' own needs root"
    lacking = [name for name in ("dockerd", "containerd", "runc") if not shutil.which(name)]
    if lacking:
        return "a Docker Engine of the tests' own needs " + ", ".join(lacking)
    return "" if _busybox() else "images for the tests need busybox-static"


def _busybox() -> str | None:
    path = shutil.which("busybox")
    if path is None:
        return None
    with contextlib.suppress(subprocess.SubprocessError, OSError):
        words = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        if "=>" in words.stdout:
            return None
    return path


def devices_of(spec: Any) -> set[str]:
    """Return the devices that an OCI spec asks NVIDIA's hook for, or names as nodes of their own (CDI)."""
    name = "NVIDIA_VISIBLE_DEVICES="
    given = [word.removeprefix(name) for word in spec["process"]["env"] if word.startswith(name)]
    nodes = {device["path"] for device in spec["linux"].get("devices") or ()}
    asked = {*given[-1].split(",")} - {"", "void", "none"} if given else set()
    return asked | {path for path in nodes if path.startswith("/dev/nvidia")}


class HookRecords:
    """What the stub of NVIDIA's hook saw."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def behave(self, how: str) -> None:
        """Make the hook take so many seconds, or `fail`."""
        (self.directory / "behave").write_text(how)

    def specs(self) -> list[dict]:
        """Return the OCI specs of every start with a device request, in order."""
        return [json.loads(path.read_text()) for path in sorted(self.directory.glob("*.spec"))]

    def overlaps(self) -> list[str]:
        """Return each device that was given to a container while another lived that had it.

        Two containers overlap exactly when at the start of one the other lives.
        """
        given = {
            path.stem: devices_of(json.loads(path.read_text()))
            for path in self.directory.glob("*.spec")
        }
        return [
            f"{device} at {path.stem} and since {other}"
            for path in sorted(self.directory.glob("*.alive"))
            for other in path.read_text().split()
            for device in given[path.stem] & given[other.removesuffix(".life")]
        ]

    def clear(self) -> None:
        """Forget."""
        for path in self.directory.iterdir():
            path.unlink()


class DockerEngine:
    """One running engine."""

    version = "this box's"
    has_hook = True
    """Whether devices are given by NVIDIA's hook (else by CDI)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = f"unix://{directory}/docker.sock"
        self.hook = HookRecords(directory / "hook")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def hook_program(self) -> Path:
        return self.directory / "bin" / "nvidia-container-runtime-hook"

    def prepare(self) -> None:
        """Write the stub hook and the configuration."""
        for name in ("bin", "hook", "data", "exec"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.hook_program.write_text(_HOOK.format(directory=self.hook.directory))
        self.hook_program.chmod(0o755)
        (self.directory / "daemon.json").write_text("{}")

    def settings(self) -> dict:
        """Return what daemon.json says beside live-restore; a broken pull is not tried again."""
        return {"max-download-attempts": 1}

    def launcher(self) -> list[str]:
        """Return the words before the engine's own, which end in an exec: the pid is the engine's."""
        return []

    def _command(self) -> list[str]:
        return [
            "dockerd",
            *("--config-file", str(self.directory / "daemon.json")),
            *("--data-root", str(self.directory / "data")),
            *("--exec-root", str(self.directory / "exec")),
            *("--pidfile", str(self.directory / "pid")),
            *("-H", self.host, "--bridge=none", "--iptables=false", "--ip6tables=false"),
        ]

    def start(self, *, live_restore: bool = False) -> None:
        """Start the engine and wait until it answers."""
        settings = self.settings() | {"live-restore": live_restore}
        (self.directory / "daemon.json").write_text(json.dumps(settings))
        (self.directory / "pid").unlink(missing_ok=True)
        log = (self.directory / "dockerd.log").open("ab")
        self._process = subprocess.Popen(
            [*self.launcher(), *self._command()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}"},
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + 40
        while True:
            with contextlib.suppress(docker.errors.DockerException, OSError):
                client = docker.APIClient(base_url=self.host, version="1.41", timeout=5)
                with contextlib.closing(client):
                    if client.ping():
                        return
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = (self.directory / "dockerd.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"dockerd does not start:\n{words}")
            time.sleep(0.05)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the engine's process and wait for it."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
        self._process.wait(60)
        self._await_containerd()

    def _await_containerd(self) -> None:
        """Wait for the engine's containerd, which dies with it a moment later.

        Its pid file goes too: a new engine would take a zombie of that number for a running one.
        """
        file = self.directory / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                stat = Path(f"/proc/{pid}/stat").read_bytes()
                if stat.rpartition(b")")[2].split()[0] in b"ZX":
                    break
                time.sleep(0.02)
        file.unlink(missing_ok=True)

    def is_up(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def restart(self, number: int = signal.SIGKILL, *, live_restore: bool = False) -> None:
        """Kill the engine and start it again."""
        self.kill(number)
        self.start(live_restore=live_restore)

    def client(self, timeout: float = 60) -> docker.APIClient:
        """Return a plain client, to look behind the runtime's back."""
        return docker.APIClient(base_url=self.host, version="1.41", timeout=timeout)

    def make_images(self) -> None:
        """Make the images of the tests, from busybox alone."""
        with contextlib.closing(self.client()) as client:
            make_images(client)

    def stop(self) -> None:
        """Remove all containers, stop the engine and what it left behind, by pid."""
        with contextlib.suppress(Exception), contextlib.closing(self.client(30)) as client:
            for row in client.containers(all=True, quiet=True):
                client.remove_container(row["Id"], force=True)
        if self._process is not None:
            self.kill(signal.SIGTERM)
        for pid in [*self._own_leftovers(), *self._own_ghosts()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while self._own_leftovers() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._unmount()

    def _own_leftovers(self) -> list[int]:
        """Return shims and containerds whose command line names this engine's directory."""
        found = []
        marker = os.fsencode(f"{self.directory}/exec")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes()
                    if marker in words and b"containerd" in words:
                        found.append(int(entry.name))
        return found

    def _own_ghosts(self) -> set[int]:
        """Return processes in the control groups of this engine's containers."""
        groups = ContainerCgroups()
        with contextlib.suppress(FileNotFoundError):
            ids = os.listdir(self.directory / "data" / "containers")
            return {pid for found in ids for pid in groups.pids(found)}
        return set()

    def _unmount(self) -> None:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        for point in reversed([line.split()[1] for line in lines]):
            if point.startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def busybox_root(extra: tuple[tuple[str, int, bytes], ...] = ()) -> bytes:
    """Return a root file system as a tar: busybox, links to its applets, /etc, /tmp."""
    busybox = Path(_busybox() or "").read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("work", 0o755)):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, mode
            tar.addfile(info)
        files = (
            ("bin/busybox", 0o755, busybox),
            ("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\nevil:x:4242:0::/:/bin/sh\n"),
            ("etc/group", 0o644, b"root:x:0:\ndisk:x:6:evil\nshadow:x:42:evil\n"),
            ("etc/secret", 0o600, b"only root\n"),
            *extra,
        )
        for name, mode, data in files:
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode, len(data)
            tar.addfile(info, io.BytesIO(data))
        for applet in _APPLETS:
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return buffer.getvalue()


def make_images(client: docker.APIClient) -> None:
    """Import the images that are not there yet."""
    busybox = Path(_busybox() or "").read_bytes()
    setuid = busybox_root((("bin/busybox-suid", 0o4755, busybox),))
    plain = busybox_root()
    env = "ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all NVIDIA_IMEX_CHANNELS=0"
    for reference, data, changes in (
        (IMAGE, plain, ["ENV PATH=/bin", 'CMD ["sh", "-c", "echo default command in $PWD"]']),
        (IMAGE_ALL_DEVICES, plain, ["ENV PATH=/bin", env, "ENV CUDA_VERSION=12.2"]),
        (IMAGE_PRELOAD, plain, ["ENV PATH=/bin", "ENV LD_PRELOAD=/proc/self/cwd/evil.so"]),
        (IMAGE_SETUID, setuid, ["ENV PATH=/bin"]),
    ):
        if not client.images(name=reference, quiet=True):
            repository, _, tag = reference.partition(":")
            client.import_image_from_data(data, repository=repository, tag=tag, changes=changes)


@contextlib.contextmanager
def running_engine(
    make: Callable[[Path], DockerEngine] | None = None,
) -> Iterator[DockerEngine]:
    """Start an engine in a directory of its own; stop it and remove everything at the end."""
    directory = Path(tempfile.mkdtemp(prefix="gpuboard-engine-"))
    engine = (make or DockerEngine)(directory)
    try:
        engine.prepare()
        engine.start()
        engine.make_images()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    """Start an engine, print its address, and stop it when stdin ends."""
    with running_engine() as engine:
        print(engine.host, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
