"""What is written into the timeline's bars, as much as a bar has room for, and the legend below it.

Words that would be cut to something that misleads are left out: a bar without words still has its
shape, and what is under the cursor is told in full below.
"""

from __future__ import annotations

from rich.style import Style

from gpuboard.model.views.timeline import TimelineEntry
from gpuboard.tui.ink import Ink, Part, clean, cut, width_of

LEAST_NAME = 3
"""Columns; of a name that is cut further than that nothing is said."""


def bar_words(ink: Ink, entry: TimelineEntry, room: int) -> str:
    """Return what a bar says in `room` columns: who and what, only who, or nothing."""
    base, name = _essence(ink, entry), clean(entry.name)
    left = room - width_of(base) - 1
    if name and left >= min(LEAST_NAME, width_of(name)):
        return f"{base} {cut(name, left)}"
    for words in (base, *_shorter(ink, entry)):
        if width_of(words) <= room:
            return words
    return ""


def legend_parts(ink: Ink, width: int) -> list[Part]:
    """Return which shape means what: as many of them as fit whole."""
    # In ASCII every bar of somebody's is of the same letter: whose it is, its words and colour say.
    held = ("==", ink.palette.style("text"), "held")
    samples = [
        held if ink.glyphs.is_ascii else ("▏ ", ink.palette.person("", mine=True), "yours"),
        ("--" if ink.glyphs.is_ascii else "╌╌", ink.palette.style("dim", "panel"), "ran"),
        (_hatch(ink, is_sure=False) * 2, ink.palette.style("dim"), "may run"),
        (_hatch(ink, is_sure=True) * 2, ink.palette.style("dim"), "is to run"),
        (ink.glyphs.booked, ink.palette.style("booked"), "booked"),
        (ink.glyphs.again, ink.palette.style("booked"), "repeats"),
        (_cross(ink) * 2, ink.palette.style("bad", "panel"), "no jobs"),
        (ink.glyphs.now, ink.palette.style("accent"), "now"),
    ]
    parts: list[Part] = []
    room = width
    for sample, style, words in samples:
        room -= width_of(sample) + len(words) + 3
        if room < 0:
            break
        parts += [(" ", "dim"), (sample, style), (f" {words} ", "dim")]
    return parts


def fill_of(ink: Ink, entry: TimelineEntry) -> tuple[str, Style]:
    """Return the letter that fills a bar, and its style."""
    match entry.kind:
        case "ran":
            return ("-" if ink.glyphs.is_ascii else "╌"), ink.palette.style("dim", "panel")
        case "forecast":
            role = "mine" if entry.mine else "dim"
            return _hatch(ink, is_sure=True), ink.palette.style(role)
        case "blackout":
            return _cross(ink), ink.palette.style("bad", "panel")
    person = ink.palette.person(entry.user, mine=entry.mine)
    return ("=" if ink.glyphs.is_ascii else " "), person


def hatching(ink: Ink, first: int, last: int, sure: range) -> str:
    """Return a forecast's cells from `first` to `last`: light where it may not run, else dense."""
    light, dense = _hatch(ink, is_sure=False), _hatch(ink, is_sure=True)
    return "".join(dense if cell in sure else light for cell in range(first, last + 1))


def _essence(ink: Ink, entry: TimelineEntry) -> str:
    who = _who(entry)
    match entry.kind:
        case "booking":
            count = f" {entry.gpus} GPU{'s' * (entry.gpus > 1)}" if entry.uuid is None else ""
            again = f" {ink.glyphs.again}" if entry.rule else ""
            return f"{ink.glyphs.booked}{again} {who}{count}"
        case "blackout":
            return "no jobs"
    return f"{who} {entry.job_id}" if entry.job_id else who


def _shorter(ink: Ink, entry: TimelineEntry) -> tuple[str, ...]:
    match entry.kind:
        case "booking":
            return (f"{ink.glyphs.booked} {_who(entry)}", ink.glyphs.booked)
        case "blackout":
            return ()
    return (_who(entry),)


def _who(entry: TimelineEntry) -> str:
    who = "you" if entry.mine else clean(entry.user)
    return f"{who}?" if entry.kind == "forecast" else who


def _hatch(ink: Ink, *, is_sure: bool) -> str:
    if ink.glyphs.is_ascii:
        return ":" if is_sure else "."
    return "▒" if is_sure else "░"


def _cross(ink: Ink) -> str:
    return "x" if ink.glyphs.is_ascii else "\u2573"
