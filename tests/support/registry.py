"""A registry of the tests' own: Debian's docker-registry on loopback, behind a line that can be slow and counts.

Engines take 127.0.0.0/8 without TLS. What is pushed goes straight in; what is pulled comes over the
line, so that a pull takes as long as a test wants, and a test sees who asked at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker

from tests.support.dockerd import busybox_root

_NAMES = ("docker-registry", "registry")
_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_BLOCK = 65536


def missing_parts() -> str:
    """Return in words what a registry lacks here; empty when nothing."""
    if any(shutil.which(name) for name in _NAMES):
        return ""
    return "pulls are tested with docker-registry (Debian's package of that name)"


class Line:
    """A TCP line to the registry: forwards, counts, and can be slow (a byte a second: silent)."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.calls = 0
        self.sent_bytes = 0
        """Of all that the registry said."""
        self.bytes_per_s = 0
        """0 = as fast as it goes."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.calls += 1
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            there = socket.create_connection(("127.0.0.1", self._to_port), 10)
            with there:
                there.settimeout(None)
                up = threading.Thread(target=self._copy, args=(client, there, False), daemon=True)
                up.start()
                self._copy(there, client, True)

    def _copy(self, source: socket.socket, target: socket.socket, is_slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                if is_slow and self.bytes_per_s:
                    time.sleep(len(data) / self.bytes_per_s)
                target.sendall(data)
                self.sent_bytes += len(data) * is_slow
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more calls."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


class Registry:
    """One running registry; `host` is what references begin with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.line = Line(self._port)
        self.other_line = Line(self._port)
        """To the same registry under another name."""
        self.host = f"127.0.0.1:{self.line.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        config = self._folder / "config.yml"
        config.write_text(_CONFIG.format(folder=self._folder, port=self._port))
        program = next(found for name in _NAMES if (found := shutil.which(name)))
        log = (self._folder / "registry.log").open("ab")
        self._process = subprocess.Popen(
            [program, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        deadline = time.monotonic() + 20
        while True:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/v2/", timeout=5),
            ):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = (self._folder / "registry.log").read_text(errors="replace")[-500:]
                raise RuntimeError(f"the registry does not start: {words}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End registry and line."""
        self.kill()
        self.line.close()
        self.other_line.close()

    def push(
        self, client: docker.APIClient, name: str, tag: str, says: str, extra_bytes: int = 0
    ) -> str:
        """Make an image whose `/etc/says` holds these words, push it, take it off the engine; return its id."""
        files = [("etc/says", 0o644, f"{says}\n".encode())]
        if extra_bytes:
            files.append(("etc/ballast", 0o644, os.urandom(extra_bytes)))
        repository = f"127.0.0.1:{self._port}/{name}"
        client.import_image_from_data(
            busybox_root(tuple(files)), repository=repository, tag=tag, changes=["ENV PATH=/bin"]
        )
        reference = f"{repository}:{tag}"
        found = str(client.inspect_image(reference)["Id"])
        for row in client.push(repository, tag=tag, stream=True, decode=True):
            assert "error" not in row, row
        client.remove_image(reference, force=True)
        return found

    def manifest_digest(self, name: str, tag: str) -> str:
        """Return the digest under which the registry keeps what the tag now names."""
        url = f"http://127.0.0.1:{self._port}/v2/{name}/manifests/{tag}"
        kinds = "application/vnd.docker.distribution.manifest.v2+json"
        request = urllib.request.Request(url, headers={"Accept": kinds})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return "sha256:" + hashlib.sha256(answer.read()).hexdigest()


@contextlib.contextmanager
def running_registry() -> Iterator[Registry]:
    """Give a registry in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="gpuboard-registry-"))
    registry = Registry(folder)
    try:
        registry.start()
        yield registry
    finally:
        registry.close()
        shutil.rmtree(folder, ignore_errors=True)
