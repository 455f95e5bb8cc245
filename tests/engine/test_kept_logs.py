"""Kept logs are read in pieces, by lines and by time, and are written only while the disk has room."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuboard.errors import InvalidRequest, NotExecutable, NotFound, Unavailable
from gpuboard.model.ids import JobId
from gpuboard.runtimes.logfiles import CHUNK_BYTES, TAIL_BYTES, LogTimes
from gpuboard.runtimes.simulated import Script
from tests.support.engine import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "state")


def ended(box: Box, log: bytes) -> tuple[JobId, Path]:
    job_id = box.submit(script=Script(run_s=20, log=log))
    box.advance(40)
    return job_id, box.engine.core.log_path(job_id, 1)


def read(box: Box, job_id: JobId, **how: int | None) -> list[bytes]:
    return list(box.engine.read_log(job_id, **how)(lambda: False))


def test_tail_of_a_line_without_end_comes_in_bounded_pieces(box: Box) -> None:
    """Ten gigabytes of one line, kept by an older version, are never loaded."""
    job_id, path = ended(box, b"x")
    with path.open("w+b") as file:
        file.truncate(10 * 2**30)
    sizes = [len(piece) for piece in read(box, job_id, tail=3)]
    assert max(sizes) <= CHUNK_BYTES
    assert sum(sizes) == TAIL_BYTES


def test_tail_of_a_kept_log_is_its_last_lines(box: Box) -> None:
    job_id, _ = ended(box, b"one\ntwo\nthree\n")
    assert b"".join(read(box, job_id, tail=2)) == b"two\nthree\n"
    assert read(box, job_id, tail=0) == []


def test_since_goes_by_the_times_beside_the_log(box: Box) -> None:
    job_id, path = ended(box, b"one\ntwo\n")
    path.with_suffix(".times").write_text(LogTimes(1000, [(5000, 0), (9000, 4)]).text())
    assert b"".join(read(box, job_id, since_at=8500)) == b"two\n"
    assert read(box, job_id, since_at=20_000) == []


def test_since_without_times_is_refused_rather_than_ignored(box: Box) -> None:
    """Before the start all of it is meant, after the end nothing; between them nobody can tell."""
    job_id, _ = ended(box, b"one\ntwo\n")
    job = box.job(job_id)
    assert job.started_at is not None
    assert job.ended_at is not None
    assert b"".join(read(box, job_id, since_at=job.started_at)) == b"one\ntwo\n"
    assert read(box, job_id, since_at=job.ended_at + 1) == []
    with pytest.raises(InvalidRequest, match="no times") as caught:
        read(box, job_id, since_at=job.started_at + 1)
    assert caught.value.field == "since"


def test_log_is_not_copied_while_the_disk_is_nearly_full(box: Box) -> None:
    """The end is recorded, the attempt stays with its log, and the log is kept later."""
    full = [True]

    def require_room() -> None:
        if full[0]:
            raise Unavailable("full")

    box.engine.core.require_room = require_room
    job_id, path = ended(box, b"one\n")
    assert box.job(job_id).state.is_final
    assert not path.exists()
    assert b"".join(read(box, job_id)) == b"one\n"
    full[0] = False
    box.advance(30)
    assert path.read_bytes() == b"one\n"


def test_job_that_never_ran_says_why_it_has_no_log(box: Box) -> None:
    error = NotExecutable("no such command", status=127)
    job_id = box.submit(script=Script(start_error=error))
    box.advance(10)
    with pytest.raises(NotFound, match="never ran: start failed: no such command"):
        read(box, job_id)
