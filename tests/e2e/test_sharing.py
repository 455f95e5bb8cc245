"""Sharing a GPU end to end: the real daemon, plain processes, and memory as the (fake) driver tells it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.box import Box, people
from tests.support.dockerd import IMAGE, DockerEngine, missing_parts, running_engine
from tests.support.fakenvml import FakeBox, built, process_line
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cc, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

SLEEPS = tuple(f"47{n}.{os.getpid()}" for n in range(3))
"""Of this run alone, so that nobody else's is taken for them."""

DOCKER = """
[jobs]
runtimes = ["docker"]
default_shm = "32M"
[docker]
host = "{host}"
network = "none"
[devices]
probe = "nvml"
interval = "250ms"
"""

CONFIG = """
[jobs]
runtimes = ["process"]
default_runtime = "process"
default_grace = "2s"
[devices]
probe = "nvml"
interval = "250ms"
[policy]
sharing = "all"
sharing_patience = "1s"
"""


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    why_not = missing_parts()
    if why_not and not os.environ.get("GPUBOARD_REQUIRE_ENGINE"):
        pytest.skip(why_not)
    with running_engine() as found:
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other people may enter, as pytest's own may not."""
    made = Path(tempfile.mkdtemp(prefix="gpuboard-e2e-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_two_people_share_a_gpu_and_who_takes_more_than_said_is_stopped(folder: Path) -> None:
    """Each sees the same GPU; the greedy one ends with the reason, the other goes on, and a third
    takes the room."""
    built()
    (folder / "nvml").mkdir()
    fake = FakeBox(folder / "nvml", 1)
    box = Box(folder / "box", CONFIG, fake.environment())
    with people("gbsharea", "gbshareb") as (alice, bob), contextlib.ExitStack() as stack:
        box.start()
        stack.callback(box.stop)

        def submit(uid: int, budget: str, *command: str) -> int:
            return box.submit("--gpu-mem", budget, "-t", "10m", "--", *command, uid=uid)

        said = folder / "said"
        said.mkdir(mode=0o777)
        said.chmod(0o777)
        tell = "echo $CUDA_VISIBLE_DEVICES $GPUBOARD_GPU_MEM_BYTES > {}; exec sleep {}"
        greedy = submit(alice, "20G", "sh", "-c", tell.format(said / "greedy", SLEEPS[0]))
        modest = submit(bob, "40G", "sh", "-c", tell.format(said / "modest", SLEEPS[1]))
        waits = submit(bob, "30G", "sleep", SLEEPS[2])
        stack.callback(box.run, "cancel", "--force", *map(str, (greedy, modest, waits)))
        for job in (greedy, modest):
            box.wait_state(job, "running")
        words = wait_until(lambda: _words_of(said), 20, "both to say what they see")
        assert words["greedy"][0] == words["modest"][0] == fake.gpus[0].uuid
        assert int(words["greedy"][1]) == 20 * 2**30

        [device] = box.json("gpus")["devices"]
        assert [(one["job_id"], one["memory_bytes"]) for one in device["sharers"]] == [
            (greedy, 20 * 2**30), (modest, 40 * 2**30),
        ]  # fmt: skip
        causes = [cause["words"] for cause in box.json("why", str(waits))["causes"]]
        assert any("is shared (60G of" in text for text in causes), causes

        pids = {
            job: _pid_of(seconds) for job, seconds in zip((greedy, modest), SLEEPS, strict=False)
        }
        fake.gpus[0].processes = [
            process_line(pids[greedy], 30_000), process_line(pids[modest], 30_000),
        ]  # fmt: skip
        fake.write()
        job = box.wait_state(greedy, "failed")
        assert "of GPU memory, its budget is 20G" in job["reason"]
        fake.gpus[0].processes = [process_line(pids[modest], 30_000)]
        fake.write()
        box.wait_state(waits, "running")
        assert box.job(modest)["state"] == "running"
        box.run("cancel", "--force", str(modest), str(waits))
        fake.gpus[0].processes = []
        fake.write()
        for job_id in (modest, waits):
            box.wait_state(job_id, "cancelled")


@pytest.mark.engine
def test_two_containers_of_one_person_get_the_same_device(
    engine: DockerEngine, folder: Path
) -> None:
    """The engine is asked for it by its UUID for each; somebody else's container waits."""
    built()
    (folder / "nvml").mkdir()
    fake = FakeBox(folder / "nvml", 1)
    box = Box(folder / "box", DOCKER.format(host=engine.host), fake.environment())
    with people("gbsharea", "gbshareb") as (alice, bob), contextlib.ExitStack() as stack:
        box.start()
        stack.callback(box.stop)
        share = ("--gpu-mem", "10G", "-t", "10m", "--image", IMAGE, "--")
        seen = "env | grep -e NVIDIA_VISIBLE -e GPU_MEM; exec sleep " + SLEEPS[0]
        ours = [box.submit(*share, "sh", "-c", seen, uid=alice) for _ in range(2)]
        theirs = box.submit(*share, "sleep", SLEEPS[1], uid=bob)
        stack.callback(box.run, "cancel", "--force", *map(str, (*ours, theirs)))
        uuid = fake.gpus[0].uuid
        expected = {f"NVIDIA_VISIBLE_DEVICES={uuid}", f"GPUBOARD_GPU_MEM_BYTES={10 * 2**30}"}

        def has_said(job: int) -> bool:
            return expected <= set(box.run("logs", str(job), uid=alice).stdout.split())

        for job in ours:
            assert [d["uuid"] for d in box.wait_state(job, "running")["devices"]] == [uuid]
            wait_until(lambda job=job: has_said(job), 20, "the container to say what it sees")
        assert box.job(theirs)["state"] == "queued"
        box.run("cancel", "--force", *map(str, (*ours, theirs)))
        for job in (*ours, theirs):
            box.wait_state(job, "cancelled")


def _words_of(said: Path) -> dict[str, list[str]] | None:
    """What both jobs wrote, once each has written a whole line."""
    found = {file.name: file.read_text() for file in said.iterdir()}
    whole = len(found) == 2 and all(text.endswith("\n") for text in found.values())
    return {name: text.split() for name, text in found.items()} if whole else None


def _pid_of(seconds: str) -> int:
    """Return the pid of `sleep SECONDS` itself."""

    def found() -> Any:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes() == b"sleep\0" + seconds.encode() + b"\0":
                    return int(entry.name)
        return None

    return wait_until(found, 20, f"sleep {seconds}")
