"""MIG instances as devices, from the (fake) driver to the runtime: the real sweep under the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, JobsConfig
from gpuboard.devices.nvml_sweep import NvmlSource
from gpuboard.devices.processes import ProcessTable
from gpuboard.model.device import ProbeSnapshot
from gpuboard.model.plan import WaitCause
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box
from tests.support.fakenvml import FakeBox, gpu_uuid, use_library

pytestmark = pytest.mark.cc
LONG = Script(run_s=5000)
SLICES = [f"{n} 0 1 9856 MIG-{n}{'0' * 7}-0000-4000-8000-{n:012x}" for n in (1, 2)]
HALF = "3 0 4 40192 MIG-30000000-0000-4000-8000-000000000003"


def mig(line: str) -> str:
    return line.rsplit(maxsplit=1)[-1]


class FakeDriverProbe:
    """Sweeps the fake library when a test says so."""

    name = "nvml"

    def __init__(self, source: NvmlSource) -> None:
        self.source = source
        self._snapshot = ProbeSnapshot(at=0, fault="not read yet")
        self._sequence = 0

    def sweep(self) -> None:
        self._sequence += 1
        self._snapshot = msgspec.structs.replace(self.source.sweep(), sequence=self._sequence)

    def start(self, on_snapshot=None) -> None: ...

    def snapshot(self) -> ProbeSnapshot:
        return self._snapshot

    def wait_first(self, timeout_s: float) -> ProbeSnapshot:
        return self._snapshot

    def sweep_soon(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBox:
    """GPU 0 is whole; GPU 1 is split into two slices and a half."""
    fake = FakeBox(tmp_path)
    use_library(monkeypatch, fake)
    fake.gpus[1].keys["mig_mode"] = 1
    fake.gpus[1].instances = [*SLICES, HALF]
    fake.write()
    return fake


@pytest.fixture
def box(tmp_path: Path, driver: FakeBox) -> Iterator[Box]:
    """The engine over that driver."""
    found = Box(tmp_path / "state")
    source = NvmlSource(
        processes=ProcessTable(sees_every_pid=True),
        slow_interval_s=0.0,
        ignore=(),
        clock=found.clock.now_ms,
    )
    found.probe = FakeDriverProbe(source)
    found.restart()
    found.settle()
    yield found
    source.close()
    found.workers.close(0)
    found.store.close()


def runs_on(box: Box, job_id: int) -> tuple[str, ...]:
    """The devices that the runtime was asked for."""
    job = box.job(job_id)
    assert box.state(job_id) == "running", job.reason
    assert box.runtime.containers[job.runtime_name].request.devices == job.devices
    return job.devices


def test_instances_are_given_by_their_type_and_their_parent_never(box: Box) -> None:
    """The runtime gets the instance's own UUID; a split GPU is no device."""
    small = [box.submit(gpu_type="1G.10gb", script=LONG) for _ in range(3)]
    half = box.submit(gpu_type="4g.40gb", script=LONG)
    whole = box.submit(gpu_uuids=(gpu_uuid(0),), script=LONG)
    box.settle()
    assert sorted(runs_on(box, job)[0] for job in small[:2]) == sorted(map(mig, SLICES))
    assert box.state(small[2]) == "queued"
    assert runs_on(box, half) == (mig(HALF),)
    assert runs_on(box, whole) == (gpu_uuid(0),)
    assert gpu_uuid(1) not in {lease.device for lease in box.store.live_leases()}
    words = [cause.words for cause in box.engine.explain(small[2]).causes]
    assert any("GPU 1:0,1:1 are held by ann" in text for text in words), words


def test_a_gang_gets_no_instances_unless_it_names_them(box: Box) -> None:
    """A program sees one instance, so two of them are no use to it."""
    one, two = box.submit(gpus=1, script=LONG), box.submit(gpus=2, script=LONG)
    box.settle()
    assert runs_on(box, one)[0].startswith("MIG-")
    [cause] = box.engine.explain(two).causes
    assert (cause.cause, cause.words) == (
        WaitCause.NO_SUCH_DEVICE,
        "2 GPUs wanted, this box has 1",
    )
    named = box.submit(gpus=2, gpu_type="mig", script=LONG)
    box.settle()
    assert all(uuid.startswith("MIG-") for uuid in runs_on(box, named))


def test_an_instance_is_drained_alone(box: Box) -> None:
    """Its neighbours on the same GPU go on."""
    box.engine.drain([mig(SLICES[0])], "root", "noisy")
    jobs = [box.submit(gpu_type="1g.10gb", script=LONG) for _ in range(2)]
    box.settle()
    assert runs_on(box, jobs[0]) == (mig(SLICES[1]),)
    words = [cause.words for cause in box.engine.explain(jobs[1]).causes]
    assert any("GPU 1:0 is drained: noisy" in text for text in words), words


def test_a_gpu_that_is_split_or_joined_while_we_look_is_no_lost_device(
    box: Box, driver: FakeBox
) -> None:
    """What is there changes by UUID; what runs elsewhere goes on, and nothing is drained."""
    runs = box.submit(gpu_uuids=(gpu_uuid(0),), script=LONG)
    wants = box.submit(gpus=2, script=LONG)
    box.settle()
    assert box.state(wants) == "queued"
    driver.gpus[1].keys["mig_mode"] = 0
    driver.gpus[1].instances = []
    driver.write()
    box.settle()
    assert not box.engine.drains()
    assert {r.device.uuid for r in box.engine.devices()} == {gpu_uuid(0), gpu_uuid(1)}
    box.engine.cancel(runs, ANN)
    box.advance(3)
    assert runs_on(box, wants) == (gpu_uuid(0), gpu_uuid(1))
    box.engine.cancel(wants, ANN)
    box.advance(3)
    driver.gpus[1].keys["mig_mode"] = 1
    driver.gpus[1].instances = [HALF]
    driver.write()
    box.settle()
    assert not box.engine.drains()
    half = box.submit(gpu_type="4g.40gb", script=LONG)
    box.settle()
    assert runs_on(box, half) == (mig(HALF),)


def test_a_job_whose_instance_was_taken_away_is_stopped_with_the_reason(
    box: Box, driver: FakeBox
) -> None:
    """Its lease is by UUID, so no other instance is mistaken for its own; the neighbour goes on."""
    jobs = [box.submit(gpu_type="1g.10gb", script=LONG) for _ in range(2)]
    box.settle()
    gone, stays = sorted(jobs, key=lambda job: runs_on(box, job) != (mig(SLICES[0]),))
    driver.gpus[1].instances = [SLICES[1], HALF]
    driver.write()
    box.advance(15)
    assert [box.state(job) for job in (gone, stays)] == ["failed", "running"]
    assert box.job(gone).reason == "its device failed, its GPU was divided anew"
    assert not box.engine.drains()
    assert not box.engine.core.settling
    box.check_invariants()


def test_instances_may_be_shared_by_budget_too(box: Box) -> None:
    """A half of 39 GiB holds two jobs of 15 GiB; the slices of 9.6 GiB none of them."""
    jobs = [
        box.submit(owner=BEN, gpu_type="mig", gpu_memory_bytes=15 * 2**30, script=LONG)
        for _ in range(3)
    ]
    box.settle()
    assert [box.state(job) for job in jobs] == ["running", "running", "queued"]
    assert {runs_on(box, job) for job in jobs[:2]} == {(mig(HALF),)}


def test_a_container_may_be_kept_to_the_cpus_near_its_devices(box: Box, driver: FakeBox) -> None:
    """Opt-in; each socket once, and nothing where the driver does not say it of each device."""
    for gpu, cpus in zip(driver.gpus, ("0-7", "8-15"), strict=True):
        gpu.keys["cpus"] = cpus
    driver.gpus[1].keys["mig_mode"] = 0
    driver.gpus[1].instances = []
    driver.write()
    box.probe.source.close()  # a driver that was loaded anew
    box.probe.source._facts.clear()
    box.settle()

    def cpuset(**asked) -> str:
        job_id = box.submit(script=LONG, **asked)
        box.settle()
        runs_on(box, job_id)
        found = box.runtime.containers[box.job(job_id).runtime_name].request.cpuset
        box.engine.cancel(job_id, ANN)
        box.advance(3)
        return found

    assert cpuset(gpus=2) == ""  # not asked for
    box.engine.reconfigure(Config(jobs=JobsConfig(numa_bind=True)))
    assert cpuset(gpus=2) == "0-7,8-15"
    assert cpuset(gpu_uuids=(gpu_uuid(1),)) == "8-15"
    assert cpuset(gpus=0) == ""
