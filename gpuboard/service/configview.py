"""The configuration in force as lines that may be shown: every key, its value as the file writes it."""

from __future__ import annotations

import re

import msgspec

from gpuboard.config import Config
from gpuboard.config.reading import written_key
from gpuboard.model.durations import format_duration
from gpuboard.model.sizes import format_size
from gpuboard.model.text import plain
from gpuboard.model.views.admin import SettingView

_SECRET = re.compile(r"secret|password|token|urls?$|credential", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
HIDDEN = "(not shown)"


def settings_of(config: Config, defaults: Config) -> list[SettingView]:
    """Return every key by section, in the order of the documentation.

    A section of named tables (`[groups.lab]`) has a row for every key of each of them.
    """
    rows: list[SettingView] = []
    for section in config.__struct_fields__:
        table, default = getattr(config, section), getattr(defaults, section)
        if isinstance(table, dict):
            for name, one in table.items():
                rows += _rows(f"{section}.{plain(name)}", one, default.get(name, type(one)()))
        else:
            rows += _rows(section, table, default)
    return rows


def _rows(section: str, table: msgspec.Struct, default: msgspec.Struct) -> list[SettingView]:
    return [
        SettingView(
            section=section,
            key=written_key(field),
            value=_shown(field, getattr(table, field)),
            is_default=getattr(table, field) == getattr(default, field),
        )
        for field in table.__struct_fields__
    ]


def _shown(field: str, value: object) -> str:
    return HIDDEN if _SECRET.search(field) and value else _written(field, value)


def _written(field: str, value: object) -> str:
    """Return a value as the file has it: `"4h"`, `16`, `"none"`, `["docker", "process"]`."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _number(field, value)
    if isinstance(value, str):
        return f'"{plain(value)}"'
    if isinstance(value, dict):
        pairs = (f"{_key(str(name))} = {_shown(str(name), one)}" for name, one in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(_written(field, one) for one in value) + "]"
    return _written(field, msgspec.to_builtins(value))


def _key(name: str) -> str:
    """Return a name as TOML writes it: one with a dot in it needs quotes."""
    return name if _BARE.fullmatch(name) else f'"{plain(name)}"'


def _number(field: str, value: float) -> str:
    if field.endswith("_s"):
        return f'"{format_duration(int(value)) if value == int(value) else f"{value:g}s"}"'
    return f'"{format_size(int(value))}"' if field.endswith("_bytes") else f"{value:g}"
