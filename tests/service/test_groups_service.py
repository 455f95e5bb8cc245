"""Groups, classes and quotas as people meet them: rights, defaults, numbers in refusals and reasons."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.config import Config, parse_config
from gpuboard.errors import InvalidRequest, PermissionDenied, QuotaExceeded
from gpuboard.model.person import Caller
from gpuboard.model.requests import SubmitRequest, UpdateRequest
from gpuboard.runtimes.simulated import Script
from gpuboard.service.services import Services
from tests.support.engine import Box
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN, AS_EVE, services_over, simulated_config

LAB = """
[groups.lab]
[groups.vision]
parent = "lab"
members = ["ann", "@gpuboard-admin"]
[groups.robots]
parent = "lab"
shares = 2
members = ["ben", "ann"]
[classes.urgent]
boost = "1h"
max_time = "1h"
max_gpus = 2
members = ["ann"]
[classes.sure]
promised = true
[quota.groups.vision]
running_gpus = 2
[quota.users.ben]
gpu_hours_per_week = 10
"""


def lab(tmp_path, text: str = LAB) -> tuple[Box, Services]:
    state = str(tmp_path / "state")
    config: Config = simulated_config(parse_config(text, env={}), state_dir=state)
    box = Box(tmp_path / "state", config=config)
    box.settle()
    return box, services_over(box)


def asked(gpus: int = 1, time: str = "2h", **more) -> SubmitRequest:
    fields = {"class_name" if key == "class" else key: value for key, value in more.items()}
    return SubmitRequest(command=["train"], gpus=gpus, time_limit=time, **fields)


def test_a_job_is_charged_to_a_group_of_its_owner(tmp_path) -> None:
    """Their first by default, another of theirs on request; a Unix group counts; others' are refused."""
    _, services = lab(tmp_path)
    accounts = [
        services.jobs.submit(caller, asked(account=wanted)).jobs[0].account
        for caller, wanted in ((AS_ANN, ""), (AS_ANN, "robots"), (AS_BEN, ""), (AS_EVE, ""))
    ]
    assert accounts == ["vision", "robots", "robots", "vision"]
    with pytest.raises(PermissionDenied, match="you are not in group vision"):
        services.jobs.submit(AS_BEN, asked(account="vision"))
    with pytest.raises(InvalidRequest) as caught:
        services.jobs.submit(AS_BEN, asked(account="robot"))
    assert caught.value.hint == "did you mean robots?"


def test_without_groups_nobody_is_asked_for_one(tmp_path) -> None:
    """And one that is named is a mistake, said so."""
    _, services = lab(tmp_path, "")
    assert services.jobs.submit(AS_ANN, asked()).jobs[0].account == ""
    with pytest.raises(InvalidRequest, match="there is no group 'x'"):
        services.jobs.submit(AS_ANN, asked(account="x"))
    view = services.board.usage(AS_ANN)
    assert (view.groups, view.people[0].rank) == ([], None)


def test_usage_is_kept_by_person_and_group_over_a_restart(tmp_path) -> None:
    """What ann used for vision is not held against her in robots; the daemon remembers it."""
    box, services = lab(tmp_path)
    services.jobs.submit(AS_ANN, asked(gpus=2))
    box.settle()
    box.advance(3600, by=600)
    box.restart()
    box.settle()
    services = services_over(box)
    view = services.board.usage(AS_ANN)
    of_ann = {row.group: row.device_seconds for row in view.people if row.user == "ann"}
    used = box.engine.usage_since(0)[AS_ANN.uid]
    assert used > 600
    assert of_ann == {"vision": pytest.approx(used, rel=0.01)}
    services.jobs.submit(AS_ANN, asked(account="robots"))
    box.settle()
    rows = [row for row in services.board.usage(AS_ANN).people if row.user == "ann"]
    assert [(row.group, row.running_gpus) for row in rows] == [("vision", 0), ("robots", 1)]
    assert rows[0].device_seconds_7d >= used
    assert rows[1].device_seconds_7d == 0
    groups = {row.name: row for row in view.groups}
    assert groups["lab"].device_seconds == groups["vision"].device_seconds == of_ann["vision"]
    assert groups["vision"].quota_words == "0 of 2 GPUs"
    assert groups["robots"].device_seconds == 0


def test_why_says_the_rank_and_the_groups_quota(tmp_path) -> None:
    """In words, with the numbers."""
    box, services = lab(tmp_path)
    services.jobs.submit(AS_ANN, asked(gpus=2))
    box.settle()
    waiting = services.jobs.submit(AS_EVE, asked()).ids[0]
    box.settle()
    why = services.jobs.why(AS_EVE, str(waiting))
    assert why.causes[0].words == (
        "the quota of group vision allows 2 GPUs at once, 2 are in use, 1 wanted"
    )
    assert why.causes[0].cause == "quota"
    assert (why.rank, why.ranked) == (1, 1)
    assert "eve, charged to vision, is number 1 of 1 by fair share." in why.words
    # another group's job passes it
    other = services.jobs.submit(AS_BEN, asked())
    box.settle()
    assert services.jobs.show(AS_BEN, str(other.ids[0])).job.state == "running"


def test_a_class_is_for_those_who_may_use_it_within_its_limits(tmp_path) -> None:
    """Rights, limits, the default limit, and a change that would go beyond them."""
    _, services = lab(tmp_path)
    made = services.jobs.submit(AS_ANN, asked(time="", **{"class": "urgent"}, hold=True)).jobs[0]
    assert (made.class_name, made.limit_s) == ("urgent", 3600)
    with pytest.raises(PermissionDenied, match="you may not use class urgent"):
        services.jobs.submit(AS_BEN, asked(**{"class": "urgent"}))
    with pytest.raises(InvalidRequest, match="--time 2h: at most 1h in class urgent"):
        services.jobs.submit(AS_ANN, asked(**{"class": "urgent"}))
    with pytest.raises(InvalidRequest, match="--gpus 3: at most 2 in class urgent"):
        services.jobs.submit(AS_ANN, asked(3, "1h", **{"class": "urgent"}))
    with pytest.raises(InvalidRequest) as caught:
        services.jobs.submit(AS_ANN, asked(**{"class": "urgnt"}))
    assert caught.value.hint == "did you mean urgent?"
    changed = services.jobs.update(AS_ANN, UpdateRequest([str(made.id)], time_limit="2h"))
    assert "at most 1h in class urgent" in changed.results[0].words


def test_the_default_class_is_for_whom_it_is(tmp_path) -> None:
    """Somebody who may not use it has none."""
    text = LAB + '\n[policy]\ndefault_class = "urgent"'
    _, services = lab(tmp_path, text)
    assert services.jobs.submit(AS_ANN, asked(time="30m")).jobs[0].class_name == "urgent"
    assert services.jobs.submit(AS_BEN, asked(time="30m")).jobs[0].class_name == ""


def test_a_promise_outlives_the_daemon(tmp_path) -> None:
    """A job of a promised class keeps its start over a restart, and is told it."""
    box, services = lab(tmp_path)
    services.jobs.submit(AS_BEN, asked(4, "2h"))
    box.settle()
    services.jobs.submit(AS_ANN, asked(4, "1h", account="robots"))
    waiting = services.jobs.submit(AS_ANN, asked(4, "1h", account="robots", **{"class": "sure"}))
    box.settle()
    before = services.jobs.why(AS_ANN, str(waiting.ids[0]))
    assert before.promised_start_at is not None
    assert "As one of class sure it is promised a start by" in before.words
    box.restart()
    box.settle()
    after = services_over(box).jobs.why(AS_ANN, str(waiting.ids[0]))
    assert after.promised_start_at == before.promised_start_at


def test_a_hard_weekly_quota_refuses_what_can_never_fit_and_keeps_the_rest_waiting(
    tmp_path,
) -> None:
    """With the numbers, and with when it ends."""
    box, services = lab(tmp_path)
    with pytest.raises(QuotaExceeded, match="allows 10 GPU-hours a week, this job wants 12"):
        services.jobs.submit(AS_BEN, asked(2, "6h"))
    services.jobs.submit(AS_BEN, asked(2, "4h"))
    box.settle()
    waiting = services.jobs.submit(AS_BEN, asked(1, "3h"))
    box.settle()
    why = services.jobs.why(AS_BEN, str(waiting.ids[0]))
    assert why.causes[0].words.startswith(
        "the quota allows 10 GPU-hours a week, 8 are used, 3 wanted; frees "
    )
    assert why.causes[0].until_at is not None
    assert "--time 2h" in why.would_start_now
    row = next(row for row in services.board.usage(AS_BEN).people if row.user == "ben")
    assert row.quota_words == "8 of 10 GPU-hours this week"


def test_a_week_that_is_over_is_free_again(tmp_path) -> None:
    """What was held a week ago counts no more: the job starts by itself."""
    box, services = lab(tmp_path, LAB.replace("per_week = 10", "per_week = 1"))
    first = services.jobs.submit(AS_BEN, asked(2, "30m")).ids[0]
    box.settle()
    waiting = services.jobs.submit(AS_BEN, asked(1, "1h")).ids[0]
    box.settle()
    assert services.jobs.show(AS_BEN, str(waiting)).job.state == "queued"
    box.advance(1860, by=600)
    assert services.jobs.show(AS_BEN, str(first)).job.state in ("succeeded", "timed_out")
    assert services.jobs.show(AS_BEN, str(waiting)).job.state == "queued"
    box.restart()
    box.settle()
    box.advance(7 * 86400 + 7200, by=21_600)
    assert services_over(box).jobs.show(AS_BEN, str(waiting)).job.state in ("running", "starting")


def test_a_command_line_says_group_and_class(tmp_path) -> None:
    """What a dry run gives to copy asks for the same."""
    _, services = lab(tmp_path)
    request = msgspec.structs.replace(asked(time="1h", account="robots"), class_name="urgent")
    line = services.jobs.dry_run(AS_ANN, request)()().command_line
    assert "--account robots --class urgent" in line


def test_a_queued_job_moves_to_another_group_or_class_of_its_owner(tmp_path) -> None:
    """With the rights and limits of a submission; one that runs stays where it is."""
    box, services = lab(tmp_path)
    made = services.jobs.submit(AS_ANN, asked(time="30m", hold=True)).jobs[0]
    ids = [str(made.id)]
    update = UpdateRequest(ids, account="robots", class_name="urgent")
    changed = services.jobs.update(AS_ANN, update).results[0].job
    assert changed is not None
    assert (changed.account, changed.class_name) == ("robots", "urgent")
    # the admin may do it, within what the owner may
    for wanted in ({"account": "lab"}, {"class_name": "gone"}, {"time_limit": "2h"}):
        assert not services.jobs.update(AS_ADMIN, UpdateRequest(ids, **wanted)).results[0].ok
    running = services.jobs.submit(AS_BEN, asked(time="30m")).ids
    box.settle()
    words = services.jobs.update(AS_BEN, UpdateRequest([str(running[0])], class_name="sure"))
    assert "only its limit, name and note" in words.results[0].words


def test_what_is_charged_to_groups_is_what_is_charged_to_the_person(tmp_path) -> None:
    """P13: at any time the parts add up to the whole, though they are settled at other times."""
    box, services = lab(tmp_path)
    box.advance(60, by=60)
    for account, gpus in (("vision", 1), ("robots", 2), ("robots", 1)):
        services.jobs.submit(AS_ANN, asked(gpus=gpus, time="10m", account=account))
        box.settle()
        box.advance(40, by=10)
        rows = [row for row in box.engine.usage() if row.uid == AS_ANN.uid]
        held = box.engine.usage_since(0)[AS_ANN.uid]
        assert all(row.account for row in rows)
        assert sum(row.device_seconds for row in rows) == pytest.approx(held, rel=0.001)


def test_a_queued_job_moves_to_no_group_whose_queue_is_full(tmp_path) -> None:
    """Nor to one in which it could never start: what would be refused at once is no change either."""
    more = "queued_jobs = 1\n[quota.groups.lab]\nqueued_jobs = 3\n[quota.users.ben]"
    box, services = lab(tmp_path, LAB.replace("[quota.users.ben]", more))
    held = {"hold": True, "account": "robots"}
    ids = [services.jobs.submit(AS_ANN, asked(**held)).ids[0] for _ in range(2)]
    wide = services.jobs.submit(AS_ANN, asked(gpus=4, **held)).ids[0]

    def move(number: int):
        update = UpdateRequest(jobs=[str(number)], account="vision")
        (result,) = services.jobs.update(AS_ANN, update).results
        return result.ok, result.words

    assert move(wide)[0] is False
    assert "it could never start" in move(wide)[1]
    assert move(ids[0])[0] is True  # lab, which both are part of, has three of three
    assert move(ids[1]) == (
        False,
        "group vision may queue 0 more jobs, not 1 (the quota of group vision allows 1 queued jobs, 1 wait)",
    )
    assert box.job(ids[1]).spec.account == "robots"


def test_a_raised_limit_is_held_to_the_weekly_quota(tmp_path) -> None:
    """What runs counts up to its limit: a short job that is made a long one evades no quota."""
    box, services = lab(tmp_path)
    box.scripts["train"] = Script(run_s=10**6)
    (number,) = services.jobs.submit(AS_BEN, asked(gpus=2, time="2h")).ids
    box.settle()

    def raise_to(caller: Caller, time: str):
        update = UpdateRequest(jobs=[str(number)], time_limit=time)
        (result,) = services.jobs.update(caller, update).results
        return result.ok, result.words

    assert raise_to(AS_BEN, "5h")[0] is True
    is_raised, words = raise_to(AS_BEN, "6h")
    assert (is_raised, "allows 10 GPU-hours a week, with this it would be 12.0" in words) == (
        False,
        True,
    )
    assert raise_to(AS_ADMIN, "6h")[0] is True
