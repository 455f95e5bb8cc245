"""Colours and glyphs: the only place that names a colour or a symbol of the app.

Every state has a word and a shape of its own, so that colour is never the only sign; the ASCII
glyphs serve terminals without UTF-8 (`--ascii`, `GPUBOARD_ASCII=1`, or a locale that is not UTF-8).
Where there are few colours or none, the cursor is told by reverse and bold, and rows get a mark.
"""

from __future__ import annotations

import locale
import os
from dataclasses import dataclass
from typing import Literal

from rich.style import Style
from textual.theme import Theme

from gpuboard.tui.terminals import Depth

Role = Literal[
    "text", "dim", "faint", "strong", "accent", "free", "mine", "used", "idle", "booked",
    "drained", "faulty", "foreign", "ok", "warn", "bad", "track", "key",
]  # fmt: skip
Ground = Literal["base", "panel", "bar", "selected", "selected-far"]


@dataclass(frozen=True)
class Colours:
    """One theme: a foreground for each role, a background for each ground."""

    name: str
    dark: bool
    roles: dict[str, str]
    grounds: dict[str, str]
    people: tuple[str, ...]
    """Backgrounds of other people's bars on the timeline."""
    on_people: str
    on_accent: str

    def textual(self) -> Theme:
        """Return the theme for textual's own widgets."""
        return Theme(
            name=self.name,
            primary=self.roles["accent"],
            accent=self.roles["accent"],
            warning=self.roles["warn"],
            error=self.roles["bad"],
            success=self.roles["ok"],
            foreground=self.roles["text"],
            background=self.grounds["base"],
            surface=self.grounds["panel"],
            panel=self.grounds["bar"],
            dark=self.dark,
            variables={
                "scrollbar": self.roles["track"],
                "scrollbar-hover": self.roles["faint"],
                "scrollbar-active": self.roles["accent"],
                "scrollbar-background": self.grounds["base"],
                "scrollbar-background-hover": self.grounds["base"],
                "scrollbar-background-active": self.grounds["base"],
                "scrollbar-corner-color": self.grounds["base"],
                "input-selection-background": f"{self.roles['accent']} 40%",
            },
        )


DARK = Colours(
    name="gpuboard-dark",
    dark=True,
    roles={
        "text": "#d5dae3", "dim": "#8b94a6", "faint": "#5a6375", "strong": "#ffffff",
        "accent": "#7cb7ff", "free": "#7ee0a1", "mine": "#6fd6e8", "used": "#a9bddd",
        "idle": "#f0cf73", "booked": "#c9a5f7", "drained": "#8b94a6", "faulty": "#ff7b85",
        "foreign": "#ffa86b", "ok": "#7ee0a1", "warn": "#f0cf73", "bad": "#ff7b85",
        "track": "#343c4c", "key": "#7cb7ff",
    },
    grounds={
        "base": "#12151c", "panel": "#1b202b", "bar": "#222937", "selected": "#2d4366",
        "selected-far": "#252e3f",
    },
    people=("#44587c", "#6a4f77", "#3f6b62", "#75603a", "#74474f", "#4d6a3c", "#3c6680", "#665a8a"),
    on_people="#f2f5fa",
    on_accent="#08202a",
)  # fmt: skip

LIGHT = Colours(
    name="gpuboard-light",
    dark=False,
    roles={
        "text": "#262c36", "dim": "#5d6675", "faint": "#949caa", "strong": "#000000",
        "accent": "#1559b8", "free": "#15763c", "mine": "#00697f", "used": "#41587e",
        "idle": "#8a5a00", "booked": "#6f36b5", "drained": "#5d6675", "faulty": "#bb1f30",
        "foreign": "#a8480b", "ok": "#15763c", "warn": "#8a5a00", "bad": "#bb1f30",
        "track": "#c8ced8", "key": "#1559b8",
    },
    grounds={
        "base": "#fbfbfd", "panel": "#eef0f4", "bar": "#e3e7ed", "selected": "#afd2fc",
        "selected-far": "#e2e9f3",
    },
    people=("#b9c8e6", "#dcc4e6", "#b8dcd3", "#e8d7ae", "#ebc3c8", "#cbdfb9", "#b6d6e8", "#cfc6ec"),
    on_people="#1c222b",
    on_accent="#ffffff",
)  # fmt: skip

CONTRAST = Colours(
    name="gpuboard-contrast",
    dark=True,
    roles={
        "text": "#ffffff", "dim": "#dddddd", "faint": "#b0b0b0", "strong": "#ffffff",
        "accent": "#66ccff", "free": "#66ff88", "mine": "#33ffff", "used": "#ffffff",
        "idle": "#ffee33", "booked": "#ff99ff", "drained": "#cccccc", "faulty": "#ff6666",
        "foreign": "#ffbb44", "ok": "#66ff88", "warn": "#ffee33", "bad": "#ff6666",
        "track": "#666666", "key": "#66ccff",
    },
    grounds={
        "base": "#000000", "panel": "#000000", "bar": "#222222", "selected": "#004488",
        "selected-far": "#333333",
    },
    people=("#0044aa", "#770077", "#006655", "#664400", "#880022", "#225500", "#005577", "#443399"),
    on_people="#ffffff",
    on_accent="#000000",
)  # fmt: skip

THEMES = (DARK, LIGHT, CONTRAST)


class Palette:
    """Ready-made rich styles of one theme, for a terminal of some depth of colour."""

    def __init__(self, colours: Colours, depth: Depth = "many") -> None:
        self.colours = colours
        self.depth = depth
        self._styles: dict[tuple[str, str, bool], Style] = {}
        self._others = 0
        """How many people have a shade so far: the next one's is the next."""

    def style(self, role: str, ground: str = "base", *, bold: bool = False) -> Style:
        """Return the style of a role on a ground."""
        key = (role, ground, bold)
        found = self._styles.get(key)
        if found is None:
            found = self._styles[key] = self._new(role, ground, bold=bold)
        return found

    def cursor(self) -> Style:
        """Return the style of the timeline's cursor."""
        base = self.colours.grounds["base"]
        if self.depth == "none":
            return Style(reverse=True, bold=True, underline=True)
        return Style(bgcolor=self.colours.roles["accent"], color=base, bold=True)

    def _new(self, role: str, ground: str, *, bold: bool) -> Style:
        if self.depth != "many" and ground == "selected":
            if self.depth == "none":
                return Style(reverse=True, bold=True)
            text, base = self.colours.roles["text"], self.colours.grounds["base"]
            return Style(color=base, bgcolor=text, bold=True)
        is_bold = bold or (self.depth != "many" and ground == "selected-far")
        return Style(
            color=self.colours.roles[role], bgcolor=self.colours.grounds[ground], bold=is_bold
        )

    def person(self, uid_or_name: int | str, *, mine: bool) -> Style:
        """Return the style of a person's bar on the timeline; one's own is the brightest."""
        key = ("person", str(uid_or_name), mine)
        found = self._styles.get(key)
        if found is None:
            if self.depth == "none":
                found = Style(reverse=True, bold=mine)
            elif mine:
                found = Style(color=self.colours.on_accent, bgcolor=self.colours.roles["mine"])
            else:
                shade = self.colours.people[self._others % len(self.colours.people)]
                self._others += 1
                found = Style(color=self.colours.on_people, bgcolor=shade)
            self._styles[key] = found
        return found


@dataclass(frozen=True)
class Glyphs:
    """The symbols of the app."""

    free: str = "○"
    leased: str = "●"
    idle: str = "◐"
    booked: str = "◆"
    drained: str = "⊘"
    faulty: str = "✖"
    foreign: str = "▲"
    mine: str = "★"
    edge: str = "▌"
    full: str = "━"
    empty: str = "─"
    now: str = "│"
    line: str = "─"
    degree: str = "°"
    dot: str = "·"
    down: str = "▾"
    again: str = "↻"
    arrow: str = "→"
    tag: str = "✓"
    soon: str = "◇"
    shared: str = "◑"
    is_ascii: bool = False


ASCII = Glyphs(
    free="o", leased="*", idle="~", booked="+", drained="-", faulty="X", foreign="!", mine="@",
    edge="|", full="#", empty=".", now="|", line="-", degree="", dot="|", down="v", arrow=">",
    tag="x", soon="%", shared="=",
    again="&",
    is_ascii=True,
)  # fmt: skip


def glyphs_for(environment: dict[str, str] | None = None) -> Glyphs:
    """Return the glyphs that this terminal can show."""
    values = os.environ if environment is None else environment
    if values.get("GPUBOARD_ASCII"):
        return ASCII
    if any("UTF" in values.get(name, "").upper() for name in ("LC_ALL", "LC_CTYPE", "LANG")):
        return Glyphs()
    return Glyphs() if "UTF" in locale.getencoding().upper() else ASCII
