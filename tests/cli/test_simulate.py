"""`gpuboard simulate`: traces and the box's own record, as a table and as JSON."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, parse_config
from gpuboard.errors import PermissionDenied
from gpuboard.service.configview import settings_of
from tests.cli.conftest import Gpuboard
from tests.support.fake_server import FakeServer

KEYS = {
    "wait_mean_s", "wait_p50_s", "wait_p95_s", "wait_max_s", "bounded_slowdown_mean",
    "half_box_wait_max_s", "utilisation", "makespan_s", "jain_index", "ftf_worst_person",
    "ftf_over_1_05", "promise_violations", "preemptions", "decision_p50_ms", "decision_p99_ms",
}  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "log.csv"
    path.write_text(
        "job_id,user,submit,gpus,runtime,limit\n1,ann,0,4,100,200\n2,bob,1,2,50,60\n3,ann,2,4,9,60\n"
    )
    return str(path)


def record(server: FakeServer) -> None:
    job = {"user": "ann", "gpus": 1, "limit_s": 60, "submitted_at": "2026-01-01T00:00:00Z"}
    ran = {"started_at": "2026-01-01T00:00:05Z", "ended_at": "2026-01-01T00:00:30Z"}
    never = {"started_at": None, "ended_at": "2026-01-01T00:00:30Z"}
    server.answers["GET", "/history"] = {
        "schema": 1,
        "jobs": [{"id": 3, **job, **never}, {"id": 2, **job, **ran}],
    }
    server.answers["GET", "/board"] = {
        "schema": 1,
        "devices": [{"uuid": "GPU-a"}, {"uuid": "GPU-b"}],
    }
    server.answers["GET", "/events"] = {"schema": 1, "events": []}
    server.answers["GET", "/reservations"] = {"schema": 1, "reservations": []}
    rows = [msgspec.to_builtins(row) for row in settings_of(Config(), Config())]
    server.answers["GET", "/admin/state"] = {"schema": 1, "settings": rows}


def test_json_has_exactly_the_keys_that_are_promised(gpuboard: Gpuboard, trace: str) -> None:
    ran = gpuboard("simulate", trace, "--gpus", "4", "--policy", "fifo,fairshare", "--json")
    assert ran.code == 0, ran
    assert set(ran.json) == {"schema", "trace", "gpus", "policies"}
    assert (ran.json["schema"], ran.json["trace"], ran.json["gpus"]) == (1, "log.csv", 4)
    assert {name: set(table) for name, table in ran.json["policies"].items()} == {
        "fifo": KEYS,
        "fairshare": KEYS,
    }


def test_the_table_has_a_column_a_policy_and_a_pipe_gets_no_bar(
    gpuboard: Gpuboard, trace: str
) -> None:
    ran = gpuboard("simulate", trace, "--gpus", "4", "--policy", "easy", "--policy", "sjf")
    assert ran.out.splitlines()[0].split() == ["METRIC", "easy", "sjf"]
    assert ran.err == ""


def test_settings_are_compared_under_their_own_names(gpuboard: Gpuboard, trace: str) -> None:
    ran = gpuboard("simulate", trace, "--gpus", "4", "--compare", "half_life=1d,7d", "--json")
    assert list(ran.json["policies"]) == ["half_life=1d", "half_life=7d"]
    off = gpuboard("simulate", trace, "--gpus", "4", "--compare", "lease=0s,1h", "--json")
    assert list(off.json["policies"]) == ["lease=0s", "lease=1h"]


def test_the_record_of_the_box_is_played_on_its_own_devices(
    gpuboard: Gpuboard, server: FakeServer
) -> None:
    record(server)
    ran = gpuboard("simulate", "--history", "--policy", "easy", "--json")
    assert (ran.json["trace"], ran.json["gpus"]) == ("history", 2)
    assert ran.json["policies"]["easy"]["makespan_s"] == 25


def test_the_record_is_played_with_the_settings_of_the_box(
    gpuboard: Gpuboard, server: FakeServer
) -> None:
    """A member, who is not shown them, is told that the usual ones stand in."""
    record(server)
    server.answers["GET", "/admin/state"] = PermissionDenied("only an administrator may do this")
    usual = gpuboard("simulate", "--history", "--policy", "fairshare", "--json")
    assert (usual.code, usual.json["trace"]) == (0, "history")
    assert "the box's own are shown to administrators" in usual.err
    strict = parse_config("[quota.users.ann]\nrunning_gpus = 0\n")
    rows = [msgspec.to_builtins(row) for row in settings_of(strict, Config())]
    server.answers["GET", "/admin/state"] = {"schema": 1, "settings": rows}
    here = gpuboard("simulate", "--history", "--policy", "fairshare")
    assert (here.code, "none of the 1 jobs may ever run" in here.err) == (2, True), here


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "how many GPUs"),
        (("--gpus", "4", "--history"), "not both"),
        (("--gpus", "3"), "wants 4 GPUs"),
        (("--gpus", "1", "--skip-wider"), "no job is left"),
        (("--gpus", "4", "--compare", "running_gpus=1"), "none of the 3 jobs may ever run"),
        (("--gpus", "4", "--policy", "best"), "no policy 'best'"),
        (("--gpus", "4", "--weight", "ann"), "no weight"),
        (("--gpus", "4", "--weight", "eve=2"), "no job of the trace is eve's"),
        (("--gpus", "4", "--preemptible", "2"), "no part of all"),
        (("--gpus", "4", "--bookings", "nan"), "no rate"),
        (("--gpus", "4", "--bookings", "1e9/day"), "no rate"),
        (("--gpus", "99999999"), "20000"),
        (("--gpus", "4", "--compare", "colour=1d"), "no setting 'colour'"),
        (("--gpus", "4", "--compare", "half_life=x"), "--compare"),
        (("--gpus", "4", "--compare", "half_lif=1d"), "did you mean half_life?"),
        (("--gpus", "4", "--policy", "fairshre"), "did you mean fairshare?"),
        (("--gpus", "4", "--plot", "out.png"), "writes SVG"),
        (("--gpus", "4", "--plot", "/nowhere/out.svg"), "no directory"),
        (("--gpus", "4", "--plot", "out.svg", "--forecast"), "without --forecast"),
        (("--gpus", "4", "--forecast", "--policy", "easy,fairshare"), "of one policy"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_words(
    gpuboard: Gpuboard, trace: str, options: tuple[str, ...], words: str
) -> None:
    ran = gpuboard("simulate", trace, *options)
    assert ran.code == 2
    assert words in ran.err


def test_settings_multiply(gpuboard: Gpuboard, trace: str) -> None:
    """Two settings of two values are four simulations, each under a name that says both."""
    ran = gpuboard(
        "simulate", trace, "--gpus", "4", "--json",
        "--compare", "half_life=1d,7d", "--compare", "quota.running_gpus=none,4",
    )  # fmt: skip
    assert list(ran.json["policies"]) == [
        "half_life=1d running_gpus=none",
        "half_life=1d running_gpus=4",
        "half_life=7d running_gpus=none",
        "half_life=7d running_gpus=4",
    ]


def test_a_quota_that_forbids_jobs_is_said(gpuboard: Gpuboard, trace: str) -> None:
    """What a compared quota never lets start is counted in a warning, not dropped in silence."""
    ran = gpuboard("simulate", trace, "--gpus", "4", "--compare", "running_gpus=2")
    assert ran.code == 0
    assert "the quota forbids 2 of 3 jobs for ever" in ran.err


def test_a_picture_is_drawn_with_the_names_of_policies_and_people(
    gpuboard: Gpuboard, trace: str, tmp_path: Path
) -> None:
    """`--plot` writes one well-formed SVG: waits, and for each policy devices and shares."""
    path = tmp_path / "out.svg"
    ran = gpuboard(
        "simulate", trace, "--gpus", "4", "--policy", "easy,fairshare", "--plot", str(path)
    )
    assert (ran.code, ran.err) == (0, f"drawn: {path}\n")
    root = ET.parse(path).getroot()
    said = " ".join("".join(node.itertext()) for node in root.iter())
    for words in ("log.csv on 4 GPUs", "easy", "fairshare", "ann", "bob", "Waits"):
        assert words in said


def test_jobs_wider_than_the_box_can_be_left_out(gpuboard: Gpuboard, trace: str) -> None:
    """Refused with the way out, or left out and said."""
    assert "--skip-wider" in gpuboard("simulate", trace, "--gpus", "3").err
    ran = gpuboard("simulate", trace, "--gpus", "3", "--skip-wider", "--policy", "easy")
    assert ran.code == 0
    assert "2 of 3 jobs want more than 3 GPUs" in ran.err
