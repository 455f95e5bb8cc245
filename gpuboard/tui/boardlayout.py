"""Where each device's card lies on the board: pure geometry, in lines and columns.

Instances of a GPU that is cut up by MIG lie inside the card of their GPU, below its head. One card
may be expanded: it takes the whole width where it stands, and the others make room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.geometry import Region

from gpuboard.model.views.devices import DeviceView

MIN_WIDTH, GAP = 38, 1
MAX_LINES = 16
Unit = tuple[int, ...]
"""Devices by their place in the list: one, or all instances of one GPU."""


@dataclass(frozen=True)
class Layout:
    """Cards and heads of groups."""

    cells: dict[int, Region]
    """By the device's place in the list."""
    heads: dict[Unit, Region]
    """Of GPUs that are cut up: the line above their instances."""
    height: int


def units_of(devices: Sequence[DeviceView]) -> list[Unit]:
    """Return the devices in their order, instances of one GPU together."""
    by_parent: dict[str, list[int]] = {}
    for place, device in enumerate(devices):
        by_parent.setdefault(device.parent or device.uuid, []).append(place)
    return [tuple(places) for places in by_parent.values()]


def shape(count: int, width: int, height: int) -> tuple[int, int]:
    """Return (columns, lines a card) that shows `count` cards best in a space.

    All at once before tall, tall (up to 10 lines) before wide, and no half-empty last row; a card
    has at least one line, and then the grid scrolls.
    """
    best, best_score = (1, 1), -1.0
    for columns in range(1, max(1, (width + GAP) // (MIN_WIDTH + GAP)) + 1):
        rows = -(-count // columns)
        lines = height // max(1, rows)
        if columns > 1 and (columns - 1) * rows >= count:
            continue
        card_width = (width + GAP) // columns - GAP
        score = min(lines, 10) * 10 + min(card_width, 90) / 10 - (rows * columns - count)
        if lines >= 1 and score > best_score:
            best, best_score = (columns, min(lines, MAX_LINES)), score
    return best


def arrange(
    devices: Sequence[DeviceView], width: int, height: int, expanded: int | None = None
) -> Layout:
    """Return where everything lies; `expanded` is a device's place in the list."""
    units = units_of(devices)
    own = next((unit for unit in units if expanded in unit), None)
    others = [unit for unit in units if unit is not own]
    top_lines = 0 if own is None else _expanded_lines(devices, own, height, len(others))
    columns, lines = shape(max(1, len(others)), width, max(1, height - top_lines))
    card_width = (width + GAP) // columns - GAP
    cells: dict[int, Region] = {}
    heads: dict[Unit, Region] = {}
    place = units.index(own) // columns * columns if own is not None else None
    y = 0
    for start in range(0, len(others) + 1, columns):
        if own is not None and place is not None and start >= min(place, len(others)):
            _put(own, Region(0, y, width, top_lines), cells, heads, expanded)
            y += top_lines
            place = None
        row = others[start : start + columns]
        if not row:
            break
        tall = max(lines, *(len(unit) + 1 if devices[unit[0]].parent else 1 for unit in row))
        for column, unit in enumerate(row):
            box = Region(column * (card_width + GAP), y, card_width, tall)
            _put(unit, box, cells, heads, None, is_group=devices[unit[0]].parent is not None)
        y += tall
    if place is not None and own is not None:
        _put(own, Region(0, y, width, top_lines), cells, heads, expanded)
        y += top_lines
    return Layout(cells, heads, y)


def _expanded_lines(devices: Sequence[DeviceView], unit: Unit, height: int, others: int) -> int:
    """Return how tall the expanded card is: what it has to say, and a line for each other card."""
    wanted = 14 + max(len(devices[place].processes) for place in unit)
    wanted += len(unit) if len(unit) > 1 else 0
    least = 6 + (len(unit) if devices[unit[0]].parent else 0)
    return max(least, min(wanted, height - min(others, height // 3)))


def _put(
    unit: Unit,
    box: Region,
    cells: dict[int, Region],
    heads: dict[Unit, Region],
    expanded: int | None,
    *,
    is_group: bool = True,
) -> None:
    """Lay a unit into its box: one card, or a head and the instances below it."""
    if len(unit) == 1 and (not is_group or expanded is not None):
        cells[unit[0]] = box
        return
    heads[unit] = Region(box.x, box.y, box.width, 1)
    y, room = box.y + 1, box.height - 1
    tall = 1 if expanded is not None else max(1, room // len(unit))
    for number, place in enumerate(unit):
        lines = tall
        if place == expanded:
            lines = max(1, room - (len(unit) - 1))
        elif expanded is None and number == len(unit) - 1:
            lines = max(1, box.y + box.height - y)
        cells[place] = Region(box.x, y, box.width, lines)
        y += lines


def next_cell(cells: dict[int, Region], current: int, dx: int, dy: int) -> int:
    """Return the card beside the current one in a direction; the current one where there is none."""
    here = cells.get(current)
    if here is None:
        return current
    found = current
    best: tuple[int, int] | None = None
    for place, box in cells.items():
        if dx and not (box.y < here.bottom and here.y < box.bottom):
            continue
        step = (box.x - here.x) * dx if dx else (box.y - here.y) * dy
        aside = abs(box.y - here.y) if dx else abs(box.x - here.x)
        if step > 0 and (best is None or (step, aside) < best):
            found, best = place, (step, aside)
    return found
