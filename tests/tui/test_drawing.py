"""The pure parts: bars, histories, shapes of the grid, spans, command lines; and that nothing is redrawn."""

import itertools
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Region
from textual.strip import Strip

from gpuboard.model.job import Mount
from gpuboard.model.requests import ReserveRequest, SubmitRequest
from gpuboard.tui.boardlayout import shape
from gpuboard.tui.commandlines import reserve_line, submit_line
from gpuboard.tui.devicewords import status_of
from gpuboard.tui.graphs import bar, history
from gpuboard.tui.ink import Ink, Sheet, fit, width_of
from gpuboard.tui.instants import brief, clock, epoch_s, iso, limit_words, span
from gpuboard.tui.paint import Canvas, Patch
from gpuboard.tui.theme import ASCII, THEMES, Glyphs, Palette
from gpuboard.tui.timescale import CELLS_S, Scale, scale_at
from gpuboard.tui.widgets.board import BoardGrid
from tests.support.screens import opened, screen_text, settled, until
from tests.support.tui_source import leased


@given(
    st.lists(st.one_of(st.none(), st.integers(-5, 120)), max_size=200),
    st.integers(0, 60),
    st.integers(1, 6),
)
def test_history_always_fits_its_rectangle(samples, width, height):
    lines = history(samples, width, height, Glyphs())
    assert [len(line) for line in lines] == [width] * height


def test_history_of_a_busy_device_is_full_and_of_an_idle_one_empty():
    assert history([100, 100], 1, 1, Glyphs()) == ["⣿"]
    assert history([0, 0], 1, 1, Glyphs()) == [" "]
    assert history([None, 1], 1, 1, Glyphs()) == ["⢀"]


@given(st.one_of(st.none(), st.floats(-1, 2)), st.integers(0, 80))
def test_bar_has_its_width_and_shows_what_is_not_nothing(fraction, width):
    filled, empty = bar(fraction, width, ASCII)
    assert len(filled) + len(empty) == max(width, len(filled))
    assert bool(filled) == ((fraction or 0) > 0 and bool(filled))


@given(st.text(max_size=60), st.integers(0, 50))
def test_fit_gives_exactly_the_width(text, width):
    text = text.replace("\n", " ") if text.isprintable() else "plain"
    assert width_of(fit(text, width)) == width


@given(st.integers(0, 64), st.integers(1, 300), st.integers(1, 100))
def test_grid_shows_every_card(count, width, height):
    columns, lines = shape(count, width, height)
    assert columns >= 1
    assert lines >= 1
    if lines > 1:
        assert -(-count // columns) * lines <= height


@pytest.mark.parametrize("colours", THEMES, ids=lambda colours: colours.name)
def test_every_role_is_readable_on_every_ground(colours):
    least = 1.4  # decoration: tracks and faint separators
    for role, colour in colours.roles.items():
        for name, ground in colours.grounds.items():
            ratio = _contrast(colour, ground)
            wanted = least if role in ("track", "faint") else 3.0
            if role == "track" and name != "base":
                continue
            assert ratio >= wanted, f"{role} on {name}: {ratio:.2f}"


def _contrast(one, other):
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_instants_are_as_short_as_they_are_clear():
    now = epoch_s("2026-11-23T13:40:00Z")
    assert clock(now + 600, now) == "13:50"
    assert clock(now + 86400, now) == "Tue 13:40"
    assert clock(now + 30 * 86400, now) == "23 Dec 13:40"
    assert iso(now) == "2026-11-23T13:40:00Z"
    assert [span(s) for s in (5, 720, 7500, 90000)] == ["5s", "12m", "2h05", "1d01h"]
    assert [brief(s) for s in (1800, 5400, 14400, 86400, 129600, 604800)] == [
        "30m",
        "1h30",
        "4h",
        "1d",
        "36h",
        "7d",
    ]


@given(st.integers(1, 30 * 86400))
def test_limit_words_are_read_back_to_the_same_span(seconds):
    from gpuboard.model.durations import parse_duration

    assert parse_duration(limit_words(seconds), field="time") == seconds


@given(st.integers(0, 2**32), st.sampled_from(CELLS_S), st.integers(10, 300))
def test_now_is_on_the_scale_and_cells_are_whole(now, cell_s, cells):
    scale = scale_at(now, cell_s, cells)
    assert 0 <= scale.cell_of(now) < cells
    assert scale.start_s % cell_s == 0
    assert scale.instant_of(scale.cell_of(now)) <= now < scale.instant_of(scale.cell_of(now) + 1)


def test_ticks_have_room_for_their_labels():
    for cell_s in CELLS_S:
        ticks = Scale(1_795_441_200 // cell_s * cell_s, cell_s, 200).ticks()
        cells = [cell for cell, _ in ticks]
        assert all(b - a >= 7 for a, b in itertools.pairwise(cells))


def test_command_lines_are_what_one_would_type():
    request = SubmitRequest(
        image="a:1",
        command=["echo", "a b"],
        gpus=2,
        time_limit="2h",
        env={"A": "x y"},
        mounts=[Mount("/d", "/d", True)],
        name="n",
    )
    assert (
        submit_line(request)
        == "gpuboard submit -g 2 -t 2h --name n -v /d:/d:ro -e 'A=x y' --image a:1 -- echo 'a b'"
    )
    assert (
        reserve_line(ReserveRequest(gpus=2, duration="1h30m", at="tomorrow 09:00"))
        == "gpuboard reserve 2 1h30m --at 'tomorrow 09:00'"
    )


def test_markup_in_a_line_stays_text():
    ink = Ink(Palette(THEMES[0]), Glyphs())
    assert ink.line([("[bold]x[/bold]", "text")], 20).text == "[bold]x[/bold]      "


def test_sheet_draws_only_the_rows_that_changed():
    """A row that is as it was is the very same strip; another is what the ink makes of it."""
    ink = Ink(Palette(THEMES[0]), Glyphs())
    sheet = Sheet(ink, 12)
    name, load = ([("gpu", "dim")], [("0", "text!")], "bar"), ([("40%", "accent")], [], "base")
    first = sheet.draw([name, load])
    second = sheet.draw([name, ([("41%", "accent")], [], "base")])
    assert first == [ink.spread(name[0], name[1], 12, "bar"), ink.line(load[0], 12)]
    assert second[0] is first[0]
    assert second[1].text == "41%         "


async def test_nothing_is_drawn_when_nothing_changed(source):
    async with opened(source) as pilot:
        await settled(pilot)
        drawn = drawn_by(pilot.app)
        snapshot = pilot.app.snapshot
        source.push_board()
        await until(pilot, lambda: pilot.app.snapshot is not snapshot)
        await settled(pilot)
        assert drawn == []
        source.push_board(queued=6)
        await until(pilot, lambda: drawn)


async def test_a_new_second_is_drawn_at_once_and_as_textual_would_draw_it(source):
    """What goes straight to the terminal is what the screen shows whenever it is drawn anew."""
    async with opened(source, (160, 45)) as pilot:
        await settled(pilot)
        drawn = drawn_by(pilot.app)
        devices = [
            msgspec.structs.replace(each, utilization=13, power_w=99.0)
            for each in source.board.devices
        ]
        source.push_board(devices=devices, queued=6, at="2026-11-23T13:40:01Z")
        await until(pilot, lambda: drawn)
        (patch,) = drawn
        assert len({y for _x, y, _strip in patch.pieces}) > 10
        lines = pilot.app.screen._compositor.render_strips()
        for x, y, strip in patch.pieces:
            seen = lines[y].crop(x, x + strip.cell_length).simplify()
            assert (seen.text, list(seen)) == (strip.text, list(strip.simplify()))


async def test_a_second_is_drawn_by_textual_where_something_lies_over_it(source):
    """A toast over the cards, a dialog before them: nothing is drawn through them."""
    async with opened(source, (160, 45)) as pilot:
        pilot.app.say("a word in passing")
        await until(pilot, lambda: "a word in passing" in screen_text(pilot.app))
        drawn = drawn_by(pilot.app)
        devices = [msgspec.structs.replace(each, utilization=13) for each in source.board.devices]
        source.push_board(devices=devices, at="2026-11-23T13:40:01Z")
        await until(pilot, lambda: "13%" in screen_text(pilot.app) and drawn)
        await settled(pilot)
        assert "a word in passing" in screen_text(pilot.app)
        cards = pilot.app.query_one(BoardGrid).region
        patches = [one for one in drawn if isinstance(one, Patch)]
        assert not [y for one in patches for _x, y, _strip in one.pieces if y in cards.line_range]
        await pilot.press("?")
        await settled(pilot)
        drawn.clear()
        source.push_board(queued=66, at="2026-11-23T13:40:02Z")
        await until(pilot, lambda: pilot.app._shown.board.queued == 66)
        await settled(pilot)
        assert not [one for one in drawn if isinstance(one, Patch)]


def test_another_textual_draws_in_its_own_way():
    """Where the parts that the canvas reaches for are no more, its widgets draw themselves."""
    asked = []
    widget = SimpleNamespace(refresh=lambda *regions: asked.extend(regions))
    canvas = Canvas(SimpleNamespace(screen=SimpleNamespace()))
    with canvas:
        canvas.draw(widget, [(3, 1, Strip.blank(4))])
    assert asked == [Region(3, 1, 4, 1)]


def drawn_by(app):
    """Return a list of all that the app draws from now on."""
    drawn = []
    original = app._display

    def display(screen, renderable):
        drawn.append(renderable)
        original(screen, renderable)

    app._display = display
    return drawn


def test_device_is_called_idle_as_soon_as_the_daemon_says_so():
    """After how long is the daemon's setting (`[devices] idle_after`), not the screen's."""
    busy = leased(0, "bea", 412, "train", "11:00", "16:00")
    assert status_of(busy, Glyphs()).word == "in use"
    idle = leased(0, "bea", 412, "train", "11:00", "16:00", idle_s=25)
    assert status_of(idle, Glyphs()).word == "IDLE 25s"
