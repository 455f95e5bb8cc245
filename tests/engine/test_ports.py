"""Ports of jobs: given with the intent, kept across a crash, never twice, back with the end."""

from __future__ import annotations

import socket

import pytest
from msgspec.structs import replace

from gpuboard.config import Config, DockerConfig
from gpuboard.engine import portdesk
from gpuboard.errors import PortTaken
from gpuboard.model.job import PublishedPort
from gpuboard.runtimes.simulated import Effect, LostAnswer, Script
from tests.engine.test_faults import die_at
from tests.support.engine import ANN, BEN, Box

TAKEN = (
    "driver failed programming external connectivity on endpoint gb-1-1 (0a1b):"
    " Bind for 127.0.0.1:20000 failed: port is already allocated"
)


@pytest.fixture(autouse=True)
def all_free(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Give the ports that something else on the box listens on: none, whatever this machine runs."""
    foreign: set[int] = set()
    monkeypatch.setattr(portdesk, "is_free", lambda port: port not in foreign)
    return foreign


def with_range(box: Box, text: str) -> None:
    box.engine.reconfigure(replace(box.config, docker=DockerConfig(port_range=text, max_ports=4)))


def ports_of(box: Box, job_id: int) -> dict[int, int]:
    return {each.port: each.host_port for each in box.job(job_id).ports}


def test_a_job_is_told_its_ports_and_the_runtime_publishes_them(box: Box) -> None:
    """One of the box's for each of the container's, in its environment and in what is created."""
    job_id = box.submit(ports=(8888, 6006))
    box.settle()
    assert ports_of(box, job_id) == {8888: 20000, 6006: 20001}
    request = box.runtime.containers[box.job(job_id).runtime_name].request
    assert request.ports == (PublishedPort(8888, 20000), PublishedPort(6006, 20001))
    assert request.env["GPUBOARD_PORT_8888"] == "20000"
    assert request.env["GPUBOARD_PORT_6006"] == "20001"
    assert request.spec_hash() != replace(request, ports=request.ports[:1]).spec_hash()


def test_no_two_live_jobs_have_one_port(box: Box) -> None:
    """Of whomever they are; a port comes back with the end of its attempt, and is not the next given."""
    first = box.submit(ports=(8888,), script=Script(run_s=5))
    second = box.submit(ports=(8888,), owner=BEN)
    box.settle()
    assert box.store.live_ports() == {20000: first, 20001: second}
    box.advance(20)
    assert box.state(first) == "succeeded"
    assert box.store.live_ports() == {20001: second}
    third = box.submit(ports=(8888,), owner=BEN)
    box.settle()
    assert ports_of(box, third) == {8888: 20002}


def test_a_port_on_which_something_else_listens_is_passed_over(
    box: Box, all_free: set[int]
) -> None:
    """A service of the box is no reason for a job to fail."""
    all_free |= {20000, 20001}
    job_id = box.submit(ports=(8888,))
    box.settle()
    assert ports_of(box, job_id) == {8888: 20002}


def test_a_real_listener_is_seen() -> None:
    """By trying to bind; one that has gone is no hindrance."""
    from gpuboard.runtimes.ports import is_free

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


@pytest.mark.parametrize("point", ["start.intent.after", "start.create", "start.created"])
def test_an_attempt_keeps_its_ports_whatever_crashes_after_the_intent(box: Box, point: str) -> None:
    """The container that may be there already is then found by the same request, and adopted."""
    with_range(box, "20000-20003")
    job_id = box.submit(ports=(8888,), script=Script(run_s=60))
    die_at(box, point)
    box.settle()
    assert box.state(job_id) == "running"
    assert ports_of(box, job_id) == {8888: 20000}
    assert box.store.live_ports() == {20000: job_id}
    assert len(box.runtime.containers) == 1
    assert box.job(job_id).attempt == 1


def test_a_crash_before_the_intent_gives_no_port(box: Box) -> None:
    """Nothing to give back: the next daemon chooses anew."""
    box.submit(ports=(8888,), held_by="user")
    assert box.store.live_ports() == {}


def test_a_port_taken_meanwhile_is_the_boxs_fault_and_another_is_tried(box: Box) -> None:
    """The job is not blamed, no other job waits for it, and the port is left alone for a while."""
    box._script = lambda request: Script(
        run_s=60, start_error=PortTaken(TAKEN) if request.attempt == 1 else None
    )
    job_id = box.submit(ports=(8888,))
    box.settle(12)
    assert box.state(job_id) == "running"
    assert box.job(job_id).attempt == 2
    assert ports_of(box, job_id) == {8888: 20001}
    assert box.engine.core.health["simulated"].create_failures == 0


def test_ports_found_taken_are_left_alone_for_a_while(box: Box) -> None:
    """Where all of them are, the job waits in the queue instead of going round."""
    with_range(box, "20000-20001")
    box._script = lambda _request: Script(start_error=PortTaken(TAKEN))
    job_id = box.submit(ports=(8888,))
    box.advance(300)
    job = box.job(job_id)
    assert (job.state, job.attempt, job.ports) == ("queued", 3, ())
    box._script = lambda _request: Script(run_s=3600)
    box.advance(400)
    assert box.state(job_id) == "running"


def test_a_taken_port_is_known_by_the_engines_word_after_a_lost_answer(box: Box) -> None:
    """A restart finds the attempt created with that error: it goes back to the queue, not to `failed`."""
    job_id = box.submit(ports=(8888,), script=Script(run_s=60))
    box.runtime.lost_answers.append(LostAnswer("start", Effect.NEVER))
    box.settle()
    container = box.runtime.containers["gb-1-1"]
    container.error, container.exit_code = TAKEN, 128
    box.advance(20)
    assert box.state(job_id) == "running"
    assert box.job(job_id).attempt == 2


def test_a_job_waits_in_words_while_no_port_is_left(box: Box) -> None:
    """It starts when one comes back; nobody plans in circles meanwhile."""
    with_range(box, "20000-20001")
    first = box.submit(ports=(8888, 6006), script=Script(run_s=30))
    second = box.submit(ports=(8888,), owner=BEN)
    box.settle()
    assert (box.state(first), box.state(second)) == ("running", "queued")
    assert "every port" in box.engine.explain(second).causes[0].words
    rounds = box.engine._planner.rounds
    box.advance(10, by=0.1)
    assert box.engine._planner.rounds - rounds < 10
    box.advance(40)
    assert box.state(second) == "running"


def test_jobs_without_devices_leave_half_of_the_range_to_the_others(box: Box) -> None:
    """However many somebody submits, they keep nobody from the devices that are free."""
    with_range(box, "20000-20007")
    many = [box.submit(gpus=0, ports=(8888, 6006), owner=ANN) for _ in range(4)]
    box.settle()
    assert [box.state(job_id) for job_id in many] == ["running", "running", "queued", "queued"]
    other = box.submit(ports=(8888,), owner=BEN)
    box.settle()
    assert box.state(other) == "running"


def test_no_ports_of_a_range_are_given_once_it_is_closed(box: Box) -> None:
    """A configuration without a range publishes nothing, also for what was queued before."""
    with_range(box, "")
    job_id = box.submit(ports=(8888,))
    box.settle()
    assert box.state(job_id) == "queued"


def test_the_default_range_is_a_sane_one() -> None:
    """Above what only root may open, below the kernel's own outgoing ports."""
    first, last = map(int, Config().docker.port_range.split("-"))
    assert 1024 < first < last < 32768
