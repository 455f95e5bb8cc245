"""What a person set for the app: theme and keys, from `$XDG_CONFIG_HOME/gpuboard/app.toml`.

    theme = "light"            # dark, light, contrast
    [keys]
    "app.new" = "a"            # ids as the help shows them

A fault in the file is told in the app and never keeps it from starting.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpuboard.tui.bindings import known_ids

THEME_NAMES = {
    "dark": "gpuboard-dark",
    "light": "gpuboard-light",
    "contrast": "gpuboard-contrast",
}


@dataclass(frozen=True)
class Settings:
    """One person's choices."""

    theme_name: str = THEME_NAMES["dark"]
    keys: Mapping[str, str] = field(default_factory=dict)
    """Binding id to textual's key names, comma-separated."""
    faults: tuple[str, ...] = ()
    """What of the file was not understood, in words."""


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
        return Settings()
    except (OSError, ValueError) as error:
        return Settings(faults=(f"{path} cannot be read: {error}",))
    faults: list[str] = [
        f"{path}: unknown setting '{name}'" for name in content if name not in ("theme", "keys")
    ]
    theme = content.get("theme", "dark")
    if theme not in THEME_NAMES:
        faults.append(f"{path}: theme '{theme}' is none of {', '.join(THEME_NAMES)}")
        theme = "dark"
    keys = {}
    given = content.get("keys", {})
    known = known_ids()
    for name, value in given.items() if isinstance(given, dict) else ():
        if name not in known or not isinstance(value, str):
            faults.append(f"{path}: there is no key '{name}'")
        else:
            keys[name] = value
    return Settings(THEME_NAMES[theme], keys, tuple(faults))
