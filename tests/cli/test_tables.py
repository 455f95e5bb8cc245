"""Tables and timelines fit the terminal, in any script and with any text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.cli import tables, timeline
from gpuboard.cli.tables import Cell, Column, layout
from gpuboard.model.text import cell_width
from gpuboard.model.views.devices import DeviceRef
from gpuboard.model.views.timeline import TimelineEntry, TimelineView
from tests.cli.conftest import assert_harmless
from tests.support.fake_server import AT, FakeServer, built, job, job_list

COLUMNS = (Column("ID", right=True), Column("NAME", least=4), Column("WHY", least=4))


def test_columns_line_up_and_nothing_trails() -> None:
    """Numbers to the right, words to the left."""
    lines = layout(COLUMNS, [["7", "train", "x"], ["12", "a", "long reason"]], width=None)
    assert lines == ["ID  NAME   WHY", " 7  train  x", "12  a      long reason"]


def test_pipe_gets_everything_and_a_terminal_what_fits() -> None:
    """Only what is cut has an ellipsis; the widest column gives way first."""
    row = ["12", "train", "waits for GPU 2,3 until 14:10"]
    assert layout(COLUMNS, [row], width=None)[1].endswith("until 14:10")
    cut = layout(COLUMNS, [row], width=24)
    assert cut[1] == "12  train  waits for GP…"
    assert all(len(line) <= 24 for line in cut)


def test_empty_column_is_left_out() -> None:
    """A box without bookings shows no column for them."""
    assert layout(COLUMNS, [["1", "", "x"]], width=None) == ["ID  WHY", " 1  x"]


def test_colour_is_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and TERM=dumb are heard, a pipe is never coloured."""
    row = [["1", Cell("x", "bad"), "y"]]
    assert "\x1b" not in "".join(layout(COLUMNS, row, width=None))
    assert "\x1b[31mx\x1b[0m" in "".join(layout(COLUMNS, row, width=None, colour=True))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert tables.has_colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not tables.has_colour()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not tables.has_colour()


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 99999).map(str), st.text(max_size=80), st.text(max_size=80)),
        max_size=8,
    ),
    width=st.integers(30, 200),
)
def test_no_text_breaks_a_table(rows: list[tuple[str, str, str]], width: int) -> None:
    """One line a row, never wider than the terminal, no control code: whatever a name is."""
    lines = layout(COLUMNS, rows, width=width)
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert cell_width(line) <= width
        assert_harmless(line)


def timeline_of(*entries: TimelineEntry) -> dict[str, Any]:
    refs = [DeviceRef("0", "GPU-0"), DeviceRef("1", "GPU-1")]
    return built(
        TimelineView(at=AT, from_at="2026-11-22T20:00:00Z", until_at="2026-11-23T00:00:00Z", devices=refs, entries=list(entries))
    )  # fmt: skip


def entry(**fields: Any) -> TimelineEntry:
    base: dict[str, Any] = {
        "device": "0",
        "uuid": "GPU-0",
        "kind": "running",
        "user": "ann",
        "job_id": 12,
    }
    return TimelineEntry(**(base | fields))


def test_timeline_shows_who_has_which_gpu_when() -> None:
    """A row a GPU, an hour as wide as another hour, titles in their bars."""
    running = entry(from_at="2026-11-22T20:00:00Z", until_at="2026-11-22T22:00:00Z")
    booked = entry(
        device="1", uuid="GPU-1", kind="booking", job_id=None, user="bob", name="paper",
        from_at="2026-11-22T22:00:00Z", until_at="2026-11-23T00:00:00Z",
    )  # fmt: skip
    lines = timeline.draw(timeline_of(running, booked), 88, timeline._ASCII_FILLS)
    times = ("20:30", "21:00", "21:30", "22:00", "22:30", "23:00", "23:30")
    assert lines[0] == "        20:00" + "".join(f"{time:>10}" for time in times)
    assert lines[1] == "GPU 0   #ann job 12" + "#" * 29
    assert lines[2] == "GPU 1   |" + " " * 39 + "=bob paper" + "=" * 30
    assert lines[3].split() == ["#", "running", "=", "booking", "|", "now"]


def test_timeline_shows_unbound_bookings_and_what_begins_before_it() -> None:
    """A booking whose devices are not bound yet has a row of its own; bars are cut at the edges."""
    unbound = entry(
        device=None,
        uuid=None,
        kind="booking",
        gpus=2,
        from_at="2026-11-22T10:00:00Z",
        until_at="2026-11-23T10:00:00Z",
    )
    lines = timeline.draw(timeline_of(unbound), 48, timeline._FILLS)
    assert lines[3].startswith("2 any   ▓ann job 12▓")
    assert len(lines[3]) == 48


@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.integers(28, 120),
    st.integers(0, 300),
    st.integers(0, 300),
)
def test_no_text_breaks_the_timeline(
    user: str, name: str, width: int, start: int, length: int
) -> None:
    """However a person or job is called, rows stay as wide as the terminal and free of control codes."""
    from gpuboard.model.instants import from_iso, iso

    at = from_iso("2026-11-22T19:00:00Z") + start * 60_000
    one = entry(user=user, name=name, from_at=iso(at), until_at=iso(at + length * 60_000))
    for line in timeline.draw(timeline_of(one), width, timeline._FILLS):
        assert cell_width(line) <= width
        assert_harmless(line)


def test_output_that_is_not_utf_8_gets_ascii_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Latin-1 terminal shows # and =, not question marks."""
    monkeypatch.setattr("sys.stdout", type("Out", (), {"encoding": "latin-1"})())
    assert timeline._fills() is timeline._ASCII_FILLS


def on_a_terminal(server: FakeServer, *arguments: str, **environment: str) -> bytes:
    """Return what a command writes to a terminal of 60 columns."""
    ours, theirs = os.openpty()
    kept = {key: value for key, value in os.environ.items() if key not in ("LC_ALL", "LANG")}
    try:
        subprocess.run(
            [sys.executable, "-m", "gpuboard", *arguments],
            env=kept | {"GPUBOARD_SOCKET": server.socket_path, "COLUMNS": "60", "NO_COLOR": "1"} | environment,
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, timeout=60, check=True,
        )  # fmt: skip
        return os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)


def test_terminal_whose_locale_is_not_utf_8_gets_ascii(server: FakeServer) -> None:
    """LC_ALL=C: tables stay aligned, JSON loses no character, and a pipe is left alone."""
    server.answers["GET", "/jobs"] = job_list(job(1, name="名" * 30), job(2, name="plain"))
    utf8 = on_a_terminal(server, "ps", LC_ALL="C.UTF-8").decode()
    assert "名" in utf8
    bare = on_a_terminal(server, "ps", LC_ALL="C").decode("ascii").split("\r\n")
    assert "?~" in bare[1]
    assert bare[0].index("USER") == bare[1].index("ann") == bare[2].index("ann")
    shown = json.loads(on_a_terminal(server, "ps", "-n", "9", "--json", LC_ALL="C"))
    assert shown["jobs"][0]["name"] == "名" * 30
    piped = subprocess.run(
        [sys.executable, "-m", "gpuboard", "ps"],
        env=os.environ | {"GPUBOARD_SOCKET": server.socket_path, "LC_ALL": "C"},
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert "名" * 30 in piped.stdout.decode()
