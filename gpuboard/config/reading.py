"""TOML to Config: every complaint names the file, the line, the key, the value and what is accepted.

Spans and sizes are words with a unit; a bare number would be minutes to one reader and seconds to
the next. Where `None` is a value (no limit), the file says `"none"`.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from gpuboard.config.rules import CHOICES, PATTERNS, QUOTAS, RANGES, contradiction
from gpuboard.config.settings import Config, QuotaConfig
from gpuboard.config.standard import defaults_for, personal_file
from gpuboard.errors import HostError, InvalidRequest
from gpuboard.model.durations import format_duration, parse_duration
from gpuboard.model.sizes import format_size, parse_size
from gpuboard.model.text import plain

StructT = TypeVar("StructT", bound=msgspec.Struct)

SYSTEM_FILE = "/etc/gpuboard/config.toml"

_LARGEST_FILE_BYTES = 1 << 20
_ENDINGS = ("_bytes", "_s")
_HEADER = re.compile(r"\s*\[([^\[\]]+)\]")
_NAME = re.compile(r"\s*([^=#\[]+?)\s*=")
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s)")


class _Complaint(Exception):
    """What is wrong with one key; becomes a HostError with file and line."""

    def __init__(self, key: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.hint = hint


def load_config(
    path: str | None, *, personal: bool = False, env: Mapping[str, str] | None = None
) -> Config:
    """Return the configuration of a file; without a path, of the usual file, or the defaults.

    Raises HostError: no such file, writable by others, or anything wrong in it.
    """
    env = os.environ if env is None else env
    path = config_file(path, personal=personal, env=env)
    if not path:
        return defaults_for(personal, env)
    return parse_config(_read(path), personal=personal, env=env, source=path)


def config_file(
    path: str | None, *, personal: bool = False, env: Mapping[str, str] | None = None
) -> str:
    """Return the file that `load_config` reads; empty where no file is."""
    if path is not None:
        return path
    path = personal_file(os.environ if env is None else env) if personal else SYSTEM_FILE
    return path if Path(path).exists() else ""


def parse_config(
    text: str,
    *,
    personal: bool = False,
    env: Mapping[str, str] | None = None,
    source: str = "config.toml",
) -> Config:
    """Return the configuration that a TOML text says, over the defaults. Raises HostError."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a bare ValueError
        raise HostError(
            f"{source}: this is not TOML: {error}", hint="see https://toml.io"
        ) from error
    config = defaults_for(personal, os.environ if env is None else env)
    try:
        config = _consistent(_filled(config, document, ""))
    except _Complaint as wrong:
        line = _line_of(text, wrong.key)
        place = f"{source}:{line}" if line else source
        raise HostError(
            plain(f"{place}: {wrong.key}: {wrong.message}"), hint=wrong.hint, field=wrong.key
        ) from None
    return config


def written_key(field: str) -> str:
    """Return how a field is written in the file: `default_time_s` is `default_time`."""
    for ending in _ENDINGS:
        if field.endswith(ending):
            return field.removesuffix(ending)
    return field


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise HostError(
            f"the configuration {path} cannot be read: {error.strerror}",
            hint="put it there, or name another: `gpuboard daemon --config FILE`,"
            " `gpuboard admin config check FILE`",
        ) from error
    if mode & 0o002:
        raise HostError(
            f"the configuration {path} can be written by anybody",
            hint=f"close it: chmod o-w {path}",
        )
    if len(data) > _LARGEST_FILE_BYTES:
        raise HostError(f"the configuration {path} is larger than 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise HostError(f"the configuration {path} is not UTF-8 (byte {error.start})") from error


def _consistent(config: Config) -> Config:
    key, complaint = contradiction(config)
    if key:
        raise _Complaint(key, complaint)
    return config


def _filled(struct: StructT, table: Mapping[str, object], path: str) -> StructT:
    """Return the struct with what the table says; `path` is the table's own name."""
    hints = get_type_hints(type(struct))
    fields = {written_key(field): field for field in struct.__struct_fields__}
    changes: dict[str, object] = {}
    for key, value in table.items():
        full = f"{path}.{key}" if path else key
        field = fields.get(key)
        if field is None:
            raise _unknown(full, key, fields)
        present = getattr(struct, field)
        if isinstance(present, msgspec.Struct):
            changes[field] = _filled(present, _table(full, value), full)
        else:
            changes[field] = _value(full, field, hints[field], value)
    return msgspec.structs.replace(struct, **changes)


def _value(key: str, field: str, kind: Any, value: object) -> object:
    """Return a value as its field wants it, checked."""
    if isinstance(kind, UnionType):
        if value == "none":
            return None
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _wrong(key, value, "a list of texts in brackets")
        return tuple(_text(key, one) for one in value)
    if get_origin(kind) is dict:
        return _mapping(key, kind, _table(key, value))
    if kind is str:
        return _text(key, value)
    if kind is bool:
        if not isinstance(value, bool):
            raise _wrong(key, value, "true or false")
        return value
    if field.endswith("_s"):
        return _in_range(key, _span(key, kind, value), value, _span_words)
    if field.endswith("_bytes"):
        return _in_range(key, _size(key, value), value, _size_words)
    return _in_range(key, _number(key, kind, value), value, _number_words)


def _mapping(key: str, kind: Any, table: Mapping[str, object]) -> object:
    """Return a table of names: of groups or classes, of shares, or of limits of people and groups."""
    inner = get_args(kind)[1]
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        parts = {name: _table(f"{key}.{name}", one) for name, one in table.items()}
        return {name: _filled(inner(), part, f"{key}.{name}") for name, part in parts.items()}
    if get_origin(inner) is not dict:
        return {
            name: _in_range(key, _number(key, inner, one), one, _number_words)
            for name, one in table.items()
        }
    return {
        name: _own_quota(f"{key}.{name}", _table(f"{key}.{name}", one))
        for name, one in table.items()
    }


def _own_quota(path: str, table: Mapping[str, object]) -> dict[str, object]:
    """Return the limits that one person or group has of their own."""
    limits: dict[str, object] = {}
    hints = get_type_hints(QuotaConfig)
    for name, value in table.items():
        if name not in (*QUOTAS, "soft"):
            raise _unknown(f"{path}.{name}", name, (*QUOTAS, "soft"))
        limits[name] = _value(f"{path}.{name}", name, hints[name], value)
    return limits


def _rule_key(key: str) -> str:
    """Return the key under which the rules of a key are found: names of groups and people are `*`."""
    table, _, rest = key.partition(".")
    last = rest.rpartition(".")[2]
    if table in ("groups", "classes", "templates"):
        return f"{table}.*.{last}"
    return f"quota.{last}" if key.startswith(("quota.users.", "quota.groups.")) else key


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(key, value, "a text in quotes")
    rule = _rule_key(key)
    if rule in CHOICES and value not in CHOICES[rule]:
        raise _wrong(key, value, "one of " + ", ".join(f'"{choice}"' for choice in CHOICES[rule]))
    if rule in PATTERNS:
        pattern, words = PATTERNS[rule]
        if not pattern.fullmatch(value):
            raise _wrong(key, value, words)
    return value


def _span(key: str, kind: Any, value: object) -> float:
    if value in (0, "0", "0s") and value is not False:
        return 0
    if not isinstance(value, str) or value.replace(".", "").strip().isdigit():
        raise _wrong(key, value, 'a span with its unit, such as "90m", "7d" or "10s"')
    match = _SECONDS.fullmatch(value.strip()) if kind is float else None
    if match:
        return float(match[1]) / (1000 if match[2] == "ms" else 1)
    return _parsed(parse_duration, key, value)


def _size(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _wrong(key, value, 'a size such as "16G" or "512M"')
    return _parsed(parse_size, key, value)


def _parsed(parse: Callable[..., int], key: str, value: str | int) -> int:
    try:
        return parse(value, field=key)
    except InvalidRequest as error:
        raise _Complaint(key, error.message.removeprefix(f"{key}: "), error.hint) from error


def _number(key: str, kind: Any, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise _wrong(key, value, "a whole number" if kind is int else "a number")
    return value


def _in_range(key: str, number: float, value: object, words: Callable[[float], str]) -> float:
    least, most = RANGES[_rule_key(key)]
    if not least <= number <= most:
        bounds = (
            f"at least {words(least)}"
            if most == math.inf
            else f"from {words(least)} to {words(most)}"
        )
        raise _wrong(key, value, bounds)
    return number


def _span_words(seconds: float) -> str:
    return format_duration(int(seconds)) if seconds == int(seconds) else f"{seconds:g}s"


def _size_words(size: float) -> str:
    return format_size(int(size))


def _number_words(number: float) -> str:
    return f"{number:.15g}"


def _table(key: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _wrong(key, value, f"a table: [{key}]")
    return value


def _unknown(full: str, key: str, known: Iterable[str]) -> _Complaint:
    import difflib

    near = difflib.get_close_matches(written_key(key), known, n=1, cutoff=0.5)
    known_words = "known here: " + ", ".join(sorted(known))
    return _Complaint(
        full, "there is no such key", f"did you mean {near[0]}?" if near else known_words
    )


def _wrong(key: str, value: object, accepted: str) -> _Complaint:
    shown = (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else value
    )
    return _Complaint(key, f"{shown} is not accepted", f"write {accepted}")


def _line_of(text: str, key: str) -> int:
    """Return the line (from 1) on which a key is set, or 0 when it is written in an unusual way."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = re.sub(r"""["'\s]""", "", header[1])
            if table == key:
                return number
            continue
        name = _NAME.match(line)
        if name:
            written = re.sub(r"""["'\s]""", "", name[1])
            if key == (f"{table}.{written}" if table else written):
                return number
    return 0
