"""The log of a plain process: bounded on disk, true in what is kept, told where it is not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuboard.errors import HostError
from gpuboard.runtimes import process_shim_log
from gpuboard.runtimes.logfiles import CHUNK_BYTES, TAIL_BYTES, LogTimes, tail_offset
from gpuboard.runtimes.process_log import ProcessLog, left_out
from gpuboard.runtimes.process_shim_log import LogKeeper

MOST = 3 * 4096


@pytest.fixture
def keeper(tmp_path: Path) -> LogKeeper:
    """A keeper of 12 KiB of log: three files of 4 KiB."""
    return LogKeeper(str(tmp_path), MOST, 0, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give a function that sets the keeper's clock (s)."""
    now = [0.0]
    monkeypatch.setattr(process_shim_log.time, "time", lambda: now[0])

    def at(seconds: int) -> None:
        now[0] = seconds

    return at


def never() -> bool:
    return False


def read(folder: Path, tail: int | None = None, since_at: int | None = None) -> bytes:
    return b"".join(ProcessLog(folder).read(tail, since_at, None, never))


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b"line %06d\n" % number for number in range(first, first + count))


def test_log_keeps_its_beginning_and_its_newest_output_in_bounds(
    keeper: LogKeeper, tmp_path: Path
) -> None:
    """Whatever comes; what is missing is told where it is missing, in its size."""
    whole = lines(10_000)
    for start in range(0, len(whole), 1000):
        keeper.write(whole[start : start + 1000])
        assert sum(path.stat().st_size for path in tmp_path.glob("log*")) <= MOST + 1000
    kept = read(tmp_path)
    first, middle, newest = re.split(rb"(\n\[gpuboard: \S+ of output left out here\]\n)", kept)
    assert whole.startswith(first)
    assert len(first) == MOST // 3
    assert whole.endswith(newest)
    assert len(newest) > MOST // 3
    assert middle == left_out(len(whole) - len(first) - len(newest))


def test_follower_that_keeps_up_misses_nothing(keeper: LogKeeper, tmp_path: Path) -> None:
    """Files begin and go under its hands."""
    whole = lines(5000)
    todo = [whole[start : start + 3000] for start in range(0, len(whole), 3000)]

    def is_over() -> bool:
        if todo:
            keeper.write(todo.pop(0))
            return False
        return True

    assert b"".join(ProcessLog(tmp_path).read(None, None, is_over, never)) == whole


def test_slow_follower_is_told_what_it_missed(keeper: LogKeeper, tmp_path: Path) -> None:
    """As is whoever reads afterwards."""
    keeper.write(lines(100))
    is_over = iter([False, True])
    pieces: Iterator[bytes] = ProcessLog(tmp_path).read(None, None, lambda: next(is_over), never)
    seen = next(pieces)
    keeper.write(lines(10_000, 100))
    seen += b"".join(pieces)
    assert seen.startswith(lines(300))
    assert b"left out here" in seen
    assert seen.endswith(lines(100, 10_000))


@pytest.mark.parametrize("count", [1, 2, 10, 300, 500])
def test_last_lines_are_found_across_files(keeper: LogKeeper, tmp_path: Path, count: int) -> None:
    """A line that two files share is one line."""
    whole = lines(700)  # 8400 bytes: two files and a bit
    keeper.write(whole)
    assert read(tmp_path, count) == lines(count, 700 - count)


def test_a_line_without_end_is_tailed_in_bounds(tmp_path: Path) -> None:
    """At most 32 MiB from the end, in small pieces."""
    path = tmp_path / "log"
    with path.open("w+b") as file:
        file.truncate(10 * 2**30)
        assert tail_offset(file.fileno(), 5) == 10 * 2**30 - TAIL_BYTES
    pieces = [len(piece) for piece in ProcessLog(tmp_path).read(5, None, None, never)]
    assert max(pieces) <= CHUNK_BYTES
    assert sum(pieces) == TAIL_BYTES


def test_since_goes_by_when_output_came(
    keeper: LogKeeper, tmp_path: Path, clock: Callable[[int], None]
) -> None:
    """To the second; what came long before is not shown because nothing came after it."""
    for second in (10, 20, 30):
        clock(second)
        keeper.write(b"at %d\n" % second)
    assert read(tmp_path, since_at=20_000) == b"at 20\nat 30\n"
    assert read(tmp_path, since_at=21_500) == b"at 30\n"
    assert read(tmp_path, since_at=40_000) == b""
    assert read(tmp_path, since_at=0) == b"at 10\nat 20\nat 30\n"
    assert read(tmp_path, tail=1, since_at=20_000) == b"at 30\n"


def test_times_of_a_long_log_stay_few(
    keeper: LogKeeper, tmp_path: Path, clock: Callable[[int], None]
) -> None:
    """Steps grow: exact enough for a week, and small."""
    for second in range(0, 20_000, 2):
        clock(second)
        keeper.write(b"x")
    times = LogTimes.read(tmp_path / "log-times")
    assert len(times.marks) <= process_shim_log.MOST_MARKS
    assert times.step_ms > 1000
    found = times.position_at(15_000_000)
    assert found is not None
    assert 7500 - times.step_ms / 1000 <= found <= 7500


def test_below_the_floor_output_is_let_go_and_said(tmp_path: Path) -> None:
    """The disk is the database's too; the job goes on, and so does the log when there is room."""
    keeper = LogKeeper(str(tmp_path), MOST, 0, None)
    keeper.write(b"before\n")
    keeper._floor_bytes = 2**62
    keeper.write(b"lost" * 10)
    keeper.close()
    assert read(tmp_path) == b"before\n" + left_out(40)
    keeper._floor_bytes = 0
    keeper.write(b"after\n")
    assert read(tmp_path) == b"before\n" + left_out(40) + b"after\n"


def test_log_in_one_file_is_moved_not_copied(keeper: LogKeeper, tmp_path: Path) -> None:
    """Keeping it takes no room, so a floor cannot forbid it; its times come along."""
    keeper.write(lines(10))
    inode = (tmp_path / "log").stat().st_ino
    ProcessLog(tmp_path).save(tmp_path / "kept", tmp_path / "kept.times", 2**62)
    assert (tmp_path / "kept").stat().st_ino == inode
    assert (tmp_path / "kept.times").stat().st_mode & 0o777 == 0o600
    assert LogTimes.read(tmp_path / "kept.times").marks


def test_log_in_several_files_is_put_together_where_there_is_room(
    keeper: LogKeeper, tmp_path: Path, clock: Callable[[int], None]
) -> None:
    """As it reads, times included; below the floor it stays where it is."""
    for second in range(10):
        clock(10 * second)
        keeper.write(lines(1000, second * 1000))
    with pytest.raises(HostError, match="no room"):
        ProcessLog(tmp_path).save(tmp_path / "kept", tmp_path / "kept.times", 2**62)
    ProcessLog(tmp_path).save(tmp_path / "kept", tmp_path / "kept.times", 0)
    kept = (tmp_path / "kept").read_bytes()
    assert kept == read(tmp_path)
    position = LogTimes.read(tmp_path / "kept.times").position_at(90_000)
    assert position is not None
    assert read(tmp_path, since_at=90_000).endswith(kept[position:])
    assert os.listdir(tmp_path).count(".kept.part") == 0
