"""Devices by CDI name: the runtime on an engine that has it, whole and broken."""

from __future__ import annotations

import contextlib

import pytest

from gpuboard.errors import DeviceSetupBroken, Refused
from gpuboard.model.ids import DeviceUuid
from gpuboard.runtimes.docker_api import translate
from gpuboard.runtimes.protocol import RunState
from tests.support.dockerd import IMAGE_ALL_DEVICES, IMAGE_PRELOAD
from tests.support.runtimes import GPU, GPU_2, RuntimeBench
from tests.support.trixie import TrixieEngine

UNKNOWN = DeviceUuid("GPU-99999999-2222-3333-4444-555555555555")
NODES = "ls /dev | grep nvidia; env | grep ^NVIDIA_VISIBLE_DEVICES"
PROBE = (
    "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; id -u; id -G; ls /dev | grep nvidia"
)


def test_engine_with_cdi_is_asked_by_cdi_name(bench: RuntimeBench):
    """`check` says so, with the engine's version and how many devices are named by UUID."""
    found = bench.runtime.check()
    assert found.version.startswith("26.1")
    assert found.devices == "cdi"
    assert "2 named by UUID" in found.detail
    handle = bench.runtime.create(bench.shell("true", devices=(GPU_2, GPU)))
    with contextlib.closing(bench.runtime._connection.fresh(30)) as api:
        host = api.inspect_container(handle)["HostConfig"]
    (request,) = host["DeviceRequests"]
    assert request["Driver"] == "cdi"
    assert request["DeviceIDs"] == [f"nvidia.com/gpu={GPU_2}", f"nvidia.com/gpu={GPU}"]
    assert host["Runtime"] == "runc"
    assert bench.runtime.devices_of(handle) == (GPU_2, GPU)


def test_job_sees_the_nodes_of_its_lease_and_no_others(bench: RuntimeBench):
    """One device, two, none."""
    for devices, nodes in (
        ((GPU_2,), ["nvidia1"]),
        ((GPU, GPU_2), ["nvidia0", "nvidia1"]),
        ((), []),
    ):
        seen, log = bench.run("ls /dev | grep nvidia; true", devices=devices)
        assert seen.exit_code == 0
        assert log.decode().split() == nodes


@pytest.mark.parametrize("devices", [(), (GPU,)])
def test_image_that_asks_for_all_devices_is_overruled(bench: RuntimeBench, devices: tuple):
    """`void` beats the image's `all`, with a lease and without; the process sees one value."""
    _, log = bench.run(NODES, image=IMAGE_ALL_DEVICES, devices=devices)
    lines = log.decode().split()
    assert lines == [*(["nvidia0"] if devices else []), "NVIDIA_VISIBLE_DEVICES=void"]


def test_job_with_a_device_is_as_confined_as_any(bench: RuntimeBench):
    """No capability, no new privileges, the seccomp filter, the person's own uid and groups."""
    _, log = bench.run(PROBE, devices=(GPU,), groups=(bench.uid, 5001))
    assert log.decode().split() == [
        *("CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"),
        *(str(bench.uid), str(bench.uid), "5001", "nvidia0"),
    ]


def test_image_with_preload_gets_no_device_by_cdi_either(bench: RuntimeBench):
    """CVE-2025-23266: hooks of a CDI specification run as root too."""
    with pytest.raises(Refused):
        bench.runtime.create(bench.shell("true", image=IMAGE_PRELOAD, devices=(GPU,)))


def assert_never_ran(bench: RuntimeBench, devices: tuple) -> DeviceSetupBroken:
    """Try to start a job with these devices: the box's fault in words, and nothing ran."""
    handle = bench.runtime.create(bench.shell("true", devices=devices))
    with pytest.raises(DeviceSetupBroken) as caught:
        bench.runtime.start(handle)
    seen = bench.seen(handle)
    assert seen.state is RunState.CREATED
    assert seen.started_at is None
    assert bench.runtime.is_gone(handle)
    bench.runtime.remove(handle)
    return caught.value


def test_device_that_the_specification_does_not_name_is_the_boxs_fault(bench: RuntimeBench):
    """Told with the device's name, and how to mend it."""
    error = assert_never_ran(bench, (GPU, UNKNOWN))
    assert UNKNOWN in error.message
    assert "nvidia-ctk cdi generate" in error.hint


@pytest.mark.parametrize(
    "text", ["kind: [nvidia.com/gpu\n- name: GPU-1", "", "cdiVersion: 0.5.0\n"]
)
def test_broken_specification_is_the_boxs_fault_until_it_is_mended(
    bench: RuntimeBench, docker_engine: TrixieEngine, text: str
):
    """Without a restart of anything: the engine reads it anew, and the doctor forgets the fault."""
    docker_engine.break_cdi(text)
    error = assert_never_ran(bench, (GPU,))
    assert bench.runtime.check().setup_fault == error.message
    docker_engine.write_cdi()
    bench.runtime.check()
    handle = bench.begin(bench.shell("sleep 600", devices=(GPU,)))
    assert bench.runtime.devices_of(handle) == (GPU,)
    assert bench.runtime.check().setup_fault == ""


def test_specification_without_uuids_is_told_with_its_mending(
    bench: RuntimeBench, docker_engine: TrixieEngine
):
    """By index, as the toolkit names devices when not told otherwise."""
    docker_engine.write_cdi(("0", "all"))
    found = bench.runtime.check()
    assert found.devices != "cdi"


def test_words_of_the_engine_decide_whose_fault_a_start_is():
    """As 26.1 says them, at the start."""
    import docker.errors
    import requests

    answer = requests.Response()
    answer.status_code = 500
    words = "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-x"
    error = docker.errors.APIError("500", answer, words)
    assert isinstance(translate(error, "starting", acting=True), DeviceSetupBroken)
