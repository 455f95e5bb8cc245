"""A whole box on Docker 26.1 with CDI: the real daemon, the fake NVML, deaths in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box, people
from tests.support.dockerd import IMAGE, IMAGE_ALL_DEVICES
from tests.support.fakenvml import FakeBox, built, gpu_uuid, gpus
from tests.support.trixie import TrixieEngine
from tests.support.waiting import wait_until

CONFIG = """
[jobs]
runtimes = ["docker"]
default_runtime = "docker"
default_shm = "64M"
min_uid = 0
[docker]
host = "{host}"
network = "none"
[devices]
probe = "nvml"
"""
COUNT = 4
NODES = "ls /dev | grep nvidia | tr '\\n' ' '; echo $NVIDIA_VISIBLE_DEVICES"
SLOW = "i=0; while [ $i -lt 80 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; exit 5"


@pytest.fixture
def box(docker_engine: TrixieEngine) -> Iterator[Box]:
    """Give a box of four devices, which the engine knows by the same UUIDs."""
    built()
    docker_engine.write_cdi([gpu_uuid(number) for number in range(COUNT)])
    made = Path(tempfile.mkdtemp(prefix="gpuboard-e2e-"))
    made.chmod(0o755)
    (made / "nvml").mkdir()
    fake = FakeBox(made / "nvml", COUNT)
    fake.gpus = gpus(COUNT)
    fake.write()
    box = Box(made / "box", CONFIG.format(host=docker_engine.host), fake.environment())
    try:
        box.start()
        yield box
    finally:
        box.stop()
        shutil.rmtree(made, ignore_errors=True)


def test_a_day_on_a_box_of_debian_13(box: Box, docker_engine: TrixieEngine):
    """Submit, run, logs, cancel; the daemon killed and the engine restarted under running jobs."""
    with people(f"gbalice{os.getpid()}") as (alice,):
        done = box.run("run", "-g", "2", "--image", IMAGE, "--", "sh", "-c", NODES, uid=alice)
        assert done.returncode == 0, done.stderr
        *nodes, visible = done.stdout.split()
        assert len(nodes) == 2
        assert visible == "void"
        done = box.run(
            "run", "-g", "0", "--image", IMAGE_ALL_DEVICES, "--", "sh", "-c", NODES, uid=alice
        )
        assert done.stdout.split() == ["void"]

        long = box.submit("-g", "1", "--image", IMAGE, "--", "sh", "-c", SLOW, uid=alice)
        doomed = box.submit("-g", "1", "--image", IMAGE, "--", "sleep", "600", uid=alice)
        running = box.wait_state(doomed, "running")
        assert running["devices"]
        box.kill()
        box.start()
        assert box.job(long)["state"] == "running"
        assert box.run("cancel", str(doomed), uid=alice).returncode == 0
        assert box.wait_state(doomed, "cancelled")["state"] == "cancelled"
        assert box.wait_state(long, "failed")["exit_code"] == 5
        log = box.run("logs", str(long), uid=alice).stdout.splitlines()
        assert log == [f"line {number}" for number in range(1, 81)]

        again = box.submit(
            *("-g", "4", "--requeue", "--image", IMAGE, "--", "sh", "-c", "sleep 3; exit 3"),
            uid=alice,
        )
        box.wait_state(again, "running")
        docker_engine.restart()
        assert box.wait_state(again, "failed", timeout_s=90)["exit_code"] == 3
    with contextlib.closing(docker_engine.client()) as client:
        wait_until(lambda: not client.containers(all=True), 20, "all containers to be removed")


def test_fault_46_job_waits_for_the_admin_when_the_specification_is_broken(
    box: Box, docker_engine: TrixieEngine, record_property
):
    """Row 46: back to the queue, the doctor says what is wrong, and it runs once it is mended."""
    docker_engine.write_cdi([gpu_uuid(99)])
    job = box.submit("-g", "1", "--image", IMAGE, "--", "true")
    back = wait_until(
        lambda: found if (found := box.job(job))["attempt"] > 1 else None, 30, "another attempt"
    )
    assert back["state"] in {"queued", "starting"}
    assert "GPU set-up broken" in box.run("why", str(job)).stdout + box.run("show", str(job)).stdout
    doctor = box.run("doctor", "--json")
    assert doctor.returncode == 1
    found = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert found["gpu-setup"]["status"] == "error"
    assert gpu_uuid(99) not in found["gpu-setup"]["words"]
    assert "nvidia-ctk" in found["gpu-setup"]["mend"]
    docker_engine.write_cdi([gpu_uuid(number) for number in range(COUNT)])
    assert box.wait_state(job, "succeeded", timeout_s=60)["exit_code"] == 0
    record_property(
        "seen", f"on 26.1: back to the queue, doctor: {found['gpu-setup']['words'][:60]}"
    )
