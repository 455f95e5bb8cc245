"""The real probe's sweep on the fake library: figures, identities, processes, faults."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from gpuboard.devices.nvml_answers import DriverFault
from gpuboard.devices.nvml_sweep import NAMELESS, NOT_LISTED, NvmlSource
from gpuboard.model.device import DeviceKind, DeviceReading, Health
from tests.support.fakenvml import FakeBox, FakeGpu, gpu_uuid, gpus, process_line, use_library

pytestmark = pytest.mark.cc
MIB = 1 << 20
GONE_PID = 4194304 + 17  # above the kernel's highest


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The pid of a living process of ours."""
    child = subprocess.Popen(["sleep", "60"])
    yield child.pid
    child.kill()
    child.wait()


def by_number(source: NvmlSource) -> dict[int, DeviceReading]:
    """Sweep once."""
    return {each.device.index: each for each in source.sweep().readings}


def test_every_figure_of_a_healthy_gpu_is_read(box: FakeBox, source: NvmlSource) -> None:
    """A healthy GPU shows each figure that its driver gives, in our units."""
    box.gpus[0].keys |= {
        "name": "NVIDIA A100-SXM4-80GB", "bus_id": "00000000:3B:00.0", "numa": 1,
        "mem_total": 81920, "mem_used": 1000, "mem_reserved": 500, "util": 37, "mem_util": 12,
        "temp": 61, "power": 250500, "power_limit": 400000, "fan": 44, "clock_sm": 1410,
        "clock_mem": 1215, "pstate": 0, "throttle": 0x24, "ecc_uncorr": 0, "pcie_tx": 10, "pcie_rx": 20,
    }  # fmt: skip
    box.write(driver="560.11", cuda=12060)
    snapshot = source.sweep()
    assert (snapshot.driver, snapshot.cuda, snapshot.fault) == ("560.11", "12.6", "")
    reading = snapshot.readings[0]
    device = reading.device
    assert (device.uuid, device.index, device.label) == (gpu_uuid(0), 0, "0")
    assert (device.name, device.bus_id, device.numa_node) == (
        "NVIDIA A100-SXM4-80GB", "00000000:3B:00.0", 1,
    )  # fmt: skip
    assert device.memory_bytes == reading.memory_total_bytes == 81920 * MIB
    assert reading.memory_used_bytes == 1000 * MIB  # without the driver's reserve
    assert (reading.utilization, reading.memory_utilization) == (37, 12)
    assert (reading.temperature_c, reading.power_w, reading.power_limit_w) == (61, 250.5, 400.0)
    assert (reading.fan_percent, reading.sm_clock_mhz, reading.memory_clock_mhz) == (44, 1410, 1215)
    assert (reading.performance_state, reading.ecc_uncorrected) == (0, 0)
    assert reading.throttle == ("power cap", "thermal")
    assert (reading.pcie_tx_bytes_s, reading.pcie_rx_bytes_s) == (10240, 20480)
    assert (reading.health, reading.fault, reading.processes) == (Health.OK, "", ())


FIGURES = {
    "nvmlDeviceGetUtilizationRates": "utilization",
    "nvmlDeviceGetMemoryInfo*": "memory_used_bytes",
    "nvmlDeviceGetTemperature": "temperature_c",
    "nvmlDeviceGetPowerUsage": "power_w",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_w",
    "nvmlDeviceGetFanSpeed": "fan_percent",
    "nvmlDeviceGetClockInfo": "sm_clock_mhz",
    "nvmlDeviceGetPerformanceState": "performance_state",
    "nvmlDeviceGetTotalEccErrors": "ecc_uncorrected",
    "nvmlDeviceGetPcieThroughput": "pcie_tx_bytes_s",
}


@pytest.mark.parametrize("error", ["NOT_SUPPORTED", "UNKNOWN", "TIMEOUT", "NO_PERMISSION"])
@pytest.mark.parametrize(("function", "figure"), FIGURES.items())
def test_a_figure_that_is_not_given_is_none_and_hurts_no_other(
    box: FakeBox, source: NvmlSource, function: str, figure: str, error: str
) -> None:
    """A figure that the driver does not give is None, never 0; the device stays healthy."""
    box.gpus[0].keys |= {"fan": 30, f"error.{function}": error}
    box.write()
    sick, whole = source.sweep().readings
    assert getattr(sick, figure) is None
    assert getattr(whole, figure) is not None or figure == "fan_percent"
    assert sick.health is Health.OK
    others = set(FIGURES.values()) - {figure}
    assert all(getattr(sick, other) is not None for other in others)


def test_all_figures_may_be_missing_at_once(box: FakeBox, source: NvmlSource) -> None:
    """A driver that supports nothing still shows its GPUs, by their identity."""
    for pattern in ("nvmlDeviceGet[!U]*", "nvmlDeviceGetUt*"):
        box.gpus[0].keys[f"error.{pattern}"] = "NOT_SUPPORTED"
    box.write()
    reading = source.sweep().readings[0]
    assert (reading.device.name, reading.health) == (NAMELESS, Health.OK)
    assert reading.device.uuid == gpu_uuid(0)
    assert reading.processes is None


def test_processes_of_all_lists_are_merged(box: FakeBox, source: NvmlSource, sleeper: int) -> None:
    """A process in several lists is one process, with its largest memory and start time."""
    box.gpus[0].processes = [
        process_line(os.getpid(), 700, 30),
        process_line(os.getpid(), 900, 30, "G"),
        process_line(sleeper, 50, 5, "M"),
        process_line(1, 20, 0, "G"),
    ]
    box.write()
    processes = {each.pid: each for each in source.sweep().readings[0].processes or ()}
    assert {pid: each.kind for pid, each in processes.items()} == {
        os.getpid(): "C", sleeper: "M", 1: "G",
    }  # fmt: skip
    mine = processes[os.getpid()]
    assert (mine.memory_bytes, mine.uid, mine.utilization) == (900 * MIB, os.getuid(), 30)
    assert mine.started_at is not None
    assert processes[sleeper].command == "sleep"


def test_a_pid_that_is_gone_is_not_a_process(box: FakeBox, source: NvmlSource) -> None:
    """A pid of nobody, and pid 0, are left out: the list is then known to be empty."""
    box.gpus[0].processes = [process_line(GONE_PID), process_line(0), process_line(2**32 - 1)]
    box.write()
    assert source.sweep().readings[0].processes == ()


@pytest.mark.parametrize("error", ["NO_PERMISSION", "UNKNOWN", "TIMEOUT", "NOT_READY"])
@pytest.mark.parametrize("which", ["Compute", "Graphics", "MPSCompute"])
def test_a_failed_list_is_not_an_empty_list(
    box: FakeBox, source: NvmlSource, which: str, error: str
) -> None:
    """When any of the lists cannot be read, nobody knows who is on the device: it is not given out."""
    box.gpus[0].processes = [process_line(os.getpid())]
    box.gpus[0].keys[f"error.nvmlDeviceGet{which}RunningProcesses*"] = error
    box.write()
    sick, whole = source.sweep().readings
    assert sick.processes is None
    assert (sick.health, whole.health) == (Health.UNKNOWN, Health.OK)
    assert "process list cannot be read" in sick.fault
    assert sick.utilization is not None
    assert whole.processes == ()


def test_a_list_that_is_not_supported_is_unknown_only_for_compute(
    box: FakeBox, source: NvmlSource
) -> None:
    """A driver without graphics and MPS lists has no such processes; without compute: unknown."""
    box.gpus[0].processes = [process_line(os.getpid())]
    for which in ("Graphics", "MPSCompute"):
        box.gpus[0].keys[f"error.nvmlDeviceGet{which}RunningProcesses*"] = "NOT_SUPPORTED"
    box.gpus[1].keys["error.nvmlDeviceGetComputeRunningProcesses*"] = "NOT_SUPPORTED"
    box.write()
    first, second = source.sweep().readings
    assert [each.pid for each in first.processes or ()] == [os.getpid()]
    assert second.processes is None
    assert (
        second.health is Health.OK
    )  # a driver that never has one: the device is of use all the same


def test_more_processes_than_there_was_room_for_are_all_read(
    box: FakeBox, source: NvmlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list longer than the room for it is read whole."""
    monkeypatch.setattr("gpuboard.devices.nvml_calls._FIRST_ROOM", 1)
    pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid > 0][:30]
    box.gpus[0].processes = [process_line(pid) for pid in pids]
    box.write()
    assert len(pids) > 4
    listed = {each.pid for each in source.sweep().readings[0].processes or ()}
    assert {pid for pid in pids if os.path.exists(f"/proc/{pid}")} <= listed


def test_each_list_is_read_once_a_sweep(box: FakeBox, source: NvmlSource, sleeper: int) -> None:
    """A list that takes the driver milliseconds is asked for once: no call for its size before."""
    import pynvml

    calls: list[str] = []

    class Counted:
        def __getattr__(self, name: str) -> object:
            function = getattr(real, name)
            if "RunningProcesses" not in name:
                return function

            def counted(*arguments: object) -> int:
                calls.append(name)
                return function(*arguments)

            return counted

    real = pynvml.nvmlLib
    pynvml.nvmlLib = Counted()  # put back by the box's monkeypatch
    box.gpus[0].processes = [process_line(sleeper)]
    box.write()
    source.sweep()
    assert len(calls) == 2 * 3


def test_a_gpu_that_is_lost_keeps_its_number_and_its_name(
    box: FakeBox, make_source: Callable[..., NvmlSource]
) -> None:
    """A GPU that falls off the bus is shown lost under its own number; the others stay as they are."""
    box.gpus = gpus(3)
    box.write()
    source = make_source()
    before = by_number(source)
    box.gpus[1].keys["lost"] = 1
    box.write()
    after = by_number(source)
    assert [after[n].device.uuid for n in range(3)] == [before[n].device.uuid for n in range(3)]
    assert after[1].device == before[1].device
    assert after[1].health is Health.LOST
    assert "lost" in after[1].fault
    assert after[1].processes is None
    assert after[1].utilization is None
    assert after[0].health is after[2].health is Health.OK
    assert after[2].utilization is not None


def test_a_gpu_that_was_lost_at_the_start_has_its_number(box: FakeBox, source: NvmlSource) -> None:
    """A GPU that never told its UUID is shown at its index; the ones behind it do not move up."""
    box.gpus = gpus(3)
    box.gpus[1].keys["lost"] = 1
    box.write()
    readings = by_number(source)
    assert readings[1].device.name == NAMELESS
    assert readings[1].health is Health.LOST
    assert readings[2].device.uuid == gpu_uuid(2)
    del box.gpus[1].keys["lost"]
    box.write()
    readings = by_number(source)
    assert {n: each.device.uuid for n, each in readings.items()} == {
        n: gpu_uuid(n) for n in range(3)
    }
    assert readings[1].health is Health.OK


def test_a_gpu_whose_sensors_are_lost_is_lost_under_its_name(
    box: FakeBox, source: NvmlSource
) -> None:
    """A GPU of which only the cached identity answers is lost, and has its name."""
    box.gpus[1].keys["lost"] = "sensors"
    box.write()
    lost = source.sweep().readings[1]
    assert (lost.device.uuid, lost.health) == (gpu_uuid(1), Health.LOST)
    assert lost.device.name != NAMELESS


def test_a_gpu_that_vanished_from_the_list_is_lost_and_nobody_takes_its_number(
    box: FakeBox, source: NvmlSource
) -> None:
    """After the driver lists fewer GPUs, each UUID still has the number that people know."""
    box.gpus = gpus(3)
    box.write()
    source.sweep()
    del box.gpus[1]
    box.write()
    readings = by_number(source)
    assert {n: each.device.uuid for n, each in readings.items()} == {
        n: gpu_uuid(n) for n in range(3)
    }
    assert (readings[1].health, readings[1].fault) == (Health.LOST, NOT_LISTED)
    assert readings[2].health is Health.OK


def test_figures_follow_the_uuid_when_the_driver_numbers_anew(
    box: FakeBox, source: NvmlSource
) -> None:
    """When indices change their meaning, figures and processes stay with their UUID."""
    box.gpus[0].keys["util"], box.gpus[1].keys["util"] = 10, 90
    box.write()
    source.sweep()
    box.gpus.reverse()
    box.write()
    busy = {each.device.uuid: each.utilization for each in source.sweep().readings}
    assert busy == {gpu_uuid(0): 10, gpu_uuid(1): 90}
    assert by_number(source)[0].device.uuid == gpu_uuid(1)


@pytest.mark.parametrize("error", ["TIMEOUT", "UNKNOWN", "NO_PERMISSION", "NOT_READY"])
@pytest.mark.parametrize("function", ["nvmlDeviceGetUUID", "nvmlDeviceGetHandleByIndex*"])
def test_a_failed_call_for_the_identity_is_not_a_loss(
    box: FakeBox, source: NvmlSource, function: str, error: str
) -> None:
    """A GPU whose identity could not be read once is unknown, under its name, and then well again."""
    before = source.sweep().readings
    box.write(**{f"error.{function}": error})
    after = source.sweep().readings
    assert [each.device for each in after] == [each.device for each in before]
    assert {each.health for each in after} == {Health.UNKNOWN}
    assert all(each.fault and each.processes is None for each in after)
    box.clear(f"error.{function}")
    assert {each.health for each in source.sweep().readings} == {Health.OK}


def test_a_gpu_that_needs_a_reset_is_faulty_alone(box: FakeBox, source: NvmlSource) -> None:
    """A GPU that asks for a reset says so; its neighbour is not touched."""
    box.gpus[0].keys["error.*"] = "RESET_REQUIRED"
    box.write()
    sick, whole = source.sweep().readings
    assert (sick.health, whole.health) == (Health.FAULTY, Health.OK)
    assert "reset" in sick.fault


def test_grown_memory_errors_an_xid_and_heat_make_a_gpu_faulty(
    box: FakeBox, source: NvmlSource
) -> None:
    """Uncorrectable errors that grow, a grave Xid, heat and a failed remap are named in words."""
    box.gpus = gpus(5, ecc=1, ecc_uncorr=3, temp_shutdown=95)
    box.write()
    assert {each.health for each in source.sweep().readings} == {Health.OK}
    box.gpus[0].keys["ecc_uncorr"] = 5
    box.gpus[1].keys["xid"] = 79
    box.gpus[2].keys["temp"] = 96
    box.gpus[3].keys["remap_failed"] = 1
    box.gpus[4].keys["xid"] = 31  # a program's fault, not the device's
    box.write()
    source.sweep()
    readings = by_number(source)
    assert [readings[n].health for n in range(5)] == [*[Health.FAULTY] * 4, Health.OK]
    assert "2 new uncorrectable" in readings[0].fault
    assert "Xid 79" in readings[1].fault
    assert "96 C" in readings[2].fault
    assert "remapping failed" in readings[3].fault


def test_a_split_gpu_is_its_instances(box: FakeBox, source: NvmlSource, sleeper: int) -> None:
    """MIG instances are devices with their own memory and processes; their GPU is none."""
    box.gpus[1].keys["mig_mode"] = 1
    box.gpus[1].instances = ["1 0 3 40192 MIG-1111", "2 0 4 40192 MIG-2222"]
    box.gpus[1].processes = [process_line(sleeper, 2048, 0, gi=2, ci=0)]
    box.write()
    whole, first, second = source.sweep().readings
    assert whole.device.kind is DeviceKind.GPU
    assert [each.device.label for each in (first, second)] == ["1:0", "1:1"]
    assert {each.device.kind for each in (first, second)} == {DeviceKind.MIG}
    assert {each.device.parent for each in (first, second)} == {gpu_uuid(1)}
    assert second.utilization is None
    assert second.device.memory_bytes == 40192 * MIB
    assert second.memory_used_bytes == 2048 * MIB
    assert first.processes == ()
    assert [each.pid for each in second.processes or ()] == [sleeper]
    box.gpus[1].keys["lost"] = 1
    box.write()
    lost = source.sweep().readings[1:]
    assert [each.device.uuid for each in lost] == ["MIG-1111", "MIG-2222"]
    assert {each.health for each in lost} == {Health.LOST}


def test_an_instance_whose_list_fails_is_unknown_alone(box: FakeBox, source: NvmlSource) -> None:
    """A faulty list of one split GPU is told on its instances and on no other device."""
    box.gpus[1].keys |= {"mig_mode": 1, "error.nvmlDeviceGetGraphics*": "UNKNOWN"}
    box.gpus[1].instances = ["1 0 3 40192 MIG-1111"]
    box.write()
    whole, instance = source.sweep().readings
    assert (whole.health, instance.health) == (Health.OK, Health.UNKNOWN)
    assert instance.processes is None


def test_an_instance_that_an_admin_removed_is_no_lost_device(
    box: FakeBox, source: NvmlSource
) -> None:
    """When a GPU is split anew, its former instances are gone, not faulty."""
    box.gpus[1].keys["mig_mode"] = 1
    box.gpus[1].instances = ["1 0 3 40192 MIG-1111", "2 0 4 40192 MIG-2222"]
    box.write()
    source.sweep()
    box.gpus[1].instances = ["3 0 7 81000 MIG-3333"]
    box.write()
    assert [each.device.uuid for each in source.sweep().readings[1:]] == ["MIG-3333"]


@pytest.mark.parametrize("name", [gpu_uuid(1), "1"])
def test_an_ignored_device_is_not_there(
    box: FakeBox, make_source: Callable[..., NvmlSource], name: str
) -> None:
    """A device that the configuration names as ignored, by UUID or number, is left alone."""
    readings = make_source(ignore=(name,)).sweep().readings
    assert [each.device.uuid for each in readings] == [gpu_uuid(0)]


@pytest.mark.parametrize(
    ("error", "words", "mend"),
    [
        ("DRIVER_NOT_LOADED", "not loaded", "modprobe nvidia"),
        ("LIB_RM_VERSION_MISMATCH", "different versions", "reboot"),
        ("NO_PERMISSION", "permission", "nvidiactl"),
        ("LIBRARY_NOT_FOUND", "not installed", "install"),
        ("UNKNOWN", "Unknown Error", "nvidia-smi"),
    ],
)
def test_a_driver_that_does_not_work_says_what_mends_it(
    box: FakeBox, source: NvmlSource, error: str, words: str, mend: str
) -> None:
    """A driver that does not start is told in words, with the command; when mended, all is read."""
    box.write(init_error=error)
    with pytest.raises(DriverFault, match=words) as caught:
        source.sweep()
    assert mend in caught.value.hint
    box.clear("init_error")
    assert len(source.sweep().readings) == 2


@pytest.mark.parametrize("error", ["DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH", "UNINITIALIZED"])
def test_a_driver_that_goes_away_is_opened_anew(
    box: FakeBox, source: NvmlSource, error: str
) -> None:
    """A driver that is taken away in mid-life is a fault of the driver, and comes back by itself."""
    source.sweep()
    box.write(**{"error.nvmlDevice*": error})
    with pytest.raises(DriverFault):
        source.sweep()
    box.clear("error.nvmlDevice*")
    assert len(source.sweep().readings) == 2


def test_an_old_driver_is_read_too(
    tmp_path, monkeypatch: pytest.MonkeyPatch, make_source: Callable[..., NvmlSource]
) -> None:
    """A driver of the 470 age, on which pynvml raises its mismatch error, gives lists and memory."""
    box = FakeBox(tmp_path)
    use_library(monkeypatch, box, old=True)
    box.gpus = [FakeGpu("GPU-old", {"mem_used": 1000, "mem_reserved": 500}, [process_line(1, 300)])]
    box.write()
    reading = make_source().sweep().readings[0]
    assert [(each.pid, each.memory_bytes) for each in reading.processes or ()] == [(1, 300 * MIB)]
    assert reading.memory_used_bytes == 1500 * MIB


def test_slow_figures_are_read_at_their_own_pace(
    box: FakeBox, make_source: Callable[..., NvmlSource]
) -> None:
    """Between two slow sweeps the fan stands still while utilisation moves."""
    source = make_source(slow_interval_s=3600)
    box.gpus[0].keys |= {"fan": 30, "util": 10}
    box.write()
    source.sweep()
    box.gpus[0].keys |= {"fan": 60, "util": 90}
    box.write()
    reading = source.sweep().readings[0]
    assert (reading.fan_percent, reading.utilization) == (30, 90)


def test_hostile_names_are_made_harmless(box: FakeBox, source: NvmlSource) -> None:
    """A product name with an escape sequence reaches nobody's terminal as one."""
    box.gpus[0].keys["name"] = "Ev\x1b[31mil"
    box.write()
    assert "\x1b" not in source.sweep().readings[0].device.name
