"""The probe of a simulated box: figures that move as real ones do, made by a formula.

Every figure is a function of the scenario's seed, the clock and who is on the device: the same
inputs give the same board, no state is kept, and a test may look at any moment. Who is on a device
comes from the caller (`occupancy`): the daemon knows which of its jobs' processes hold what.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

from msgspec.structs import replace

from gpuboard.devices.scenario import LAB8, Rogue, Scenario, Sickness, SimulatedDevice
from gpuboard.devices.sweeping import SweepingProbe, wall_ms
from gpuboard.model.device import (
    Device,
    DeviceLink,
    DeviceProcess,
    DeviceReading,
    Health,
    LinkKind,
    ProbeSnapshot,
)
from gpuboard.model.ids import DeviceUuid

Occupancy = Callable[[], Mapping[DeviceUuid, Sequence[DeviceProcess]]]
"""Says which processes sit on which device. Called on the probe's thread at each sweep."""

_RAMP_S = 20.0
"""A job fills its memory and warms its device up in about this time."""
_ROOM_C = 31
_HOT_C = 47
"""Degrees above the room at full power."""
_WAVE_S = 34.0


def nobody() -> Mapping[DeviceUuid, Sequence[DeviceProcess]]:
    """Return an empty occupancy."""
    return {}


class SimulatedProbe(SweepingProbe):
    """A `Probe` without hardware."""

    def __init__(
        self,
        scenario: Scenario = LAB8,
        interval_s: float = 1.0,
        timeout_s: float = 5.0,
        *,
        occupancy: Occupancy = nobody,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        super().__init__(
            "simulated",
            SimulatedSource(scenario, occupancy=occupancy, clock=clock),
            interval_s=interval_s,
            timeout_s=timeout_s,
            clock=clock,
            driver_words="the simulated driver",
        )


class Load(NamedTuple):
    """What a process does to its device."""

    utilization: int
    memory_bytes: int


class SimulatedSource:
    """A `DeviceSource` made by a formula."""

    def __init__(
        self, scenario: Scenario, *, occupancy: Occupancy, clock: Callable[[], int]
    ) -> None:
        self._scenario = scenario
        self._occupancy = occupancy
        self._clock = clock
        self._began_at = clock()
        self._boards = scenario.boards()
        self._links = self._all_links()

    def sweep(self) -> ProbeSnapshot:
        """Return the board of this moment."""
        now = self._clock()
        occupancy = self._occupancy()
        return ProbeSnapshot(
            at=now,
            readings=tuple(
                self._reading(index, board, occupancy, now)
                for index, board in enumerate(self._boards)
            ),
            driver=self._scenario.driver,
            cuda=self._scenario.cuda,
            links=self._links,
        )

    def close(self) -> None:
        """Let go of nothing."""

    def _node(self, index: int) -> int:
        return 0 if 2 * index < len(self._boards) else 1

    def _all_links(self) -> tuple[DeviceLink, ...]:
        nvlinks = {
            pair: link.nvlinks
            for link in self._scenario.nvlink
            for pair in combinations(sorted(link.devices), 2)
        }
        links = []
        for a, b in combinations(range(len(self._boards)), 2):
            kind = LinkKind.NODE if self._node(a) == self._node(b) else LinkKind.SYS
            count = nvlinks.get((a, b), 0)
            if count:
                kind = LinkKind.NVLINK
            links.append(DeviceLink(self._scenario.uuid(a), self._scenario.uuid(b), kind, count))
        return tuple(links)

    def _reading(
        self,
        index: int,
        board: SimulatedDevice,
        occupancy: Mapping[DeviceUuid, Sequence[DeviceProcess]],
        now: int,
    ) -> DeviceReading:
        uuid = self._scenario.uuid(index)
        device = Device(
            uuid=uuid,
            index=index,
            name=board.name,
            memory_bytes=board.memory_bytes,
            bus_id=f"00000000:{0x17 + 6 * index:02X}:00.0",
            numa_node=self._node(index),
            cpus="0-31" if self._node(index) == 0 else "32-63",
        )
        sickness = self._sickness(index, now)
        if sickness is not None and sickness.lost:
            return DeviceReading(device=device, health=Health.LOST, fault=sickness.words)
        processes = [
            *(self._shown(uuid, board, process, now) for process in occupancy.get(uuid, ())),
            *self._rogues(index, now),
        ]
        return replace(
            self._figures(device, board, processes, now),
            health=Health.OK if sickness is None else Health.FAULTY,
            fault="" if sickness is None else sickness.words,
        )

    def _figures(
        self, device: Device, board: SimulatedDevice, processes: list[DeviceProcess], now: int
    ) -> DeviceReading:
        busy = min(100, sum(process.utilization or 0 for process in processes))
        used = sum(process.memory_bytes or 0 for process in processes)
        warmth = self._warmth(device.uuid, processes, now) * busy / 100
        span_w = board.power_limit_w - board.idle_power_w
        power_w = board.idle_power_w + span_w * busy / 100 * (
            0.9 + 0.08 * self._noise(now // 1000, device.uuid)
        )
        temperature_c = round(_ROOM_C + _HOT_C * warmth + 2 * self._noise(now // 4000, device.uuid))
        return DeviceReading(
            device=device,
            utilization=busy,
            memory_utilization=busy * 6 // 10,
            memory_used_bytes=min(board.memory_bytes, used + 500 * 2**20),
            memory_total_bytes=board.memory_bytes,
            temperature_c=temperature_c,
            power_w=round(power_w, 1),
            power_limit_w=board.power_limit_w,
            fan_percent=30 + round(50 * warmth) if board.fan else None,
            sm_clock_mhz=1980 - 6 * max(0, temperature_c - 60) if busy else 345,
            memory_clock_mhz=2619 if busy else 405,
            performance_state=0 if busy else 8,
            throttle=("power cap",) if busy > 96 else (),
            ecc_uncorrected=0,
            pcie_tx_bytes_s=busy * 11_000_000,
            pcie_rx_bytes_s=busy * 23_000_000,
            processes=tuple(processes),
        )

    def _shown(
        self, uuid: DeviceUuid, board: SimulatedDevice, process: DeviceProcess, now: int
    ) -> DeviceProcess:
        """Return a process with what it uses, where the occupancy does not say."""
        load = self._load(uuid, board, process, now)
        return replace(
            process,
            utilization=load.utilization if process.utilization is None else process.utilization,
            memory_bytes=load.memory_bytes
            if process.memory_bytes is None
            else process.memory_bytes,
        )

    def _load(
        self, uuid: DeviceUuid, board: SimulatedDevice, process: DeviceProcess, now: int
    ) -> Load:
        """Return a training job's load: a plateau of its own, a slow wave, noise, short pauses."""
        who = f"{uuid}/{process.job_name or process.pid}"
        plateau = 62 + 35 * self._hash(who, "plateau")
        ramp = _ramp(process.started_at, now)
        share = 0.35 + 0.55 * self._hash(who, "memory")
        memory_bytes = round(board.memory_bytes * share * (0.15 + 0.85 * ramp))
        if self._is_idle(process):
            return Load(0, memory_bytes)
        phase = self._hash(who, "phase") * math.tau
        wave = 8 * math.sin(math.tau * now / 1000 / _WAVE_S + phase)
        busy = plateau + wave + 6 * self._noise(now // 1000, who)
        if self._hash(who, str(now // 5000)) > 0.93:  # an epoch ends: a checkpoint is written
            busy *= 0.2
        return Load(max(1, min(100, round(busy * (0.3 + 0.7 * ramp)))), memory_bytes)

    def _is_idle(self, process: DeviceProcess) -> bool:
        command = process.command.lower()
        return any(word in command for word in self._scenario.idle_commands)

    def _warmth(self, uuid: DeviceUuid, processes: list[DeviceProcess], now: int) -> float:
        """Return how warm the device has become by them, 0 to 1."""
        ramps = [_ramp(process.started_at, now) for process in processes]
        return max(ramps, default=0.0) * (0.85 + 0.15 * self._hash(uuid, "place"))

    def _sickness(self, index: int, now: int) -> Sickness | None:
        for sickness in self._scenario.sicknesses:
            if sickness.device == index and self._is_on(sickness, now):
                return sickness
        return None

    def _rogues(self, index: int, now: int) -> list[DeviceProcess]:
        return [
            DeviceProcess(
                pid=rogue.pid,
                started_at=self._began_at + round(1000 * rogue.from_s),
                memory_bytes=rogue.memory_bytes,
                utilization=rogue.utilization,
                command=rogue.command,
                uid=rogue.uid,
                user=rogue.user,
            )
            for rogue in self._scenario.rogues
            if rogue.device == index and self._is_on(rogue, now)
        ]

    def _is_on(self, what: Sickness | Rogue, now: int) -> bool:
        age_s = (now - self._began_at) / 1000
        return what.from_s <= age_s and (what.until_s is None or age_s < what.until_s)

    def _hash(self, *words: str) -> float:
        """Return a number in [0, 1) that the seed and the words decide."""
        text = "/".join((str(self._scenario.seed), *words))
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest()) / 2**32

    def _noise(self, tick: int, word: str) -> float:
        """Return a number in [-1, 1) that changes with the tick."""
        return 2 * self._hash(word, str(tick)) - 1


def _ramp(started_at: int | None, now: int) -> float:
    """Return 0 at a process's start to 1 once it has warmed up."""
    if started_at is None:
        return 1.0
    return 1 - math.exp(-max(0, now - started_at) / 1000 / _RAMP_S * 3)
