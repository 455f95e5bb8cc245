"""Bookings in people's own calendars: parsed back by another's parser, nothing is lost or invented."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime

import icalendar
import pytest

from gpuboard.errors import HostError
from gpuboard.model.calendarfile import calendar_text
from gpuboard.model.views.bookings import ReservationView
from gpuboard.model.views.devices import DeviceRef

AT = "2026-11-23T13:40:00Z"


def booking(number=7, **fields):
    values = {
        "user": "ann", "uid": 1000, "mine": True, "state": "booked", "gpus": 2,
        "from_at": "2027-03-28T00:30:00Z", "until_at": "2027-03-28T02:00:00Z",
    }  # fmt: skip
    return ReservationView(id=number, **(values | fields))


def read(*bookings):
    text = calendar_text(bookings, "hopper", AT)
    assert b"\r\n" in text
    assert all(len(line) <= 75 for line in text.splitlines())
    return icalendar.Calendar.from_ical(text).walk("VEVENT")


def test_windows_stay_in_utc_over_a_change_of_the_clocks():
    """In the night in which Europe loses an hour, too."""
    [event] = read(booking())
    assert event["dtstart"].dt == datetime(2027, 3, 28, 0, 30, tzinfo=UTC)
    assert event["dtend"].dt == datetime(2027, 3, 28, 2, 0, tzinfo=UTC)
    assert event["dtstart"].to_ical() == b"20270328T003000Z"


def test_event_says_what_where_whose_and_how_to_cancel():
    """And keeps its id, so that importing again moves it."""
    [event] = read(booking(name="paper deadline", devices=[DeviceRef("3", "GPU-3")]))
    assert event["uid"] == "booking-7@hopper"
    assert event["summary"] == "2 GPUs on hopper: paper deadline"
    assert event["location"] == "hopper, GPU 3"
    assert "gpuboard unreserve 7" in event["description"]


def test_every_window_of_a_series_is_there_and_belongs_to_its_first():
    """One that was moved or cancelled by itself is as it is, which a rule could not say."""
    first, second = read(
        booking(7, series_id=7, rule="FREQ=WEEKLY"),
        booking(8, series_id=7, rule="FREQ=WEEKLY", from_at="2027-04-04T05:00:00Z", until_at="2027-04-04T06:00:00Z"),
    )  # fmt: skip
    assert "related-to" not in first
    assert second["related-to"] == first["uid"]
    assert "FREQ=WEEKLY" in second["description"]
    assert "rrule" not in second
    assert second["dtstart"].dt.isoformat() == "2027-04-04T05:00:00+00:00"


@pytest.mark.parametrize(
    "name",
    [
        "a,b;c\\d\nBEGIN:VEVENT\r\nSUMMARY:evil",
        "\x1b[2Jx\x00\u202e",
        "漢" * 500,
        "END:VCALENDAR",
    ],
)
def test_hostile_names_stay_one_value_of_one_event(name):
    """Commas, semicolons, backslashes and lines are escaped; control codes are gone."""
    [event] = read(booking(name=name, user=name))
    summary = str(event["summary"])
    assert summary.startswith("2 GPUs on hopper: ")
    assert "\n" not in summary
    assert "\x1b" not in summary
    assert "\x00" not in summary


def test_cancelled_booking_is_said_to_be():
    """A calendar that has it takes it out."""
    [event] = read(booking(state="cancelled"))
    assert event["status"] == "CANCELLED"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    """The package is needed for nothing else."""
    real = builtins.__import__

    def missing(name, *rest):
        if name == "icalendar":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(HostError) as caught:
        calendar_text([], "hopper", AT)
    assert "gpuboard[calendar]" in caught.value.hint
