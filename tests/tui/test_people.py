"""People and usage: a sentence about oneself, tables by person, group and GPU, and the week by hours."""

import msgspec
import pytest

from gpuboard.model.views.shares import UsageRow, UsageView
from gpuboard.model.views.usage import UsedHour
from gpuboard.tui.usagewords import fair_share_words, folded, hours_words, ordinal
from gpuboard.tui.widgets.heatmap import HeatMap
from tests.support.screens import assert_screen, opened, screen_text, settled, until
from tests.support.tui_past import report
from tests.support.tui_source import NOW


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_people_look_as_they_were_last_seen(size, source):
    """The three tables, and a day and a month of people, each on its screen."""
    async with opened(source, size) as pilot:
        await pilot.press("5")
        for name in ("people", "people-groups", "people-gpus"):
            assert_screen(f"{name}-{size[0]}x{size[1]}", await settled(pilot))
            await pilot.press("v")
        for name, key in (("people-day", "d"), ("people-month", "m")):
            await pilot.press(key)
            assert_screen(f"{name}-{size[0]}x{size[1]}", await settled(pilot))


async def test_day_week_and_month_ask_for_their_window_and_find_people(source):
    """Keys d, w, m; `p` puts the cursor on a person."""
    async with opened(source) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: source.called("usage_over") == ["week"])
        await pilot.press("d")
        await until(pilot, lambda: "the last day" in screen_text(pilot.app))
        await pilot.press("m")
        await until(pilot, lambda: "the last 30 days" in screen_text(pilot.app))
        await pilot.press("w")
        await until(pilot, lambda: "the last week" in screen_text(pilot.app))
        assert source.called("usage_over") == ["week", "day", "month", "week"]
        await pilot.press("p", *"dor")
        assert "dora" in await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert pilot.app.pane.query_one("#people").current.name == "dora"


async def test_nothing_is_drawn_or_asked_while_nothing_changed(source):
    """A board each second alone changes nothing here."""
    async with opened(source) as pilot:
        await pilot.press("5")
        await settled(pilot)
        drawn, asked = [], len(source.calls)
        compositor = pilot.app.screen._compositor
        original = compositor.render_update
        compositor.render_update = lambda *a, **k: drawn.append(1) or original(*a, **k)
        snapshot = pilot.app.snapshot
        source.push_board()
        await until(pilot, lambda: pilot.app.snapshot is not snapshot)
        await settled(pilot)
        assert drawn == []
        assert len(source.calls) == asked


async def test_box_without_groups_and_without_a_past_says_so(source):
    """A new box is no error."""
    source.report = lambda over: msgspec.structs.replace(
        report(over), people=[], groups=[], hours=[], total=report(over).total
    )
    async with opened(source) as pilot:
        await pilot.press("5", "v")
        await until(pilot, lambda: "no job was charged to a group" in screen_text(pilot.app))


async def test_hostile_names_are_only_text(source):
    """Names of people, groups and devices."""
    text = "[@click=app.quit]x\x1b[2J\u202e" + "漢" * 300
    poison = lambda rows: [msgspec.structs.replace(row, name=text) for row in rows]  # noqa: E731
    source.report = lambda over: msgspec.structs.replace(
        report(over),
        people=poison(report(over).people),
        groups=poison(report(over).groups),
        devices=poison(report(over).devices),
    )
    async with opened(source) as pilot:
        await pilot.press("5")
        for _ in range(3):
            seen = await settled(pilot)
            assert "[@click=app.quit]" in seen or "[@click=a" in seen
            assert "\x1b" not in seen
            assert "\u202e" not in seen
            await pilot.press("v")


def usage(*rows, half_life_s=7 * 86400):
    return UsageView(at=NOW, half_life_s=half_life_s, people=list(rows))


def person(user, factor, *, mine=False, queued=1):
    return UsageRow(
        user=user, uid=ord(user[0]), mine=mine, queued_jobs=queued, factor=factor,
        device_seconds=41 * 3600, device_seconds_7d=41 * 3600,
    )  # fmt: skip


def test_fair_share_is_a_sentence_one_understands():
    """How much, until when, and who comes first: only those who wait stand in line."""
    me = person("ann", 0.5, mine=True)
    others = (person("bea", 0.9), person("carl", 0.7, queued=0), person("dora", 0.1))
    words = fair_share_words(usage(me, *others, half_life_s=3 * 86400))
    assert words == (
        "you used 41 GPU-hours this week, half of it is forgotten by Thursday; you are 2nd in line"
    )
    idle = msgspec.structs.replace(me, queued_jobs=0)
    assert "with a job you would be 2nd in line" in fair_share_words(usage(idle, *others))
    assert "you used nothing lately" in fair_share_words(usage(*others))


def test_hours_fold_to_weekdays_by_the_clock_and_unknown_ones_stay_empty():
    """The mean over the same hour of the same weekday."""
    hours = [
        UsedHour(at="2026-11-23T13:00:00Z", seen_s=100, used_s=50),
        UsedHour(at="2026-11-16T13:00:00Z", seen_s=300, used_s=30),
        UsedHour(at="2026-11-17T13:00:00Z", seen_s=0, held_s=9),
    ]
    assert folded(hours) == {(0, 13): 0.2}


def test_numbers_in_words():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd",
    ]  # fmt: skip
    assert [hours_words(s) for s in (0, 1800, 3600 * 9.94, 36000)] == ["0", "0.5", "9.9", "10"]


async def test_heat_map_shades_by_use_and_survives_any_width(source):
    """More use, a denser shade; no data, nothing."""
    async with opened(source) as pilot:
        await pilot.press("5")
        await settled(pilot)
        for width in (20, 60, 200):
            await pilot.resize_terminal(width, 24)
            await pilot.pause()
        await pilot.resize_terminal(80, 24)
        heat = pilot.app.query_one(HeatMap)
        heat.show({(0, 0): 0.0, (0, 1): 0.1, (0, 2): 0.3, (0, 3): 0.6, (0, 4): 1.0})
        await pilot.pause()
        line = heat.render_line(2).text
        assert line.split("Mon ")[1][: 5 * heat.cell_width] == "".join(
            shade * heat.cell_width for shade in "·░▒▓█"
        )
