"""NVML's calls, one a method, in our units: the only importer of pynvml.

A figure that a driver or board does not give is None; what else may happen is in `nvml_answers`.
Process lists are read with one call into the library, not through pynvml's functions: those ask
for the size first, and a list may take the driver milliseconds. So an old driver's layout can be
read too, where pynvml raises `NVMLLibraryMismatchError`, which is not an `NVMLError`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from types import ModuleType
from typing import NamedTuple, NewType

from gpuboard.devices.nvml_answers import DEVICE_FAULTS, DeviceUnreadable, NvmlAnswers

Handle = NewType("Handle", object)
"""pynvml's handle of a GPU or MIG instance; valid until the library is closed."""


class ListedProcess(NamedTuple):
    """A line of a process list."""

    pid: int
    memory_bytes: int | None


class _List(NamedTuple):
    """A process list of the library: its function, and pid and memory in an entry's bytes."""

    function: Callable[..., int]
    layout: Struct


class NvLinkEnd(NamedTuple):
    """What is at the other end of an active NVLink."""

    bus_id: str
    """Its PCI address; empty where it is not told."""
    is_switch: bool


_NEVER_LISTED = ("NVML_ERROR_NOT_SUPPORTED", "NVML_ERROR_FUNCTION_NOT_FOUND")
"""Answers of a graphics or MPS list that mean: there are no such processes here."""

_PROCESS_LISTS = {
    "C": "nvmlDeviceGetComputeRunningProcesses",
    "G": "nvmlDeviceGetGraphicsRunningProcesses",
    "M": "nvmlDeviceGetMPSComputeRunningProcesses",
}
_NO_MEMORY_FIGURE = 2**64 - 1
_FIRST_ROOM = 32
_MAX_ROOM = 65536

_THROTTLE_WORDS = (
    (0x04, "power cap"),
    (0x08, "hardware slowdown"),
    (0x20, "thermal"),
    (0x40, "hardware thermal"),
    (0x80, "power brake"),
)
"""Bits of the clocks' event reasons that cost somebody performance; idle clocks are no throttle."""


_LIST_LAYOUTS = (("_v3", Struct("=I4xQ8x")), ("_v2", Struct("=I4xQ8x")), ("", Struct("=I4xQ")))
"""By the list's version, newest first: pid and memory of an entry (nvmlProcessInfo_t and its
successors, which end in two MIG ids). Unpacked by hand: it is done for every process each second,
and takes pynvml's structures ten times as long."""


class NvmlCalls:
    """The opened library. Belongs to one thread.

    Any call may raise DriverFault; calls with a handle also the DEVICE_FAULTS.
    """

    def __init__(self) -> None:
        """Load and initialise the library.

        Raises:
            DriverFault: in words that say what to mend.
        """
        import pynvml

        self._nvml: ModuleType = pynvml
        self._ask = NvmlAnswers(pynvml)
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise self._ask.driver_fault(error) from error
        self._lists = {kind: self._chosen_list(name) for kind, name in _PROCESS_LISTS.items()}
        self._make_room(_FIRST_ROOM)
        self._memory_version: int | None = pynvml.nvmlMemory_v2
        self._events: object | None = None

    def close(self) -> None:
        """Let go of the library; it may be opened anew."""
        if self._events is not None:
            self._ask.quiet(self._nvml.nvmlEventSetFree, self._events)
        self._ask.quiet(self._nvml.nvmlShutdown)

    # What there is

    def versions(self) -> tuple[str, str]:
        """Return the driver's version and the highest CUDA version it runs (`12.9`)."""
        driver = self._ask.value(self._nvml.nvmlSystemGetDriverVersion)
        cuda = self._ask.value(self._nvml.nvmlSystemGetCudaDriverVersion_v2)
        return driver or "", f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""

    def gpu_count(self) -> int:
        """Return how many GPUs the driver lists, lost ones included.

        Raises:
            DriverFault: also for any other answer, since nothing can be said without it.
        """
        try:
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            raise self._ask.driver_fault(error) from error

    def gpu(self, index: int) -> Handle:
        """Return the GPU at an index.

        Raises:
            DeviceUnreadable: it cannot be reached now.
        """
        handle: Handle = self._ask.must(self._nvml.nvmlDeviceGetHandleByIndex, index)
        return handle

    def uuid(self, handle: Handle) -> str:
        """Return the UUID.

        Raises:
            DeviceUnreadable: it cannot be told which device it is.
        """
        uuid: str = self._ask.must(self._nvml.nvmlDeviceGetUUID, handle)
        return uuid

    def mig_instances(self, gpu: Handle) -> list[tuple[int, Handle]] | None:
        """Return the MIG instances of a GPU by their number; None when it is not split."""
        mode = self._ask.value(self._nvml.nvmlDeviceGetMigMode, gpu)
        if not mode or mode[0] != self._nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        count = self._ask.value(self._nvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0
        return [
            (number, handle)
            for number in range(count)
            if (
                handle := self._ask.value(
                    self._nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, number
                )
            )
        ]

    # Fixed facts

    def product_name(self, handle: Handle) -> str | None:
        """Return the product's name."""
        return self._ask.value(self._nvml.nvmlDeviceGetName, handle)

    def bus_id(self, handle: Handle) -> str | None:
        """Return the PCI address, as `00000000:17:00.0`."""
        pci = self._ask.value(self._nvml.nvmlDeviceGetPciInfo, handle)
        return None if pci is None else _address(pci.busId)

    def near_node(self, handle: Handle) -> int | None:
        """Return the NUMA node near the GPU; None where there is not just one.

        `nvmlDeviceGetNumaNodeId` is no answer: it is the node of the GPU's own memory, on boards
        where that is one.
        """
        nodes = self._ask.value(
            self._nvml.nvmlDeviceGetMemoryAffinity,
            handle,
            _MASK_WORDS,
            self._nvml.NVML_AFFINITY_SCOPE_NODE,
        )
        numbers = _bits(nodes or ())
        return numbers[0] if len(numbers) == 1 else None

    def near_cpus(self, handle: Handle) -> str:
        """Return the CPUs near the GPU as the kernel writes lists (`0-31,64-95`), or nothing."""
        cpus = self._ask.value(self._nvml.nvmlDeviceGetCpuAffinity, handle, _MASK_WORDS)
        return _as_list(_bits(cpus or ()))

    # Links

    def common_ancestor(self, gpu: Handle, other: Handle) -> int | None:
        """Return over what two GPUs meet (nvmlGpuTopologyLevel_t)."""
        return self._ask.value(self._nvml.nvmlDeviceGetTopologyCommonAncestor, gpu, other)

    def speaks_nvlink(self, gpu: Handle, other: Handle) -> bool:
        """Whether the driver says that two GPUs reach each other by NVLink."""
        status = self._ask.value(
            self._nvml.nvmlDeviceGetP2PStatus, gpu, other, self._nvml.NVML_P2P_CAPS_INDEX_NVLINK
        )
        return bool(status == self._nvml.NVML_P2P_STATUS_OK)

    def nvlink_ends(self, gpu: Handle) -> Iterator[NvLinkEnd]:
        """Yield what is at the other end of each active NVLink."""
        for link in range(self._nvml.NVML_NVLINK_MAX_LINKS):
            state = self._ask.value(self._nvml.nvmlDeviceGetNvLinkState, gpu, link)
            if state is None and not link:
                return  # a board without NVLink: not asked 36 times
            if not state:
                continue
            kind = self._ask.value(self._nvml.nvmlDeviceGetNvLinkRemoteDeviceType, gpu, link)
            pci = self._ask.value(self._nvml.nvmlDeviceGetNvLinkRemotePciInfo, gpu, link)
            bus_id = "" if pci is None else _address(pci.busId)
            yield NvLinkEnd(bus_id, kind == self._nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH)

    def shutdown_c(self, handle: Handle) -> int | None:
        """Return the temperature at which the GPU turns itself off."""
        return self._ask.value(
            self._nvml.nvmlDeviceGetTemperatureThreshold,
            handle,
            self._nvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN,
        )

    # Figures

    def memory(self, handle: Handle) -> tuple[int | None, int | None]:
        """Return used and total memory in bytes, without the driver's reserve where it says so."""
        info = None
        if self._memory_version is not None:
            info = self._ask.value(self._nvml.nvmlDeviceGetMemoryInfo, handle, self._memory_version)
            if info is None and not hasattr(self._nvml.nvmlLib, "nvmlDeviceGetMemoryInfo_v2"):
                self._memory_version = None
        if info is None:  # the first version counts the reserve as used
            info = self._ask.value(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        return (None, None) if info is None else (int(info.used), int(info.total))

    def utilization(self, handle: Handle) -> tuple[int | None, int | None]:
        """Return how busy the cores and the memory are, in percent."""
        rates = self._ask.value(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        return (None, None) if rates is None else (int(rates.gpu), int(rates.memory))

    def temperature_c(self, handle: Handle) -> int | None:
        """Return the temperature of the core."""
        return self._ask.value(
            self._nvml.nvmlDeviceGetTemperature, handle, self._nvml.NVML_TEMPERATURE_GPU
        )

    def power_w(self, handle: Handle) -> float | None:
        """Return the power drawn now."""
        return _watts(self._ask.value(self._nvml.nvmlDeviceGetPowerUsage, handle))

    def power_limit_w(self, handle: Handle) -> float | None:
        """Return the power limit in force."""
        return _watts(self._ask.value(self._nvml.nvmlDeviceGetEnforcedPowerLimit, handle))

    def fan_percent(self, handle: Handle) -> int | None:
        """Return the fan's speed."""
        return self._ask.value(self._nvml.nvmlDeviceGetFanSpeed, handle)

    def sm_clock_mhz(self, handle: Handle) -> int | None:
        """Return the clock of the cores."""
        return self._ask.value(self._nvml.nvmlDeviceGetClockInfo, handle, self._nvml.NVML_CLOCK_SM)

    def memory_clock_mhz(self, handle: Handle) -> int | None:
        """Return the clock of the memory."""
        return self._ask.value(self._nvml.nvmlDeviceGetClockInfo, handle, self._nvml.NVML_CLOCK_MEM)

    def performance_state(self, handle: Handle) -> int | None:
        """Return 0 (fastest) to 15."""
        state: int | None = self._ask.value(self._nvml.nvmlDeviceGetPerformanceState, handle)
        return state if state is not None and 0 <= state <= 15 else None

    def throttle(self, handle: Handle) -> tuple[str, ...]:
        """Return, in words, what slows the clocks down."""
        bits = self._ask.value(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
        return tuple(words for bit, words in _THROTTLE_WORDS if bits & bit)

    def ecc_uncorrected(self, handle: Handle) -> int | None:
        """Return the uncorrectable memory errors since the driver was loaded or the GPU reset."""
        return self._ask.value(
            self._nvml.nvmlDeviceGetTotalEccErrors,
            handle,
            self._nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            self._nvml.NVML_VOLATILE_ECC,
        )

    def is_remap_failed(self, handle: Handle) -> bool | None:
        """Return whether a bad memory row could not be replaced by a spare one."""
        rows = self._ask.value(self._nvml.nvmlDeviceGetRemappedRows, handle)
        return None if rows is None else bool(rows[3])

    def pcie_bytes_s(self, handle: Handle) -> tuple[int | None, int | None]:
        """Return bytes a second sent and received; a driver samples each for some 20 ms."""
        tx, rx = (
            self._ask.value(self._nvml.nvmlDeviceGetPcieThroughput, handle, counter)
            for counter in (self._nvml.NVML_PCIE_UTIL_TX_BYTES, self._nvml.NVML_PCIE_UTIL_RX_BYTES)
        )
        return None if tx is None else tx * 1024, None if rx is None else rx * 1024

    # Processes

    def processes(self, handle: Handle, kind: str) -> list[ListedProcess] | None:
        """Return the processes of a kind (`C`, `G`, `M`) on a device; None where there is no list.

        A driver that has no graphics or MPS lists has no such processes; one that has no compute
        list tells nothing.

        Raises:
            DeviceUnreadable: there is a list, but it could not be read: that is not an empty one.
        """
        chosen = self._lists[kind]
        if chosen is None:
            return None if kind == "C" else []
        try:
            return self._read_list(handle, chosen)
        except self._nvml.NVMLError as error:
            self._ask.raise_if_grave(error)
            if self._ask.is_one_of(error, _NEVER_LISTED):
                return None if kind == "C" else []
            raise DeviceUnreadable(f"its process list cannot be read: {error}") from error

    def process_utilization(self, handle: Handle, since_us: int) -> dict[int, int]:
        """Return by pid how busy it kept the cores, in percent, at its newest sample since then."""
        samples = (
            self._ask.value(self._nvml.nvmlDeviceGetProcessUtilization, handle, since_us) or ()
        )
        return {
            int(each.pid): int(each.smUtil)
            for each in sorted(samples, key=lambda each: int(each.timeStamp))
            if each.smUtil <= 100  # some drivers leave entries uninitialised
        }

    def _chosen_list(self, name: str) -> _List | None:
        """Return the newest version of a list that the library has, with its layout."""
        for suffix, layout in _LIST_LAYOUTS:
            function = getattr(self._nvml.nvmlLib, name + suffix, None)
            if function is not None:
                return _List(function, layout)
        return None

    def _read_list(self, handle: Handle, chosen: _List) -> list[ListedProcess]:
        """Read a list into room that is enough as a rule; more is asked for only when it is not."""
        while True:
            count = ctypes.c_uint(self._room)
            code = chosen.function(handle, ctypes.byref(count), self._entries)
            if code != self._nvml.NVML_ERROR_INSUFFICIENT_SIZE or self._room >= _MAX_ROOM:
                break
            self._make_room(min(_MAX_ROOM, max(count.value, self._room) * 2))
        if code != self._nvml.NVML_SUCCESS:
            raise self._nvml.NVMLError(code)
        entries = min(count.value, self._room)
        if not entries:
            return []
        raw = ctypes.string_at(self._entries, entries * chosen.layout.size)
        return [
            ListedProcess(pid, None if used == _NO_MEMORY_FIGURE else used)
            for pid, used in chosen.layout.iter_unpack(raw)
        ]

    def _make_room(self, room: int) -> None:
        """Have room for so many entries of a list, whatever its version."""
        self._room = room
        self._entries = ctypes.create_string_buffer(room * _LIST_LAYOUTS[0][1].size)

    # Xids

    def watch_xids(self, gpu: Handle) -> None:
        """Have this GPU's critical errors reported by `new_xids`, where the driver can."""
        if self._events is None:
            self._events = self._ask.value(self._nvml.nvmlEventSetCreate)
        if self._events is not None:
            self._ask.value(
                self._nvml.nvmlDeviceRegisterEvents,
                gpu,
                self._nvml.nvmlEventTypeXidCriticalError,
                self._events,
            )

    def new_xids(self) -> dict[str, tuple[int, ...]]:
        """Return the Xids since the last call by the GPU's UUID; at once, waiting for none."""
        xids: dict[str, tuple[int, ...]] = {}
        for _ in range(_MAX_XIDS if self._events is not None else 0):
            event = self._ask.value(self._nvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:
                break
            try:
                uuid = self.uuid(event.device)
            except DEVICE_FAULTS:
                continue  # its loss is told by its own reading
            xids[uuid] = (*xids.get(uuid, ()), int(event.eventData))
        return xids


_MAX_XIDS = 64
"""At most so many a sweep, so that a storm of them cannot hold it up."""


_MASK_WORDS = 16
"""Of 64 bits: as many CPUs or NUMA nodes as are asked for."""


def _address(bus_id: str | bytes) -> str:
    return bus_id if isinstance(bus_id, str) else bus_id.decode(errors="replace")


def _bits(words: Iterable[int]) -> list[int]:
    """Return the numbers of the bits that are set in a list of 64-bit words."""
    return [
        64 * place + bit for place, word in enumerate(words) for bit in range(64) if word >> bit & 1
    ]


def _as_list(numbers: list[int]) -> str:
    """Return ascending numbers as the kernel writes them: `0-31,64-95`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
