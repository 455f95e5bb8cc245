"""What all widgets drawn with `Ink` share, and the one-line bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.events import Click
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from gpuboard.tui.ink import Ink, Part, changed_part, width_of

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp
    from gpuboard.tui.paint import Canvas


def ink_of(widget: Widget) -> Ink:
    """Return the ink of the app that a widget lives in."""
    return cast("GpuboardApp", widget.app).ink


def canvas_of(widget: Widget) -> Canvas:
    """Return the canvas of the app that a widget lives in."""
    return cast("GpuboardApp", widget.app).canvas


class Painted(Widget):
    """A widget whose lines are drawn as `render_line` gives them: no style of textual's has a say.

    Of what was drawn nothing is kept, so that a canvas may draw over it.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines of a part of the widget."""
        lines = [self.render_line(y) for y in crop.line_range]
        if crop.column_span != (0, self.size.width):
            lines = [line.crop_extend(crop.x, crop.right, None) for line in lines]
        for one in self.get_line_filters():
            lines = [line.apply_filter(one, self.background_colors[1]) for line in lines]
        return lines


class Bar(Painted):
    """One line with something at its left and something at its right; redrawn only when it changed."""

    DEFAULT_CSS = "Bar { height: 1; width: 1fr; }"

    def __init__(
        self,
        left: list[Part] | None = None,
        right: list[Part] | None = None,
        *,
        ground: str = "base",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._left = left or []
        self._right = right or []
        self._ground = ground
        self._drawn: tuple[Ink, int, Strip] | None = None
        """The line as it was last drawn, with what ink and how wide."""

    def show(self, left: list[Part], right: list[Part] | None = None) -> None:
        """Show other parts; only the columns that came out different are drawn."""
        if left == self._left and (right or []) == self._right:
            return
        before = self.render_line(0) if self.is_mounted and self.size.width else None
        self._left, self._right, self._drawn = left, right or [], None
        if before is None:
            self.refresh()
            return
        changed = changed_part(before, self.render_line(0))
        if changed is not None:
            canvas_of(self).draw(self, [(changed[0], 0, changed[1])])

    @property
    def text(self) -> str:
        """What the bar says, without style."""
        return "".join(text for text, _ in [*self._left, *self._right])

    def render_line(self, y: int) -> Strip:
        """Return the line."""
        ink, width = ink_of(self), self.size.width
        if y:
            return ink.line([], width, self._ground)
        if self._drawn is None or self._drawn[:2] != (ink, width):
            line = ink.spread(self._left, self._right, width, self._ground)
            self._drawn = (ink, width, line)
        return self._drawn[2]


class Block(Painted):
    """Some lines below each other, at least `least` high; redrawn only when they changed."""

    DEFAULT_CSS = "Block { height: 2; width: 1fr; }"

    def __init__(self, *, least: int = 2, ground: str = "base", id: str | None = None) -> None:
        super().__init__(id=id)
        self._least = least
        self._ground = ground
        self._lines: list[list[Part]] = []

    def show_lines(self, lines: list[list[Part]]) -> None:
        """Show other lines."""
        if lines != self._lines:
            self._lines = lines
            self.styles.height = max(self._least, len(lines))
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        parts = self._lines[y] if y < len(self._lines) else []
        return ink_of(self).line(parts, self.size.width, self._ground)


Item = tuple[list[Part], str]
"""Parts and the action that a click on them runs (`app.tab('queue')`)."""


def enter_item(words: str) -> Item:
    """Return what enter does in a list; a click there is a click on its row."""
    return [(" enter", "key!"), (f" {words} ", "text")], "screen.choose"


class ActionBar(Bar):
    """A bar whose items can be clicked: the tabs and the key bar."""

    def __init__(self, *, ground: str = "bar", id: str | None = None) -> None:
        super().__init__(ground=ground, id=id)
        self._targets: list[tuple[int, int, str]] = []

    def show_items(self, items: list[Item], right: list[Part] | None = None) -> None:
        """Show items side by side."""
        place, targets, parts = 0, [], list[Part]()
        for item, action in items:
            width = sum(width_of(text) for text, _ in item)
            targets.append((place, place + width, action))
            parts += item
            place += width
        self._targets = targets
        self.show(parts, right)

    async def on_click(self, event: Click) -> None:
        """Run the action of the item under the mouse."""
        for start, end, action in self._targets:
            if start <= event.x < end:
                await self.app.run_action(action, default_namespace=self.parent or self.app)
                return
