"""What each key of the binding tables opens or does, tab by tab and dialog by dialog.

A walk is a list of steps: the key's id, and what is true right after it. A name is the screen that
it opens (esc closes that again, where the walk goes on).
"""

from collections.abc import Callable

import msgspec
import pytest
from textual.widgets import Input

from gpuboard.tui.bindings import SECTIONS
from gpuboard.tui.panes.joblist import JobListPane
from gpuboard.tui.widgets.board import BoardGrid
from gpuboard.tui.widgets.rows import RowList
from gpuboard.tui.widgets.timeline import TimelineGrid
from tests.support.screens import opened, screen_text, settled, until

KEYS = {key.id: key for group in SECTIONS.values() for key in group}
WITHOUT_A_STEP = {
    "app.quit": "test_q_leaves",
    "app.box": "test_boxes.py",
    "timeline.drop": "test_booking_that_has_begun_only_changes_its_end_and_esc_leaves_it",
    "booking.cancel": "test_K_on_the_timeline_cancels_my_booking_after_a_dialog",
    "booking.move": "test_m_moves_my_booking_and_asks_before_it_does",
    "form.send": "test_refusal_is_said_whole_and_in_the_persons_own_time",
    "form.nearest": "test_refused_window_shows_why_and_a_key_takes_the_nearest",
    "log.attempt": "test_log.py",
    "log.next": "test_matches_of_a_search_are_walked_both_ways",
    "log.previous": "test_matches_of_a_search_are_walked_both_ways",
    "series.none": "test_series_is_cancelled_as_one_or_one_by_one",
    "series.one": "test_series_is_cancelled_as_one_or_one_by_one",
    "series.all": "test_series_is_cancelled_as_one_or_one_by_one",
    "settings.reset": "test_settings.py",
    "admin.cancel": "test_admin.py",
    "job.copy": "test_the_ssh_line_to_a_jobs_ports_is_copied",
    "queue.person": "test_queue.py",
}
"""Keys that need a story of their own, and the test that tells it."""


def current(pilot):
    return type(pilot.app.screen).__name__


def shows(words: str) -> Callable:
    return lambda pilot: words in screen_text(pilot.app)


def lacks(words: str) -> Callable:
    return lambda pilot: words not in screen_text(pilot.app)


def card(label: str) -> Callable:
    return lambda pilot: pilot.app.query_one(BoardGrid).current.label == label


def row(place: int) -> Callable:
    return lambda pilot: _rows(pilot).cursor == place


def window(cells: int, gpus: int) -> Callable:
    def is_so(pilot):
        choice = pilot.app.query_one(TimelineGrid).choice
        return (choice.until_s - choice.from_s, choice.gpus) == (cells * 600, gpus)

    return is_so


def under_cursor(clock: str, device: str) -> Callable:
    def is_so(pilot):
        grid = pilot.app.query_one(TimelineGrid)
        there = shows(f" {clock}")(pilot) if clock else True
        return there and grid._lanes[grid._lane].label == f"GPU {device}"

    return is_so


def tags(count: int) -> Callable:
    return lambda pilot: len(_pane(pilot)._tagged) == count


def field(name: str) -> Callable:
    return lambda pilot: getattr(pilot.app.focused, "id", "") == f"field-{name}"


def is_typing(pilot) -> bool:
    return isinstance(pilot.app.focused, Input)


def is_back(pilot) -> bool:
    return current(pilot) == "Screen"


def theme(name: str) -> Callable:
    return lambda pilot: pilot.app.theme == f"gpuboard-{name}"


def _pane(pilot):
    return next(pane for pane in pilot.app.query(JobListPane) if pane.display)


def _rows(pilot):
    return next(each for each in pilot.app.screen.query(RowList) if each.region)


WALKS = {
    "tabs": ([], [
        ("app.timeline", shows("GPU 0    ")), ("app.queue", shows("diffusion-xl")),
        ("app.jobs", shows("prep-data")), ("app.people", shows("GPU-hours")),
        ("app.admin", shows("WHAT DOCTOR SAYS")), ("app.board", shows("0 H100 80GB")),
        ("app.new", "NewJobScreen"), ("app.book", "BookingScreen"), ("app.palette", "PaletteScreen"),
        ("app.settings", "SettingsScreen"), ("app.help", "HelpScreen"),
        ("app.pause", shows("PAUSED")), ("app.pause", lacks("PAUSED")),
        ("app.theme", theme("light")), ("app.theme", theme("contrast")), ("app.theme", theme("dark")),
    ]),
    "board": (["1"], [
        ("board.right", card("1")), ("board.left", card("0")), ("list.down", card("2")),
        ("list.up", card("0")), ("list.page-down", card("7")), ("list.page-up", card("0")),
        ("list.last", card("7")), ("list.first", card("0")), ("board.details", "DeviceScreen"),
        ("job.logs", "LogScreen"), ("job.why", "WhyScreen"), ("job.stop", "ConfirmScreen"),
        ("job.extend", lambda pilot: pilot.app.source.called("update")),
        ("list.open", shows("CONTAINER")), ("list.open", lacks("CONTAINER")),
        ("board.mine", lacks(" 3 H100")), ("board.mine", shows(" 3 H100")),
        ("board.sort", shows("by use")), ("board.filter", is_typing), ("filter.drop", card("0")),
    ]),
    "queue": (["3"], [
        ("list.down", row(1)), ("list.up", row(0)), ("list.open", "JobScreen"),
        ("job.logs", "LogScreen"), ("job.why", "WhyScreen"), ("job.limit", "LimitScreen"),
        ("job.stop", "ConfirmScreen"), ("list.last", lambda p: _rows(p).cursor == len(_rows(p).rows) - 1),
        ("list.first", row(0)), ("list.tag", tags(1)), ("list.tag-all", tags(0)), ("list.tag-all", lambda p: len(_pane(p)._tagged) > 1),
        ("queue.hold", "ConfirmScreen"), ("list.tag-all", tags(0)),
        ("list.mine", lacks("diffusion-xl")), ("list.mine", shows("diffusion-xl")),
        ("queue.state", lacks("diffusion-xl")), ("list.filter", is_typing),
    ]),
    "timeline": (["2"], [
        ("timeline.right", under_cursor("13:50", "0")), ("timeline.left", under_cursor("13:40", "0")),
        ("timeline.down", under_cursor("", "1")), ("timeline.up", under_cursor("", "0")),
        ("timeline.longer", window(2, 1)), ("timeline.more", window(2, 2)),
        ("timeline.fewer", window(2, 1)), ("timeline.shorter", window(1, 1)),
        ("timeline.in", lambda p: p.app.query_one(TimelineGrid).scale.cell_s == 300),
        ("timeline.out", lambda p: p.app.query_one(TimelineGrid).scale.cell_s == 600),
        ("timeline.right", under_cursor("13:50", "0")), ("timeline.now", under_cursor("13:40", "0")),
        ("timeline.choose", "JobScreen"), ("booking.mine", shows("only ann's")),
        ("booking.mine", lacks("only ann's")), ("booking.person", "PickPersonScreen"),
        ("booking.export", "ExportScreen"), ("booking.list", shows("STATE       ID")),
        ("booking.list", lacks("STATE       ID")),
    ]),
    "people": (["5"], [
        ("people.month", shows("the last 30 days")), ("people.day", shows("the last day")), ("people.week", shows("the last week")),
        ("people.by", shows("GROUP")), ("people.person", "PickPersonScreen"),
    ]),
    "admin": (["6"], [
        ("admin.drain", "DrainScreen"), ("admin.notice", "NoticeScreen"),
        ("admin.blackout", "BlackoutScreen"), ("admin.reload", "ConfirmScreen"),
        ("admin.backup", "BackupScreen"), ("admin.check", "ConfirmScreen"),
        ("admin.view", lacks("WHAT DOCTOR SAYS")), ("admin.back", shows("WHAT DOCTOR SAYS")),
        ("admin.filter", is_typing),
    ]),
    "log": (["l"], [
        ("log.follow", lambda p: not p.app.screen._is_following),
        ("log.follow", lambda p: p.app.screen._is_following),
        ("log.wrap", lambda p: p.app.screen._is_wrapped), ("log.find", is_typing),
        ("filter.drop", lambda p: not is_typing(p)), ("log.close", is_back),
    ]),
    "job": (["3", "enter"], [
        ("job.rerun", "NewJobScreen"), ("job.logs", "LogScreen"), ("job.stop", "ConfirmScreen"),
        ("page.close", is_back),
    ]),
    "form": (["n"], [
        ("form.next", field("command")), ("form.previous", field("image")),
        ("form.like", "PickJobScreen"), ("dialog.close", is_back),
    ]),
    "booking": (["b"], [("form.copy", shows("copied"))]),
    "question": (["K"], [("asked.no", is_back), ("job.stop", "ConfirmScreen*"), ("asked.yes", is_back)]),
    "names": (["colon"], [("search.down", row(1)), ("search.up", row(0)), ("dialog.close", is_back)]),
    "help": (["question_mark"], [("help.settings", "SettingsScreen*"), ("dialog.close", is_back), ("app.help", "HelpScreen*"),
             ("help.tour", "TourScreen*"), ("tour.next", shows("2 of 4")), ("tour.back", shows("1 of 4"))]),
    "columns": (["comma", *["down"] * 3, "enter"], [
        ("columns.down", row(1)), ("columns.up", row(0)),
        ("columns.toggle", lambda p: len(p.app.screen._shown) < len(p.app.screen._order)),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("walk", WALKS)
async def test_key_does_what_the_table_says(walk, source):
    """As the admin, who has all tabs; each step waits for what it is to bring about."""
    source.board = msgspec.structs.replace(source.board, is_admin=True)
    opening, steps = WALKS[walk]
    async with opened(source) as pilot:
        for key in opening:
            await pilot.press(key)
            await settled(pilot)
        for name, wanted in steps:
            depth = len(pilot.app.screen_stack)
            await pilot.press(KEYS[name].keys.split(",")[0])
            if isinstance(wanted, str):
                await until(pilot, lambda wanted=wanted: current(pilot) == wanted.rstrip("*"))
                if not wanted.endswith("*"):
                    while len(pilot.app.screen_stack) > max(1, depth):
                        await pilot.press("escape")
            else:
                await until(pilot, lambda wanted=wanted: wanted(pilot))


async def test_matches_of_a_search_are_walked_both_ways(source):
    """`n` to the next, from the last to the first; `N` back."""
    source.log_chunks = [b"loss 3\nsaved\nloss 2\nsaved\nloss 1\n"]
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: len(_rows(pilot).rows) == 5)
        await pilot.press("slash", *"loss", "enter")
        await until(pilot, lambda: not is_typing(pilot))
        assert _rows(pilot).cursor == 4
        for key, place in (("n", 0), ("n", 2), ("N", 0), ("N", 4)):
            await pilot.press(key)
            assert _rows(pilot).cursor == place


def test_every_key_of_the_tables_is_in_a_walk_or_has_a_test_of_its_own():
    walked = {name for _, steps in WALKS.values() for name, _ in steps}
    assert not walked & set(WITHOUT_A_STEP)
    assert set(KEYS) - walked - set(WITHOUT_A_STEP) == set()
