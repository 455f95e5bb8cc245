"""Bars and histories as text: pure functions from numbers to glyphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from gpuboard.tui.theme import Glyphs

A_COLUMN = 2
"""Samples in a column of a history."""
_LEFT_DOTS = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT_DOTS = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
_ASCII_LEVELS = (0, *b".:=#")


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
    wanted = width * A_COLUMN
    recent = samples[-wanted:] if wanted else ()
    table = _levels(4 * height)
    levels = [0] * (wanted - len(recent))
    levels += [table[min(value, 100)] if value and value > 0 else 0 for value in recent]
    lefts, rights = levels[::2], levels[1::2]
    cells = _ascii_cells(height) if glyphs.is_ascii else _braille_cells(height)
    return [
        "".join([row[left][right] for left, right in zip(lefts, rights, strict=True)])
        for row in cells
    ]


@lru_cache(maxsize=16)
def _levels(steps: int) -> tuple[int, ...]:
    """Return how many dots each percent stands on."""
    return tuple(max(1, round(percent * steps / 100)) for percent in range(101))


@lru_cache(maxsize=16)
def _braille_cells(height: int) -> list[list[list[str]]]:
    """Return the glyph by line (top first), left level and right level."""
    return _cells(height, lambda left, right: _LEFT_DOTS[left] | _RIGHT_DOTS[right], 0x2800)


@lru_cache(maxsize=16)
def _ascii_cells(height: int) -> list[list[list[str]]]:
    return _cells(height, lambda left, right: _ASCII_LEVELS[max(left, right)], 0)


def _cells(height: int, dots: Callable[[int, int], int], base: int) -> list[list[list[str]]]:
    levels = range(4 * height + 1)

    def glyph(left: int, right: int, floor: int) -> str:
        found = dots(min(4, max(0, left - floor)), min(4, max(0, right - floor)))
        return chr(base + found) if found else " "

    return [
        [[glyph(left, right, 4 * row) for right in levels] for left in levels]
        for row in range(height - 1, -1, -1)
    ]
