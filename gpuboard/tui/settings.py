"""What a person set for the app: theme, refresh, symbols, columns and keys, in `$XDG_CONFIG_HOME/gpuboard/app.toml`.

    theme = "light"            # dark, light, contrast
    refresh = 2                # seconds between two looks at the board
    ascii = true               # symbols of ASCII only
    tour = false               # the tour was seen, or skipped
    [columns]
    queue = ["job", "name", "start"]    # queue, jobs, people: in this order
    [keys]
    "app.new" = "a"            # ids as the help shows them

The app writes the file too (its settings dialog) and leaves a person's comments where they are. A
fault in the file is told in the app and never keeps it from starting.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpuboard.errors import HostError
from gpuboard.tui.bindings import known_ids
from gpuboard.tui.columns import TABLES, usual

THEME_NAMES = {
    "dark": "gpuboard-dark",
    "light": "gpuboard-light",
    "contrast": "gpuboard-contrast",
}
REFRESHES_S = (1, 2, 5, 10)
"""The choices of the settings dialog; the file may have any number of them up to 60."""
KNOWN = ("theme", "refresh", "ascii", "tour", "columns", "keys")


@dataclass(frozen=True)
class Settings:
    """One person's choices."""

    theme_name: str = THEME_NAMES["dark"]
    refresh_s: float = 1.0
    """Seconds between two looks at the board, 1 to 60."""
    is_ascii: bool = False
    """Whether only symbols of ASCII are drawn, whatever the terminal can show."""
    wants_tour: bool = False
    """Whether the tour is still to be shown: where a person has no file yet, it is."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Table to the names of its columns, in order; of a table that is not in it the usual ones."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Binding id to textual's key names, comma-separated."""
    faults: tuple[str, ...] = ()
    """What of the file was not understood, in words."""

    def columns_of(self, table: str) -> tuple[str, ...]:
        """Return the columns of a table that the person wants to see."""
        return self.columns.get(table) or usual(table)


def settings_path() -> Path:
    """Return where the file is looked for."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "gpuboard" / "app.toml"


def load_settings(path: Path | None = None) -> Settings:
    """Read the file; where there is none, the defaults."""
    path = path or settings_path()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(wants_tour=True)
    except (OSError, ValueError) as error:
        return Settings(faults=(f"{path} cannot be read: {error}",))
    faults = [f"{path}: unknown setting '{name}'" for name in content if name not in KNOWN]
    theme = content.get("theme", "dark")
    if theme not in THEME_NAMES:
        faults.append(f"{path}: theme '{theme}' is none of {', '.join(THEME_NAMES)}")
        theme = "dark"
    refresh = content.get("refresh", 1)
    if isinstance(refresh, bool) or not isinstance(refresh, (int, float)) or not 1 <= refresh <= 60:
        faults.append(f"{path}: refresh '{refresh}' is no number of seconds from 1 to 60")
        refresh = 1
    faults += [
        f"{path}: {name} '{content[name]}' is neither true nor false"
        for name in ("ascii", "tour")
        if not isinstance(content.get(name, False), bool)
    ]
    return Settings(
        theme_name=THEME_NAMES[theme],
        refresh_s=float(refresh),
        is_ascii=content.get("ascii") is True,
        wants_tour=content.get("tour", True) is True,
        columns=_columns(content.get("columns", {}), path, faults),
        keys=_keys(content.get("keys", {}), path, faults),
        faults=tuple(faults),
    )


def _columns(given: object, path: Path, faults: list[str]) -> dict[str, tuple[str, ...]]:
    columns = {}
    for table, names in given.items() if isinstance(given, dict) else ():
        known = TABLES.get(table)
        if known is None or not isinstance(names, list):
            faults.append(f"{path}: columns '{table}' is none of {', '.join(TABLES)}, with a list")
            continue
        unknown = [str(name) for name in names if name not in known]
        if unknown:
            choices = ", ".join(known)
            faults.append(f"{path}: {table} has no column '{unknown[0]}'; there are {choices}")
        columns[table] = tuple(dict.fromkeys(name for name in names if name in known))
    return columns


def _keys(given: object, path: Path, faults: list[str]) -> dict[str, str]:
    keys = {}
    known = known_ids()
    for name, value in given.items() if isinstance(given, dict) else ():
        if name not in known or not isinstance(value, str):
            faults.append(f"{path}: there is no key '{name}'")
        else:
            keys[name] = value
    return keys


def save_settings(changes: Mapping[str, object], path: Path | None = None) -> None:
    """Write settings by their names in the file (`keys` as a whole) and leave all the rest as it is.

    Raises HostError where the file cannot be read, understood or written; it is then as it was.
    """
    import tomlkit  # keeps comments and order, which the standard library cannot
    from tomlkit.exceptions import TOMLKitError

    path = path or settings_path()
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document: Any = tomlkit.parse(text)
        for name, value in changes.items():
            document[name] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(tomlkit.dumps(document), encoding="utf-8")
        fresh.replace(path)
    except (OSError, ValueError, TOMLKitError) as error:
        raise HostError(
            f"{path} cannot be written: {error}",
            hint="the setting holds until the app ends; mend the file to keep it",
        ) from error
