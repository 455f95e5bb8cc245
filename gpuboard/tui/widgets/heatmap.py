"""The week by hours: how much of the devices was used on each weekday at each hour."""

from __future__ import annotations

from collections.abc import Mapping

from textual.strip import Strip
from textual.widget import Widget

from gpuboard.tui.ink import Ink, Part
from gpuboard.tui.widgets.painted import ink_of

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHADES = ("·", "░", "▒", "▓", "█")
_SHADES_ASCII = (".", "-", "=", "*", "#")
_BOUNDS = (0.05, 0.25, 0.5, 0.75)
_LABEL = 6


class HeatMap(Widget):
    """Seven rows of 24 hours; shade and brightness both say how much."""

    DEFAULT_CSS = "HeatMap { height: 9; width: 1fr; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shares: Mapping[tuple[int, int], float] = {}
        self._lines: dict[int, Strip] = {}

    def show(self, shares: Mapping[tuple[int, int], float]) -> None:
        """Show shares (0..1) by weekday and hour."""
        if shares != self._shares:
            self._shares = shares
            self.repaint()

    def repaint(self) -> None:
        """Draw again."""
        self._lines.clear()
        self.refresh()

    def on_resize(self) -> None:
        """Paint for the new width."""
        self._lines.clear()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        found = self._lines.get(y)
        if found is None:
            found = self._lines[y] = self._paint(ink_of(self), y)
        return found

    @property
    def cell_width(self) -> int:
        """Columns an hour."""
        return max(1, min(4, (self.size.width - _LABEL) // 24))

    def _paint(self, ink: Ink, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return ink.line(self._legend(ink), width, "panel")
        if y == 1:
            step = 24 if self.cell_width < 2 else 3
            hours = "".join(
                f"{hour:<{step * self.cell_width}}"[: step * self.cell_width]
                for hour in range(0, 24, step)
            )
            return ink.line([(" " * _LABEL + hours, "dim")], width)
        day = y - 2
        if day >= len(DAYS):
            return ink.line([], width)
        parts: list[Part] = [(f"  {DAYS[day]} ", "dim")]
        parts += [self._cell(ink, self._shares.get((day, hour))) for hour in range(24)]
        return ink.line(parts, width)

    def _legend(self, ink: Ink) -> list[Part]:
        shades = _SHADES_ASCII if ink.glyphs.is_ascii else _SHADES
        parts: list[Part] = [("  USED BY THE HOUR", "dim")]
        for shade, words in zip(shades, ("0", "5", "25", "50", "75%"), strict=True):
            parts.append((f"  {shade}{shade}", "accent"))
            parts.append((f" {words}", "dim"))
        return parts

    def _cell(self, ink: Ink, share: float | None) -> Part:
        width = self.cell_width
        if share is None:
            return " " * width, "faint"
        level = sum(share >= bound for bound in _BOUNDS)
        shades = _SHADES_ASCII if ink.glyphs.is_ascii else _SHADES
        return shades[level] * width, "faint" if level == 0 else "accent"
