"""How the timeline looks: lanes, their bars and the axis, as cells with a style each. No widget here.

What a bar is shows in its shape too: a run is solid, a booking begins with its diamond, a forecast
is hatched (lighter as long as it may still begin later, or have ended sooner), a blackout crossed,
and what is over has no ground of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from gpuboard.model.views.timeline import TimelineEntry, TimelineView
from gpuboard.tui.ink import Ink, clean
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.terminals import in_ascii
from gpuboard.tui.timelinewords import bar_words, fill_of, hatching
from gpuboard.tui.timescale import Scale

LABEL = 9
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
    """Draw a lane's bars; those of others than `person` (empty: nobody) are faint.

    Words come after all bars, each into what is still seen of its own, so none is cut by another.
    """
    entries = sorted(lane.entries, key=lambda item: ORDER.index(item.kind))
    owners = [-1] * scale.cells
    for place, entry in enumerate(entries):
        is_other = bool(person) and entry.kind != "blackout" and entry.user != person
        _fill(ink, scale, entry, cells, is_faint=is_other)
        for cell in _seen(scale, entry):
            owners[cell] = place
    for place, entry in enumerate(entries):
        run = _longest_run(owners, place)
        if with_words and run:
            _write(ink, entry, cells, run)
        first = scale.cell_of(epoch_s(entry.from_at))
        is_seen = 0 <= first < scale.cells and owners[first] == place
        if is_seen and cells.letters[first] == " " and not ink.glyphs.is_ascii:
            cells.letters[first] = "▏"


def mark(ink: Ink, cells: Cells, first: int, last: int) -> None:
    """Put the cursor's ground under the cells from `first` to before `last`."""
    ground = ink.palette.cursor()
    first = max(0, first)
    if 0 < first < len(cells.letters) and not cells.letters[first]:
        first -= 1  # The second half of a wide character has no look of its own.
    for cell in range(first, min(len(cells.styles), last)):
        cells.styles[cell] = ground


def _span(scale: Scale, entry: TimelineEntry) -> tuple[int, int, int, int]:
    """Return a bar's first and last cell, and from when to when (seconds) it runs in any case."""
    begin, end = epoch_s(entry.from_at), epoch_s(entry.until_at)
    slack = max(0, epoch_s(entry.latest_from_at) - begin) if entry.latest_from_at else 0
    return scale.cell_of(begin), scale.cell_of(end + slack - 1), begin + slack, end


def _seen(scale: Scale, entry: TimelineEntry) -> range:
    first, last, _, _ = _span(scale, entry)
    return range(max(0, first), min(scale.cells - 1, last) + 1)


def _fill(ink: Ink, scale: Scale, entry: TimelineEntry, cells: Cells, *, is_faint: bool) -> None:
    fill, style = fill_of(ink, entry)
    first, last, sure_s, until_s = _span(scale, entry)
    body = fill * (last + 1 - first) if entry.kind != "forecast" else ""
    if entry.kind == "forecast":
        sure = range(scale.cell_of(sure_s), scale.cell_of(until_s - 1) + 1)
        body = hatching(ink, first, last, sure)
    if is_faint:
        style = ink.palette.style("faint", "panel")
    for cell in _seen(scale, entry):
        cells.letters[cell], cells.styles[cell] = body[cell - first], style


def _write(ink: Ink, entry: TimelineEntry, cells: Cells, run: range) -> None:
    """Write a bar's words into the cells that are seen of it; a forecast's begin behind its hatch."""
    lead = [cells.letters[run.start], " "] if entry.kind == "forecast" else [" "]
    words = bar_words(ink, entry, len(run) - len(lead))
    if not words:
        return
    letters = _letters(in_ascii(words) if ink.glyphs.is_ascii else words)
    whole = [*lead, *letters, " "][: len(run)]
    cells.letters[run.start : run.start + len(whole)] = whole


def _letters(words: str) -> list[str]:
    """Return words as cells; after a wide character, whose second cell it takes, an empty one."""
    cells: list[str] = []
    for letter in words:
        width = get_character_cell_size(letter)
        if width:
            cells += [letter, *[""] * (width - 1)]
        elif cells:
            # A combining mark has no cell of its own.
            place = len(cells) - 1 if cells[-1] else len(cells) - 2
            cells[place] += letter
    return cells


def _longest_run(owners: list[int], owner: int) -> range:
    best, start = range(0), None
    for cell, found in enumerate([*owners, -1]):
        if found == owner:
            start = cell if start is None else start
        elif start is not None:
            best, start = max(best, range(start, cell), key=len), None
    return best


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
            text = "".join(letters[start:place])
            if text:
                segments.append(Segment(text, styles[start]))
            start = place
    return segments
