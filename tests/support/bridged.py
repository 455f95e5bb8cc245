"""A Docker Engine with bridges, in a network namespace of its own: ports and networks are really there.

The suite's other engines have no network (`--bridge=none --iptables=false`), since theirs would be
the box's. In a namespace made by `unshare` the engine has bridges, a packet filter and a proxy for
published ports, and nothing of the box can be reached or disturbed.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gpuboard.runtimes.profile import LABEL_UID
from tests.support.dockerd import DockerEngine, missing_parts
from tests.support.waiting import wait_until

_UP = 'ip link set lo up && exec "$@"'
_NO_NETWORK = frozenset({"--bridge=none", "--iptables=false"})


def missing_bridge_parts() -> str:
    """Return in words what an engine with bridges lacks here; empty when nothing."""
    if reason := missing_parts():
        return reason
    lacking = [name for name in ("ip", "iptables", "docker-proxy") if not shutil.which(name)]
    if lacking:
        return "an engine with bridges needs " + ", ".join(lacking)
    made = ("ip link add b0 type bridge && ip link add v0 type veth peer name v1"
            " && iptables -t nat -L -n >/dev/null")  # fmt: skip
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-c", made], capture_output=True, text=True, check=False
    )
    return f"bridges cannot be made here: {tried.stderr.strip()}" if tried.returncode else ""


class BridgedEngine(DockerEngine):
    """An engine that is alone in its network namespace."""

    def launcher(self) -> list[str]:
        return ["unshare", "--net", "sh", "-c", _UP, "sh"]

    def _command(self) -> list[str]:
        return [word for word in super()._command() if word not in _NO_NETWORK]

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the engine's network: what somebody on that box would see."""
        return subprocess.run(
            ["nsenter", "--net", "--target", str(self.pid), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    @contextlib.contextmanager
    def listening(self, port: int) -> Iterator[None]:
        """Let a program of the box listen on a port of its loopback."""
        code = (
            f"import socket, sys; s = socket.create_server(('127.0.0.1', {port})); sys.stdin.read()"
        )
        words = ["nsenter", "--net", "--target", str(self.pid), sys.executable, "-c", code]
        with subprocess.Popen(words, stdin=subprocess.PIPE):  # its stdin is closed at the end
            wait_until(lambda: port in self.listeners())
            yield

    def person_networks(self) -> dict[str, str]:
        """Return people's networks on the engine: whose, by name."""
        with contextlib.closing(self.client()) as client:
            rows = client.networks(filters={"label": LABEL_UID})
        return {row["Name"]: row["Labels"][LABEL_UID] for row in rows}

    def listeners(self) -> dict[int, str]:
        """Return what listens in the engine's network: address by port, of TCP."""
        found = {}
        for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]:
            local, _, state = line.split()[1:4]
            if state == "0A":
                address, _, port = local.partition(":")
                quad = bytes.fromhex(address)[::-1]
                found[int(port, 16)] = ".".join(map(str, quad))
        return found
