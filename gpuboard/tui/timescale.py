"""Time as columns: which instant a cell of the timeline is, and where the ticks go. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from gpuboard.tui.instants import DAY_S

CELLS_S = (20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200)
"""Seconds a cell, by zoom: from an hour to a month on a wide screen."""
_TICKS_S = (300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, DAY_S, 2 * DAY_S, 7 * DAY_S)
_TICK_CELLS = 8
"""Columns that a tick with its label needs at least."""


@dataclass(frozen=True)
class Scale:
    """Where time begins, and how much of it a cell is."""

    start_s: int
    cell_s: int
    cells: int

    @property
    def end_s(self) -> int:
        """The instant after the last cell."""
        return self.start_s + self.cells * self.cell_s

    def cell_of(self, at_s: int) -> int:
        """Return the cell in which an instant is; it may lie outside."""
        return (at_s - self.start_s) // self.cell_s

    def instant_of(self, cell: int) -> int:
        """Return the instant at which a cell begins."""
        return self.start_s + cell * self.cell_s

    def moved(self, cells: int) -> Scale:
        """Return the scale so many cells later."""
        return replace(self, start_s=self.start_s + cells * self.cell_s)

    def ticks(self) -> list[tuple[int, str]]:
        """Return (cell, label) of the ticks: local times; at midnight the day."""
        step = next((tick for tick in _TICKS_S if tick >= _TICK_CELLS * self.cell_s), _TICKS_S[-1])
        zone = time.localtime(self.start_s).tm_gmtoff
        first = -(-(self.start_s + zone) // step) * step - zone
        return [
            (self.cell_of(at_s), _tick_words(at_s, step)) for at_s in range(first, self.end_s, step)
        ]


def scale_at(now_s: int, cell_s: int, cells: int) -> Scale:
    """Return the scale on which now is at a sixth of the width, on whole cells."""
    start = now_s - cells // 6 * cell_s
    return Scale(start // cell_s * cell_s, cell_s, cells)


def _tick_words(at_s: int, step_s: int) -> str:
    local = time.localtime(at_s)
    if step_s >= DAY_S:
        return time.strftime("%a %d", local)
    return (
        time.strftime("%a", local)
        if local.tm_hour == local.tm_min == 0
        else time.strftime("%H:%M", local)
    )
