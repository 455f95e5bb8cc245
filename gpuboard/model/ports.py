"""Ports as people write them: a container's port to publish, and the box's range to publish on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpuboard.errors import InvalidRequest
from gpuboard.model.text import plain

FIRST, LAST = 1, 65_535
FIRST_UNPRIVILEGED = 1024
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


def parse_port(text: str | int, *, field: str = "ports") -> int:
    """Return the container's port of `8888` or `8888/tcp`. Raises InvalidRequest.

    Docker's other forms name a port or an address of the box, or another protocol: the box's port is
    gpuboard's to choose.
    """
    words = str(text).strip()
    number, slash, protocol = words.partition("/")
    if ":" in words or "-" in number:
        raise InvalidRequest(
            f"{plain(words, 60)!r}: name the container's port alone, one at a time",
            field=field,
            hint="for example -p 8888; the box's port is chosen for you, on 127.0.0.1 only",
        )
    if slash and protocol.lower() != "tcp":
        raise InvalidRequest(
            f"{plain(words, 60)!r}: only TCP ports are published",
            field=field,
            hint="8888 or 8888/tcp",
        )
    if not (number.isascii() and number.isdigit()) or not FIRST <= int(number[:7]) <= LAST:
        raise InvalidRequest(
            f"{plain(words, 60)!r} is no port",
            field=field,
            hint=f"a number from {FIRST} to {LAST}: the port on which the program in the job listens",
        )
    return int(number)


def parse_ports(texts: Sequence[str | int], *, field: str = "ports") -> tuple[int, ...]:
    """Return the ports named, in order. Raises InvalidRequest, also for one that is named twice."""
    ports = tuple(parse_port(text, field=field) for text in texts)
    for number, port in enumerate(ports):
        if port in ports[:number]:
            raise InvalidRequest(f"port {port} is named twice", field=field)
    return ports


def parse_range(text: str, *, field: str) -> range:
    """Return the ports of `20000-20999`, ends included; none of an empty text. Raises InvalidRequest."""
    if not text:
        return range(0)
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not FIRST_UNPRIVILEGED <= first <= last <= LAST:
        raise InvalidRequest(
            f"{plain(text, 40)!r} is no range of ports",
            field=field,
            hint=f'such as "20000-20999", within {FIRST_UNPRIVILEGED}-{LAST}; "" publishes none',
        )
    return range(first, last + 1)


def tunnel(ports: Sequence[tuple[int, int]], box: str) -> str:
    """Return the ssh command that leads from another machine to ports of a job; empty for none.

    `ports` are the container's and the box's. One below 1024 could not be opened over there by
    everybody: its tunnel begins at the box's number.
    """
    parts = [
        f"-L {port if port >= FIRST_UNPRIVILEGED else host_port}:127.0.0.1:{host_port}"
        for port, host_port in ports
    ]
    return f"ssh {' '.join(parts)} {box}" if parts else ""
