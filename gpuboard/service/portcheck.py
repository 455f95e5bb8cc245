"""Whether the box leaves the range on which ports of jobs are published to gpuboard.

The kernel gives programs that connect somewhere a port of its own range (ip(7), ip_local_port_range):
where that meets ours, a port that was free a moment ago is taken at the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpuboard.config import Config
from gpuboard.errors import InvalidRequest
from gpuboard.model.ports import parse_range
from gpuboard.model.views.doctor import CheckView

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def port_check(config: Config) -> Iterator[CheckView]:
    """Yield a finding where the kernel may take ports of the range; nothing where it cannot be seen."""
    docker = config.docker
    if "docker" not in config.jobs.runtimes or docker.network == "none" or not docker.port_range:
        return
    try:
        first, last = map(int, _OUTGOING.read_text().split())
        reserved = [_ports(part) for part in _RESERVED.read_text().strip().split(",") if part]
        ours = parse_range(docker.port_range, field="docker.port_range")
    except (OSError, ValueError, InvalidRequest):
        return
    met = range(max(first, ours.start), min(last + 1, ours.stop))
    if met and not any(met.start in part and met.stop - 1 in part for part in reserved):
        yield CheckView(
            name="port-range",
            status="warning",
            words=f"the kernel's outgoing connections take ports of [docker] port_range"
            f" {docker.port_range}: theirs are {first}-{last}",
            mend=f"sysctl net.ipv4.ip_local_reserved_ports={met.start}-{met.stop - 1}"
            " (and in /etc/sysctl.d); or another port_range",
        )


def _ports(text: str) -> range:
    """Return the ports of `8080` or `20000-20999`."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
