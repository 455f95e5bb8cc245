"""A file system whose server never answers, as a dead file server's: FUSE, spoken by hand.

It answers the kernel's greeting and nothing after it, so that whoever looks waits in the kernel and
not even SIGKILL ends it; until the end of the block, when every look fails.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

_DEVICE = "/dev/fuse"
_INIT = 26
_IN = struct.Struct("IIQQIIII")
"""`fuse_in_header`: length, opcode, unique, node, uid, gid, pid, padding."""
_OUT = struct.Struct("IiQ")
"""`fuse_out_header`: length, error, unique."""
_GREETING = struct.pack("IIIIHHI", 7, 31, 0, 0, 12, 9, 4096) + bytes(40)
"""`fuse_init_out` of protocol 7.31, with nothing on offer."""


@contextlib.contextmanager
def hanging(path: Path, uid: int, pid: int = 0) -> Iterator[threading.Event]:
    """Mount it on a directory for the block; the event tells that somebody waits. Skips without FUSE.

    `pid`: of whom (an engine) the mount namespace is in which it is mounted; 0: ours.
    """
    inside = ["nsenter", "-m", "-t", str(pid or os.getpid()), "--"]
    try:
        device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"a file system that hangs needs {_DEVICE}: {error.strerror}")
    options = f"fd={device},rootmode=40000,user_id={uid},group_id={uid},allow_other"
    words = [
        "mount",
        "-i",
        "-n",
        "-t",
        "fuse",
        "-o",
        f"nosuid,nodev,{options}",
        "hanging",
        str(path),
    ]
    mounted = subprocess.run([*inside, *words], pass_fds=[device], capture_output=True, check=False)
    if mounted.returncode:
        os.close(device)
        pytest.skip(f"a file system that hangs cannot be mounted: {mounted.stderr.decode()}")
    is_asked, is_over = threading.Event(), threading.Event()
    server = threading.Thread(target=_serve, args=(device, is_asked, is_over), daemon=True)
    server.start()
    try:
        yield is_asked
    finally:
        subprocess.run([*inside, "umount", "-n", "-i", "-l", str(path)], check=True)
        is_over.set()
        server.join()
        os.close(device)  # the last one to hold it: all who wait are told that the server is gone


def _serve(device: int, is_asked: threading.Event, is_over: threading.Event) -> None:
    """Answer the greeting; take what follows and stay silent."""
    while not is_over.is_set():
        if not select.select([device], [], [], 0.05)[0]:
            continue
        try:
            request = os.read(device, 1 << 17)
        except OSError:
            return
        _, opcode, unique, *_ = _IN.unpack_from(request)
        if opcode == _INIT:
            os.write(device, _OUT.pack(_OUT.size + len(_GREETING), 0, unique) + _GREETING)
        else:
            is_asked.set()
