"""Bars and histories as text: pure functions from numbers to glyphs."""

from __future__ import annotations

from collections.abc import Sequence

from gpuboard.tui.theme import Glyphs

_LEFT_DOTS = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT_DOTS = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
_ASCII_LEVELS = " .:=#"


def bar(fraction: float | None, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """Return the filled and the empty part of a bar; None fills nothing."""
    share = min(1.0, max(0.0, fraction or 0.0))
    filled = round(share * width)
    if share > 0 and filled == 0:
        filled = 1
    return glyphs.full * filled, glyphs.empty * (width - filled)


def history(samples: Sequence[int | None], width: int, height: int, glyphs: Glyphs) -> list[str]:
    """Return percent samples as `height` lines of braille, top first, the newest at the right.

    Two samples a column and four levels a line; a value above 0 always shows a dot.
    """
    wanted = width * 2
    recent = list(samples[-wanted:]) if wanted else []
    padded = [*(None for _ in range(wanted - len(recent))), *recent]
    steps = 4 * height
    levels = [_level(value, steps) for value in padded]
    lines = []
    for row in range(height - 1, -1, -1):
        floor = row * 4
        cells = [
            _cell(levels[place] - floor, levels[place + 1] - floor, glyphs)
            for place in range(0, wanted, 2)
        ]
        lines.append("".join(cells))
    return lines


def _level(value: int | None, steps: int) -> int:
    if not value or value < 0:
        return 0
    return max(1, min(steps, round(value * steps / 100)))


def _cell(left: int, right: int, glyphs: Glyphs) -> str:
    left, right = min(4, max(0, left)), min(4, max(0, right))
    if glyphs.is_ascii:
        return _ASCII_LEVELS[max(left, right)]
    dots = _LEFT_DOTS[left] | _RIGHT_DOTS[right]
    return chr(0x2800 + dots) if dots else " "
