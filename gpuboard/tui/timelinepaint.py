"""How the timeline looks: lanes, their bars and the axis, as cells with a style each. No widget here.

What a bar is shows in its shape too: a run is solid, a booking begins with its diamond, a forecast
is hatched (lighter as long as it may still begin later, or have ended sooner), a blackout crossed,
and what is over has no ground of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from gpuboard.model.views import TimelineEntry, TimelineView
from gpuboard.tui.ink import Ink, clean, cut, width_of
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.timescale import Scale

LABEL = 9
LEAST_WORDS = 6
"""In a shorter bar an ellipsis would say less than the first letters do."""
ORDER = ("ran", "forecast", "running", "booking", "blackout")
"""Kinds of entries; where they overlap the last is seen."""


@dataclass(frozen=True)
class Lane:
    """One row: a device, or bookings that have no device yet."""

    label: str
    uuid: str | None
    entries: tuple[TimelineEntry, ...]


@dataclass
class Cells:
    """One line while it is painted: a letter and a style a cell."""

    letters: list[str]
    styles: list[Style]

    def strip(self, head: Sequence[Segment]) -> Strip:
        """Return the line behind its label."""
        return Strip([*head, *_segments(self.letters, self.styles)], LABEL + len(self.letters))


def lanes_of(view: TimelineView) -> list[Lane]:
    """Return a lane a device, and as few as hold the bookings without one."""
    by_device: dict[str, list[TimelineEntry]] = {}
    unbound: list[TimelineEntry] = []
    for entry in view.entries:
        if entry.uuid is None:
            unbound.append(entry)
        else:
            by_device.setdefault(entry.uuid, []).append(entry)
    lanes = [
        Lane(f"GPU {clean(ref.label)}", ref.uuid, tuple(by_device.get(ref.uuid, ())))
        for ref in view.devices
    ]
    return lanes + _unbound_lanes(unbound)


def axis(ink: Ink, scale: Scale, now_s: int) -> Strip:
    """Return the first line: ticks with their times, and where now is."""
    base = ink.palette.style("dim", "panel")
    cells = Cells([" "] * scale.cells, [base] * scale.cells)
    now = scale.cell_of(now_s)
    for cell, words in scale.ticks():
        label = f"{ink.glyphs.now}{words}"
        is_under_now = cell < now + 5 and cell + len(label) > now - 1
        if cell + len(label) <= scale.cells and not is_under_now:
            cells.letters[cell : cell + len(label)] = list(label)
    if 0 <= now < scale.cells - 4:
        cells.letters[now : now + 4] = list(f"{ink.glyphs.down}now")
        cells.styles[now : now + 4] = [ink.palette.style("accent", "panel", bold=True)] * 4
    return cells.strip([Segment(" " * LABEL, base)])


def empty_cells(ink: Ink, scale: Scale, now_s: int) -> Cells:
    """Return a line with nothing but its ticks and the now line."""
    base = ink.palette.style("faint")
    cells = Cells([" "] * scale.cells, [base] * scale.cells)
    for cell, _words in scale.ticks():
        cells.letters[cell] = "." if ink.glyphs.is_ascii else "┊"
        cells.styles[cell] = ink.palette.style("track")
    now = scale.cell_of(now_s)
    if 0 <= now < scale.cells:
        cells.letters[now], cells.styles[now] = ink.glyphs.now, ink.palette.style("accent")
    return cells


def draw_entries(
    ink: Ink, scale: Scale, lane: Lane, cells: Cells, *, with_words: bool, person: str
) -> None:
    """Draw a lane's bars; those of others than `person` (empty: nobody) are faint."""
    for entry in sorted(lane.entries, key=lambda item: ORDER.index(item.kind)):
        is_other = bool(person) and entry.kind != "blackout" and entry.user != person
        _draw(ink, scale, entry, cells, with_words=with_words, is_faint=is_other)


def mark(ink: Ink, cells: Cells, first: int, last: int) -> None:
    """Put the cursor's ground under the cells from `first` to before `last`."""
    ground = ink.palette.cursor()
    for cell in range(max(0, first), min(len(cells.styles), last)):
        cells.styles[cell] = ground


def entry_words(ink: Ink, entry: TimelineEntry) -> str:
    """Return what is written into a bar."""
    who = "you" if entry.mine else clean(entry.user)
    name = clean(entry.name)
    match entry.kind:
        case "booking":
            count = f" {entry.gpus} GPUs" if entry.uuid is None else ""
            again = f" {ink.glyphs.again}" if entry.rule else ""
            return f" {ink.glyphs.booked}{again} {who}{count} {name}".rstrip()
        case "blackout":
            return f" no jobs {name}"
        case "forecast":
            hatch = ":" if ink.glyphs.is_ascii else "░"
            return f"{hatch} {who}? {entry.job_id or ''} {name}"
    return f" {who} {entry.job_id or ''} {name}"


def _draw(
    ink: Ink, scale: Scale, entry: TimelineEntry, cells: Cells, *, with_words: bool, is_faint: bool
) -> None:
    begin, end = epoch_s(entry.from_at), epoch_s(entry.until_at)
    slack = max(0, epoch_s(entry.latest_from_at) - begin) if entry.latest_from_at else 0
    first, last = scale.cell_of(begin), scale.cell_of(end + slack - 1)
    start, stop = max(0, first), min(scale.cells - 1, last)
    if start > stop:
        return
    fill, style = _look(ink, entry)
    if is_faint:
        style = ink.palette.style("faint", "panel")
    room = stop - start + 1
    words = entry_words(ink, entry) if with_words else ""
    words = cut(words, room - 1) if room >= LEAST_WORDS else words[: room - 1]
    # A wide character takes two cells: it may not be split over this list.
    if width_of(words) != len(words):
        words = words.encode("ascii", "replace").decode()
    body = fill * room
    if entry.kind == "forecast" and slack:
        body = _hatched(ink, scale, begin, end, slack)[start - first : stop - first + 1]
    text = words + (" " if words and fill != " " else "")
    text = (text + body[len(text) :])[:room]
    cells.letters[start : stop + 1] = list(text)
    cells.styles[start : stop + 1] = [style] * room
    if first >= 0 and text[0] == " " and not ink.glyphs.is_ascii:
        cells.letters[start] = "▏"


def _hatched(ink: Ink, scale: Scale, begin: int, end: int, slack: int) -> str:
    """Return a forecast's hatching: light where it may not run (yet, or any more), else dense."""
    light, dense = (".", ":") if ink.glyphs.is_ascii else ("░", "▒")
    first, last = scale.cell_of(begin), scale.cell_of(end + slack - 1)
    sure = range(scale.cell_of(begin + slack), scale.cell_of(end - 1) + 1)
    return "".join(dense if cell in sure else light for cell in range(first, last + 1))


def _look(ink: Ink, entry: TimelineEntry) -> tuple[str, Style]:
    person = ink.palette.person(entry.user, mine=entry.mine)
    match entry.kind:
        case "ran":
            return ("-" if ink.glyphs.is_ascii else "╌"), ink.palette.style("dim", "panel")
        case "forecast":
            role = "mine" if entry.mine else "dim"
            return (":" if ink.glyphs.is_ascii else "░"), ink.palette.style(role)
        case "blackout":
            return ("x" if ink.glyphs.is_ascii else "\u2573"), ink.palette.style("bad", "panel")
    return (" " if not ink.glyphs.is_ascii else "="), person


def _unbound_lanes(entries: list[TimelineEntry]) -> list[Lane]:
    """Return lanes for bookings without devices: as few as hold them side by side."""
    lanes: list[list[TimelineEntry]] = []
    for entry in sorted(entries, key=lambda item: item.from_at):
        free = next((lane for lane in lanes if lane[-1].until_at <= entry.from_at), None)
        if free is None:
            lanes.append([entry])
        else:
            free.append(entry)
    return [Lane("any", None, tuple(lane)) for lane in lanes]


def _segments(letters: list[str], styles: list[Style]) -> list[Segment]:
    segments: list[Segment] = []
    start = 0
    for place in range(1, len(letters) + 1):
        if place == len(letters) or styles[place] is not styles[start]:
            segments.append(Segment("".join(letters[start:place]), styles[start]))
            start = place
    return segments
