"""Whatever is sent, the border answers as its own document says, and never with a fault of ours.

Schemathesis makes requests from the OpenAPI document, good and bad ones, and sends them to the real
server over the real engine. `GPUBOARD_BORDER_EXAMPLES` says how many for each operation.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from docker.transport import UnixHTTPAdapter
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from gpuboard.api.client import Client
from gpuboard.api.openapi import document
from tests.support.served_box import ServedBox, served_box

EXAMPLES = int(os.environ.get("GPUBOARD_BORDER_EXAMPLES", "5"))
BASE = "http://gpuboard"
SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(document())))
ENDLESS = "GET /v1/feed"
"""A stream without an end: only its beginning is looked at."""
BACKUP = "POST /v1/admin/backup"
"""Writes where it is told to, as root may: here below the test's own folder."""
OPERATIONS = {
    operation.label: operation
    for operation in (found.ok() for found in SCHEMA.get_all_operations())
}


@pytest.fixture(scope="module")
def served() -> Iterator[ServedBox]:
    folder = Path(tempfile.mkdtemp(prefix="gbb-"))
    try:
        with served_box(folder) as box:
            yield box
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def session(served: ServedBox) -> Iterator[requests.Session]:
    """A session of `requests` over the Unix socket; jobs to ask about are there."""
    with contextlib.closing(Client(served.path)) as client:
        for number in range(3):
            client.post("/jobs", {"command": ["x"], "gpus": number, "hold": number == 2})
    with requests.Session() as made:
        made.mount(BASE, UnixHTTPAdapter(f"http+unix://{served.path}", 10))
        yield made


@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize("label", OPERATIONS)
def test_operation_answers_as_documented(
    session: requests.Session, tmp_path: Path, label: str, mode: schemathesis.GenerationMode
):
    """Good requests and bad ones get a documented answer; 500 would be a fault of gpuboard's."""

    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: schemathesis.Case) -> None:
        if label == ENDLESS:
            _see_beginning(session, case)
            return
        if label == BACKUP:
            _keep_below(tmp_path, case)
        with contextlib.suppress(requests.ReadTimeout):  # it follows a log of a job that waits
            case.call_and_validate(
                base_url=BASE,
                session=session,
                timeout=1 if label.endswith("/log") else 20,
                checks=[
                    not_a_server_error,
                    checks.response_schema_conformance,
                    checks.content_type_conformance,
                    checks.status_code_conformance,
                ],
            )

    with contextlib.suppress(Unsatisfiable):  # an operation without parameters has no bad requests
        send()


def _see_beginning(session: requests.Session, case: schemathesis.Case) -> None:
    """Hold status and kind of a stream's answer against the document, and hang up."""
    documented = case.operation.definition.raw["responses"]
    wanted = case.as_transport_kwargs(base_url=BASE)
    with session.request(**wanted, stream=True, timeout=20) as answer:
        assert str(answer.status_code) in documented or answer.status_code < 500
        kind = answer.headers["Content-Type"].partition(";")[0]
        assert kind in documented.get(str(answer.status_code), documented["default"])["content"]
        assert next(answer.iter_content(16))


def _keep_below(folder: Path, case: schemathesis.Case) -> None:
    """Have an absolute path of a request lead below a folder; what is no such path stays."""
    if isinstance(case.body, dict) and isinstance(case.body.get("path"), str):
        path = case.body["path"]
        if path.startswith("/"):
            case.body["path"] = str(folder) + path.replace("..", "")


@pytest.mark.parametrize("path", ["events?after=", "history?before="])
def test_number_too_large_for_the_database_is_a_bad_request(session: requests.Session, path: str):
    """It looked like a bug of ours, which stops scheduling."""
    answer = session.get(f"{BASE}/v1/{path}{2**70}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid")


def test_the_box_is_as_good_as_before(served: ServedBox, session: requests.Session):
    """After all that: scheduling goes on, a job runs to its end, no invariant was broken."""
    assert session.get(f"{BASE}/v1/ping").status_code == 200
    assert not served.box.engine.halted_words()
    with contextlib.closing(Client(served.path)) as client:
        board = client.get("/board")
    assert len(board["devices"]) == 8
