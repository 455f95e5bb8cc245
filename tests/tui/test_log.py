"""The log: followed, searched, wrapped, and never more of it in memory than its bound."""

import time

from gpuboard.tui import logtext
from gpuboard.tui.dialogs.log import LogReader
from gpuboard.tui.logtext import LogText
from tests.support.screens import opened, screen_text, settled, until
from tests.support.tui_source import ScriptedSource


def test_memory_of_a_log_is_bounded_whatever_is_written():
    log = LogText()
    for _ in range(60):
        log.feed(b"".join(b"line %d\n" % i for i in range(1000)))
    assert len(log.lines) <= logtext.MAX_LINES
    assert log.dropped > 0
    assert log.lines[-1][1] == "line 999"
    for _ in range(40):
        log.feed(b"y" * 300_000 + b"\n")
    assert log.chars <= logtext.MAX_CHARS


def test_endless_line_is_cut():
    log = LogText()
    for _ in range(100):
        log.feed(b"z" * 100_000)
    assert log.chars < 10 * logtext.MAX_LINE
    assert len(log.lines) == 1


def test_many_short_lines_are_bounded_by_their_characters():
    log = LogText()
    for _ in range(30):
        log.feed(b"".join(b"w" * 1500 + b"\n" for _ in range(200)))
    assert log.chars <= logtext.MAX_CHARS


def test_character_split_between_two_reads_is_whole():
    log = LogText()
    data = "größe\n".encode()
    for place in range(len(data)):
        log.feed(data[place : place + 1])
    assert [line for _, line in log.lines] == ["größe"]


def test_unfinished_line_is_shown_and_then_completed():
    log = LogText()
    log.feed(b"epoch 1")
    assert log.lines == [(0, "epoch 1")]
    log.feed(b" done\nepoch")
    assert log.lines == [(0, "epoch 1 done"), (1, "epoch")]


def test_reader_waits_when_nobody_takes():
    source = ScriptedSource()
    source.log_chunks = [b"x" * 100_000] * 100
    reader = LogReader(source, 1)
    reader.start()
    end = time.monotonic() + 10
    taken = 0
    while not reader.is_ended:
        assert time.monotonic() < end
        piece = len(reader.take())
        assert piece <= 1_200_000
        taken += piece
    taken += len(reader.take())
    assert taken == 10_000_000


async def test_log_follows_what_is_written(source):
    source.is_log_open = True
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "saved checkpoint" in screen_text(pilot.app))
        source.log_stream.items.put(b"one more line\n")
        await until(pilot, lambda: "one more line" in screen_text(pilot.app))
        assert "following" in screen_text(pilot.app)


async def test_leaving_the_log_hangs_up(source):
    source.is_log_open = True
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "saved checkpoint" in screen_text(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: source.log_stream.is_hung_up)


async def test_looking_up_stops_following_and_the_end_follows_again(source):
    source.is_log_open = True
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "saved checkpoint" in screen_text(pilot.app))
        await pilot.press("g")
        await until(pilot, lambda: "stopped" in screen_text(pilot.app))
        source.log_stream.items.put(b"one more line\n")
        await until(pilot, lambda: "63 lines" in screen_text(pilot.app))
        assert "loading shards" in screen_text(pilot.app)
        await pilot.press("G")
        await until(pilot, lambda: "one more line" in screen_text(pilot.app))


async def test_search_goes_from_match_to_match(source):
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "ended" in screen_text(pilot.app))
        await pilot.press("slash", *"step", "space", *"3")
        await pilot.press("enter")
        await settled(pilot)
        rows = pilot.app.screen.query_one("RowList")
        first = rows.current[1]
        await pilot.press("N")
        second = rows.current[1]
        assert first.startswith("step 3")
        assert second.startswith("step 3")
        assert first != second


async def test_wrap_shows_the_whole_of_a_long_line(source):
    source.log_chunks = [b"a" * 150 + b"END\n"]
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "ended" in screen_text(pilot.app))
        assert "END" not in screen_text(pilot.app)
        await pilot.press("w")
        await until(pilot, lambda: "END" in screen_text(pilot.app))


async def test_search_says_in_its_line_what_it_found(source):
    """Not in a message for each letter."""
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "ended" in screen_text(pilot.app))
        told = len(pilot.app._notifications)
        await pilot.press("slash", *"step", "space", "5", "enter")
        await until(pilot, lambda: "11 of 11" in screen_text(pilot.app))
        await pilot.press("N")
        await until(pilot, lambda: "10 of 11" in screen_text(pilot.app))
        await pilot.press("slash", "x")
        await until(pilot, lambda: "no match" in screen_text(pilot.app))
        assert len(pilot.app._notifications) == told


def test_charts_of_a_job_begin_with_the_job():
    """What the device did before is somebody else's."""
    from gpuboard.model.views.devices import DeviceRef
    from gpuboard.tui.histories import Past
    from gpuboard.tui.jobpage import chart_lines
    from gpuboard.tui.theme import Glyphs

    past = Past([100] * 60 + [0, 0], [100] * 60 + [0, 0])
    short = chart_lines([DeviceRef("0", "GPU-0")], lambda _: past, 2, 80, Glyphs())
    long = chart_lines([DeviceRef("0", "GPU-0")], lambda _: past, 60, 80, Glyphs())
    assert not any("⣿" in text for line in short for text, _ in line)
    assert any("⣿" in text for line in long for text, _ in line)
