"""Vetting: nothing of the box's directory of people holds the engine up, nor lets a job go for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuboard.engine.protocol import Vetted
from gpuboard.engine.workers import InlineWorkers, Lane
from gpuboard.model.job import Job
from tests.support.engine import ANN, BEN, Box


class Directory:
    """Answers as the test says."""

    def __init__(self) -> None:
        self.answer: Vetted | OSError = Vetted()
        self.asked: list[int] = []

    def __call__(self, job: Job) -> Vetted:
        self.asked.append(job.id)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def box(tmp_path: Path, directory: Directory) -> Iterator[Box]:
    """A box whose look-ups are answered at once."""
    box = Box(tmp_path / "state")
    box.engine.vet_with(directory)
    box.settle()
    yield box
    box.store.close()


def test_a_job_is_looked_at_before_it_starts(box: Box, directory: Directory) -> None:
    """Once, and with the plan that follows at once it runs."""
    job_id = box.submit()
    box.settle()
    assert (box.state(job_id), directory.asked) == ("running", [job_id])


def test_a_submission_that_was_just_checked_starts_without_another_look(
    box: Box, directory: Directory
) -> None:
    """But one that had to wait is looked at again."""
    now, later = box.submit(gpus=4), box.submit(gpus=4)
    box.engine.vouch([box.job(now), box.job(later)])
    box.settle()
    assert (box.state(now), directory.asked) == ("running", [])
    box.engine.cancel(now, ANN)
    box.advance(5)
    assert (box.state(later), directory.asked) == ("running", [later])


def test_nobody_becomes_next_while_a_start_is_looked_at(
    tmp_path: Path, directory: Directory
) -> None:
    """A wide job behind would be promised the very devices that the start was to have."""
    box = Box(tmp_path / "state", workers=HangingDirectory())
    box.engine.vet_with(directory)
    box.settle()
    first = box.submit(gpus=2)
    box.engine.vouch([box.job(first)])
    box.settle()
    second, wide = box.submit(gpus=1), box.submit(gpus=4)
    box.advance(1)
    assert (box.state(second), box.state(wide)) == ("queued", "queued")
    box.workers.wake_up()
    box.advance(1)
    assert [box.state(job) for job in (first, second, wide)] == ["running", "running", "queued"]
    box.store.close()


@pytest.mark.parametrize(
    "answer", [Vetted("uid 1001 has no account", is_certain=False), OSError("no descriptors left")]
)
def test_what_is_not_certain_lets_a_job_wait_and_others_pass(
    box: Box, directory: Directory, answer: Vetted | OSError
) -> None:
    """It is not held: the directory may only be away. Its reason is told; it starts once all is well."""
    directory.answer = answer
    job_id = box.submit(gpus=4)
    box.settle()
    assert (box.state(job_id), box.job(job_id).held_by) == ("queued", "")
    assert "looked up" in box.engine.explain(job_id).causes[0].words
    directory.answer = Vetted()
    other = box.submit(gpus=4, owner=BEN)
    box.settle()
    assert box.state(other) == "running"
    box.engine.cancel(other, BEN)
    box.advance(60)
    assert box.state(job_id) == "running"
    assert directory.asked.count(job_id) > 1


class HangingDirectory(InlineWorkers):
    """Workers on which look-ups do not come back until `wake_up`."""

    def __init__(self) -> None:
        super().__init__()
        self.hung: list[tuple[Any, Any]] = []

    def submit(self, work: Any, on_done: Any, lane: Lane) -> None:
        if lane is Lane.VET:
            self.hung.append((work, on_done))
        else:
            super().submit(work, on_done, lane)

    def wake_up(self) -> None:
        work, on_done = self.hung.pop(0)
        on_done(work(), None)


def test_a_directory_that_hangs_holds_up_nobody_else(tmp_path: Path, directory: Directory) -> None:
    """One question a person is under way; their jobs are set aside until the answer comes."""
    box = Box(tmp_path / "state", workers=HangingDirectory())
    box.engine.vet_with(directory)
    box.settle()
    first, second = box.submit(gpus=4), box.submit(gpus=1)
    box.advance(5)
    assert len(box.workers.hung) == 1
    for job_id in (first, second):
        assert "has not answered" in box.engine.explain(job_id).causes[0].words
    other = box.submit(gpus=1, owner=BEN)
    box.settle()
    box.workers.hung.reverse()
    box.workers.wake_up()
    box.settle()
    assert (box.state(other), box.state(first)) == ("running", "queued")
    box.engine.cancel(other, BEN)
    box.advance(5)
    box.workers.wake_up()
    box.settle()
    assert (box.state(first), directory.asked) == ("running", [other, first])
    box.store.close()


def test_a_job_that_changed_meanwhile_is_looked_at_again(box: Box, directory: Directory) -> None:
    """An answer is about the job as it was."""
    blocker = box.submit(gpus=4)
    box.settle()
    job_id = box.submit(gpus=4)
    box.engine.vouch([box.job(job_id)])
    box.settle()
    directory.answer = Vetted("asks for what is forbidden now")
    box.engine.update(job_id, ANN, box.spec("other", gpus=4))
    box.engine.cancel(blocker, ANN)
    box.advance(5)
    assert (box.job(job_id).held_by, directory.asked[-1]) == ("admin", job_id)
