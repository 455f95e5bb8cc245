"""How the GPUs are linked with each other and with the box's CPUs, read through NVML.

This changes only with the hardware, and costs hundreds of calls on a box of many GPUs: it is read
when the library is opened and when other GPUs are listed, not at each sweep. Any of the calls may
be missing on a driver, a board or in a virtual machine: then nothing is said of that pair, and
that is no fault.

NVLink is told by what is at the other end of each active link: another GPU, or a switch; GPUs with
links to switches reach each other through them (as `nvidia-smi topo -m` has it, `NV18`). Where the
ends are hidden, the driver's own word that a pair speaks NVLink will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from gpuboard.devices.nvml_answers import DEVICE_FAULTS
from gpuboard.devices.nvml_calls import Handle, NvmlCalls
from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.ids import DeviceUuid

_LEVELS = {
    10: LinkKind.PIX,
    20: LinkKind.PXB,
    30: LinkKind.PHB,
    40: LinkKind.NODE,
    50: LinkKind.SYS,
}
"""nvmlGpuTopologyLevel_t; 0 is two GPUs of one board."""
SYSFS_PCI = Path("/sys/bus/pci/devices")


class NvLinks(NamedTuple):
    """The active NVLinks of one GPU by what is at their other ends."""

    bus_id: str
    """Its own PCI address."""
    peers: Mapping[str, int]
    """How many by the PCI address of another GPU."""
    to_switches: int
    active: int


class TopologyReader:
    """Remembers the links of the GPUs that were listed last. Belongs to one thread."""

    def __init__(self) -> None:
        self._uuids: frozenset[DeviceUuid] | None = None
        self._is_whole = False
        """Whether no GPU failed while it was asked."""
        self._links: tuple[DeviceLink, ...] = ()

    def forget(self) -> None:
        """Have everything read anew: the library was opened again."""
        self._uuids = None

    def links(
        self, calls: NvmlCalls, gpus: Mapping[DeviceUuid, Handle], *, is_slow: bool
    ) -> tuple[DeviceLink, ...]:
        """Return the best link of each pair of GPUs of which something is known.

        Read anew when other GPUs are there; while one of them fails, at the slow interval.
        """
        uuids = frozenset(gpus)
        if uuids != self._uuids or (is_slow and not self._is_whole):
            self._links, self._is_whole = _read_links(calls, gpus)
            self._uuids = uuids
        return self._links


def numa_node(calls: NvmlCalls, handle: Handle, bus_id: str, sysfs: Path = SYSFS_PCI) -> int | None:
    """Return the NUMA node whose memory and CPUs are near a GPU: by the driver, else by the kernel."""
    node = calls.near_node(handle)
    return node if node is not None else _node_of_kernel(bus_id, sysfs)


def _node_of_kernel(bus_id: str, sysfs: Path) -> int | None:
    """Return what the kernel says of a PCI address `00000000:17:00.0`; it says -1 for nothing."""
    domain, _, rest = bus_id.partition(":")
    try:
        node = int((sysfs / f"{domain[-4:]}:{rest}".lower() / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _read_links(
    calls: NvmlCalls, gpus: Mapping[DeviceUuid, Handle]
) -> tuple[tuple[DeviceLink, ...], bool]:
    """Return the links, and whether no GPU failed on the way (its own reading tells that)."""
    own: dict[DeviceUuid, NvLinks] = {}
    for uuid, handle in gpus.items():
        try:
            own[uuid] = _nvlinks(calls, handle)
        except DEVICE_FAULTS:
            continue
    links: list[DeviceLink] = []
    is_whole = len(own) == len(gpus)
    for a, b in combinations(sorted(own), 2):
        try:
            link = _read_link(calls, (a, gpus[a], own[a]), (b, gpus[b], own[b]))
        except DEVICE_FAULTS:
            is_whole = False
        else:
            links += [link] if link is not None else []
    return tuple(links), is_whole


_Gpu = tuple[DeviceUuid, Handle, NvLinks]


def _read_link(calls: NvmlCalls, a: _Gpu, b: _Gpu) -> DeviceLink | None:
    """Return the best link of a pair; None where nothing is known of it."""
    (uuid_a, handle_a, own_a), (uuid_b, handle_b, own_b) = a, b
    count = _nvlinks_between(own_a, own_b)
    if not count and own_a.active and own_b.active and calls.speaks_nvlink(handle_a, handle_b):
        count = min(own_a.active, own_b.active)
    if count:
        return DeviceLink(uuid_a, uuid_b, LinkKind.NVLINK, count)
    kind = _LEVELS.get(calls.common_ancestor(handle_a, handle_b) or 0)
    return None if kind is None else DeviceLink(uuid_a, uuid_b, kind)


def _nvlinks(calls: NvmlCalls, handle: Handle) -> NvLinks:
    peers: dict[str, int] = {}
    to_switches = active = 0
    for end in calls.nvlink_ends(handle):
        active += 1
        if end.is_switch:
            to_switches += 1
        elif end.bus_id:
            peers[end.bus_id] = peers.get(end.bus_id, 0) + 1
    return NvLinks(calls.bus_id(handle) or "", peers, to_switches, active)


def _nvlinks_between(a: NvLinks, b: NvLinks) -> int:
    direct = max(a.peers.get(b.bus_id, 0), b.peers.get(a.bus_id, 0))
    return direct or min(a.to_switches, b.to_switches)
