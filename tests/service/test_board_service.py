"""The board, usage, events, doctor and administration through the services."""

from __future__ import annotations

import pytest

from gpuboard.errors import InvalidRequest, NotFound, StateError
from gpuboard.model.device import DeviceProcess, Health
from gpuboard.model.requests import (
    BlackoutRequest,
    DrainRequest,
    NoticeRequest,
    ReserveRequest,
    SubmitRequest,
)
from gpuboard.runtimes.simulated import Script
from gpuboard.service.services import Services
from tests.support.engine import BEN, Box, uuid
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN


def test_each_state_of_a_device_is_told_apart(box: Box, services: Services) -> None:
    """free, leased, booked, drained, faulty, foreign."""
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpu_ids=["0"]))
    services.bookings.reserve(AS_BEN, ReserveRequest(gpu_ids=["1"], duration="1h"))
    box.settle()
    box.probe.faults[uuid(2)] = (Health.FAULTY, "Xid 79")
    box.probe.foreign[uuid(3)] = (DeviceProcess(pid=5, uid=4000, user="zoe", command="python x"),)
    box.settle()
    devices = services.board.board(AS_ANN).devices
    assert [d.state for d in devices] == ["leased", "booked", "faulty", "foreign"]
    assert [d.user for d in devices] == ["ann", "ben", "", "zoe"]
    assert devices[2].state_words == "Xid 79"
    assert devices[3].processes[0].belongs == "foreign"
    assert devices[3].processes[0].command == "python"
    assert devices[0].processes[0].belongs == "job"
    box.probe.foreign.clear()
    services.admin.drain(AS_ADMIN, DrainRequest(gpu_ids=["3"], note="fans"))
    box.settle()
    assert services.board.board(AS_ANN).devices[3].state == "drained"
    assert "fans" in services.board.board(AS_ANN).devices[3].state_words


def test_job_on_a_device_of_another_is_a_violation(box: Box, services: Services) -> None:
    """A job of ours on a device that it has no lease of."""
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpu_ids=["0"]))
    box.settle()
    box.probe.foreign[uuid(1)] = (DeviceProcess(pid=6, uid=1001, job_name="gb-1-1"),)
    box.settle()
    device = services.board.board(AS_BEN).devices[1]
    assert device.state == "foreign"
    assert (device.processes[0].belongs, device.processes[0].job_id) == ("violation", 1)


def test_held_but_unused_device_is_shown_idle(box: Box, services: Services) -> None:
    """Only where utilisation is known to be nothing."""
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], time_limit="2h"))
    box.settle()
    assert services.board.board(AS_ANN).devices[0].idle_s is None


def test_usage_counts_what_is_held(box: Box, services: Services) -> None:
    """By person, the heaviest first, with share and factor."""
    box.scripts["long"] = Script(run_s=5000)
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpus=3, name="long"))
    services.jobs.submit(AS_BEN, SubmitRequest(command=["x"], gpus=1, name="long"))
    services.jobs.submit(AS_BEN, SubmitRequest(command=["x"], gpus=1, name="long"))
    box.advance(100)
    usage = services.board.usage(AS_BEN)
    assert [row.user for row in usage.people] == ["ann", "ben"]
    ann, ben = usage.people
    assert ann.device_seconds == pytest.approx(300, rel=0.05)
    assert (ann.running_gpus, ben.running_gpus, ben.queued_jobs) == (3, 1, 1)
    assert ann.share == pytest.approx(0.75, abs=0.02)
    assert ben.mine
    assert ann.factor < ben.factor


def test_events_of_others_say_nothing_private(box: Box, services: Services) -> None:
    """Reasons may name images: they are the owner's."""
    box.scripts["x"] = Script(create_error=NotFound("there is no local image secret:1"))
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"]))
    box.settle()
    own = services.board.events(AS_ANN, 0)
    others = services.board.events(AS_BEN, 0)
    assert [e.id for e in own.events] == [e.id for e in others.events]
    assert any("secret" in e.words for e in own.events)
    assert not any("secret" in e.words or "secret" in str(e.detail) for e in others.events)
    assert services.jobs.show(AS_BEN, "1").job.reason == ""
    assert services.board.events(AS_ANN, own.events[-1].id).events == []
    assert {e.job_id for e in services.board.events(AS_ANN, 0, job="1").events} == {1}


def test_notices_are_seen_until_their_time_is_over(box: Box, services: Services) -> None:
    """And cleared by an empty one."""
    services.admin.notice(AS_ADMIN, NoticeRequest(text="reboot\x1b[31m at 5", duration="1m"))
    assert services.board.board(AS_ANN).notices[0].text == "reboot at 5"
    box.advance(70)
    assert services.board.board(AS_ANN).notices == []
    services.admin.notice(AS_ADMIN, NoticeRequest(text="again"))
    services.admin.notice(AS_ADMIN, NoticeRequest())
    assert services.board.board(AS_ANN).notices == []


def test_blackout_is_announced_and_taken_back(box: Box, services: Services) -> None:
    """Whoever still runs then by limit is named."""
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], time_limit="2h"))
    box.settle()
    made = services.admin.blackout(AS_ADMIN, BlackoutRequest(at="now+1h", duration="1h"))
    assert "job 1" in made.words
    services.admin.blackout(AS_ADMIN, BlackoutRequest(cancel=made.id))
    with pytest.raises(NotFound):
        services.admin.blackout(AS_ADMIN, BlackoutRequest(cancel=made.id))
    with pytest.raises(InvalidRequest):
        services.admin.blackout(AS_ADMIN, BlackoutRequest(at="now+1h"))


def test_backup_and_check(box: Box, services: Services, tmp_path) -> None:
    """A consistent copy where the administrator wants it."""
    target = tmp_path / "copy.db"
    assert services.admin.backup(AS_ADMIN, str(target))().ok
    assert target.stat().st_mode & 0o077 == 0
    assert services.admin.check_database(AS_ADMIN)().words == "ok"


def test_wrong_configuration_leaves_the_old_one_in_force(box: Box, services: Services) -> None:
    """Row 48: the error is shown, nothing changes."""
    context = services.admin._context
    before = context.config

    def broken() -> object:
        raise InvalidRequest("[jobs] max_tme: no such key")

    context.reload_config = broken
    with pytest.raises(InvalidRequest):
        services.admin.reload(AS_ADMIN)
    assert context.config is before


def test_host_facts_are_told(box: Box, services: Services) -> None:
    """Load, memory, disk; what runs here, and what does not answer."""
    host = services.board.board(AS_ANN).host
    assert host.simulated
    assert host.cpus >= 1
    assert host.runtimes == ["simulated"]
    assert host.default_limit_s == 4 * 3600
    box.probe.fault = "driver not loaded"
    box.settle()
    assert services.board.board(AS_ANN).host.driver_fault == "driver not loaded"


def test_doctor_says_what_is_wrong_and_what_mends_it(box: Box, services: Services) -> None:
    """One finding a matter, with the command."""
    box.probe.fault = "driver not loaded"
    box.runtime.is_down = True
    box.settle()
    checks = {c.name: c for c in services.board.doctor(AS_ANN)().checks}
    assert checks["driver"].status == "error"
    assert checks["driver"].mend
    assert checks["simulated"].status == "error"
    assert checks["disk"].status in ("ok", "warning")
    assert checks["permissions"].name == "permissions"


def test_stopped_scheduling_is_told_to_everybody_and_by_doctor(
    box: Box, services: Services
) -> None:
    """An alarm on every screen without an admin's doing, and the way out."""
    box.engine.halt(StateError("device GPU-1 has two leases"))
    notice = services.board.board(AS_ANN).notices[0]
    assert notice.by == "gpuboard"
    assert "two leases" in notice.text
    checks = {c.name: c for c in services.board.doctor(AS_ANN)().checks}
    assert checks["scheduling"].status == "error"
    assert "restart the daemon" in checks["scheduling"].mend


def test_person_without_jobs_is_told_so(services: Services) -> None:
    """`@` before the first submission."""
    with pytest.raises(NotFound):
        services.jobs.show(AS_BEN, "@")
    assert BEN.name == "ben"
