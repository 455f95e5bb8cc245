"""Kept logs go in time: after their days, and when all together are too large, the oldest first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuboard.config import Config, LogsConfig
from gpuboard.engine.housekeeping import prune_logs
from gpuboard.errors import NotFound
from gpuboard.runtimes.simulated import Script
from tests.support.engine import Box


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten logs of 100 bytes, a second apart, and two files of somebody else's."""
    for number in range(10):
        path = tmp_path / f"{number}-1.log"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    for name in ("1-1.log.part", "notes.log"):
        (tmp_path / name).write_bytes(b"x" * 1000)
        os.utime(tmp_path / name, (0, 0))
    return tmp_path


@pytest.mark.parametrize(
    ("oldest_at", "most", "first_left"),
    [
        (None, None, 0),
        (3000, None, 3),
        (None, 450, 6),
        (8000, 450, 8),
        (1000, 450, 6),
        (None, 0, 10),
    ],
)
def test_old_and_too_many_logs_go_oldest_first(
    folder: Path, oldest_at: int | None, most: int | None, first_left: int
) -> None:
    """Nothing but whole logs of ours is touched."""
    assert prune_logs(folder, oldest_at, most) == first_left
    left = sorted(path.name for path in folder.glob("*-1.log"))
    assert left == [f"{number}-1.log" for number in range(first_left, 10)]
    assert (folder / "1-1.log.part").exists()
    assert (folder / "notes.log").exists()


def test_times_of_a_log_go_with_it(folder: Path) -> None:
    """They are of no use without it."""
    for number in (0, 9):
        (folder / f"{number}-1.times").write_text("1000\n")
    prune_logs(folder, 3000, None)
    assert [path.name for path in folder.glob("*.times")] == ["9-1.times"]


def test_log_of_a_job_goes_after_its_days_and_says_so(tmp_path: Path) -> None:
    """The record of the job stays; its log is told to be gone."""
    box = Box(tmp_path / "state", config=Config(logs=LogsConfig(keep_days=30)))
    job_id = box.submit(script=Script(run_s=2, log=b"hello\n"))
    box.advance(10)
    path = box.engine.core.log_path(job_id, 1)
    at_s = box.clock.now_ms() / 1000
    os.utime(path, (at_s, at_s))
    box.advance(29 * 86400, by=6 * 3600)
    assert path.exists()
    box.advance(2 * 86400, by=6 * 3600)
    assert not path.exists()
    assert box.state(job_id) == "succeeded"
    with pytest.raises(NotFound, match="log"):
        b"".join(box.engine.read_log(job_id)(lambda: False))
    box.store.close()
