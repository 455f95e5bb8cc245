"""Answers that are the same for everybody, and newcomers while what makes them hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpuboard import errors
from gpuboard.api.client import Client
from gpuboard.model.views.doctor import DoctorView
from tests.support.api import RunningServer, ScriptedBoard
from tests.support.waiting import wait_until


class HangingEngine:
    """Answers the doctor once it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = threading.Event()
        self.error: errors.GpuboardError | None = None

    def doctor(self, _caller: object) -> Callable[[], DoctorView]:
        def examine() -> DoctorView:
            self.asked += 1
            self.go_on.wait(30)
            if self.error is not None:
                raise self.error
            return DoctorView()

        return examine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingEngine]:
    engine = HangingEngine()
    monkeypatch.setattr(ScriptedBoard, "doctor", lambda _self, caller: engine.doctor(caller))
    yield engine
    engine.go_on.set()


def test_everybody_who_asks_the_doctor_at_once_has_one_answer(
    server: RunningServer, engine: HangingEngine
):
    """And whoever asks within a moment after it."""
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(Client(server.path).get, "/doctor") for _ in range(2)]
        wait_until(lambda: engine.asked == 1)
        assert Client(server.path).get("/images")["schema"]
        engine.go_on.set()
        assert [answer.result(20)["checks"] for answer in answers] == [[], []]
    assert Client(server.path).get("/doctor")["checks"] == []
    assert engine.asked == 1


def test_an_error_of_the_doctor_is_not_kept(server: RunningServer, engine: HangingEngine):
    """The next one to ask has another try."""
    engine.go_on.set()
    engine.error = errors.HostError("no descriptors left")
    with pytest.raises(errors.HostError):
        Client(server.path).get("/doctor")
    engine.error = None
    assert Client(server.path).get("/doctor")["checks"] == []


def test_a_newcomer_is_known_while_all_workers_hang(server: RunningServer, engine: HangingEngine):
    """Identities have workers of their own."""
    for _ in range(16):
        server.server._workers.submit(engine.go_on.wait, 30)
    server.server._identities.forget()
    assert Client(server.path).get("/jobs")["schema"]
