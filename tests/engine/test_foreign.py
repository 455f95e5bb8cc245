"""Who is on each device, from sweep to sweep: made anew for what changed, and for nothing else."""

from __future__ import annotations

from pathlib import Path

from gpuboard.engine import foreign
from gpuboard.engine.foreign import device_uses
from gpuboard.model.device import DeviceProcess
from gpuboard.model.ids import DeviceUuid
from gpuboard.runtimes.simulated import Script
from tests.support.engine import Box, uuid

ZOE = DeviceProcess(pid=5, uid=4000, user="zoe")


def test_only_devices_that_show_other_processes_are_looked_at_again(box: Box, monkeypatch) -> None:
    """Four devices, strangers on one of them, one sweep after the other."""
    box.settle()
    looked_at: list[list[DeviceUuid]] = []
    attribute = foreign.attribute

    def watched(readings, **facts):
        looked_at.append([reading.device.uuid for reading in readings])
        return attribute(readings, **facts)

    monkeypatch.setattr(foreign, "attribute", watched)
    box.probe.foreign[uuid(1)] = (ZOE,)
    box.advance(5)
    assert looked_at[0] == [uuid(1)]
    assert all(len(uuids) == 4 for uuids in looked_at[1:])  # the ledger changed: who may be there
    looked_at.clear()
    box.advance(5)
    assert not looked_at
    assert list(device_uses(box.engine.core)) == [uuid(i) for i in range(4)]


def test_a_lease_changes_whose_the_same_processes_are(box: Box) -> None:
    """A process that shows on after its job's lease ended is somebody's again without a new list."""
    first = box.submit(script=Script(run_s=5))
    box.advance(2)
    (device,) = box.job(first).devices
    name = box.job(first).runtime_name
    assert device_uses(box.engine.core)[device].job_names == (name,)
    box.probe.remnants[device] = name
    box.advance(10)
    use = device_uses(box.engine.core)[device]
    assert "without a lease" in use.violation_words
    del box.probe.remnants[device]
    box.advance(5)
    assert device_uses(box.engine.core)[device].is_clear


def test_a_clock_set_back_keeps_no_device_from_the_next_job(tmp_path: Path) -> None:
    """Sweeps looked older than the lease's end until the clock had caught up: an hour later."""
    box = Box(tmp_path, gpus=1)
    box.settle()
    first = box.submit(script=Script(run_s=10))
    second = box.submit(script=Script(run_s=500))
    box.settle()
    while box.state(first) == "running":
        box.clock.advance(500)
        box.step()
    box.clock.jump(-3_600_000)
    box.advance(5)
    assert box.state(second) == "running"
    box.store.close()
