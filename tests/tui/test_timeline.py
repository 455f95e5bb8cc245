"""The timeline: looking, booking with keys and mouse, moving and giving back one's own, the list, files."""

import icalendar
import msgspec
import pytest

from gpuboard.errors import Refused
from gpuboard.model.requests import ReservationUpdate
from gpuboard.tui.bookingwords import rule_words
from gpuboard.tui.commandlines import change_line
from gpuboard.tui.dialogs.windows import take_nearest
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.widgets.timeline import LABEL, TimelineGrid
from tests.support.screens import assert_screen, opened, screen_text, settled, until
from tests.support.tui_source import at, booking

SIZES = [(80, 24), (160, 45)]


@pytest.fixture
def mine(source):
    """Booking 6, on GPU 4 now, and the one of tomorrow, in a series: both are ann's."""
    replace = msgspec.structs.replace
    source.entries[4] = replace(source.entries[4], mine=True, user="ann")
    source.reservations[0] = replace(source.reservations[0], mine=True, user="ann")
    source.entries[5] = replace(source.entries[5], mine=True, user="ann", rule="FREQ=WEEKLY")
    source.reservations[1] = replace(
        source.reservations[1], mine=True, user="ann", rule="FREQ=WEEKLY", series_id=7
    )
    return source


def current(pilot):
    return type(pilot.app.screen).__name__


def under_cursor(pilot):
    return pilot.app.query_one("#under-cursor").text


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_timeline_and_its_dialogs_look_as_they_were_last_seen(size, mine):
    """One walk: grid, window, one person's, list, moving, changing, cancelling, exporting, booking."""
    name = f"{size[0]}x{size[1]}"
    async with opened(mine, size) as pilot:

        async def see(screen, *keys, words=""):
            await pilot.press(*keys)
            await settled(pilot)
            if words:
                await until(pilot, lambda: words in screen_text(pilot.app))
            assert_screen(f"{screen}-{name}", await settled(pilot))

        await see("timeline", "2")
        await see("pick-person", "p")
        await see("timeline-person", *"car", "enter")
        await pilot.press("u", "u")
        await see("timeline-widened", "down", "down", "right", *["shift+right"] * 2, "shift+down")
        await pilot.press("escape", "0", *["right"] * 8)
        await see("timeline-move", "m", "shift+right", "shift+right", "plus")
        await see("change-booking", "enter", words="can be")
        await pilot.press("escape")
        mine.refused = "1 device for 3h cannot be promised: booking 9 of carl until 16:00"
        await see("change-booking-refused", "m", "right", "enter", words="free:")
        await pilot.press("escape")
        await see("booking-refused", "b", words="free:")
        mine.refused = ""
        await pilot.press("escape")
        await see("booking", "b", words="can be booked")
        await pilot.press("escape")
        await see("bookings", "v", "j")
        await see("cancel-booking", "K")
        await pilot.press("n")
        await see("export", "i", words="3 bookings")


async def test_drag_with_the_mouse_books_the_window(source):
    """From cell to cell and lane to lane; a click alone only moves the cursor."""
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        grid = pilot.app.query_one(TimelineGrid)
        await pilot.click(grid, offset=(LABEL + 30, 3))
        assert not grid.choice.is_widened
        assert current(pilot) == "Screen"
        await pilot.mouse_down(grid, offset=(LABEL + 30, 9))
        for x in (31, 33, 35):
            await pilot.hover(grid, offset=(LABEL + x, 11))
        assert (grid.choice.gpus, grid.choice.until_s - grid.choice.from_s) == (2, 6 * 600)
        await pilot.mouse_up(grid, offset=(LABEL + 35, 11))
        await until(pilot, lambda: current(pilot) == "BookingScreen")
        values = pilot.app.screen.values()
        assert (values["gpus"], values["duration"]) == ("2", "1h")
        assert values["at"].endswith("16:50")
        await pilot.press("escape")
        # Backwards, and beyond the last device: bookings without one are no devices.
        await pilot.mouse_down(grid, offset=(LABEL + 40, 15))
        await pilot.hover(grid, offset=(LABEL + 38, 19))
        assert (grid.choice.gpus, grid.choice.until_s - grid.choice.from_s) == (1, 3 * 600)
        await pilot.mouse_up(grid, offset=(LABEL + 38, 19))
        await until(pilot, lambda: current(pilot) == "BookingScreen")


async def test_double_click_opens_what_is_there(source):
    """A job's page; an empty place is booked."""
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        await pilot.click(TimelineGrid, offset=(LABEL + 5, 1), times=2)
        await until(pilot, lambda: current(pilot) == "JobScreen")


async def test_m_moves_my_booking_and_asks_before_it_does(mine):
    """Arrows move, shift and plus lengthen, enter asks; the daemon is told only what differs."""
    async with opened(mine) as pilot:
        await pilot.press("2")
        await settled(pilot)
        await pilot.press("down", "down", *["right"] * 9, "m")
        assert "move 7: 15:00 until 18:00" in under_cursor(pilot)
        await pilot.press("right", "right", "left", "shift+right", "plus", "minus", "shift+down")
        assert "15:10 until 18:20, 3h10, 2 GPUs" in under_cursor(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "can be: " in screen_text(pilot.app))
        assert "gpuboard reserve --change 7 2 3h10m --at '2026-11-23 15:10'" in screen_text(
            pilot.app
        )
        assert all(request.dry_run for _, request in mine.called("change_booking"))
        await pilot.press("enter")
        await until(pilot, lambda: len(mine.called("change_booking")) > 1)
        number, request = mine.called("change_booking")[-1]
        assert (number, request.gpus, request.duration, request.at, request.name) == (
            7, 2, "3h10m", "2026-11-23 15:10", None,
        )  # fmt: skip
        assert not request.dry_run


async def test_booking_that_has_begun_only_changes_its_end_and_esc_leaves_it(mine):
    """Its start is past."""
    async with opened(mine) as pilot:
        await pilot.press("2")
        await settled(pilot)
        await pilot.press(*["down"] * 4, "m", "right")
        assert "13:00 until 15:30" in under_cursor(pilot)
        assert "only its end moves" in under_cursor(pilot)
        await pilot.press("shift+left")
        assert "until 15:20" in under_cursor(pilot)
        await pilot.press(*["shift+left"] * 40)
        assert "until 13:41" in under_cursor(pilot)  # never before now
        await pilot.press("escape")
        assert "booking 6 demo" in under_cursor(pilot)
        assert mine.called("change_booking") == []


async def test_other_peoples_bookings_are_not_moved(source):
    """It is said whose they are; on nothing, that nothing is there."""
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        await pilot.press(*["down"] * 4, "m")
        await until(pilot, lambda: "is dora's, not yours" in screen_text(pilot.app))
        await pilot.press("down", "m")
        await until(pilot, lambda: "no booking under the cursor" in screen_text(pilot.app))
        await pilot.press("v", "enter")
        await until(pilot, lambda: "booking 6 is dora's" in screen_text(pilot.app))


async def test_refused_window_shows_why_and_a_key_takes_the_nearest(source):
    """The windows are the daemon's; what is sent is the one that was taken."""
    source.refused = "2 devices for 1h now cannot be promised: GPU 0 is ann's until 16:00"
    async with opened(source) as pilot:
        await pilot.press("b")
        await until(pilot, lambda: "free:" in screen_text(pilot.app))
        seen = screen_text(pilot.app)
        assert "GPU 0 is ann's until 16:00" in seen
        assert "16:00 until 17:30" in seen
        source.refused = ""
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "can be booked" in screen_text(pilot.app))
        assert pilot.app.screen.values()["at"] == "2026-11-23 16:00"
        await pilot.press("enter")
        await until(pilot, lambda: not source.called("reserve")[-1].dry_run)
        sent = source.called("reserve")[-1]
        assert (sent.at, sent.duration) == ("2026-11-23 16:00", "1h30m")


async def test_series_is_made_with_a_rule_and_a_number_or_an_end(source):
    """And told as a command line."""
    async with opened(source) as pilot:
        await pilot.press("b", *["down"] * 4, *"weekly", "tab", "8")
        await until(
            pilot,
            lambda: "gpuboard reserve 1 1h --repeat weekly --count 8" in screen_text(pilot.app),
        )
        await pilot.press("enter")
        await until(pilot, lambda: not source.called("reserve")[-1].dry_run)
        sent = source.called("reserve")[-1]
        assert (sent.repeat, sent.count, sent.until) == ("weekly", 8, "")
        await pilot.press("b", *["down"] * 5, *"8x")
        await until(pilot, lambda: "say how it repeats" in screen_text(pilot.app))
        await pilot.press("up", *"daily")
        await until(pilot, lambda: "--repeat daily --until 8x" in screen_text(pilot.app))


async def test_series_is_cancelled_as_one_or_one_by_one(mine):
    """The dialog offers both, with their command lines."""
    async with opened(mine) as pilot:
        await pilot.press("2", "v", "j", "K")
        await until(pilot, lambda: "gpuboard unreserve --series 7" in screen_text(pilot.app))
        await pilot.press("s")
        await until(pilot, lambda: mine.called("unreserve") == [(7, "series")])
        await pilot.press("k", "K", "s")  # booking 6 is of no series: s does nothing
        assert current(pilot) == "CancelBookingScreen"
        await pilot.press("y")
        await until(pilot, lambda: mine.called("unreserve") == [(7, "series"), 6])


async def test_list_shows_a_persons_and_how_series_repeat(mine):
    """`u` mine, `p` by name."""
    async with opened(mine) as pilot:
        await pilot.press("2", "v")
        seen = await settled(pilot)
        assert "↻ weekly" in seen
        await pilot.press("u")
        assert "only ann's" in await settled(pilot)
        await pilot.press("u", "p", *"car", "enter")
        await settled(pilot)
        assert [row.user for row in pilot.app.pane.query_one("#bookings").rows] == []
        await pilot.press("p", "enter")
        await settled(pilot)
        assert len(pilot.app.pane.query_one("#bookings").rows) == 3


async def test_export_writes_a_calendar_and_never_over_another_file(mine, tmp_path):
    """It parses; what was there and is no calendar stays."""
    target = tmp_path / "my.ics"
    target.write_text("precious")
    async with opened(mine) as pilot:
        await pilot.press("2", "i")
        await settled(pilot)
        pilot.app.screen.fill("path", str(target))
        await pilot.press("enter")
        await until(pilot, lambda: "is no calendar" in screen_text(pilot.app))
        assert target.read_text() == "precious"
        target.unlink()
        await pilot.press("enter")
        await until(pilot, target.exists)
        events = icalendar.Calendar.from_ical(target.read_bytes()).walk("VEVENT")
        assert sorted(str(event["uid"]) for event in events) == [
            "booking-6@hopper", "booking-7@hopper", "booking-9@hopper",
        ]  # fmt: skip


async def test_forecast_under_the_cursor_tells_about_and_no_later_than(source):
    """The uncertainty in words, as the hatching shows it."""
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        await pilot.press(*["right"] * 15)
        assert "about 16:00, no later than 17:10" in under_cursor(pilot)
        line = pilot.app.query_one(TimelineGrid).render_line(1).text
        assert line.index("▒") < line.rindex("░")


async def test_zoom_goes_from_an_hour_to_a_month(source):
    """At 80 columns."""
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        grid = pilot.app.query_one(TimelineGrid)
        await pilot.press(*["plus"] * 12)
        assert grid.scale.end_s - grid.scale.start_s <= 3600
        await pilot.press(*["minus"] * 14)
        assert grid.scale.end_s - grid.scale.start_s >= 30 * 86400
        await settled(pilot)


async def test_timeline_draws_nothing_while_nothing_changed(source):
    """A board each second alone."""
    async with opened(source) as pilot:
        await pilot.press("2")
        await settled(pilot)
        drawn = []
        compositor = pilot.app.screen._compositor
        original = compositor.render_update
        compositor.render_update = lambda *a, **k: drawn.append(1) or original(*a, **k)
        snapshot, asked = pilot.app.snapshot, len(source.calls)
        source.push_board()
        await until(pilot, lambda: pilot.app.snapshot is not snapshot)
        await settled(pilot)
        assert drawn == []
        assert len(source.calls) == asked


async def test_refusal_while_sending_is_said_whole(mine):
    """What was free a moment ago may be taken."""
    async with opened(mine) as pilot:
        await pilot.press("2", "v", "m")
        await settled(pilot)
        pilot.app.screen.fill("duration", "9h")
        await until(pilot, lambda: "can be: " in screen_text(pilot.app))
        mine.refusal = Refused("taken by carl meanwhile", hint="free: later")
        await pilot.press("enter")
        await until(pilot, lambda: "taken by carl meanwhile" in screen_text(pilot.app))
        assert current(pilot) == "ChangeBookingScreen"


async def test_hostile_bookings_are_only_text_in_every_dialog(mine):
    """Names and refusals."""
    text = "[@click=app.quit]x[/]\x1b[2J\u202e\x00" + "y" * 300
    mine.reservations = [
        msgspec.structs.replace(row, name=text, rule="FREQ=" + text) for row in mine.reservations
    ]
    mine.refused = text
    async with opened(mine) as pilot:
        for keys in (
            ["2", "v"],
            ["m"],
            ["escape", "K"],
            ["n", "i"],
            ["escape", "b"],
            ["escape", "p"],
        ):
            await pilot.press(*keys)
            seen = await settled(pilot)
            assert "\x1b" not in seen
            assert "\x00" not in seen
            assert "\u202e" not in seen
        assert pilot.app.is_running


def test_rules_are_said_in_words():
    assert [
        rule_words(rule)
        for rule in (
            "", "FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "FREQ=WEEKLY;BYDAY=MO,TH",
            "FREQ=WEEKLY;INTERVAL=2", "FREQ=MONTHLY;BYMONTHDAY=1", "nonsense",
        )
    ] == ["", "daily", "weekdays", "weekly MO,TH", "every 2 weeks", "monthly 1", ""]  # fmt: skip


def test_change_is_told_as_one_would_type_it():
    assert change_line(7, ReservationUpdate(duration="3h")) == "gpuboard reserve --change 7 3h"
    assert (
        change_line(7, ReservationUpdate(gpus=2, at="tomorrow 09:00", name="a b"))
        == "gpuboard reserve --change 7 2 --at 'tomorrow 09:00' --name 'a b'"
    )


def test_nearest_window_begins_on_a_whole_minute_inside_it():
    """A begun minute would be past."""
    from gpuboard.model.views.bookings import WindowView

    window = WindowView("2026-11-23T16:00:30Z", "2026-11-23T17:30:30Z")
    assert take_nearest(window) == {"at": "2026-11-23 16:01", "duration": "1h30m"}
    assert epoch_s(booking(1, "ann", 1, at("14:00"), at("15:00")).from_at) % 60 == 0
