"""Whatever happens to the GPUs, and in whatever order: no number twice, no wrong word, no crash."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuboard.devices.nvml_answers import DriverFault
from gpuboard.devices.nvml_sweep import NvmlSource
from gpuboard.devices.processes import ProcessTable
from gpuboard.model.device import DeviceReading, Health
from tests.support.fakenvml import FakeBox, FakeGpu, gpu_uuid, process_line

pytestmark = pytest.mark.cc

CONDITIONS: dict[str, dict[str, object]] = {
    "well": {},
    "busy": {"util": 77},
    "bare": {
        "error.nvmlDeviceGet[!U]*": "NOT_SUPPORTED",
        "error.nvmlDeviceGetUt*": "NOT_SUPPORTED",
    },
    "no list": {"error.nvmlDeviceGetComputeRunningProcesses*": "UNKNOWN"},
    "lost": {"lost": 1},
    "sensors lost": {"lost": "sensors"},
    "silent": {"error.nvmlDeviceGetUUID": "TIMEOUT"},
    "reset": {"error.*": "RESET_REQUIRED"},
    "split": {"mig_mode": 1},
}
NAMELESS = ("lost", "silent", "reset")
"""GPUs that do not tell their UUID: when several are amiss, which slot is whose is a guess."""

boxes = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(sorted(CONDITIONS))),
    max_size=4,
    unique_by=lambda each: each[0],
)
storms = st.lists(st.tuples(boxes, st.sampled_from([0, 0, 0, 0, "DRIVER_NOT_LOADED"])), max_size=6)


def fake_gpu(number: int, condition: str) -> FakeGpu:
    """Return a GPU in a condition; split, it is two instances."""
    gpu = FakeGpu(gpu_uuid(number), dict(CONDITIONS[condition]), [process_line(os.getpid())])
    if condition == "split":
        gpu.instances = [f"1 0 3 40192 MIG-{number}-0", f"2 0 4 40192 MIG-{number}-1"]
    return gpu


def check_reading(reading: DeviceReading, condition: str) -> None:
    """Check one reading against what the GPU is in."""
    if condition == "sensors lost":
        assert reading.health is Health.LOST
    elif condition == "no list":
        assert reading.health is Health.UNKNOWN
    else:
        assert (reading.health is Health.OK) == (condition not in NAMELESS)
    assert bool(reading.fault) == (reading.health is not Health.OK)
    if reading.health is not Health.OK or condition in ("bare", "no list"):
        assert reading.processes is None
    elif condition == "split":
        assert reading.processes == ()
    else:
        assert [each.pid for each in reading.processes or ()] == [os.getpid()]
    if condition == "busy":
        assert reading.utilization == 77
    elif condition not in ("well", "no list"):
        assert reading.utilization is None


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(storms)
def test_no_storm_of_faults_confuses_the_sweep(
    box: FakeBox, storms: list[tuple[list[tuple[int, str]], int | str]]
) -> None:
    """Each sweep tells the truth of each GPU by its UUID, and forgets none that it ever knew."""
    source = NvmlSource(
        processes=ProcessTable(sees_every_pid=True), slow_interval_s=0, ignore=(), clock=lambda: 1
    )
    known: set[int] = set()
    try:
        for gpus, init_error in storms:
            box.gpus = [fake_gpu(number, condition) for number, condition in gpus]
            broken = {"error.*": init_error, "init_error": init_error} if init_error else {}
            box.system = broken
            box.write()
            if init_error:
                with pytest.raises(DriverFault):
                    source.sweep()
                continue
            readings = source.sweep().readings
            places = [(each.device.index, each.device.label) for each in readings]
            assert places == sorted(set(places))
            by_gpu: dict[str, list[DeviceReading]] = {}
            for each in readings:
                by_gpu.setdefault(each.device.parent or each.device.uuid, []).append(each)
            for number, condition in gpus:
                if condition not in NAMELESS:
                    known.add(number)
                if number in known:
                    for each in by_gpu[gpu_uuid(number)]:
                        check_reading(each, condition)
            present = {number for number, _ in gpus}
            for number in known - present:
                assert Health.OK not in {each.health for each in by_gpu[gpu_uuid(number)]}
            assert {gpu_uuid(number) for number in known} <= set(by_gpu)
    finally:
        source.close()
