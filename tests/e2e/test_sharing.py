"""Sharing a GPU end to end: the real daemon, plain processes, and memory as the (fake) driver tells it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.box import Box, people, wait_until
from tests.support.fakenvml import FakeBox, built, process_line

pytestmark = [pytest.mark.cc, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

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
        greedy = submit(alice, "20G", "sh", "-c", tell.format(said / "greedy", 4721))
        modest = submit(bob, "40G", "sh", "-c", tell.format(said / "modest", 4722))
        waits = submit(bob, "30G", "sleep", "4723")
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

        pids = {job: _pid_of(seconds) for job, seconds in ((greedy, "4721"), (modest, "4722"))}
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
