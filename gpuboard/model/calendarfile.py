"""Bookings as a calendar file (iCalendar, RFC 5545), for people's own calendars.

Each booking is an event of its own, in UTC, with an id that stays: importing the file again moves
what was moved. One of a series names the first as its series rather than giving a rule, since single
windows of it may be moved or cancelled, and a rule would go on showing them. `icalendar` (the extra
`calendar`) is imported only then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpuboard.errors import HostError
from gpuboard.model.text import plain

if TYPE_CHECKING:
    from icalendar import Event

    from gpuboard.model.views.bookings import ReservationView

_LONGEST = 200


def calendar_text(bookings: Iterable[ReservationView], hostname: str, at: str) -> bytes:
    """Return the calendar of bookings of the box `hostname` as they were at an ISO instant.

    Raises HostError when `icalendar` is not installed.
    """
    try:
        from icalendar import Calendar
    except ImportError as error:
        raise HostError(
            "calendar files need the Python package icalendar",
            hint="pip install 'gpuboard[calendar]'",
        ) from error
    calendar = Calendar()
    calendar.add("prodid", "-//gpuboard//bookings//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    box = plain(hostname, _LONGEST)
    calendar.add("x-wr-calname", f"GPUs of {box}")
    for booking in bookings:
        calendar.add_component(_event(booking, box, at))
    return bytes(calendar.to_ical())


def _event(booking: ReservationView, box: str, at: str) -> Event:
    from icalendar import Event

    gpus = f"{booking.gpus} GPU{'s' * (booking.gpus != 1)}"
    labels = ", ".join(plain(ref.label, _LONGEST) for ref in booking.devices)
    event = Event()
    event.add("uid", _uid(booking.id, box))
    event.add("dtstamp", _instant(at))
    event.add("dtstart", _instant(booking.from_at))
    event.add("dtend", _instant(booking.until_at))
    name = plain(booking.name, _LONGEST)
    event.add("summary", f"{gpus} on {box}" + (f": {name}" if name else ""))
    event.add("location", f"{box}, GPU {labels}" if labels else box)
    event.add("status", "CANCELLED" if booking.state == "cancelled" else "CONFIRMED")
    words = [f"booking {booking.id} of {plain(booking.user, _LONGEST)}"]
    if booking.rule:
        words.append(f"one of a series: {plain(booking.rule, _LONGEST)}")
    words.append(f"cancel it: gpuboard unreserve {booking.id}")
    event.add("description", "\n".join(words))
    event.add("categories", ["gpuboard"])
    if booking.series_id is not None and booking.series_id != booking.id:
        event.add("related-to", _uid(booking.series_id, box))
    return event


def _uid(number: int, box: str) -> str:
    return f"booking-{number}@{box}"


def _instant(iso: str) -> object:
    from datetime import datetime

    return datetime.fromisoformat(iso)
