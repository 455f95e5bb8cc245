"""One table says who may do what; every use case is held against it with people of each kind."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from gpuboard.config import Config, DaemonConfig, GroupConfig
from gpuboard.errors import NotFound, PermissionDenied
from gpuboard.model.person import Caller
from gpuboard.model.requests import (
    BlackoutRequest,
    CancelRequest,
    DrainRequest,
    JobSelection,
    NoticeRequest,
    ReservationUpdate,
    ReserveRequest,
    SubmitRequest,
    UpdateRequest,
)
from gpuboard.service.people import caller_of
from gpuboard.service.rights import RULES, Action, Role
from gpuboard.service.services import Services
from tests.support.engine import ANN, BEN, Box
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN, EVE, ScriptedDirectory

Use = Callable[[Services, object], object]

USES: dict[str, tuple[Action, Use]] = {
    "board": (Action.SEE, lambda s, c: s.board.board(c)),
    "device history": (Action.SEE, lambda s, c: s.board.history(c)),
    "usage": (Action.SEE, lambda s, c: s.board.usage(c)),
    "report": (Action.SEE, lambda s, c: s.usage.report(c, "week")()),
    "images": (Action.SEE, lambda s, c: s.board.images(c)()),
    "events": (Action.SEE, lambda s, c: s.board.events(c, 0)),
    "queue": (Action.SEE, lambda s, c: s.jobs.live(c)),
    "page of the queue": (Action.SEE, lambda s, c: s.queue.page(c)),
    "history": (Action.SEE, lambda s, c: s.jobs.history(c)),
    "show": (Action.SEE, lambda s, c: s.jobs.show(c, "1")),
    "why": (Action.SEE, lambda s, c: s.jobs.why(c, "2")),
    "bookings": (Action.SEE, lambda s, c: s.bookings.list(c)),
    "timeline": (Action.SEE, lambda s, c: s.bookings.timeline(c)()),
    "doctor": (Action.SEE, lambda s, c: s.board.doctor(c)()),
    "submit": (Action.SUBMIT, lambda s, c: s.jobs.submit(c, SubmitRequest(command=["x"]))),
    "dry run": (Action.SUBMIT, lambda s, c: s.jobs.dry_run(c, SubmitRequest(command=["x"]))()()),
    "reserve": (
        Action.BOOK,
        lambda s, c: s.bookings.reserve(c, ReserveRequest(duration="1h", at="now+3d")),
    ),
    "log": (Action.READ_LOG, lambda s, c: s.jobs.log(c, "1")),
    "hold": (Action.STOP_JOB, lambda s, c: s.jobs.hold(c, JobSelection(jobs=["2"]))),
    "update": (
        Action.CHANGE_JOB,
        lambda s, c: s.jobs.update(c, UpdateRequest(jobs=["2"], note="n")),
    ),
    "shorten": (
        Action.LIMIT_JOB,
        lambda s, c: s.jobs.update(c, UpdateRequest(jobs=["2"], time_limit="1h")),
    ),
    "release": (Action.STOP_JOB, lambda s, c: s.jobs.release(c, JobSelection(jobs=["2"]))),
    "cancel": (Action.STOP_JOB, lambda s, c: s.jobs.cancel(c, CancelRequest(jobs=["2"]))),
    "change booking": (
        Action.CHANGE_BOOKING,
        lambda s, c: s.bookings.change(c, 1, ReservationUpdate(name="n")),
    ),
    "unreserve": (Action.CHANGE_BOOKING, lambda s, c: s.bookings.cancel(c, 1)),
    "drain": (Action.ADMINISTER, lambda s, c: s.admin.drain(c, DrainRequest(gpu_ids=["3"]))),
    "resume": (Action.ADMINISTER, lambda s, c: s.admin.resume(c, DrainRequest())),
    "notice": (Action.ADMINISTER, lambda s, c: s.admin.notice(c, NoticeRequest(text="hi"))),
    "blackout": (
        Action.ADMINISTER,
        lambda s, c: s.admin.blackout(c, BlackoutRequest(at="now+9d", duration="1h")),
    ),
    "backup": (Action.ADMINISTER, lambda s, c: s.admin.backup(c, "")),
    "check": (Action.ADMINISTER, lambda s, c: s.admin.check_database(c)),
    "daemon's state": (Action.ADMINISTER, lambda s, c: s.admin.state(c)),
    "reload": (Action.ADMINISTER, lambda s, c: s.admin.reload(c)),
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("name", list(USES))
def test_each_use_is_open_to_whom_the_table_says(
    box: Box, services: Services, name: str, role: Role
) -> None:
    """Ann owns the jobs and the booking; ben is anybody, or of her group; root is the administrator."""
    groups = {"vision": GroupConfig(members=("ann",))}
    services.jobs._context.config = msgspec.structs.replace(box.config, groups=groups)
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpus=4))
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpus=4))
    services.bookings.reserve(AS_ANN, ReserveRequest(duration="1h", at="now+2d"))
    box.settle()
    caller = {
        Role.OWNER: AS_ANN,
        Role.ADMIN: AS_ADMIN,
        Role.ANYBODY: AS_BEN,
        Role.MEMBER: Caller(BEN, accounts=frozenset({"vision"})),
        Role.MANAGER: Caller(BEN, managed=frozenset({"vision"})),
    }[role]
    action, use = USES[name]
    # an administrator's own work is no matter of rights: root's uid runs no jobs
    if role is Role.ADMIN and action is Action.SUBMIT:
        pytest.skip("uid 0 runs no jobs")
    is_open = role in RULES[action]
    if action is Action.ADMINISTER and role is Role.OWNER:
        is_open = False
    if is_open:
        use(services, caller)
    else:
        with pytest.raises(PermissionDenied):
            use(services, caller)


def test_who_is_no_administrator_is_told_how_to_be_one(services: Services) -> None:
    """By the names of this very box."""
    with pytest.raises(PermissionDenied) as refused:
        services.admin.resume(AS_BEN, DrainRequest())
    assert refused.value.hint == (
        "use sudo, or have an administrator add you to the group gpuboard-admin"
    )


def test_root_runs_no_jobs(services: Services) -> None:
    """Jobs belong to people: uids below min_uid are refused."""
    with pytest.raises(PermissionDenied):
        services.jobs.submit(AS_ADMIN, SubmitRequest(command=["x"]))


def test_admins_are_root_the_named_and_the_group() -> None:
    """Nobody else; and nobody from inside a container."""
    directory = ScriptedDirectory()
    config = Config(daemon=DaemonConfig(admins=("ben",)))
    assert caller_of(directory, config, 0).is_admin
    assert caller_of(directory, config, BEN.uid).is_admin
    assert caller_of(directory, config, EVE.uid).is_admin
    assert not caller_of(directory, config, ANN.uid).is_admin
    assert caller_of(directory, config, ANN.uid, personal=True).is_admin
    assert not caller_of(directory, config, 0, is_contained=True).is_admin
    with pytest.raises(PermissionDenied):
        caller_of(directory, config, 4711)


def test_missing_booking_and_anothers_booking_are_told_in_the_same_words(
    services: Services,
) -> None:
    """Who guesses numbers learns nothing."""
    services.bookings.reserve(AS_ANN, ReserveRequest(duration="1h"))
    with pytest.raises(PermissionDenied) as others:
        services.bookings.cancel(AS_BEN, 1)
    with pytest.raises(NotFound) as missing:
        services.bookings.cancel(AS_BEN, 9)
    assert others.value.message.replace("1", "N") == missing.value.message.replace("9", "N")


def test_who_is_of_a_group_and_who_manages_it() -> None:
    """Managers of a group manage what is below it; a Unix group may be named; no one in a container."""
    config = Config(
        groups={
            "lab": GroupConfig(managers=("eve",)),
            "vision": GroupConfig(parent="lab", members=("ann", "@gpuboard-admin")),
            "robots": GroupConfig(members=("ben",), managers=("ben",)),
        }
    )
    directory = ScriptedDirectory()
    eve = caller_of(directory, config, EVE.uid)
    assert (eve.accounts, eve.managed) == ({"vision"}, {"lab", "vision"})
    ben = caller_of(directory, config, BEN.uid)
    assert (ben.accounts, ben.managed) == ({"robots"}, {"robots"})
    assert not caller_of(directory, config, EVE.uid, is_contained=True).managed


def test_what_the_people_of_a_group_see_of_its_jobs(box: Box, services: Services) -> None:
    """Members the note, managers also the reason; the command is neither's, nor is another group's."""
    groups = {"vision": GroupConfig(members=("ann",)), "robots": GroupConfig()}
    services.jobs._context.config = msgspec.structs.replace(box.config, groups=groups)
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], note="until Friday", hold=True))
    held = msgspec.structs.replace(box.job(1), reason="asks for what is forbidden now")
    box.engine.core.ledger.jobs[1] = held
    seen = {}
    for name, caller in {
        "member": Caller(BEN, accounts=frozenset({"vision"})),
        "manager": Caller(BEN, managed=frozenset({"vision"})),
        "other": Caller(BEN, accounts=frozenset({"robots"}), managed=frozenset({"robots"})),
    }.items():
        job = services.jobs.show(caller, "1").job
        assert job.command == []
        seen[name] = (job.note, "forbidden" in job.reason)
    assert seen == {
        "member": ("until Friday", False),
        "manager": ("until Friday", True),
        "other": ("", False),
    }
