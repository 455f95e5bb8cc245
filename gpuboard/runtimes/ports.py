"""Ports of a container on the box: on 127.0.0.1, TCP, chosen by the engine's port desk, never by a person.

Whoever is on the box can connect to a port of its loopback, so what listens behind one must ask
for its own password or token (Jupyter does); whoever is not comes through ssh. Nothing outside the
box reaches it, and no container of another person: their networks lead to other addresses of the
box.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sequence
from typing import Any

from gpuboard.errors import InvalidRequest, Refused, StateError
from gpuboard.model.job import PublishedPort
from gpuboard.model.ports import FIRST, FIRST_UNPRIVILEGED, LAST

LOOPBACK = "127.0.0.1"

_TAKEN = re.compile(
    r"(?:failed to set up container networking: )?driver failed programming external connectivity"
    r" on endpoint [\w.-]+ \([0-9a-f]+\): .*(?:port is already allocated|address already in use)"
)
"""How engines from 20.10 on say that somebody else has a port of the box; from its beginning on, since
further in an error of theirs may quote a job's command."""


def check_ports(ports: Sequence[int], network: str, port_range: str, max_ports: int) -> None:
    """Refuse ports where none can be published, too many, and numbers that are no ports."""
    if not ports:
        return
    if network == "none":
        raise Refused(
            "containers have no network on this box, so no port of theirs can be published",
            field="ports",
            hint='an admin can set [docker] network = "bridge"; or write to a mount instead',
        )
    if not port_range:
        raise Refused(
            "no ports are published on this box",
            field="ports",
            hint='an admin can set [docker] port_range = "20000-20999"',
        )
    if len(ports) > max_ports:
        raise InvalidRequest(
            f"{len(ports)} ports: at most {max_ports} a job here",
            field="ports",
            hint="several services can share one port behind a proxy",
        )
    if len(set(ports)) != len(ports):
        raise InvalidRequest("a port is named twice", field="ports")
    for port in ports:
        if not FIRST <= port <= LAST:
            raise InvalidRequest(f"{port} is no port", field="ports")


def is_taken(words: str) -> bool:
    """Whether an engine's error says that a port of the box was somebody else's."""
    return _TAKEN.match(words) is not None


def is_free(host_port: int) -> bool:
    """Whether nothing listens on a port of our loopback, as far as can be seen from here.

    SO_REUSEADDR, as the engine's proxy has it: the last moments of closed connections do not count.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, host_port))
    except OSError as error:
        return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True


def port_fields(
    ports: Sequence[PublishedPort], network: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what publishes ports in the engine's create call: of the container, and of its host part."""
    if not ports:
        return {}, {}
    if network == "none":
        raise Refused("containers have no network on this box any more", field="ports")
    for each in ports:
        if not (FIRST <= each.port <= LAST and FIRST_UNPRIVILEGED <= each.host_port <= LAST):
            raise StateError(f"port {each.port} cannot be published as {each.host_port}")
    exposed: dict[str, Any] = {f"{each.port}/tcp": {} for each in ports}
    bound = {
        f"{each.port}/tcp": [{"HostIp": LOOPBACK, "HostPort": str(each.host_port)}]
        for each in ports
    }
    return {"ExposedPorts": exposed}, {"PortBindings": bound}
