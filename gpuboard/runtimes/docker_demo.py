"""A tiny image for the demo, made of this box's own static busybox; nothing is pulled."""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import tarfile
from pathlib import Path

from gpuboard.errors import HostError

IMAGE = "gpuboard-demo:1"
PT_INTERP = 3
APPLETS = ("sh", "sleep", "echo", "cat", "ls", "env", "id", "true", "false", "seq")


def make_image(host: str) -> str:
    """Return the reference of the demo's image on the engine at `host`, importing it when absent.

    Raises HostError when the engine does not answer us or there is no static busybox to make it of.
    """
    import docker

    client = docker.APIClient(base_url=host, timeout=10)
    with contextlib.closing(client):
        try:
            if not client.images(name=IMAGE, quiet=True):
                repository, _, tag = IMAGE.partition(":")
                client.import_image_from_data(
                    _root(), repository=repository, tag=tag, changes=["ENV PATH=/bin"]
                )
        except (docker.errors.DockerException, OSError) as error:
            raise HostError(f"the container engine at {host} does not help: {error}") from error
    return IMAGE


def _is_static(binary: bytes) -> bool:
    """Whether a 64-bit ELF program asks for no loader: it has no PT_INTERP header (elf(5))."""
    if binary[:5] != b"\x7fELF\x02":
        return False
    (offset,) = struct.unpack_from("<Q", binary, 0x20)
    size, count = struct.unpack_from("<HH", binary, 0x36)
    kinds = [struct.unpack_from("<I", binary, offset + number * size)[0] for number in range(count)]
    return PT_INTERP not in kinds


def _root() -> bytes:
    """Return a root file system as a tar: busybox and links to the few applets that jobs use."""
    path = shutil.which("busybox")
    if path is None or not _is_static(binary := Path(path).read_bytes()):
        raise HostError("no static busybox on this box")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (("bin", 0o755), ("tmp", 0o1777)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        program = tarfile.TarInfo("bin/busybox")
        program.mode, program.size = 0o755, len(binary)
        tar.addfile(program, io.BytesIO(binary))
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()
