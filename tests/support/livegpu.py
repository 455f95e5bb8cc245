"""A machine with a real NVIDIA GPU: what the driver says by itself, and a program that works on it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import shutil
import subprocess
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.dockerd import DockerEngine, busybox_root

IMAGE = "gpuboard-live/hold:1"
SOURCE = Path(__file__).parents[1] / "live" / "hold.c"
_LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1")
_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")


def missing_driver() -> str:
    """Return in words why no real GPU can be used here; empty when one can."""
    if os.environ.get("GPUBOARD_NVML_LIBRARY") or os.environ.get("FAKENVML_STATE"):
        return "the fake library stands in for the driver"
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "no NVIDIA driver on this machine"
    return "" if library.nvmlInit_v2() == 0 else "the NVIDIA driver does not come up"


def query(what: str) -> list[str]:
    """Return what nvidia-smi says of each GPU."""
    words = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [line.strip() for line in done.stdout.splitlines()]


def built_hold(folder: Path) -> Path:
    """Compile the program that holds memory and keeps devices busy."""
    program = folder / "hold"
    subprocess.run(["cc", "-O1", "-o", str(program), str(SOURCE), "-ldl"], check=True)
    program.chmod(0o755)
    return program


class CdiEngine(DockerEngine):
    """An engine with a CDI specification of this machine's real GPUs (Docker 25 and later)."""

    def prepare(self) -> None:
        super().prepare()
        folder = self.directory / "cdi"
        folder.mkdir()
        (folder / "nvidia.yaml").write_text("\n".join(_specification()) + "\n")

    def settings(self) -> dict:
        """Return what daemon.json says: where the specification is."""
        cdi = {"features": {"cdi": True}, "cdi-spec-dirs": [str(self.directory / "cdi")]}
        return super().settings() | cdi | {"userland-proxy": False}


def missing_engine() -> str:
    """Return in words why containers cannot get a real GPU here; empty when they can."""
    if os.geteuid() != 0:
        return "an engine of the tests' own needs root"
    if not shutil.which("dockerd"):
        return "no dockerd on this machine"
    words = subprocess.run(["dockerd", "--version"], check=False, capture_output=True, text=True)
    version = words.stdout.partition("version ")[2].partition(".")[0]
    if not version.isdigit() or int(version) < 25:
        return f"CDI needs Docker 25 or later, this is {words.stdout.strip() or 'none that runs'}"
    return ""


def import_image(engine: DockerEngine, program: Path) -> None:
    """Make an image with busybox, the C library of this machine and the program."""
    buffer = io.BytesIO(busybox_root((("bin/hold", 0o755, program.read_bytes()),)))
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        for path in _c_library():
            tar.add(os.path.realpath(path), arcname=path.lstrip("/"))
    with contextlib.closing(engine.client()) as client:
        repository, _, tag = IMAGE.partition(":")
        client.import_image_from_data(
            buffer.getvalue(), repository=repository, tag=tag, changes=["ENV PATH=/bin"]
        )


def _c_library() -> Iterator[str]:
    folder = f"/lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}"
    yield "/lib64/ld-linux-x86-64.so.2"
    for name in ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"):
        if Path(folder, name).exists():
            yield f"{folder}/{name}"


def _specification() -> Iterator[str]:
    yield from ("cdiVersion: 0.5.0", "kind: nvidia.com/gpu", "devices:")
    for line in query("uuid,index"):
        uuid, _, number = line.partition(", ")
        yield from (f"- name: {uuid}", "  containerEdits:", "    deviceNodes:")
        yield f"    - {{path: /dev/nvidia{number}}}"
    yield from ("containerEdits:", "  env:", "  - NVIDIA_VISIBLE_DEVICES=void", "  deviceNodes:")
    for node in _NODES:
        if Path("/dev", node).exists():
            yield f"  - {{path: /dev/{node}}}"
    yield "  mounts:"
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for path in sorted(mapped):
        stem = os.path.basename(path).partition(".so")[0]
        for name in _LIBRARIES:
            if name.startswith(f"{stem}.so"):
                yield f"  - {{hostPath: {path}, containerPath: /lib/x86_64-linux-gnu/{name},"
                yield "     options: [ro, nosuid, nodev, bind]}"
