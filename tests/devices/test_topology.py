"""How the GPUs are linked, read from the fake driver."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from gpuboard.devices.nvml_sweep import NvmlSource
from gpuboard.devices.nvml_topology import SYSFS_PCI, numa_node
from gpuboard.devices.scenario import LAB8
from gpuboard.devices.simulated import SimulatedSource, nobody
from gpuboard.model.device import DeviceKind
from tests.support.fakenvml import FakeBox, gpu_uuid, gpus

pytestmark = pytest.mark.cc


def links(source: NvmlSource) -> dict[str, str]:
    """Sweep once; `01: NV4`."""
    number = {gpu_uuid(n): str(n) for n in range(16)}
    found = source.sweep().links
    return {"".join(sorted((number[x.a], number[x.b]))): x.words for x in found}


def test_pairs_of_nvlink_and_two_numa_nodes_are_told_apart(
    box: FakeBox, source: NvmlSource
) -> None:
    """A workstation: each GPU bridged with one other, the pairs on two sockets."""
    box.gpus = gpus(4, nvlinks=0)
    for n, gpu in enumerate(box.gpus):
        gpu.keys |= {"numa": n // 2, "cpus": "0-7,16-23" if n < 2 else "8-15,24-31"}
    box.write(nvlink="0 1 4\nnvlink = 2 3 4", pcie="0 2 PHB")
    assert links(source) == {
        "01": "NV4", "23": "NV4", "02": "PHB", "03": "SYS", "12": "SYS", "13": "SYS",
    }  # fmt: skip
    devices = [reading.device for reading in source.sweep().readings]
    assert [device.numa_node for device in devices] == [0, 0, 1, 1]
    assert [device.cpus for device in devices] == ["0-7,16-23"] * 2 + ["8-15,24-31"] * 2


def test_gpus_behind_nvswitches_all_reach_each_other(box: FakeBox, source: NvmlSource) -> None:
    """An HGX board: the ends of the links are switches."""
    box.gpus = gpus(4, nvlinks=18)
    box.write()
    assert set(links(source).values()) == {"NV18"}
    assert len(links(source)) == 6


@pytest.mark.parametrize("hidden", ["nvmlDeviceGetNvLinkRemote*", "nvmlDeviceGetNvLinkRemotePci*"])
def test_where_the_ends_are_hidden_the_drivers_word_counts(
    box: FakeBox, source: NvmlSource, hidden: str
) -> None:
    """A virtual machine shows no PCI address beyond the GPU's own."""
    box.gpus = gpus(2, nvlinks=6)
    box.write(**{f"error.{hidden}": "NOT_SUPPORTED"})
    assert links(source) == {"01": "NV6"}


def test_a_driver_that_tells_nothing_is_no_fault(box: FakeBox, source: NvmlSource) -> None:
    """No links, no node, no CPUs; the GPUs are as healthy as ever."""
    box.gpus = gpus(2, bus_id="00000000:FE:1F.0")
    box.write(topology="na", **{"error.nvmlDeviceGetNumaNodeId": "NOT_SUPPORTED"})
    snapshot = source.sweep()
    assert (snapshot.links, snapshot.fault) == ((), "")
    for reading in snapshot.readings:
        assert (reading.device.numa_node, reading.device.cpus) == (None, "")
        assert (reading.health, reading.fault) == ("ok", "")


def test_links_are_read_when_other_gpus_are_there_and_not_at_each_sweep(
    box: FakeBox, source: NvmlSource
) -> None:
    """Hundreds of calls for what changes with the hardware: only when that changed."""
    box.gpus = gpus(2, nvlinks=0)
    box.write(pcie="0 1 PIX")
    assert links(source) == {"01": "PIX"}
    box.write(pcie="0 1 SYS")
    assert links(source) == {"01": "PIX"}
    box.gpus = gpus(3, nvlinks=0)
    box.write()
    assert links(source) == {"01": "SYS", "02": "NODE", "12": "NODE"}


def test_a_gpu_that_fails_meanwhile_costs_only_its_own_links(
    box: FakeBox, source: NvmlSource
) -> None:
    """And they come back with it, at the slow interval at the latest."""
    box.gpus = gpus(3, nvlinks=0)
    box.gpus[2].keys |= {"error.nvmlDeviceGetNvLinkState": "GPU_IS_LOST"}
    box.write(pcie="0 1 PIX")
    assert links(source) == {"01": "PIX"}
    del box.gpus[2].keys["error.nvmlDeviceGetNvLinkState"]
    box.write()
    source._slow_due_s = 0.0
    assert set(links(source)) == {"01", "02", "12"}


def test_the_kernel_knows_the_node_where_the_driver_does_not(
    box: FakeBox, source: NvmlSource, tmp_path: Path
) -> None:
    """sysfs names it by the PCI address; its -1 is nothing."""
    box.write(topology="na")
    source.sweep()
    calls = source._calls
    handle = calls.gpu(0)
    for bus_id, text in (("0000:17:00.0", "1\n"), ("0000:18:00.0", "-1\n"), ("0000:19:00.0", "x")):
        (tmp_path / bus_id).mkdir()
        (tmp_path / bus_id / "numa_node").write_text(text)
    found = [
        numa_node(calls, handle, f"0000{bus_id}", tmp_path)
        for bus_id in ("0000:17:00.0", "0000:18:00.0", "0000:19:00.0", "0000:1A:00.0", "")
    ]
    assert found == [1, None, None, None, None]
    assert numa_node(calls, handle, "", SYSFS_PCI) is None


def test_a_mig_instance_is_where_its_gpu_is(box: FakeBox, source: NvmlSource) -> None:
    """Node and CPUs are the board's."""
    box.gpus[0].keys |= {"mig_mode": 1, "numa": 1, "cpus": "8-15"}
    box.gpus[0].instances = ["1 0 1 9856 MIG-a", "2 0 1 9856 MIG-b"]
    box.write()
    instances = [r.device for r in source.sweep().readings if r.device.kind is DeviceKind.MIG]
    assert [(i.numa_node, i.cpus) for i in instances] == [(1, "8-15")] * 2


def test_the_simulated_box_says_links_as_a_driver_does() -> None:
    """lab8: four GPUs on switches, two bridged pairs, two nodes; each pair once."""
    snapshot = SimulatedSource(LAB8, occupancy=nobody, clock=lambda: 0).sweep()
    words = {(int(x.a[-1]), int(x.b[-1])): x.words for x in snapshot.links}
    assert set(words) == set(combinations(range(8), 2))
    assert words[0, 3] == "NV18"
    assert words[4, 5] == words[6, 7] == "NV4"
    assert words[5, 6] == "NODE"
    assert words[3, 4] == "SYS"
