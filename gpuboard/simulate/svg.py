"""A drawing as SVG text: the few shapes that plots need, numbers kept short, text kept harmless.

Written here rather than taken from a plotting library: three kinds of charts need lines, bars and
text, a library would bring a hundred megabytes to a box that runs a daemon, and a picture that is
a function of its input can be held by a test. Units are px; y grows downwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from gpuboard.model.text import plain

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
INK = "#222222"
FAINT = "#d9d9d9"


class Drawing:
    """A picture that is drawn from back to front; `text()` is the file."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._width, self._height = width, height
        self._parts = [f"<title>{escape(plain(title))}</title>"]

    def rect(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """Fill a rectangle."""
        self._parts.append(
            f'<rect x="{_px(x)}" y="{_px(y)}" width="{_px(width)}" height="{_px(height)}"'
            f" fill={quoteattr(fill)}/>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str = INK) -> None:
        """Draw a thin line."""
        self._parts.append(
            f'<line x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}"'
            f" stroke={quoteattr(color)}/>"
        )

    def curve(
        self, points: Iterable[tuple[float, float]], color: str, *, width: float = 2, dash: str = ""
    ) -> None:
        """Draw a line through points."""
        path = " ".join(f"{_px(x)},{_px(y)}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke={quoteattr(color)}'
            f' stroke-width="{_px(width)}"{dashes}/>'
        )

    def area(self, points: Iterable[tuple[float, float]], fill: str) -> None:
        """Fill a polygon."""
        path = " ".join(f"{_px(x)},{_px(y)}" for x, y in points)
        self._parts.append(f'<polygon points="{path}" fill={quoteattr(fill)}/>')

    def label(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 12,
        anchor: str = "start",
        bold: bool = False,
        turned: bool = False,
    ) -> None:
        """Write words with their baseline at y; `anchor`: start, middle or end; `turned`: upwards."""
        weight = ' font-weight="bold"' if bold else ""
        turn = f' transform="rotate(-90 {_px(x)} {_px(y)})"' if turned else ""
        self._parts.append(
            f'<text x="{_px(x)}" y="{_px(y)}" font-size="{_px(size)}" text-anchor="{anchor}"'
            f"{weight}{turn}>{escape(plain(words))}</text>"
        )

    def text(self) -> str:
        """Return the SVG file."""
        size = f'width="{_px(self._width)}" height="{_px(self._height)}"'
        box = f'viewBox="0 0 {_px(self._width)} {_px(self._height)}"'
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img"'
            f' font-family="{FONT}" fill="{INK}" shape-rendering="crispEdges"'
            ' text-rendering="geometricPrecision">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


def _px(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
