"""Docker Engine 26.1 of Debian 13 beside the tests, whatever this box is: the same interface as `dockerd.py`.

It runs in a mount namespace of its own whose root is the Debian 13 tree (`trixie_root.py`); a plain
chroot would not do, since runc pivots itself. /tmp and /home are the box's, so that the engine's socket,
the tests' homes and the pins of their mounts have one path on both sides. Devices come by CDI from an
/etc/cdi/nvidia.yaml made by hand: each is a node, named by its UUID.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support import dockerd, trixie_root
from tests.support.dockerd import DockerEngine, running_engine
from tests.support.runtimes import GPU, GPU_2

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACE = """
set -e
root=$1 cdi=$2; shift 2
mount --bind "$root" "$root"
for shared in /proc /sys /dev "$@"; do mkdir -p "$root$shared"; mount --rbind "$shared" "$root$shared"; done
mount -t tmpfs tmpfs "$root/run"
mount --bind "$cdi" "$root/etc/cdi"
cd "$root"
pivot_root . old
umount -l /old
touch /run/ready
exec sleep infinity
"""
"""Everything is private: nothing that the engine mounts is seen outside, and all of it ends with the last process."""


def missing_parts() -> str:
    """Return in words what this engine lacks here; empty when nothing (the root itself is made later)."""
    return trixie_root.missing_parts() or (
        "" if dockerd._busybox() else "images for the tests need busybox-static"
    )


class TrixieEngine(DockerEngine):
    """One running engine of Debian 13."""

    version = "26.1"
    has_hook = False

    def __init__(self, directory: Path, root: Path) -> None:
        super().__init__(directory)
        self.root = root
        self.cdi = directory / "cdi"
        self._holder: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Write hook, configuration and CDI specification, and make the namespace."""
        super().prepare()
        self.cdi.mkdir(exist_ok=True)
        self.write_cdi()
        shared = sorted({"/home", os.path.realpath(tempfile.gettempdir())})
        log = (self.directory / "namespace.log").open("wb")
        self._holder = subprocess.Popen(
            [
                *("unshare", "-m", "--propagation", "private", "bash", "-c", _NAMESPACE, "sh"),
                *(str(self.root), str(self.cdi), *shared),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        ready = Path(f"/proc/{self._holder.pid}/root/run/ready")
        deadline = time.monotonic() + 20
        while not (ready.exists() and (ready.parent.parent / "etc/debian_version").exists()):
            if self._holder.poll() is not None or time.monotonic() > deadline:
                words = (self.directory / "namespace.log").read_text(errors="replace")[-500:]
                raise RuntimeError(f"the namespace of Docker 26.1 cannot be made: {words}")
            time.sleep(0.02)

    def settings(self) -> dict:
        """Return what daemon.json says: CDI is off by default in 26.1."""
        return super().settings() | {"features": {"cdi": True}}

    def launcher(self) -> list[str]:
        """Return the words that enter the namespace and clear the environment."""
        assert self._holder is not None
        return [
            *("nsenter", "-m", "-r", "-w", "-t", str(self._holder.pid)),
            *("/usr/bin/env", "-i", f"PATH={self.directory}/bin:{_PATH}", "HOME=/root"),
        ]

    def write_cdi(self, uuids: Sequence[str] = (GPU, GPU_2), *, calls_hook: bool = False) -> None:
        """Describe these devices: nodes /dev/nvidia0..., and NVIDIA's own guard against the variable.

        `calls_hook`: the specification calls our stub of NVIDIA's hook, as the toolkit's own call
        theirs: then starts can be slow, fail and be counted here, too.
        """
        lines = ["cdiVersion: 0.5.0", "kind: nvidia.com/gpu", "devices:"]
        for number, uuid in enumerate(uuids):
            lines += [
                f"- name: {uuid}",
                "  containerEdits:",
                "    deviceNodes:",
                f"    - {{path: /dev/nvidia{number}, hostPath: /dev/zero, permissions: rw}}",
            ]
        lines += ["containerEdits:", "  env:", "  - NVIDIA_VISIBLE_DEVICES=void"]
        if calls_hook:
            lines += ["  hooks:", "  - hookName: createRuntime", f"    path: {self.hook_program}"]
            lines += [f"    env: [PATH={_PATH}]"]
        self.break_cdi("\n".join(lines) + "\n")

    def break_cdi(self, text: str) -> None:
        """Put any text in the place of the specification, at once and whole."""
        fresh = self.cdi / ".nvidia.new"
        fresh.write_text(text)
        fresh.rename(self.cdi / "nvidia.yaml")

    def stop(self) -> None:
        """Stop the engine, then let the namespace go."""
        super().stop()
        if self._holder is not None:
            self._holder.send_signal(signal.SIGKILL)
            self._holder.wait(20)


@contextlib.contextmanager
def running_trixie_engine() -> Iterator[TrixieEngine]:
    """Start an engine of Debian 13; RuntimeError in words when its root cannot be made."""
    root = trixie_root.made_root()
    with running_engine(lambda directory: TrixieEngine(directory, root)) as engine:
        assert isinstance(engine, TrixieEngine)
        yield engine
