"""What every table's room shares: the connection, and how small values lie in a column."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from gpuboard.model.ids import DeviceUuid
from gpuboard.model.person import Person
from gpuboard.store.connection import Connection

_encoder = msgspec.json.Encoder()
_person = msgspec.json.Decoder(Person)
_devices = msgspec.json.Decoder(tuple[DeviceUuid, ...])


class Table:
    """A room of the store: queries on one table, over the one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


def encoded(value: object) -> str:
    """Return a value as JSON text; `?` stands for lone surrogates, which no decoder takes back."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        import json

        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        return text.encode(errors="replace").decode()


@lru_cache(maxsize=1024)
def decoded_person(text: str) -> Person:
    """Return a person; the same text gives the same object, since thousands of rows share a few."""
    return _person.decode(text)


@lru_cache(maxsize=1024)
def decoded_devices(text: str) -> tuple[DeviceUuid, ...]:
    """Return devices; most rows have none, or the same few sets."""
    return _devices.decode(text)


def marks(values: Sequence[object]) -> str:
    """Return `?, ?, ?` for so many values."""
    return ", ".join("?" * len(values))
