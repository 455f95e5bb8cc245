"""What is written into the timeline's bars: whole words, of the right person, or none."""

import pytest
from textual.events import MouseScrollDown, MouseScrollUp

from gpuboard.model.views.timeline import TimelineEntry
from gpuboard.tui.ink import Ink
from gpuboard.tui.theme import ASCII, DARK, Glyphs, Palette
from gpuboard.tui.timelinepaint import Lane, draw_entries, empty_cells, mark
from gpuboard.tui.timelinewords import bar_words, legend_parts
from gpuboard.tui.timescale import Scale
from gpuboard.tui.widgets.timeline import LABEL, TimelineGrid
from tests.support.screens import opened, settled, until
from tests.support.tui_source import at

NOON_S = 1795435200
"""2026-11-23 12:00 UTC."""


def entry(kind, user, start, end, **values):
    base = {"device": "0", "uuid": "GPU-0", "kind": kind, "user": user, "from_at": at(start)}
    return TimelineEntry(**(base | {"until_at": at(end)} | values))


def painted(*entries, glyphs=None, cells=24, cursor=None):
    """Ten minutes a cell from noon on."""
    ink = Ink(Palette(DARK), glyphs or Glyphs())
    scale = Scale(NOON_S, 600, cells)
    line = empty_cells(ink, scale, NOON_S - 600)
    draw_entries(ink, scale, Lane("GPU 0", "GPU-0", entries), line, with_words=True, person="")
    if cursor is not None:
        mark(ink, line, *cursor)
    strip = line.strip([])
    assert sum(segment.cell_length for segment in strip) == cells
    return strip.text


def test_bar_below_another_names_its_person_only_where_it_is_seen():
    """No rest of a forecast's words shows behind the bar that lies over it."""
    forecast = entry("forecast", "carl", "12:00", "15:00", job_id=26, name="protein-folding")
    running = entry("running", "fay", "12:00", "13:10", job_id=7)
    assert painted(forecast, running) == "▏fay 7 ▒ carl? 26       "
    running = entry("running", "fay", "12:30", "14:40", job_id=7, name="a")
    assert painted(forecast, running) == "▒▒▒▏fay 7 a     ▒▒      "


def test_words_are_dropped_where_they_do_not_fit_rather_than_cut():
    ink = Ink(Palette(DARK), Glyphs())
    forecast = entry("forecast", "carl", "12:00", "15:00", job_id=26, name="folding")
    said = {room: bar_words(ink, forecast, room) for room in (0, 4, 5, 8, 11, 12, 16)}
    assert said == {
        0: "", 4: "", 5: "carl?", 8: "carl? 26", 11: "carl? 26", 12: "carl? 26 fo…",
        16: "carl? 26 folding",
    }  # fmt: skip
    assert bar_words(ink, entry("blackout", "", "12:00", "13:00", name="fans"), 5) == ""


@pytest.mark.parametrize(("gpus", "words"), [(1, "◆ dora 1 GPU paper"), (3, "◆ dora 3 GPUs paper")])
def test_unbound_booking_counts_its_gpus_in_english(gpus, words):
    booking = entry("booking", "dora", "12:00", "15:00", uuid=None, gpus=gpus, name="paper")
    assert bar_words(Ink(Palette(DARK), Glyphs()), booking, 40) == words


def test_wide_names_keep_their_letters_and_the_lines_width():
    """Also with the cursor on the second half of one; an ASCII terminal gets as many columns."""
    job = entry("running", "fay", "12:00", "15:00", job_id=7, name="蛋白质")
    for cursor in (None, (8, 9), (7, 8)):
        assert painted(job, cursor=cursor).startswith("▏fay 7 蛋白质 ")
    assert painted(job, glyphs=ASCII).startswith(" fay 7 ?????? ==")


def test_people_have_different_shades_until_those_run_out():
    palette = Palette(DARK)
    names = ["ab", "ba", "cc", "dora", "road", "adro", "x", "y"]
    assert len({palette.person(name, mine=False).bgcolor for name in names}) == len(names)


def test_legend_shows_only_what_fits_whole():
    ink = Ink(Palette(DARK), Glyphs())
    for width in range(100):
        words = "".join(text for text, _ in legend_parts(ink, width))
        assert len(words) <= width
        assert not words or words.endswith(" ")


async def test_wheel_moves_between_devices_through_time_and_zooms(source):
    """Alone, with shift, with ctrl."""
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        grid = pilot.app.query_one(TimelineGrid)
        before = grid.choice

        def turn(kind, *, shift=False, ctrl=False):
            grid.post_message(
                kind(
                    grid, LABEL, 3, 0, 1, 0, shift=shift, meta=False, ctrl=ctrl,
                    screen_x=LABEL, screen_y=5, style=None,
                )
            )  # fmt: skip

        turn(MouseScrollDown)
        await until(pilot, lambda: grid.choice.entry and grid.choice.entry.device == "1")
        turn(MouseScrollUp)
        await until(pilot, lambda: grid.choice == before)
        turn(MouseScrollDown, shift=True)
        await until(pilot, lambda: grid.choice.from_s == before.from_s + 600)
        turn(MouseScrollUp, ctrl=True)
        await until(pilot, lambda: grid.scale.cell_s == 300)


async def test_window_is_a_cell_again_once_it_is_booked_and_stays_when_it_is_not(source):
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        grid = pilot.app.query_one(TimelineGrid)
        await pilot.press("shift+right", "enter")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "BookingScreen")
        await pilot.press("escape")
        assert grid.choice.is_widened
        await pilot.press("enter")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "BookingScreen")
        await pilot.press("enter")
        await until(pilot, lambda: not grid.choice.is_widened)
