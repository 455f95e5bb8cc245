"""The box's own settings are what a simulation of its past starts from."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.config import Config, parse_config
from gpuboard.errors import StateError
from gpuboard.model.world import Group, JobClass, PolicySettings, Quota
from gpuboard.service.configview import settings_of
from gpuboard.simulate.baseline import baseline_of, on_box
from gpuboard.simulate.policies import POLICIES
from gpuboard.simulate.run import run_simulation
from gpuboard.simulate.simulation import Conditions
from gpuboard.simulate.trace import TraceJob

FILE = """
[policy]
half_life = "1d"
priority_window = "3d"
lease = "2h"
checkpoint_cost = "30s"
most_promises = 7
shares = { "ann.b" = 2.0 }
[groups.lab]
shares = 3.0
[groups.vision]
parent = "lab"
[classes.urgent]
boost = "1h"
promised = true
[quota]
running_gpus = 4
soft = ["running_gpus"]
[quota.users.bob]
running_gpus = 2
[reservations]
no_show_after = "none"
"""


def rows(text: str) -> list[dict]:
    """What `GET /admin/state` says of a configuration file."""
    return [msgspec.to_builtins(row) for row in settings_of(parse_config(text), Config())]


def test_what_the_daemon_shows_is_read_back_whole():
    found = baseline_of(rows(FILE))
    settings = found.settings
    assert (settings.half_life_s, settings.priority_window_s, settings.lease_s) == (
        86400, 3 * 86400, 7200,
    )  # fmt: skip
    assert settings.most_promises == 7
    assert settings.default_quota == Quota(running_gpus=4, soft=frozenset({"running_gpus"}))
    assert set(settings.groups) == {Group("lab", "", 3.0), Group("vision", "lab", 1.0)}
    assert settings.classes == {"urgent": JobClass(3600, is_promised=True)}
    assert found.shares == {"ann.b": 2.0}
    assert found.quotas == {"bob": Quota(running_gpus=2, soft=frozenset({"running_gpus"}))}
    assert (found.checkpoint_s, found.no_show_after_s) == (30, None)


def test_an_empty_file_is_the_usual_policy():
    """So that the box's past under its settings is what `fairshare` is without any."""
    usual = baseline_of(rows("")).settings
    assert usual == PolicySettings(default_quota=Quota())


def test_other_policies_stay_what_they_are_and_take_what_people_are_allowed():
    found = baseline_of(rows(FILE))
    easy = on_box("easy", POLICIES["easy"], found).settings
    assert (easy.priority_window_s, easy.lease_s, easy.half_life_s) == (0, 0, 86400)
    assert easy.default_quota.running_gpus == 4
    assert on_box("fairshare", POLICIES["fairshare"], found).settings == found.settings
    assert on_box("fairlease", POLICIES["fairlease"], found).settings.lease_s == 3600


def test_what_cannot_be_read_is_said_and_not_guessed():
    with pytest.raises(StateError, match=r"policy\.half_life = \?"):
        baseline_of([{"section": "policy", "key": "half_life", "value": "?"}])


def _starts(jobs, settings, **conditions) -> dict[int, float]:
    began: dict[int, float] = {}
    run_simulation(
        jobs,
        gpus=4,
        policies={"here": msgspec.structs.replace(POLICIES["fairshare"], settings=settings)},
        conditions=Conditions(**conditions),
        on_played=lambda _, played: began.update(
            {one.job.job_id: one.start_s for one in played.outcomes}
        ),
    )
    return began


def test_a_persons_quota_holds_in_the_past_too():
    jobs = [TraceJob(n, "bob", 0, 2, 100, 100) for n in (1, 2)]
    assert _starts(jobs, PolicySettings()) == {1: 0, 2: 0}
    assert _starts(jobs, PolicySettings(), quotas={"bob": Quota(running_gpus=2)}) == {1: 0, 2: 100}


def test_groups_are_charged_and_classes_boost():
    """Whose group used much comes later; a class's boost comes first."""
    past = [
        TraceJob(1, "ann", 0, 2, 7200, 7200, account="big"),
        TraceJob(2, "zoe", 0, 2, 100, 100, account="small"),
        TraceJob(5, "kim", 9000, 4, 100, 100),
    ]
    bob = TraceJob(3, "bob", 9010, 4, 100, 100, account="big")
    eve = TraceJob(4, "eve", 9010, 4, 100, 100, account="small", class_name="urgent")
    grouped = _starts([*past, bob, eve], PolicySettings(groups=(Group("big"), Group("small"))))
    assert grouped[4] < grouped[3]
    alone = _starts([*past, bob, eve], PolicySettings())
    assert alone[3] < alone[4]
    boosted = _starts([*past, bob, eve], PolicySettings(classes={"urgent": JobClass(3600)}))
    assert boosted[4] < boosted[3]


def test_jobs_that_were_preemptible_are_so_again():
    """One that may be stopped makes way."""
    jobs = [
        TraceJob(1, "ann", 0, 4, 1000, 1000, preemptible=True),
        TraceJob(2, "bob", 100, 4, 100, 100),
    ]
    assert _starts(jobs, PolicySettings()) == {1: 0, 2: 100}
