"""The docker runtime while its engine dies, restarts, or stays away."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.errors import GpuboardError, OutcomeUnknown, Unavailable
from gpuboard.runtimes.protocol import RunState
from tests.runtimes.conftest import docker_bench_on
from tests.support.dockerd import DockerEngine
from tests.support.runtimes import RuntimeBench
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a real engine's tests need root"),
]


@pytest.fixture
def bench(mortal_engine: DockerEngine, tmp_path: Path, home: Path) -> Iterator[RuntimeBench]:
    """Give a bench on an engine that the test may kill."""
    bench = docker_bench_on(mortal_engine, tmp_path, home)
    yield bench
    bench.clear()


def test_job_goes_on_over_a_restart_with_live_restore(
    mortal_engine: DockerEngine, bench: RuntimeBench
):
    """Down: an error, never an empty list, and the kernel still answers. Up: the true end and the whole log."""
    mortal_engine.restart(signal.SIGTERM, live_restore=True)
    script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; exit 11"
    handle = bench.begin(bench.shell(script))
    followed: list[bytes] = []
    follower = threading.Thread(
        target=lambda: followed.extend(bench.runtime.read_log(handle, follow=True)), daemon=True
    )
    follower.start()
    wait_until(lambda: followed)
    mortal_engine.kill()
    with pytest.raises(Unavailable):
        bench.runtime.observe()
    assert not bench.runtime.is_gone(handle)
    mortal_engine.start(live_restore=True)
    assert bench.seen(handle).state is RunState.RUNNING
    assert bench.ended(handle).exit_code == 11
    follower.join(20)
    expected = b"".join(b"line %d\n" % number for number in range(1, 41))
    assert bench.log(handle) == expected
    assert b"".join(followed) == expected


def test_restart_without_live_restore_ends_jobs_and_says_so(
    mortal_engine: DockerEngine, bench: RuntimeBench
):
    """The engine stops them as it comes back, by TERM and then KILL: nobody calls that a success."""
    handle = bench.begin(bench.shell("sleep 600"))
    mortal_engine.kill()
    assert not bench.runtime.is_gone(handle)
    mortal_engine.start()
    assert bench.ended(handle).exit_code in {137, 143}


def test_restarted_engine_has_another_incarnation(mortal_engine: DockerEngine, bench: RuntimeBench):
    """The same for as long as one engine lives, nothing while it is down, another one after."""
    before = bench.runtime.incarnation()
    assert before
    bench.begin(bench.shell("true"))
    assert bench.runtime.incarnation() == before
    mortal_engine.kill()
    assert bench.runtime.incarnation() == ""
    mortal_engine.start()
    assert bench.runtime.incarnation() not in {"", before}


def test_kill_works_while_the_engine_is_down(mortal_engine: DockerEngine, bench: RuntimeBench):
    """Through the kernel: a device can be freed although nobody answers."""
    mortal_engine.restart(signal.SIGTERM, live_restore=True)
    handle = bench.begin(bench.shell("trap '' TERM; while :; do sleep 0.1; done"))
    mortal_engine.kill()
    bench.runtime.kill(handle)
    assert bench.runtime.is_gone(handle)
    mortal_engine.start(live_restore=True)
    assert bench.ended(handle).exit_code == 137


def test_event_wakes_after_a_restart(mortal_engine: DockerEngine, bench: RuntimeBench):
    """The end of the stream counts as an event, and the next stream is opened."""
    while bench.runtime.wait_event(0.5):
        continue
    mortal_engine.restart()
    assert bench.runtime.wait_event(20)
    while bench.runtime.wait_event(1.0):
        continue
    handle = bench.begin(bench.shell("true"))
    assert bench.runtime.wait_event(20)
    bench.ended(handle)


def test_create_and_start_survive_a_stale_connection(
    mortal_engine: DockerEngine, bench: RuntimeBench
):
    """A restart between two calls loses no answer."""
    bench.runtime.observe()
    mortal_engine.restart()
    handle = bench.runtime.create(bench.shell("exit 2"))
    mortal_engine.restart()
    bench.runtime.start(handle)
    assert bench.ended(handle).exit_code == 2


def test_engine_killed_inside_a_start_leaves_nothing_that_kill_does_not_end(
    mortal_engine: DockerEngine, bench: RuntimeBench
):
    """Ghosts too: `created` for the engine, alive for the kernel (2 to 12 % of such kills)."""
    random.seed(11)
    unknown = ghosts = 0
    for _ in range(6):
        handle = bench.runtime.create(bench.shell("sleep 600"))
        problems: list[GpuboardError] = []

        def start(handle: str = handle, problems: list[GpuboardError] = problems) -> None:
            try:
                bench.runtime.start(handle)
            except GpuboardError as error:
                problems.append(error)

        starter = threading.Thread(target=start, daemon=True)
        starter.start()
        time.sleep(random.uniform(0.1, 0.35))
        mortal_engine.kill()
        starter.join()
        unknown += any(isinstance(problem, OutcomeUnknown) for problem in problems)
        mortal_engine.start()
        seen = bench.seen(handle)
        ghosts += bool(seen.state is RunState.CREATED and seen.is_populated)
        assert seen.is_populated == (not bench.runtime.is_gone(handle))
        bench.runtime.kill(handle)
        wait_until(lambda handle=handle: bench.runtime.is_gone(handle))
        bench.runtime.remove(handle)
        assert bench.runtime.is_gone(handle)
        assert bench.runtime.observe() == {}
    print(f"{unknown} answers lost, {ghosts} ghosts in 6 kills")
