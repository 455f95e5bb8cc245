"""Images are fetched while a job waits: a pull costs no limit, no device, and nobody else's time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, DockerConfig, JobsConfig
from gpuboard.engine.workers import HANDS, Lane, StepWorkers
from gpuboard.errors import HostError, NotFound, Unavailable
from gpuboard.model.job import Dependency, DependencyKind
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box

PULLING = Config(docker=DockerConfig(pull="missing"), jobs=JobsConfig(max_attempts=3))
IMAGE = "simulated:latest"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box that may pull, and on which the image is missing."""
    box = Box(tmp_path / "state", config=PULLING)
    box.settle()
    box.runtime.missing_images.add(IMAGE)
    yield box
    box.store.close()


def test_pull_takes_no_device_and_no_time_of_the_limit(tmp_path: Path) -> None:
    """While an image is pulled for an hour, others run; then the job has its whole limit."""
    box = Box(tmp_path / "state", config=PULLING, workers=StepWorkers())
    box.runtime.missing_images.add(IMAGE)
    slow = box.submit(limit_s=60, gpus=4, script=Script(run_s=50))
    box.step()
    pulls = [task for task in box.workers._waiting if "resolve_image" in repr(task._work)]
    for _ in range(60):
        box.clock.advance(60_000)
        while len(box.workers) > len(pulls):
            box.workers.run(next(i for i, t in enumerate(box.workers._waiting) if t not in pulls))
        box.step()
    assert (box.state(slow), box.store.live_leases()) == ("queued", [])
    for _ in range(20):
        while len(box.workers):
            box.workers.run()
        box.step()
        box.clock.advance(100)
    assert box.state(slow) == "running"
    assert box.clock.now_ms() - box.job(slow).leased_at < 5_000
    box.store.close()


def test_somebody_with_many_images_keeps_nobody_waiting_behind_them_all(tmp_path: Path) -> None:
    """So many are pulled at a time; the next place goes to who has fewest under way."""
    box = Box(tmp_path / "state", config=PULLING, workers=StepWorkers())
    box.runtime.missing_images |= {f"sweep:{n}" for n in range(12)} | {"one:1"}

    def pulls() -> list[str]:
        waiting = [task._work for task in box.workers._waiting]
        return [work.args[0] for work in waiting if "resolve_image" in repr(work) and work.args[1]]

    def run_but_pulls() -> None:
        for _ in range(200):
            others = [n for n, t in enumerate(box.workers._waiting) if not is_pull(t)]
            if others:
                box.workers.run(others[0])
            box.step()
            box.clock.advance(10)

    def is_pull(task: object) -> bool:
        work = task._work  # type: ignore[attr-defined]
        return "resolve_image" in repr(work) and work.args[1]

    sweep = [box.submit(image=f"sweep:{n}", owner=ANN) for n in range(12)]
    run_but_pulls()
    assert pulls() == [f"sweep:{n}" for n in range(HANDS[Lane.PULL])]
    assert box.engine._images.next_boot_ms() is None
    other = box.submit(image="one:1", owner=BEN)
    run_but_pulls()
    assert "waits to be pulled" in box.engine.explain(other).causes[0].words
    box.workers.run(next(n for n, task in enumerate(box.workers._waiting) if is_pull(task)))
    run_but_pulls()
    assert pulls() == ["sweep:1", "sweep:2", "sweep:3", "one:1"]
    while any(map(is_pull, box.workers._waiting)):
        box.workers.run(next(n for n, task in enumerate(box.workers._waiting) if is_pull(task)))
        run_but_pulls()
    assert all(box.job(job_id).image_id for job_id in (*sweep, other))
    box.store.close()


def test_image_that_cannot_be_had_is_the_jobs_reason_without_a_device(box: Box) -> None:
    """The failure names the image; what depends on the job is cancelled with it."""
    box.runtime.pull_error = NotFound("there is no such image in the registry", field="image")
    first = box.submit()
    second = box.submit(depends_on=())
    box.settle()
    for job_id in (first, second):
        assert box.state(job_id) == "failed"
        assert "no such image" in box.job(job_id).reason
        assert box.job(job_id).leased_at is None


@pytest.mark.parametrize("error", [HostError("registry says 500"), Unavailable("no engine")])
def test_pull_is_tried_again_with_pauses_and_the_job_says_why_it_waits(
    box: Box, error: Exception
) -> None:
    """The box's fault: a clear reason, no hot loop, and it goes on by itself."""
    box.runtime.pull_error = error
    job_id = box.submit()
    box.settle()
    assert box.state(job_id) == "queued"
    assert str(error) in box.engine.explain(job_id).causes[0].words
    box.runtime.pull_error = None
    box.advance(12)
    assert box.state(job_id) == "running"


def test_pull_that_never_works_ends_the_job_at_last(box: Box) -> None:
    """After max_attempts tries, with the registry's words."""
    box.runtime.pull_error = HostError("registry says 500")
    job_id = box.submit()
    box.advance(60)
    assert box.state(job_id) == "failed"
    assert "registry says 500" in box.job(job_id).reason


def test_image_that_was_removed_again_is_fetched_again(box: Box) -> None:
    """Between two jobs an admin prunes the images: the second one's start sends it back to fetch."""
    first = box.submit(script=Script(run_s=2))
    box.advance(5)
    assert box.state(first) == "succeeded"
    box.runtime.missing_images.add(IMAGE)
    second = box.submit(script=Script(run_s=500))
    box.advance(10)
    assert (box.state(second), box.job(second).attempt) == ("running", 1)


def test_image_that_was_removed_before_the_start_is_fetched_again(box: Box) -> None:
    """It was there at the submission: the start sends the job back to fetch the very same."""
    job_id = held(box)
    box.runtime.missing_images.add(IMAGE)
    box.engine.release(job_id, BEN)
    box.advance(10)
    assert (box.state(job_id), box.job(job_id).attempt) == ("running", 2)


def test_another_image_under_the_same_name_does_not_run(box: Box) -> None:
    """What was taken is gone, and the name means something else now: the job ends in words."""
    job_id = held(box)
    box.runtime.missing_images.add(IMAGE)
    box.runtime.image_ids[IMAGE] = "sha256:" + "e" * 64
    box.engine.release(job_id, BEN)
    box.advance(10)
    assert box.state(job_id) == "failed"
    assert "it was taken for" in box.job(job_id).reason
    assert box.runtime.truth.starts == []


@pytest.mark.parametrize("pull", ["never", "missing"])
def test_tag_is_settled_when_the_job_is_taken(tmp_path: Path, pull: str) -> None:
    """A tag moved while the job waits, across a restart too, changes nothing; an update asks anew."""
    box = Box(tmp_path / "state", config=Config(docker=DockerConfig(pull=pull)))
    box.settle()
    taken = box.runtime.resolve_image(IMAGE, False, print)
    job_id = held(box)
    assert box.job(job_id).image_id == taken
    box.runtime.image_ids[IMAGE] = moved = "sha256:" + "e" * 64
    box.restart()
    box.settle()
    spec = msgspec.structs.replace(box.job(job_id).spec, name="renamed")
    box.engine.update(job_id, BEN, spec)
    box.engine.release(job_id, BEN)
    box.advance(3)
    assert (box.state(job_id), box.job(job_id).image_id) == ("running", taken)
    assert next(iter(box.runtime.containers.values())).request.image_id == taken
    other = held(box)
    assert box.job(other).image_id == moved
    box.store.close()


def test_image_of_a_job_that_starts_at_once_is_looked_up_once(tmp_path: Path) -> None:
    """By its start, which waits for the answer."""
    box = Box(tmp_path / "state", workers=StepWorkers())
    box.step()
    while len(box.workers):  # the first listing: nothing starts before
        box.workers.run()
    box.clock.advance(60)
    job_id = box.submit(script=Script(run_s=500))
    box.step()
    assert box.state(job_id) == "starting"
    assert not [task for task in box.workers._waiting if "resolve_image" in repr(task._work)]
    box.store.close()


def test_missing_image_is_left_to_the_start_where_nothing_is_pulled(tmp_path: Path) -> None:
    """It may be built while the job waits."""
    box = Box(tmp_path / "state", config=Config())
    box.settle()
    box.runtime.missing_images.add(IMAGE)
    job_id = held(box)
    assert (box.state(job_id), box.job(job_id).image_id) == ("queued", "")
    box.runtime.missing_images.discard(IMAGE)
    box.engine.release(job_id, BEN)
    box.advance(3)
    assert box.state(job_id) == "running"
    assert box.job(job_id).image_id
    box.store.close()


def held(box: Box) -> int:
    """Submit a held job and let its image be looked up."""
    job_id = box.submit(held_by="user", script=Script(run_s=500))
    box.settle()
    return job_id


def test_cancelled_while_pulling_is_over(box: Box) -> None:
    """A queued job can be cancelled whatever its image does."""
    box.runtime.pull_error = HostError("registry says 500")
    job_id = box.submit()
    box.settle()
    box.engine.cancel(job_id, BEN)
    box.runtime.pull_error = None
    box.advance(10)
    assert box.state(job_id) == "cancelled"
    assert box.runtime.truth.starts == []


def test_daemon_that_dies_while_pulling_pulls_again(box: Box) -> None:
    """Nothing of a pull is stored: the next daemon begins anew."""
    box.runtime.pull_error = HostError("registry says 500")
    job_id = box.submit()
    box.settle()
    box.restart()
    box.runtime.pull_error = None
    box.advance(8)
    assert box.state(job_id) == "running"


def test_nothing_is_fetched_for_a_job_that_was_cancelled_with_another(box: Box) -> None:
    """What it depended on ended otherwise: its image was asked for again and again, for nobody."""
    box.runtime.pull_error = Unavailable("the registry does not answer")
    first = box.submit(script=Script(run_s=5))
    after = Dependency(first, DependencyKind.AFTER_OK)
    box.runtime.missing_images.add("other:1")
    second = box.submit(image="other:1", depends_on=(after,))
    box.settle()
    box.engine.cancel(first, ANN)
    assert box.state(second) == "cancelled"
    box.advance(700, by=10)
    assert not box.engine._images._fetches
    assert second not in box.engine.core.progress
