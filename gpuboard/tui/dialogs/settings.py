"""A person's settings: theme, refresh, symbols, and every key; kept in their file at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from textual import events
from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.errors import HostError
from gpuboard.tui.bindings import (
    PAGE,
    SECTIONS,
    SETTING,
    Key,
    bindings,
    key_words,
    keys_of,
    rival_of,
)
from gpuboard.tui.columns import TABLES
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.ink import Ink, Part, fit
from gpuboard.tui.settings import REFRESHES_S, THEME_NAMES, Settings, save_settings, settings_path
from gpuboard.tui.widgets.painted import ActionBar, Bar
from gpuboard.tui.widgets.rows import RowList

Value = TypeVar("Value")
COLUMNS = "columns."
"""Rows whose names begin so are about a table's columns."""


@dataclass(frozen=True)
class Row:
    """One line: a setting with its value, or a section's head (without a name)."""

    name: str
    words: str
    value: str
    is_changed: bool = False


class SettingsScreen(Dialog[None]):
    """The settings."""

    DEFAULT_CSS = """
    SettingsScreen > .box { width: 76; height: 100%; max-height: 30; }
    """
    BINDINGS = bindings(PAGE, SETTING)

    def __init__(self) -> None:
        super().__init__("Settings")

    def content(self) -> ComposeResult:
        """Return the list and the keys."""
        yield RowList[Row](_paint, lambda row: row.name or row.words)
        yield Bar(id="settings-file")
        yield ActionBar(ground="base", id="settings-keys")

    def on_mount(self) -> None:
        """Show the settings as they are."""
        super().on_mount()
        self.query_one("#settings-file", Bar).show([(f" kept in {settings_path()}", "faint")])
        self.query_one("#settings-keys", ActionBar).show_items(
            [
                ([(" enter", "key!"), (" change ", "text")], "screen.change"),
                *self.key_items(*SETTING),
            ]
        )
        self.show_rows()
        self.query_one(RowList).focus()

    def show_rows(self) -> None:
        """Show every setting with its value."""
        settings, ink = self.gpuboard.settings, self.gpuboard.ink
        self.query_one(RowList).set_rows(_rows(settings, is_ascii=ink.glyphs.is_ascii))

    async def on_row_list_chosen(self, message: RowList.Chosen[Row]) -> None:
        """Change what was chosen."""
        self.change(message.row)

    def action_change(self) -> None:
        """Change the setting under the cursor."""
        row: Row | None = self.query_one(RowList).current
        if row is not None:
            self.change(row)

    def action_reset(self) -> None:
        """Give the setting under the cursor the value it was made with."""
        row: Row | None = self.query_one(RowList).current
        if row is None or not row.name:
            return
        plain = Settings()
        settings = self.gpuboard.settings
        match row.name:
            case "theme":
                self.keep(replace(settings, theme_name=plain.theme_name))
            case "refresh":
                self.keep(replace(settings, refresh_s=plain.refresh_s))
            case "ascii":
                self.keep(replace(settings, is_ascii=plain.is_ascii))
            case name if name.startswith(COLUMNS):
                table = name.removeprefix(COLUMNS)
                rest = {key: chosen for key, chosen in settings.columns.items() if key != table}
                self.keep(replace(settings, columns=rest))
            case name:
                keys = {key: value for key, value in settings.keys.items() if key != name}
                self.keep(replace(settings, keys=keys))

    def change(self, row: Row) -> None:
        """Take a setting's next value, or ask for a key."""
        settings = self.gpuboard.settings
        match row.name:
            case "":
                return
            case "theme":
                self.keep(
                    replace(
                        settings,
                        theme_name=_next(settings.theme_name, list(THEME_NAMES.values())),
                    )
                )
            case "refresh":
                self.keep(replace(settings, refresh_s=_next(settings.refresh_s, REFRESHES_S)))
            case "ascii":
                self.keep(replace(settings, is_ascii=not settings.is_ascii))
            case name if name.startswith(COLUMNS):
                self._choose_columns(name.removeprefix(COLUMNS))
            case name:
                key = next(key for keys in SECTIONS.values() for key in keys if key.id == name)
                self.app.push_screen(PressScreen(key), lambda pressed: self._bind(key, pressed))

    def keep(self, settings: Settings) -> None:
        """Use other settings, and write them."""
        app = self.gpuboard
        app.use(settings)
        theme = next(name for name, full in THEME_NAMES.items() if full == settings.theme_name)
        try:
            save_settings(
                {
                    "theme": theme,
                    "refresh": settings.refresh_s,
                    "ascii": settings.is_ascii,
                    "columns": {table: list(names) for table, names in settings.columns.items()},
                    "keys": dict(settings.keys),
                }
            )
        except HostError as error:
            app.say_error(error)
        self.show_rows()

    def _choose_columns(self, table: str) -> None:
        from gpuboard.tui.dialogs.columns import ColumnsScreen

        def take(names: tuple[str, ...] | None) -> None:
            if names:
                settings = self.gpuboard.settings
                self.keep(replace(settings, columns={**settings.columns, table: names}))

        self.app.push_screen(ColumnsScreen(table, self.gpuboard.settings.columns_of(table)), take)

    def _bind(self, key: Key, pressed: str | None) -> None:
        if not pressed:
            return
        settings = self.gpuboard.settings
        rival = rival_of(key, pressed, settings.keys)
        if rival is not None:
            self.gpuboard.say(
                f"{key_words(pressed)} is taken: it is for '{rival.words}'", "warning"
            )
            return
        self.keep(replace(settings, keys={**settings.keys, key.id: pressed}))


class PressScreen(Dialog[str]):
    """Waits for the one key that an action shall have."""

    DEFAULT_CSS = "PressScreen > .box { width: 60; }"

    def __init__(self, key: Key) -> None:
        super().__init__("Another key")
        self._key = key

    def content(self) -> ComposeResult:
        """Return the question."""
        yield Bar()
        yield Bar([(f" Press the key for: {self._key.words}", "text")])
        yield Bar()
        yield Bar([(" esc", "key!"), (" leaves it as it is", "dim")])

    def on_key(self, event: events.Key) -> None:
        """Take the key, whatever it is."""
        event.stop()
        event.prevent_default()
        self.dismiss("" if event.key == "escape" else event.key)


def _rows(settings: Settings, *, is_ascii: bool) -> list[Row]:
    theme = next(name for name, full in THEME_NAMES.items() if full == settings.theme_name)
    plain = Settings()
    symbols = "ASCII only" if settings.is_ascii else "what the terminal can show"
    rows = [
        Row("theme", "theme", theme, settings.theme_name != plain.theme_name),
        Row("refresh", "look at the board every", f"{settings.refresh_s:g} s", settings.refresh_s != 1),
        Row("ascii", "symbols", symbols, settings.is_ascii),
        *(_columns_row(settings, table) for table in TABLES),
    ]  # fmt: skip
    for section, keys in SECTIONS.items():
        rows.append(Row("", section, ""))
        rows += [
            Row(
                key.id, key.words,
                key_words(keys_of(key, settings.keys), is_ascii=is_ascii), key.id in settings.keys,
            )
            for key in keys
        ]  # fmt: skip
    return rows


def _columns_row(settings: Settings, table: str) -> Row:
    count = f"{len(settings.columns_of(table))} of {len(TABLES[table])}"
    return Row(COLUMNS + table, f"columns of {table}", count, table in settings.columns)


def _next(value: Value, choices: Sequence[Value]) -> Value:
    place = choices.index(value) if value in choices else -1
    return choices[(place + 1) % len(choices)]


def _paint(ink: Ink, row: Row, width: int, ground: str) -> Strip:
    if not row.name:
        return ink.line([(f" {row.words}", "accent!")], width, ground)
    value = f"{row.value} "
    mark: Part = (" changed ", "warn") if row.is_changed else ("", "dim")
    return ink.spread(
        [("   " + fit(row.words, width - 32), "text"), mark], [(value, "key!")], width, ground
    )
