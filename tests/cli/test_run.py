"""`run`, `wait` and how submissions are meant: waiting, following, interrupts, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gpuboard.cli import follow
from gpuboard.errors import Unavailable
from gpuboard.model.views.devices import DeviceRef
from gpuboard.model.views.jobs import ActionResult, JobView, PortView
from gpuboard.model.views.waits import DryRunView
from tests.cli.conftest import Gpuboard
from tests.support.fake_server import AT, FakeServer, built, detail, job, submitted
from tests.support.waiting import wait_until

RUNNING = {"state": "running", "started_at": AT, "devices": [DeviceRef("2", "GPU-2")]}
ENDED = {"state": "succeeded", "started_at": AT, "ended_at": AT, "exit_code": 0}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LONGEST_PAUSE_S", 0.02)


def chunks(*pieces: bytes | None) -> Any:
    """Return a scripted streamed body; None tears the connection."""
    return lambda _asked: iter(pieces)


def script_run(server: FakeServer, *states: dict[str, Any], log: Any = b"epoch 1\n") -> None:
    server.answers["POST", "/jobs"] = submitted(12)
    server.turns["GET", "/jobs/12"] = [detail(12, **state) for state in states[:-1]]
    server.answers["GET", "/jobs/12"] = detail(12, **states[-1])
    server.answers["GET", "/jobs/12/log"] = log
    server.answers["GET", "/ping"] = {}


def test_run_says_where_the_ports_are_once_it_runs(server: FakeServer, gpuboard: Gpuboard) -> None:
    """On stderr, before the first output: a notebook's own words name the container's port."""
    ports = [PortView(8888, 20017)]
    script_run(server, {**RUNNING, "ports": ports}, {**ENDED, "ports": [PortView(8888)]})
    ran = gpuboard("run", "-p", "8888", "img")
    assert "port 8888 at 127.0.0.1:20017" in ran.err
    assert ran.out == "epoch 1\n"


def test_run_shows_the_output_and_ends_as_the_job_does(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """stdout has the job's bytes and nothing else; what gpuboard says is on stderr."""
    script_run(
        server,
        {"reason": "GPU 2 is busy"},
        {},
        RUNNING,
        ENDED,
        log=chunks(b"epoch 1\n", b"\x1b[1mepoch 2"),
    )
    ran = gpuboard("run", "-g", "1", "img", "true")
    assert (ran.code, ran.out) == (0, "epoch 1\n\x1b[1mepoch 2")
    assert ran.err == "job 12 waits: GPU 2 is busy\njob 12 runs on GPU 2\n"
    assert [one.query for one in server.asked if one.path.endswith("/log")] == [
        {"attempt": ["1"], "follow": ["1"]}
    ]


def test_quiet_run_says_only_what_the_job_says(server: FakeServer, gpuboard: Gpuboard) -> None:
    """-q leaves stderr to errors."""
    script_run(server, {}, RUNNING, ENDED)
    assert gpuboard("run", "-q", "img") == (0, "epoch 1\n", "")


def test_quiet_run_still_tells_of_a_failure(server: FakeServer, gpuboard: Gpuboard) -> None:
    """And why a job never ran, with the code that a shell would give."""
    never_ran = {"state": "failed", "reason": "start failed: command not found: x"}
    never_ran |= {"exit_code": 127, "exit_words": "command not found (127)"}
    script_run(server, {}, never_ran)
    ran = gpuboard("run", "-q", "img", "x")
    assert ran == (127, "", "job 12 failed: start failed: command not found: x\n")


def test_json_run_gives_the_job_on_stdout_and_its_output_on_stderr(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """One JSON value stays one JSON value however much the job prints."""
    script_run(server, RUNNING, ENDED | {"state": "failed", "exit_code": 3})
    ran = gpuboard("run", "--json", "img")
    assert (ran.code, ran.json["job"]["exit_code"]) == (3, 3)
    assert "epoch 1\n" in ran.err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"state": "succeeded", "exit_code": 0}, 0),
        ({"state": "failed", "exit_code": 3}, 3),
        ({"state": "failed", "exit_code": 137}, 137),
        ({"state": "failed", "exit_code": -9}, 137),
        ({"state": "failed", "exit_code": None}, 1),
        ({"state": "failed", "exit_code": 4294967295}, 1),
        ({"state": "timed_out", "exit_code": 143}, 143),
        ({"state": "timed_out", "exit_code": 0}, 1),
        ({"state": "cancelled", "exit_code": None}, 1),
        ({"state": "lost", "exit_code": None}, 1),
    ],
    ids=str,
)
def test_exit_code_is_the_jobs_own_and_never_0_for_a_job_that_did_not_succeed(
    server: FakeServer, gpuboard: Gpuboard, end: dict[str, Any], code: int
) -> None:
    """`run` and `wait` can stand in a script's `&&`: a job cut off by its limit is no success."""
    script_run(server, RUNNING, ENDED | end)
    server.answers["GET", "/resolve"] = {"schema": 1, "ids": [12]}
    assert gpuboard("run", "img").code == code
    assert gpuboard("wait", "12").code == code


def test_job_that_was_preempted_is_followed_through_its_next_attempt(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """A requeue is not the end: both attempts' output is shown, the last one's exit code counts."""
    again = {"attempt": 2}
    script_run(
        server,
        RUNNING,
        {"attempt": 2},
        RUNNING | again,
        ENDED | again | {"state": "failed", "exit_code": 4},
    )
    server.turns["GET", "/jobs/12/log"] = [b"first\n", b"second\n"]
    ran = gpuboard("run", "img")
    assert (ran.code, ran.out) == (4, "first\nsecond\n")


def test_job_that_never_ran_is_told_in_words(server: FakeServer, gpuboard: Gpuboard) -> None:
    """A job cancelled in the queue has no output; why it ended is on stderr."""
    script_run(server, {}, {"state": "cancelled", "reason": "cancelled by bob"})
    ran = gpuboard("run", "img")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("job 12 cancelled: cancelled by bob\n")


def test_torn_log_is_taken_up_where_it_broke(server: FakeServer, gpuboard: Gpuboard) -> None:
    """A daemon that restarts in the middle of a line costs no byte and repeats none."""
    script_run(server, RUNNING, ENDED)
    server.turns["GET", "/jobs/12/log"] = [
        chunks(b"epoch 1\nepo", None), chunks(b"ep", None), chunks(b"epoch 1\nepoch 2\n"),
    ]  # fmt: skip
    assert gpuboard("run", "-q", "img").out == "epoch 1\nepoch 2\n"


def test_torn_log_whose_beginning_was_let_go_does_not_fall_silent(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it broke cannot be counted any more: its last lines come again, and that is said."""
    monkeypatch.setattr(follow, "SURELY_KEPT_BYTES", 10)
    script_run(server, RUNNING, ENDED)
    server.turns["GET", "/jobs/12/log"] = [
        chunks(b"epoch 1\nepoch 2\nepoch 3\n", None),
        chunks(b"epoch 3\nepoch 4\n"),
        chunks(b"epoch 3\nepoch 4\n", None),
        chunks(b"epoch 4\nepoch 5\n"),
    ]
    ran = gpuboard("run", "img")
    assert ran.out == "epoch 1\nepoch 2\nepoch 3\nepoch 3\nepoch 4\nepoch 4\nepoch 5\n"
    assert ran.err.count("outgrew its bound") == 2
    asked = [one.query for one in server.asked if one.path == "/jobs/12/log"]
    assert [query.get("tail") for query in asked] == [None, None, ["100"], ["100"]]


def test_logs_that_follow_are_taken_up_too_and_stay_with_their_job(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """`logs -f @` goes on over a restart of the daemon, with the job that `@` was at first."""
    script_run(server, RUNNING)
    server.answers["GET", "/jobs/@"] = detail(12, **RUNNING)
    server.turns["GET", "/jobs/12/log"] = [chunks(b"epoch", None), chunks(b"epoch 1\n")]
    assert gpuboard("logs", "-f", "@") == (0, "epoch 1\n", "")


def test_daemon_that_is_away_is_waited_for(server: FakeServer, gpuboard: Gpuboard) -> None:
    """An upgrade of the daemon does not end a wait."""
    script_run(server, RUNNING, ENDED)
    server.turns["GET", "/jobs/12"].insert(1, Unavailable("restarting"))
    server.answers["GET", "/resolve"] = {"schema": 1, "ids": [12]}
    ran = gpuboard("wait", "12")
    assert ran.code == 0
    assert "the daemon does not answer" in ran.err


def test_daemon_that_stays_away_is_exit_code_3(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience has an end, and says what it was."""
    monkeypatch.setattr(follow, "DAEMON_PATIENCE_S", 0.0)
    server.answers["GET", "/resolve"] = {"schema": 1, "ids": [12]}
    server.answers["GET", "/jobs/12"] = Unavailable("gone")
    assert gpuboard("wait", "12").code == 3


def test_lost_answer_to_a_submission_is_asked_for_again_under_the_same_token(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """A retry can never queue the job twice: the token says that it is the same submission."""
    server.turns["POST", "/jobs"] = [Unavailable("restarting"), submitted(12)]
    assert gpuboard("submit", "-q", "img").out == "12\n"
    first, second = server.bodies("POST", "/jobs")
    assert first == second
    assert len(first["token"]) == 32


def test_nonblock_asks_first_and_queues_nothing(server: FakeServer, gpuboard: Gpuboard) -> None:
    """Where nothing is free, --nonblock fails with 1 and no job comes to be."""
    busy = built(DryRunView(would_start_now=False, words="all GPUs are busy"))
    server.answers["POST", "/jobs"] = busy
    ran = gpuboard("submit", "--nonblock", "img")
    assert ran.code == 1
    assert "all GPUs are busy" in ran.err
    assert [one.query for one in server.asked] == [{"dry_run": ["1"]}]


def test_nonblock_that_lost_the_race_takes_its_job_back(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody was faster between question and submission: the job is cancelled, exit code 1."""
    monkeypatch.setattr("gpuboard.cli.submit._NOW_S", 0.05)
    server.turns["POST", "/jobs"] = [built(DryRunView(would_start_now=True)), submitted(12)]
    server.answers["GET", "/jobs/12"] = detail(12)
    server.answers["POST", "/jobs/cancel"] = {"schema": 1, "results": []}
    ran = gpuboard("submit", "--nonblock", "img")
    assert ran.code == 1
    assert server.bodies("POST", "/jobs/cancel") == [{"jobs": ["12"]}]


def test_wait_flag_gives_up_with_4_and_cancels(server: FakeServer, gpuboard: Gpuboard) -> None:
    """--wait SPAN: a job that did not start by then is taken back."""
    script_run(server, {})
    server.answers["POST", "/jobs/cancel"] = {"schema": 1, "results": []}
    ran = gpuboard("run", "--wait", "1s", "img")
    assert ran.code == 4
    assert "did not start within 1s" in ran.err
    assert server.bodies("POST", "/jobs/cancel") == [{"jobs": ["12"]}]


def test_wait_flag_of_an_array_is_about_its_first_job(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """`-a 0-9%2 --wait` is not given up because two at once are not ten at once."""
    server.answers["POST", "/jobs"] = submitted(12, 13)
    server.answers["GET", "/jobs/12"] = detail(12, **RUNNING)
    assert gpuboard("submit", "-q", "-a", "0-1", "--wait", "1m", "img") == (0, "12\n13\n", "")
    assert not [one for one in server.asked if one.path == "/jobs/13"]


def test_wait_flag_lets_a_started_job_run(server: FakeServer, gpuboard: Gpuboard) -> None:
    """The clock of --wait stops with the start."""
    script_run(server, {}, RUNNING, RUNNING, ENDED)
    assert gpuboard("run", "--wait", "1m", "img").code == 0


def test_dry_run_says_where_and_when_and_submits_nothing(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """--dry-run is a question; with --nonblock the answer is in the exit code too."""
    ref = DeviceRef("2", "GPU-2")
    server.answers["POST", "/jobs"] = built(DryRunView(would_start_now=True, devices=[ref]))
    assert gpuboard("run", "--dry-run", "--nonblock", "img") == (
        0,
        "would start now on GPU 2\n",
        "",
    )
    server.answers["POST", "/jobs"] = built(
        DryRunView(would_start_now=False, devices=[ref], expected_start_at="2020-01-01T14:10:00Z")
    )
    ran = gpuboard("submit", "--dry-run", "--nonblock", "img")
    assert (ran.code, ran.out) == (1, "would wait, start about 2020-01-01 14:10 on GPU 2\n")
    assert {tuple(one.query) for one in server.asked} == {("dry_run",)}


def test_array_cannot_be_run_in_the_foreground(server: FakeServer, gpuboard: Gpuboard) -> None:
    """One output, one exit code: arrays are submitted."""
    ran = gpuboard("run", "-a", "0-3", "img")
    assert ran.code == 2
    assert not server.asked


def test_wait_takes_many_and_gives_the_highest_code(server: FakeServer, gpuboard: Gpuboard) -> None:
    """`gpuboard wait 4-5 && ...` goes on only when all succeeded."""
    server.answers["GET", "/resolve"] = {"schema": 1, "ids": [4, 5]}
    server.answers["GET", "/jobs/4"] = detail(
        4, state="failed", exit_code=3, exit_words="exit code 3"
    )
    server.answers["GET", "/jobs/5"] = detail(5, **ENDED)
    ran = gpuboard("wait", "4-5")
    assert (ran.code, ran.out) == (3, "job 4 failed: exit code 3\njob 5 succeeded\n")
    value = gpuboard("wait", "--json", "4-5").json
    assert (value["exit_code"], [one["id"] for one in value["jobs"]]) == (3, [4, 5])


def test_wait_that_times_out_is_exit_code_4(server: FakeServer, gpuboard: Gpuboard) -> None:
    """And the job is left alone."""
    server.answers["GET", "/resolve"] = {"schema": 1, "ids": [12]}
    server.answers["GET", "/jobs/12"] = detail(12)
    ran = gpuboard("wait", "--json", "-t", "1s", "12")
    assert ran.code == 4
    assert ran.json["error"]["code"] == "timeout"
    assert not server.bodies("POST", "/jobs/cancel")


class Interactive:
    """A `gpuboard run` as a process of its own, whose job runs until it is cancelled."""

    def __init__(self, server: FakeServer, *, obeys: bool = True) -> None:
        self.server = server
        self.cancelled = threading.Event()
        server.answers["POST", "/jobs"] = submitted(12)
        server.answers["GET", "/jobs/12"] = lambda _: detail(
            12, **(ENDED | {"state": "cancelled", "exit_code": 143} if obeys and self.cancelled.is_set() else RUNNING)
        )  # fmt: skip
        server.answers["GET", "/jobs/12/log"] = lambda _: self._log()
        server.answers["POST", "/jobs/cancel"] = self._cancel
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gpuboard", "run", "--", "sleep", "99"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "working\n"

    def _log(self) -> Iterator[bytes]:
        yield b"working\n"
        self.cancelled.wait(30)
        yield b"last words\n"

    def _cancel(self, _asked: Any) -> dict[str, Any]:
        self.cancelled.set()
        return {
            "schema": 1,
            "results": [built(ActionResult(id=12, ok=True, words="stopping"))],
        }

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_cancels_the_job_and_still_shows_its_last_words(
    server: FakeServer, number: signal.Signals
) -> None:
    """^C on `run` ends the job, as with docker run: it does not go on behind the person's back."""
    run = Interactive(server)
    run.process.send_signal(number)
    code, out, err = run.end()
    assert code == 128 + number
    assert out == "last words\n"
    assert "cancelling job 12" in err
    assert "job 12 cancelled" in err
    assert server.bodies("POST", "/jobs/cancel") == [{"jobs": ["12"]}]


def test_second_interrupt_leaves_at_once(server: FakeServer) -> None:
    """A job that does not want to end holds nobody at the prompt."""
    run = Interactive(server, obeys=False)
    run.process.send_signal(signal.SIGINT)
    wait_until(run.cancelled.is_set, what="the cancel")
    run.process.send_signal(signal.SIGINT)
    code, _, err = run.end()
    assert code == 130
    assert "the job is being stopped" in err


def test_hangup_leaves_the_job_alone(server: FakeServer) -> None:
    """A lost connection is not a wish: the job goes on."""
    run = Interactive(server)
    run.process.send_signal(signal.SIGHUP)
    code, _, _ = run.end()
    run.cancelled.set()
    assert code == -signal.SIGHUP
    assert not server.bodies("POST", "/jobs/cancel")


def test_views_used_here_are_the_contracts() -> None:
    """The scripted job has every key of a JobView."""
    assert set(job()) == set(JobView.__struct_encode_fields__)
