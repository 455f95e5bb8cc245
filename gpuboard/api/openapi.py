"""The OpenAPI 3.1 document, made from the route table and the message types."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gpuboard import __version__
from gpuboard.api.routes import ROUTES, Body, ErrorView, Route

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"


def document() -> dict[str, Any]:
    """Return the whole document as plain data."""
    kinds: list[type[msgspec.Struct]] = [ErrorView]
    for route in ROUTES:
        kinds.extend((route.query, *route.answers))
        if route.body is not None:
            kinds.append(route.body)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in ROUTES:
        operation = _operation(route, by_kind, components)
        paths.setdefault("/v1" + route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gpuboard",
            "version": __version__,
            "description": "HTTP over a Unix socket; who asks is whom the kernel names (SO_PEERCRED).",
        },
        "servers": [{"url": "http://gpuboard", "description": "the daemon's Unix socket"}],
        "paths": paths,
        "components": {"schemas": components},
    }


Schemas = dict[type[msgspec.Struct], dict[str, Any]]


def _operation(route: Route, by_kind: Schemas, components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": _parameters(route, by_kind, components),
        "responses": {
            "200": {"description": "Done", "content": _content(route, by_kind)},
            "default": {
                "description": "It failed; `code` says why",
                "content": {"application/json": {"schema": by_kind[ErrorView]}},
            },
        },
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": False,
            "content": {"application/json": {"schema": by_kind[route.body]}},
        }
    return operation


def _content(route: Route, by_kind: Schemas) -> dict[str, Any]:
    if route.kind is Body.DOCUMENT:
        return {"application/json": {"schema": {"type": "object"}}}
    if route.kind is Body.JSON:
        schemas = [by_kind[answer] for answer in route.answers]
        return {
            "application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
        }
    binary = {"format": "binary"} if route.kind is Body.LOG else {}
    return {route.kind.value: {"schema": {"type": "string", **binary}}}


def _parameters(route: Route, by_kind: Schemas, components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer" if name == "id" else "string"},
        }
        for name in _PARAMETER.findall(route.path)
    ]
    reference = by_kind[route.query]["$ref"].rsplit("/", 1)[1]
    for name, schema in components[reference].get("properties", {}).items():
        found.append({"name": name, "in": "query", "required": False, "schema": schema})
    if route.kind is Body.FEED:
        found.append(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "schema": {"type": "integer"},
            }
        )
    return found
