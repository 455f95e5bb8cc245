"""A list of jobs of which only a window is known: it says which rows are seen, so that they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from textual.events import Resize
from textual.message import Message
from textual.strip import Strip

from gpuboard.model.views.jobs import JobView
from gpuboard.tui.ink import Ink
from gpuboard.tui.queuewindow import QueueWindow
from gpuboard.tui.widgets.rows import RowList

Paint = Callable[[Ink, JobView, int, str], Strip]


class PagedRows(RowList[JobView | None]):
    """Rows over a `QueueWindow`; a row that is not known yet is a faint line."""

    class Scrolled(Message):
        """Other rows are seen."""

    def __init__(self, paint: Paint, *, empty: str = "", id: str | None = None) -> None:
        super().__init__(
            lambda ink, job, width, ground: _paint(paint, ink, job, width, ground),
            lambda job: None if job is None else job.id,
            empty=empty,
            id=id,
        )

    @property
    def seen(self) -> tuple[int, int]:
        """The first row that is seen, and how many."""
        return self.scroll_offset.y, max(1, self.size.height)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Say that other rows are seen."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Scrolled())

    def on_resize(self, event: Resize) -> None:
        """Say that more rows may be seen."""
        super().on_resize(event)
        self.post_message(self.Scrolled())

    def _place_of(self, key: Hashable) -> int:
        if isinstance(self._rows, QueueWindow) and isinstance(key, int):
            place = self._rows.place_of(key)
            return self._cursor if place is None else place
        return self._cursor


def _paint(paint: Paint, ink: Ink, job: JobView | None, width: int, ground: str) -> Strip:
    if job is None:
        return ink.line([("  " + "." * 3, "faint")], width, ground)
    return paint(ink, job, width, ground)
