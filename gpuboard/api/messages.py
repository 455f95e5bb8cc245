"""What goes over the wire: strict decoding of requests, encoding of answers, errors as JSON.

Decoding is strict and closed (an unknown or a repeated key is an error) and its errors name the
field. Nothing here knows aiohttp.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any, TypeVar

import msgspec

from gpuboard.errors import (
    Conflict,
    GpuboardError,
    HostError,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Refused,
    RequestError,
    TimedOut,
    TooManyRequests,
    Unavailable,
)

T = TypeVar("T")
StructT = TypeVar("StructT", bound=msgspec.Struct)

_STATUS: tuple[tuple[type[GpuboardError], int], ...] = (
    (InvalidRequest, 400),
    (PermissionDenied, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 422),
    (RequestError, 400),
    (TooManyRequests, 429),
    (Unavailable, 503),
    (HostError, 503),
    (TimedOut, 503),
    (OutcomeUnknown, 503),
)
"""First match wins; anything else is our own fault: 500."""

_AT = re.compile(r" - at `(?:key in )?\$\.?(?P<field>.*?)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`")
_MISSING = re.compile(r"^Object missing required field `(?P<field>.*?)`")


def status_of(error: GpuboardError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def encode(answer: object) -> bytes:
    """Return an answer as JSON."""
    return msgspec.json.encode(answer)


def encode_error(error: GpuboardError) -> bytes:
    """Return the body of a failed answer: `{"error": {"code", "message", "hint", "field"}}`."""
    return msgspec.json.encode({"error": {**error.to_json(), "field": error.field}})


def decode(body: bytes, kind: type[T]) -> T:
    """Return a request of this kind. Raises InvalidRequest that names the field."""
    content = body or b"{}"
    try:
        request = msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply") from error
    _refuse_repeated_keys(content)
    return request


def decode_query(pairs: dict[str, list[str]], kind: type[StructT]) -> StructT:
    """Return the query of this kind from its text. Raises InvalidRequest that names the field."""
    many = _lists_of(kind)
    raw: dict[str, Any] = {}
    for key, values in pairs.items():
        if key in many:
            raw[key] = [part for value in values for part in value.split(",") if part]
        elif len(values) > 1:
            raise InvalidRequest(f"`{key}` is given more than once", field=key)
        else:
            raw[key] = values[0]
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error


@functools.cache
def _lists_of(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Return the fields that are lists. Kept: reading annotations was a tenth of answering `ps`."""
    fields = msgspec.structs.fields(kind)
    return frozenset(f.name for f in fields if f.default_factory is not msgspec.NODEFAULT)


def _invalid(words: str) -> InvalidRequest:
    """Return msgspec's complaint in our words, with the field that it names."""
    if found := _UNKNOWN.match(words):
        field = found["field"]
        return InvalidRequest(
            f"there is no field `{field}`",
            field=field,
            hint="GET /v1/openapi.json lists the fields",
        )
    if found := _MISSING.match(words):
        return InvalidRequest(f"`{found['field']}` is missing", field=found["field"])
    found = _AT.search(words)
    field = found["field"] if found else ""
    complaint = words[: found.start()] if found else words
    return InvalidRequest(f"{field}: {complaint}" if field else complaint, field=field)


def _refuse_repeated_keys(content: bytes) -> None:
    """Raise InvalidRequest when an object names a key twice: which one counts would be a guess."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise InvalidRequest(f"`{key}` is given more than once", field=key)
            seen[key] = value
        return seen

    try:
        json.loads(content, object_pairs_hook=check)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
