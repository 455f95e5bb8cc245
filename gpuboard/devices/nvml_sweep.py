"""One sweep over all NVIDIA devices: who is there, its figures, its processes, its health.

Everything is looked up anew each sweep, identity included (a handle costs a microsecond): after a
driver came back or a GPU fell away, an index may mean another GPU. What seldom changes or costs
the driver much (fan, limits, error counters, PCIe samples) is read at the slow interval.

A GPU that is split into MIG instances is not a device itself, since only its instances can be
given out: they are listed in its place, with its temperature and its health.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from msgspec.structs import replace

from gpuboard.devices.health import HealthJudge, Verdict, Vitals
from gpuboard.devices.nvml_answers import (
    DEVICE_FAULTS,
    DeviceLost,
    DeviceUnreadable,
    DriverFault,
    ResetRequired,
)
from gpuboard.devices.nvml_calls import Handle, NvmlCalls
from gpuboard.devices.nvml_topology import TopologyReader, numa_node
from gpuboard.devices.processes import ProcessFacts, ProcessTable
from gpuboard.devices.roster import Roster, nameless_uuid
from gpuboard.errors import HostError
from gpuboard.model.device import (
    Device,
    DeviceKind,
    DeviceLink,
    DeviceProcess,
    DeviceReading,
    Health,
    ProbeSnapshot,
)
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.text import plain

NAMELESS = "unknown GPU"
"""Name of a GPU that was lost before it told its own."""
NOT_LISTED = "the driver does not list it any more"
_NAME_WIDTH = 80
_SAMPLES_S = 2.0
"""How far back a process's utilisation is looked for, at least: samples come every 1/6 s to 1 s."""


class SlowFigures(NamedTuple):
    """What is read of a GPU at the slow interval."""

    power_limit_w: float | None
    fan_percent: int | None
    memory_clock_mhz: int | None
    ecc_uncorrected: int | None
    is_remap_failed: bool | None
    pcie_tx_bytes_s: int | None
    pcie_rx_bytes_s: int | None
    by_pid: dict[int, int]
    """Utilisation in percent."""


class NvmlSource:
    """Reads the NVIDIA devices. A `DeviceSource`: belongs to the reader's thread."""

    def __init__(
        self,
        *,
        processes: ProcessTable,
        slow_interval_s: float,
        ignore: Collection[str],
        clock: Callable[[], int],
        open_calls: Callable[[], NvmlCalls] = NvmlCalls,
    ) -> None:
        self._processes = processes
        self._slow_interval_s = slow_interval_s
        self._ignore = frozenset(ignore)
        self._clock = clock
        self._open_calls = open_calls
        self._calls: NvmlCalls | None = None
        self._versions = ("", "")
        self._roster = Roster()
        self._topology = TopologyReader()
        self._links: tuple[DeviceLink, ...] = ()
        self._judge = HealthJudge()
        self._facts: dict[DeviceUuid, Device] = {}
        """Fixed facts of GPUs and instances, once they were read."""
        self._shutdown_c: dict[DeviceUuid, int | None] = {}
        self._slow: dict[DeviceUuid, SlowFigures] = {}
        self._parts: dict[DeviceUuid, tuple[Device, ...]] = {}
        """What each GPU was last listed as: itself, or its instances."""
        self._watched: set[DeviceUuid] = set()
        """GPUs whose Xids are watched since the library was opened."""
        self._slow_due_s = 0.0

    def sweep(self) -> ProbeSnapshot:
        """Read all devices once.

        Raises:
            DriverFault: the driver does not work; the next sweep opens it anew.
        """
        try:
            calls = self._opened()
            readings = self._read_all(calls)
        except DriverFault:
            self.close()
            raise
        driver, cuda = self._versions
        return ProbeSnapshot(
            at=self._clock(), readings=readings, driver=driver, cuda=cuda, links=self._links
        )

    def close(self) -> None:
        """Let go of the library and of the processes; what was learnt of the GPUs is kept."""
        self._processes.close()
        if self._calls is not None:
            calls, self._calls = self._calls, None
            calls.close()

    def _opened(self) -> NvmlCalls:
        if self._calls is None:
            self._calls = self._open_calls()
            self._versions = self._calls.versions()
            self._watched.clear()
            self._topology.forget()
            self._slow_due_s = 0.0
        return self._calls

    def _read_all(self, calls: NvmlCalls) -> tuple[DeviceReading, ...]:
        self._processes.begin_sweep()
        now_s = time.monotonic()
        is_slow = now_s >= self._slow_due_s
        if is_slow:
            self._slow_due_s = now_s + self._slow_interval_s
        slots: list[DeviceUuid | None] = []
        handles: dict[DeviceUuid, Handle] = {}
        answers: dict[int | None, Vitals] = {None: Vitals(lost=NOT_LISTED)}
        for index in range(calls.gpu_count()):
            try:
                handle = calls.gpu(index)
                uuid = DeviceUuid(calls.uuid(handle))
            except DEVICE_FAULTS as fault:
                slots.append(None)
                answers[index] = _vitals_of(fault)
            else:
                slots.append(uuid)
                handles[uuid] = handle
        roll = self._roster.call(slots)
        self._links = self._topology.links(calls, handles, is_slow=is_slow)
        xids = calls.new_xids()
        readings: list[DeviceReading] = []
        for uuid, handle in handles.items():
            readings += self._read_gpu(
                calls, handle, uuid, roll.numbers[uuid], xids.get(uuid, ()), is_slow=is_slow
            )
        for uuid, slot in roll.lost.items():
            readings += self._unreadable(uuid, roll.numbers[uuid], answers[slot])
        for slot, number in roll.nameless.items():
            readings += self._unreadable(nameless_uuid(slot), number, answers[slot])
        self._processes.keep_only(
            {process.pid for each in readings for process in each.processes or ()}
        )
        kept = (each for each in readings if not self._is_ignored(each.device))
        return tuple(sorted(kept, key=lambda each: (each.device.index, each.device.mig_label)))

    def _read_gpu(
        self,
        calls: NvmlCalls,
        handle: Handle,
        uuid: DeviceUuid,
        number: int,
        xids: tuple[int, ...],
        *,
        is_slow: bool,
    ) -> tuple[DeviceReading, ...]:
        """Return the readings of a GPU, or of its instances."""
        try:
            gpu = self._device(calls, handle, uuid, number, is_slow=is_slow)
            if is_slow or uuid not in self._slow:
                self._slow[uuid] = self._read_slow(calls, handle)
            if uuid not in self._watched:
                calls.watch_xids(handle)
                self._watched.add(uuid)
            reading = self._read_figures(calls, handle, gpu)
            vitals = self._vitals(reading, xids)
            instances = calls.mig_instances(handle)
            if instances is None:
                by_pid = self._slow[uuid].by_pid
                parts: tuple[DeviceReading, ...] = (
                    self._with_processes(calls, handle, reading, by_pid),
                )
            else:
                parts = self._read_instances(calls, instances, reading, is_slow=is_slow)
        except DEVICE_FAULTS as fault:
            return self._unreadable(uuid, number, _vitals_of(fault))
        self._parts[uuid] = tuple(each.device for each in parts)
        return _judged(parts, self._judge.judge(uuid, vitals))

    def _device(
        self, calls: NvmlCalls, handle: Handle, uuid: DeviceUuid, number: int, *, is_slow: bool
    ) -> Device:
        """Return the fixed facts of a GPU; those that failed are asked for again, slowly."""
        device = self._facts.get(uuid)
        if device is None or (is_slow and device.memory_bytes is None):
            device = Device(
                uuid=uuid,
                index=number,
                name=plain(calls.product_name(handle) or NAMELESS, _NAME_WIDTH),
                bus_id=calls.bus_id(handle) or "",
            )
            self._facts[uuid] = device  # kept even if the figures below fail: it has its name
            self._parts.setdefault(uuid, (device,))
            device = replace(
                device,
                memory_bytes=calls.memory(handle)[1],
                numa_node=numa_node(calls, handle, device.bus_id),
                cpus=calls.near_cpus(handle),
            )
            self._shutdown_c[uuid] = calls.shutdown_c(handle)
        if device.index != number:
            device = replace(device, index=number)
        self._facts[uuid] = device
        return device

    def _read_slow(self, calls: NvmlCalls, handle: Handle) -> SlowFigures:
        tx, rx = calls.pcie_bytes_s(handle)
        since_us = int((time.time() - max(_SAMPLES_S, self._slow_interval_s)) * 1e6)
        return SlowFigures(
            power_limit_w=calls.power_limit_w(handle),
            fan_percent=calls.fan_percent(handle),
            memory_clock_mhz=calls.memory_clock_mhz(handle),
            ecc_uncorrected=calls.ecc_uncorrected(handle),
            is_remap_failed=calls.is_remap_failed(handle),
            pcie_tx_bytes_s=tx,
            pcie_rx_bytes_s=rx,
            by_pid=calls.process_utilization(handle, since_us),
        )

    def _read_figures(self, calls: NvmlCalls, handle: Handle, gpu: Device) -> DeviceReading:
        """Return a GPU's figures of now; its processes and its health come later."""
        slow = self._slow[gpu.uuid]
        busy, memory_busy = calls.utilization(handle)
        used, total = calls.memory(handle)
        return DeviceReading(
            device=gpu,
            utilization=busy,
            memory_utilization=memory_busy,
            memory_used_bytes=used,
            memory_total_bytes=total,
            temperature_c=calls.temperature_c(handle),
            power_w=calls.power_w(handle),
            power_limit_w=slow.power_limit_w,
            fan_percent=slow.fan_percent,
            sm_clock_mhz=calls.sm_clock_mhz(handle),
            memory_clock_mhz=slow.memory_clock_mhz,
            performance_state=calls.performance_state(handle),
            throttle=calls.throttle(handle),
            ecc_uncorrected=slow.ecc_uncorrected,
            pcie_tx_bytes_s=slow.pcie_tx_bytes_s,
            pcie_rx_bytes_s=slow.pcie_rx_bytes_s,
        )

    def _read_instances(
        self,
        calls: NvmlCalls,
        instances: list[tuple[int, Handle]],
        parent: DeviceReading,
        *,
        is_slow: bool,
    ) -> tuple[DeviceReading, ...]:
        """Return the readings of a GPU's MIG instances. NVML has no utilisation for them."""
        readings: list[DeviceReading] = []
        gpu = parent.device
        for number, handle in instances:
            uuid = DeviceUuid(calls.uuid(handle))
            facts = self._device(calls, handle, uuid, gpu.index, is_slow=is_slow)
            used, total = calls.memory(handle)
            reading = DeviceReading(
                device=replace(
                    facts,
                    kind=DeviceKind.MIG,
                    parent=gpu.uuid,
                    mig_label=f"{gpu.index}:{number}",
                    bus_id=gpu.bus_id,
                    numa_node=gpu.numa_node,
                    cpus=gpu.cpus,
                ),
                memory_used_bytes=used,
                memory_total_bytes=total,
                temperature_c=parent.temperature_c,
                sm_clock_mhz=parent.sm_clock_mhz,
            )
            readings.append(self._with_processes(calls, handle, reading, {}))
        return tuple(readings)

    def _with_processes(
        self, calls: NvmlCalls, handle: Handle, reading: DeviceReading, by_pid: dict[int, int]
    ) -> DeviceReading:
        """Return the reading with its processes.

        While a list that should be there cannot be read, nobody knows who is on the device: it is
        not given out.
        """
        try:
            return replace(reading, processes=self._read_processes(calls, handle, by_pid))
        except DeviceUnreadable as fault:
            return replace(reading, health=Health.UNKNOWN, fault=fault.message)

    def _read_processes(
        self, calls: NvmlCalls, handle: Handle, by_pid: dict[int, int]
    ) -> tuple[DeviceProcess, ...] | None:
        """Return the living processes of all three lists; None when the driver has no list.

        A process in several lists is named once: as MPS client, else as compute. Pids of processes
        that ended, and 0 (a process that the driver may not name), are left out.
        """
        found: dict[int, tuple[str, int | None]] = {}
        for kind in ("G", "C", "M"):
            listed = calls.processes(handle, kind)
            if listed is None:
                return None
            for pid, memory_bytes in listed:
                other = found[pid][1] if pid in found else None
                known = memory_bytes if other is None else max(memory_bytes or 0, other)
                found[pid] = (kind, known)
        processes: list[DeviceProcess] = []
        for pid in sorted(found):
            facts = self._processes.facts(pid)
            if facts is not None:
                processes.append(_process(facts, *found[pid], by_pid.get(pid)))
        return tuple(processes)

    def _vitals(self, reading: DeviceReading, xids: tuple[int, ...]) -> Vitals:
        uuid = reading.device.uuid
        return Vitals(
            temperature_c=reading.temperature_c,
            shutdown_c=self._shutdown_c.get(uuid),
            ecc_uncorrected=reading.ecc_uncorrected,
            remap_failed=self._slow[uuid].is_remap_failed,
            xids=xids,
        )

    def _unreadable(
        self, uuid: DeviceUuid, number: int, vitals: Vitals
    ) -> tuple[DeviceReading, ...]:
        """Return what a GPU that does not answer was last listed as, with nothing known of it."""
        parts = self._parts.get(uuid) or (Device(uuid=uuid, index=number, name=NAMELESS),)
        self._watched.discard(uuid)
        readings = tuple(
            DeviceReading(device=replace(part, index=number) if part.index != number else part)
            for part in parts
        )
        return _judged(readings, self._judge.judge(uuid, vitals))

    def _is_ignored(self, device: Device) -> bool:
        names = {str(device.uuid), device.label, str(device.index), str(device.parent or "")}
        return not self._ignore.isdisjoint(names)


def _process(
    facts: ProcessFacts, kind: str, memory_bytes: int | None, utilization: int | None
) -> DeviceProcess:
    return DeviceProcess(
        pid=facts.pid,
        started_at=facts.started_at,
        memory_bytes=memory_bytes,
        utilization=utilization,
        kind=kind,
        command=facts.command,
        uid=facts.uid,
        user=facts.user,
        container_id=facts.container_id,
        job_name=facts.job_name,
    )


def _vitals_of(fault: HostError) -> Vitals:
    """Return the vitals of a device that raised one of the DEVICE_FAULTS."""
    if isinstance(fault, DeviceLost):
        return Vitals(lost=fault.message)
    if isinstance(fault, ResetRequired):
        return Vitals(needs_reset=True)
    return Vitals(unreadable=fault.message)


def _judged(readings: tuple[DeviceReading, ...], verdict: Verdict) -> tuple[DeviceReading, ...]:
    """Return the readings with the verdict on their GPU; a good one leaves them as they are."""
    if verdict.health is Health.OK:
        return readings
    return tuple(replace(each, health=verdict.health, fault=verdict.words) for each in readings)
