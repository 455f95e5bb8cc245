"""What containers write beside their mounts is looked at seldom, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuboard.config import Config, JobsConfig
from gpuboard.engine.diskwatch import LOOK_MS
from gpuboard.runtimes.simulated import Effect, LostAnswer, Script
from tests.support.engine import Box

MIB = 2**20
LONG = Script(run_s=5000)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A box on which a container may write 64 MiB."""
    found = Box(tmp_path, config=Config(jobs=JobsConfig(max_disk_bytes=64 * MIB)))
    found.settle()
    yield found
    found.workers.close(0)
    found.store.close()


def test_whoever_writes_too_much_is_stopped_in_words_and_the_others_are_not(box: Box) -> None:
    """The reason says how much of how much; what is within the bound goes on."""
    greedy, modest = (box.submit(script=LONG, limit_s=3600) for _ in range(2))
    box.settle()
    box.runtime.written[box.job(greedy).runtime_name] = 80 * MIB
    box.runtime.written[box.job(modest).runtime_name] = 64 * MIB
    box.advance(LOOK_MS / 1000 + 12)
    assert (box.state(greedy), box.state(modest)) == ("failed", "running")
    assert box.job(greedy).reason == "wrote 80M of 64M to its container's disk"


def test_looks_are_seldom_and_a_failed_one_stops_nobody(box: Box) -> None:
    """Measuring walks the disk: no oftener than twice a minute; an error is not a size."""
    looks = []
    measure = box.runtime.written_bytes
    box.runtime.written_bytes = lambda: looks.append(1) or measure()
    job = box.submit(script=LONG, limit_s=3600)
    box.advance(300)
    assert 9 <= len(looks) <= 11
    box.runtime.is_down = True
    box.advance(60)
    assert box.state(job) == "running"


def test_nothing_is_measured_without_a_bound_or_a_job(tmp_path: Path) -> None:
    """Nor does the engine wake for it."""
    box = Box(tmp_path, config=Config(jobs=JobsConfig(max_disk_bytes=None)))
    box.runtime.written_bytes = lambda: pytest.fail("measured")
    box.submit(script=Script(run_s=200))
    box.advance(100)
    box.store.close()


def test_the_engine_sleeps_while_a_job_only_starts(box: Box) -> None:
    """Nothing of it can be measured yet; it woke a thousand times a second for that."""
    box.runtime.lost_answers.append(LostAnswer("start", Effect.NEVER))
    job = box.submit(script=LONG, limit_s=3600)
    box.settle()
    assert box.state(job) == "starting"
    assert box.engine.next_wake_boot_ms() - box.clock.boot_ms() > 1000
