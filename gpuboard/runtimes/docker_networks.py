"""A network of each person's own: jobs of one person reach each other, jobs of two do not.

On the engine's default bridge every container reaches every other (SAFETY.md B5). So a person's
containers join `gb-net-<uid>`, a bridge made when it is first needed and removed with their last
container: an engine has addresses for about thirty bridges. Between two of them the engine's
packet filter drops everything; to the outside they are masqueraded, as on the default bridge.
Where another gpuboard (or anybody) has a network of that name, ours bears the box's name too.
Operated by id, since the engine lets two networks have one name.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from gpuboard.errors import GpuboardError
from gpuboard.runtimes.docker_api import DockerConnection
from gpuboard.runtimes.ports import LOOPBACK
from gpuboard.runtimes.profile import LABEL_BOX, LABEL_UID

_BOX_DIGITS = 6
_OPTIONS = {
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": LOOPBACK,
}


class PersonNetworks:
    """Lends networks to containers that are being created; tidies those that nobody uses."""

    def __init__(self, connection: DockerConnection, box_id: str) -> None:
        self._connection = connection
        self._box_id = box_id
        self._lock = threading.Lock()
        self._lent: Counter[int] = Counter()
        """How many containers are being created in whose network: the engine does not list them yet."""

    @contextlib.contextmanager
    def lent(self, uid: int) -> Iterator[str]:
        """Give the id of the person's network, which stays at least until the block's end."""
        with self._lock:
            network_id = self._find(uid) or self._make(uid)
            self._lent[uid] += 1
        try:
            yield network_id
        finally:
            with self._lock:
                self._lent[uid] -= 1

    def tidy(self) -> None:
        """Remove our networks of which no container is there, ended ones included.

        What cannot be removed now is left for the next time.
        """
        with self._lock, contextlib.suppress(GpuboardError):
            networks = self._ours()
            if not networks:
                return
            used = self._used()
            for network in networks:
                owner = _uid_of(network)
                if owner not in used and not self._lent[owner]:
                    self._remove(str(network["Id"]))

    def _ours(self) -> list[Mapping[str, Any]]:
        with self._connection.reading("listing networks") as api:
            rows: list[Mapping[str, Any]] = api.networks(
                filters={"label": [f"{LABEL_BOX}={self._box_id}"]}
            )
        return rows

    def _find(self, uid: int) -> str:
        own = [one for one in self._ours() if _uid_of(one) == uid and one["Driver"] == "bridge"]
        return min((str(one["Id"]) for one in own), default="")

    def _make(self, uid: int) -> str:
        name = f"gb-net-{uid}"
        with self._connection.reading("looking for the network") as api:
            if any(one["Name"] == name for one in api.networks(names=[name])):
                name = f"{name}-{self._box_id[:_BOX_DIGITS]}"
        with self._connection.reading(f"making the network {name}") as api:
            made = api.create_network(
                name,
                driver="bridge",
                options=_OPTIONS,
                labels={LABEL_BOX: self._box_id, LABEL_UID: str(uid)},
                check_duplicate=True,
                enable_ipv6=False,
            )
        return str(made["Id"])

    def _used(self) -> set[int]:
        """Return whose containers are there."""
        with self._connection.reading("listing containers") as api:
            rows = api.containers(all=True, filters={"label": f"{LABEL_BOX}={self._box_id}"})
        return {_uid_of(row) for row in rows}

    def _remove(self, network_id: str) -> None:
        with (
            contextlib.suppress(GpuboardError),
            self._connection.reading("removing a network") as api,
        ):
            api.remove_network(network_id)


def _uid_of(row: Mapping[str, Any]) -> int:
    words = (row.get("Labels") or {}).get(LABEL_UID, "")
    return int(words) if words.isascii() and words.isdigit() else -1
