"""Devices: what can be assigned whole, what was read from them, and what runs on them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gpuboard.model.ids import DeviceUuid


class DeviceKind(StrEnum):
    """What a device is."""

    GPU = "gpu"
    MIG = "mig"


class Device(msgspec.Struct, frozen=True):
    """Identity and fixed facts of one device."""

    uuid: DeviceUuid
    index: int
    """Display number: NVML's index of the GPU; a lost GPU keeps its number."""
    name: str
    """Product name, e.g. `NVIDIA H100 80GB HBM3`."""
    memory_bytes: int | None = None
    kind: DeviceKind = DeviceKind.GPU
    parent: DeviceUuid | None = None
    """GPU of a MIG instance."""
    bus_id: str = ""
    numa_node: int | None = None
    cpus: str = ""
    """The CPUs that are near, as the kernel writes lists: `0-31,64-95`; empty: not known."""
    mig_label: str = ""
    """For a MIG instance: `0:1` (GPU index : instance), shown in place of the index."""

    @property
    def label(self) -> str:
        """Return how the device is called on screens: `3`, or `3:1` for a MIG instance."""
        return self.mig_label or str(self.index)


class LinkKind(StrEnum):
    """How two GPUs reach each other, best first; the words of `nvidia-smi topo -m`."""

    NVLINK = "NV"
    """Directly or through NVSwitches."""
    PIX = "PIX"
    """Through one PCIe switch."""
    PXB = "PXB"
    """Through several PCIe switches, but no host bridge."""
    PHB = "PHB"
    """Through a PCIe host bridge (the CPU)."""
    NODE = "NODE"
    """Through several host bridges of one NUMA node."""
    SYS = "SYS"
    """Across NUMA nodes."""


class DeviceLink(msgspec.Struct, frozen=True, gc=False):
    """The best link between two GPUs; it holds in both directions."""

    a: DeviceUuid
    b: DeviceUuid
    kind: LinkKind
    nvlinks: int = 0
    """How many NVLinks, where that is the kind and they can be counted."""

    @property
    def words(self) -> str:
        """Return it as `nvidia-smi topo -m` does: `NV4`, `PIX`, `SYS`."""
        is_nvlink = self.kind is LinkKind.NVLINK
        return f"{self.kind}{self.nvlinks or '#'}" if is_nvlink else str(self.kind)


class DeviceProcess(msgspec.Struct, frozen=True):
    """One process that NVML names on a device; pid + start time is its identity."""

    pid: int
    started_at: int | None = None
    """Start of the process (ms since epoch); None when it is gone or cannot be read."""
    memory_bytes: int | None = None
    utilization: int | None = None
    """SM utilisation in percent."""
    kind: str = "C"
    """C compute, G graphics, M MPS."""
    command: str = ""
    uid: int | None = None
    user: str = ""
    container_id: str = ""
    """Full 64-hex id, read from the anchored cgroup path."""
    job_name: str = ""
    """Runtime name `gb-<job>-<attempt>` when the process belongs to a job of ours."""


class Health(StrEnum):
    """Whether a device may be given out."""

    OK = "ok"
    FAULTY = "faulty"
    LOST = "lost"
    UNKNOWN = "unknown"


class DeviceReading(msgspec.Struct, frozen=True):
    """All that one sweep learned of one device. None = not supported or failed, never zero."""

    device: Device
    health: Health = Health.OK
    fault: str = ""
    """In words, when health is not ok."""
    utilization: int | None = None
    memory_utilization: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    fan_percent: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    performance_state: int | None = None
    throttle: tuple[str, ...] = ()
    ecc_uncorrected: int | None = None
    pcie_tx_bytes_s: int | None = None
    pcie_rx_bytes_s: int | None = None
    processes: tuple[DeviceProcess, ...] | None = None
    """None when the list could not be read: that is not an empty list."""


class ProbeSnapshot(msgspec.Struct, frozen=True):
    """One immutable sweep over all devices."""

    at: int
    """When the sweep ended (ms since epoch)."""
    readings: tuple[DeviceReading, ...] = ()
    fault: str = ""
    """In words, when the driver as a whole does not answer (not loaded, mismatch, hung)."""
    hint: str = ""
    """The command that mends it."""
    driver: str = ""
    cuda: str = ""
    links: tuple[DeviceLink, ...] = ()
    """How whole GPUs are linked; pairs of which nothing is known are left out."""
    sequence: int = 0
    """Raised by each sweep that ended; a hung driver leaves it where it was."""
