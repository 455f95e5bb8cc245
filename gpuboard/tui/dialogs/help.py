"""All keys, made from the binding table, as this person has them."""

from __future__ import annotations

from gpuboard.tui.bindings import SECTIONS, Key, key_words, keys_of
from gpuboard.tui.dialogs.base import Line, Page, titled
from gpuboard.tui.ink import fit
from gpuboard.tui.theme import Glyphs


class HelpScreen(Page):
    """The help."""

    def __init__(self) -> None:
        super().__init__("Keys")

    def lines(self, width: int) -> list[Line]:
        """Return the table, in two columns when there is room."""
        with_ids = width >= 74
        lines: list[Line] = _shapes(self.gpuboard.ink.glyphs)
        for section, keys in SECTIONS.items():
            lines += [[], titled(section)]
            lines += [self._line(key, with_ids=with_ids) for key in keys]
        lines += [
            [],
            [("Give an action another key in ~/.config/gpuboard/app.toml:", "dim")],
            [('  [keys]   "app.new" = "a"', "dim")],
        ]
        return lines

    def _line(self, key: Key, *, with_ids: bool) -> Line:
        keys = key_words(
            keys_of(key, self.gpuboard.settings.keys), is_ascii=self.gpuboard.ink.glyphs.is_ascii
        )
        line: Line = [("  " + fit(keys, 16), "key!"), (fit(key.words, 38), "text")]
        if with_ids:
            line.append((key.id, "faint"))
        return line


def _shapes(glyphs: Glyphs) -> list[Line]:
    shapes = (
        (glyphs.free, "free", "free"),
        (glyphs.mine, "yours", "mine"),
        (glyphs.leased, "in use", "used"),
        (glyphs.idle, "held, idle", "idle"),
        (glyphs.booked, "booked", "booked"),
        (glyphs.drained, "drained", "drained"),
        (glyphs.faulty, "faulty", "faulty"),
        (glyphs.foreign, "foreign, rogue", "foreign"),
    )
    line: Line = []
    for glyph, words, role in shapes:
        line += [(f"{glyph} ", role), (f"{words}  ", "dim")]
    return [line[:10], line[10:]]
