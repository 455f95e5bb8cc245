"""What every probe promises, held against the real one on the fake library and the simulated one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gpuboard.devices.nvml import NvmlProbe
from gpuboard.devices.protocol import Probe
from gpuboard.devices.simulated import SimulatedProbe
from gpuboard.model.device import Health, ProbeSnapshot
from tests.support.fakenvml import FakeBox, gpu_uuid, process_line, use_library
from tests.support.waiting import wait_until

MakeProbe = Callable[[], Probe]


@pytest.fixture(params=[pytest.param("nvml", marks=pytest.mark.cc), "simulated"])
def make_probe(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeProbe]:
    """Make probes of one kind, stopped at the end."""
    if request.param == "nvml":
        box = FakeBox(tmp_path, count=4)
        box.gpus[0].processes = [process_line(os.getpid())]
        box.gpus[2].keys["lost"] = 1
        box.write()
        use_library(monkeypatch, box)
    made: list[Probe] = []

    def make() -> Probe:
        probe: Probe = (
            NvmlProbe(0.02, 0.1) if request.param == "nvml" else SimulatedProbe(interval_s=0.02)
        )
        made.append(probe)
        return probe

    yield make
    for probe in made:
        probe.stop()


def test_its_name_is_one_of_the_configurations(make_probe: MakeProbe) -> None:
    """`[devices] probe` names it."""
    assert make_probe().name in ("nvml", "simulated")


def test_nothing_is_known_before_it_was_started(make_probe: MakeProbe) -> None:
    """Before the first sweep: a fault, no devices, number 0."""
    snapshot = make_probe().snapshot()
    assert snapshot.fault
    assert (snapshot.sequence, snapshot.readings) == (0, ())


def test_the_first_sweep_comes_and_more_follow(make_probe: MakeProbe) -> None:
    """After start, sweeps come by themselves, each with a higher number, on no caller's thread."""
    probe = make_probe()
    threads: set[int] = set()
    seen: list[ProbeSnapshot] = []

    def listen(snapshot: ProbeSnapshot) -> None:
        threads.add(threading.get_ident())
        seen.append(snapshot)

    probe.start(listen)
    first = probe.wait_first(20)
    assert first.sequence >= 1
    assert not first.fault
    wait_until(lambda: len(seen) >= 3)
    numbers = [each.sequence for each in seen]
    assert numbers == sorted(set(numbers))
    assert threading.get_ident() not in threads


def test_devices_are_who_they_are_in_every_sweep(make_probe: MakeProbe) -> None:
    """Identity and number do not change; both are unique; the order is that of the numbers."""
    probe = make_probe()
    seen: list[ProbeSnapshot] = []
    probe.start(seen.append)
    wait_until(lambda: len(seen) >= 3)
    rolls = {tuple((r.device.uuid, r.device.index) for r in each.readings) for each in seen}
    assert len(rolls) == 1
    roll = rolls.pop()
    assert len({uuid for uuid, _ in roll}) == len(roll) >= 4
    assert [index for _, index in roll] == sorted({index for _, index in roll})


def test_readings_are_within_their_units(make_probe: MakeProbe) -> None:
    """Percent are percent, memory fits, a sick device says why, a lost one knows nothing."""
    probe = make_probe()
    probe.start()
    snapshot = probe.wait_first(20)
    for reading in snapshot.readings:
        for percent in (reading.utilization, reading.memory_utilization, reading.fan_percent):
            assert percent is None or 0 <= percent <= 100
        if reading.memory_used_bytes is not None and reading.memory_total_bytes is not None:
            assert 0 <= reading.memory_used_bytes <= reading.memory_total_bytes
        assert (reading.health is Health.OK) == (reading.fault == "")
        if reading.health is Health.LOST:
            assert reading.processes is None
        for process in reading.processes or ():
            assert process.pid > 0
            assert process.kind in "CGM"
    assert {reading.health for reading in snapshot.readings} > {Health.OK}


def test_a_snapshot_is_plain_data(make_probe: MakeProbe) -> None:
    """A snapshot survives JSON unchanged."""
    probe = make_probe()
    probe.start()
    snapshot = probe.wait_first(20)
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=ProbeSnapshot) == snapshot


def test_after_stop_no_thread_is_left(make_probe: MakeProbe) -> None:
    """A stopped probe's threads end, and its last snapshot stays readable."""
    before = threading.active_count()
    probe = make_probe()
    probe.start()
    probe.wait_first(20)
    probe.stop()
    wait_until(lambda: threading.active_count() <= before)
    assert probe.snapshot().readings


@pytest.mark.cc
def test_a_slow_driver_is_a_hung_driver_until_it_answers(box: FakeBox) -> None:
    """A driver that takes longer than the time-out is told to hang; quick again, it is read."""
    probe = NvmlProbe(0.05, 0.05, 0.3)
    probe.start()
    try:
        wait_until(lambda: not probe.snapshot().fault)
        box.write(**{"latency_us.nvmlDeviceGetUtilizationRates": 700_000})
        wait_until(lambda: "has not answered" in probe.snapshot().fault)
        snapshot = probe.snapshot()
        assert snapshot.hint
        assert [each.device.uuid for each in snapshot.readings] == [gpu_uuid(0), gpu_uuid(1)]
        assert all(each.processes is None for each in snapshot.readings)
        box.clear("latency_us.nvmlDeviceGetUtilizationRates")
        wait_until(lambda: not probe.snapshot().fault)
        assert probe.snapshot().sequence > snapshot.sequence
    finally:
        probe.stop()


@pytest.mark.cc
def test_a_driver_that_comes_back_is_read_again(box: FakeBox) -> None:
    """A driver that was not loaded when we started is read as soon as it is."""
    box.write(init_error="DRIVER_NOT_LOADED")
    probe = NvmlProbe(0.02)
    probe.start()
    try:
        snapshot = probe.wait_first(20)
        assert "not loaded" in snapshot.fault
        assert "modprobe" in snapshot.hint
        box.clear("init_error")
        wait_until(lambda: len(probe.snapshot().readings) == 2)
        box.write(init_error="DRIVER_NOT_LOADED", **{"error.*": "DRIVER_NOT_LOADED"})
        wait_until(lambda: probe.snapshot().fault)
        snapshot = probe.snapshot()
        assert [each.health for each in snapshot.readings] == [Health.UNKNOWN] * 2
        box.clear("init_error", "error.*")
        wait_until(lambda: not probe.snapshot().fault)
    finally:
        probe.stop()


READ_ONCE = """
import sys
from gpuboard.devices.nvml import NvmlProbe
probe = NvmlProbe(0.05)
assert "pynvml" not in sys.modules
probe.start()
snapshot = probe.wait_first(20)
probe.stop()
print(snapshot.fault, snapshot.hint, len(snapshot.readings), sep="|")
"""


def read_once(environment: dict[str, str]) -> str:
    """Start a probe in a process of its own, and return `fault|hint|devices`."""
    done = subprocess.run(
        [sys.executable, "-c", READ_ONCE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_a_box_without_a_driver_says_what_to_install(tmp_path: Path) -> None:
    """Without libnvidia-ml.so.1 the probe tells so, and what to do."""
    import ctypes.util

    if ctypes.util.find_library("nvidia-ml"):
        pytest.skip("this box has an NVIDIA driver")
    words = read_once({"LD_LIBRARY_PATH": str(tmp_path)})
    assert "not installed" in words
    assert "nvidia-smi" in words


@pytest.mark.cc
@pytest.mark.parametrize("old", [False, True])
def test_the_library_is_found_as_a_driver_installs_it(tmp_path: Path, old: bool) -> None:
    """A process of its own finds the library by its name and reads the devices."""
    box = FakeBox(tmp_path, count=3)
    assert read_once(box.environment(old=old)) == "||3"
