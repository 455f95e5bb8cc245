"""The document says what the server does: every route, every answer."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from gpuboard.api.client import Client
from gpuboard.api.openapi import document
from gpuboard.api.routes import ROUTES, Body
from tests.support.api import ScriptedBox

PATHS = {"{selector}": "1", "{id}": "1"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return json.loads(json.dumps(document()))


def schema_of(described: dict[str, Any], method: str, path: str, status: str) -> dict[str, Any]:
    operation = described["paths"]["/v1" + path][method.lower()]
    schema = operation["responses"][status]["content"]["application/json"]["schema"]
    return {**schema, "components": described["components"]}


def test_every_route_is_described_once(described: dict[str, Any]):
    operations = [
        (method.upper(), path) for path, item in described["paths"].items() for method in item
    ]
    assert sorted(operations) == sorted((route.method, "/v1" + route.path) for route in ROUTES)
    names = [route.name for route in ROUTES]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(described: dict[str, Any]):
    references: list[str] = []

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            references.extend(value for key, value in node.items() if key == "$ref")
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(described)
    schemas = described["components"]["schemas"]
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_path_parameter_is_described(described: dict[str, Any]):
    for path, item in described["paths"].items():
        wanted = {part.strip("{}") for part in path.split("/") if part.startswith("{")}
        for operation in item.values():
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == wanted


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.kind is Body.JSON], ids=lambda route: route.name
)
def test_the_answer_is_as_described(client: Client, described: dict[str, Any], route: Any):
    path = route.path
    for name, value in PATHS.items():
        path = path.replace(name, value)
    ask = {
        "GET": client.get,
        "DELETE": client.delete,
        "POST": lambda p: client.post(p, {}),
        "PATCH": lambda p: client.patch(p, {}),
    }[route.method]
    answer = ask(path)
    jsonschema.validate(answer, schema_of(described, route.method, route.path, "200"))


def test_an_error_is_as_described(client: Client, described: dict[str, Any]):
    from gpuboard.errors import NotFound

    with pytest.raises(NotFound) as caught:
        client.get("/jobs/404")
    body = {"error": {**caught.value.to_json()}}
    jsonschema.validate(body, schema_of(described, "GET", "/jobs/{selector}", "default"))


def test_bodies_are_closed_in_the_document_too(described: dict[str, Any]):
    assert described["components"]["schemas"]["SubmitRequest"]["additionalProperties"] is False


def test_the_server_gives_the_document(client: Client, described: dict[str, Any], box: ScriptedBox):
    assert client.get("/openapi.json") == described
    assert not box.asked
