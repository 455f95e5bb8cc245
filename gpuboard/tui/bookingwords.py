"""Bookings in words and as rows: states, windows, how a series repeats."""

from __future__ import annotations

from textual.strip import Strip

from gpuboard.model.views.bookings import ReservationView
from gpuboard.tui.ink import Ink, Part, clean, fit
from gpuboard.tui.instants import clock_of

HEADS = f"  {'STATE':<9} {'ID':>4}  {'WHO':<10} {'GPUS':<10} {'FROM':<12} {'UNTIL':<12} NAME"
_OFTEN = {"DAILY": "daily", "WEEKLY": "weekly", "MONTHLY": "monthly"}
_WEEKDAYS = "MO,TU,WE,TH,FR"


def rule_words(rule: str) -> str:
    """Return how a series repeats: `weekly`, `weekdays`, `every 2 weeks MO,TH`; empty for none."""
    if not rule:
        return ""
    parts = dict(part.partition("=")[::2] for part in clean(rule).split(";"))
    often, days = parts.get("FREQ", ""), parts.get("BYDAY", "")
    if often == "WEEKLY" and days == _WEEKDAYS:
        return "weekdays"
    words = _OFTEN.get(often, often.lower())
    if (every := parts.get("INTERVAL", "1")) != "1":
        words = f"every {every} " + {"DAILY": "days", "WEEKLY": "weeks"}.get(often, "months")
    return f"{words} {days or parts.get('BYMONTHDAY', '')}".rstrip()


def gpus_words(booking: ReservationView) -> str:
    """Return how many devices, and which: `2 (0,1)`."""
    devices = ",".join(clean(device.label) for device in booking.devices)
    return f"{booking.gpus} ({devices})" if devices else str(booking.gpus)


def booking_strip(ink: Ink, row: ReservationView, now_s: int, width: int, ground: str) -> Strip:
    """Return a booking as a row under `HEADS`."""
    is_active = row.state == "active"
    owner = "mine!" if row.mine else "text"
    repeats = rule_words(row.rule)
    parts: list[Part] = [
        (f"{ink.glyphs.booked if is_active else ink.glyphs.free} ", "booked"),
        (fit(clean(row.state), 9) + " ", "booked" if is_active else "dim"),
        (f"{row.id:>4}  ", owner),
        (fit("you" if row.mine else clean(row.user), 10) + " ", owner),
        (fit(gpus_words(row), 10) + " ", "text"),
        (fit(clock_of(row.from_at, now_s), 12) + " ", "text"),
        (fit(clock_of(row.until_at, now_s), 12) + " ", "text"),
        (f"{ink.glyphs.again} {repeats}  " if repeats else "", "accent"),
        (clean(row.name), "dim"),
    ]
    return ink.line(parts, width, ground)
