"""All keys, made from the binding table, as this person has them."""

from __future__ import annotations

from gpuboard.tui.bindings import HELP, SECTIONS, Key, bindings, key_words, keys_of
from gpuboard.tui.dialogs.base import Line, Page, titled
from gpuboard.tui.dialogs.tour import TourScreen, shapes
from gpuboard.tui.ink import fit
from gpuboard.tui.widgets.painted import Item


class HelpScreen(Page):
    """The help."""

    BINDINGS = bindings(HELP)

    def __init__(self) -> None:
        super().__init__("Keys")

    def lines(self, width: int) -> list[Line]:
        """Return the table, in two columns when there is room."""
        with_ids = width >= 74
        lines: list[Line] = shapes(self.gpuboard.ink.glyphs)
        for section, keys in SECTIONS.items():
            lines += [[], titled(section)]
            lines += [self._line(key, with_ids=with_ids) for key in keys]
        return lines

    def items(self) -> list[Item]:
        """Return the keys below the page."""
        return self.key_items(*HELP)

    def action_tour(self) -> None:
        """Show the tour again."""
        self.dismiss(None)
        self.app.push_screen(TourScreen())

    async def action_settings(self) -> None:
        """Open the settings."""
        self.dismiss(None)
        await self.app.run_action("settings")

    def _line(self, key: Key, *, with_ids: bool) -> Line:
        keys = key_words(
            keys_of(key, self.gpuboard.settings.keys), is_ascii=self.gpuboard.ink.glyphs.is_ascii
        )
        line: Line = [("  " + fit(keys, 16), "key!"), (fit(key.words, 38), "text")]
        if with_ids:
            line.append((key.id, "faint"))
        return line
