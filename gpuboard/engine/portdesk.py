"""The port desk: which ports of the box an attempt's container ports are published on.

A port is chosen before the intent is committed, and the attempt keeps it whatever crashes after:
the database itself refuses a port that a live attempt has. Ports are given in turn and not the
lowest first, so that one just released is not at once another person's (an ssh tunnel left open
would lead into a stranger's notebook).
"""

from __future__ import annotations

from gpuboard.engine.core import Core
from gpuboard.model.job import Job, PublishedPort
from gpuboard.model.ports import parse_range
from gpuboard.runtimes.ports import is_free

AVOID_MS = 600_000
"""How long a port that the engine found taken is not given out."""
RETRY_S = 15.0
"""Before a job that found no free port is tried again, if no job ends earlier."""


class PortDesk:
    """Gives ports out; what is given is read from the ledger, so nothing has to be given back."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last = 0
        self._avoid: dict[int, int] = {}
        """Ports that were found taken, and until when (boot time, ms) to leave them alone."""

    def choose(self, job: Job) -> tuple[PublishedPort, ...] | None:
        """Return a port of the box for each that the job wants; None when there are not enough.

        Jobs without devices have at most half of the range together: many of them cannot keep a job
        from the devices that were planned for it.
        """
        wanted = job.spec.ports
        if not wanted:
            return ()
        every = parse_range(self._core.config.docker.port_range, field="docker.port_range")
        given = self._given()
        if not job.spec.gpus:
            half = len(every) // 2
            if sum(not has_devices for has_devices in given.values()) + len(wanted) > half:
                return None
        found = self._free_ones(every, set(given), len(wanted))
        if len(found) < len(wanted):
            return None
        self._last = found[-1]
        return tuple(map(PublishedPort, wanted, found))

    def _given(self) -> dict[int, bool]:
        """Return the ports that live attempts have, and whether those have devices."""
        return {
            each.host_port: bool(job.devices)
            for job in self._core.ledger.holding.values()
            for each in job.ports
        }

    def _free_ones(self, every: range, given: set[int], count: int) -> list[int]:
        boot = self._core.clock.boot_ms()
        self._avoid = {port: until for port, until in self._avoid.items() if until > boot}
        first = every.index(self._last) + 1 if self._last in every else 0
        found: list[int] = []
        for step in range(len(every)):
            if len(found) == count:
                break
            port = every[(first + step) % len(every)]
            if port not in given and port not in self._avoid and is_free(port):
                found.append(port)
        return found

    def were_taken(self, job: Job) -> None:
        """Leave the ports of an attempt alone for a while: the engine found one of them taken."""
        until = self._core.clock.boot_ms() + AVOID_MS
        self._avoid.update({each.host_port: until for each in job.ports})
