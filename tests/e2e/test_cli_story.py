"""A person alone on a workstation: no set-up, the first command starts the daemon, the whole story follows.

The real personal daemon with the simulated probe and plain processes; each command a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

CONFIG = """
[daemon]
idle_exit = "60s"
[jobs]
runtimes = ["process"]
default_runtime = "process"
[devices]
probe = "simulated"
scenario = "{scenario}"
"""
SCENARIO = """
name = "two"
[[devices]]
name = "NVIDIA A100-SXM4-80GB"
memory_bytes = 85899345920
count = 2
"""


class Workstation:
    """One person's home, and commands typed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("config/gpuboard", "run", "state"):
            (folder / name).mkdir(parents=True, mode=0o700)
        scenario = folder / "scenario.toml"
        scenario.write_text(SCENARIO)
        config = folder / "config/gpuboard/config.toml"
        config.write_text(CONFIG.format(scenario=scenario))
        config.chmod(0o600)
        self.environment = {key: value for key, value in os.environ.items() if key != "GPUBOARD_SOCKET"} | {
            "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_STATE_HOME": str(folder / "state"), "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gpuboard", *arguments],
            env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def says(self, *arguments: str) -> str:
        """Return stdout of a command that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.says(arguments[0], "--json", *arguments[1:]))

    def state(self, selector: str) -> str:
        found: str = self.json("show", selector)["job"]["state"]
        return found

    def daemon_pid(self) -> int:
        lock = next(self.folder.rglob("daemon.lock"))
        return int(lock.read_text())

    def end(self) -> None:
        with contextlib.suppress(StopIteration, ValueError, ProcessLookupError):
            pid = self.daemon_pid()
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not _is_alive(pid), what="the daemon's end")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workstation]:
    workstation = Workstation(tmp_path_factory.mktemp("home"))
    yield workstation
    workstation.run("cancel", "-q", "1-99")
    workstation.end()


@pytest.fixture(autouse=True)
def nothing_left(here: Workstation) -> Iterator[None]:
    """Each story begins on an empty box."""
    yield
    live = [str(job["id"]) for job in here.json("ps")["jobs"]]
    if live:
        here.run("cancel", "--force", *live)
        here.run("wait", "-t", "30s", *live)


def test_first_command_starts_the_daemon_and_many_at_once_start_one(here: Workstation) -> None:
    """`gpuboard gpus` on a fresh machine answers; five at the same moment share one daemon."""
    first = [here.start("gpus") for _ in range(5)]
    for process in first:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.count("A100") == 2
    assert _is_alive(here.daemon_pid())


def test_a_job_is_submitted_followed_and_waited_for(here: Workstation) -> None:
    """The output is whole, the exit code the job's own, the record says so."""
    script = here.folder / "train.sh"
    script.write_text(
        "#!/bin/sh\n#GPUBOARD -g 1 -t 5m --name training -e GREETING=hello\n"
        'for i in 1 2 3; do echo "$GREETING $1 $i"; sleep 0.2; done; pwd; exit 3\n'
    )
    assert "queued" in here.says("submit", str(script), "world")
    log = here.run("logs", "-f", "@")
    assert log.stdout == f"hello world 1\nhello world 2\nhello world 3\n{here.folder}\n"
    assert here.run("wait", "@").returncode == 3
    job = here.json("show", "training")["job"]
    assert (job["state"], job["exit_code"], job["name"]) == ("failed", 3, "training")
    assert here.json("history", "--name", "training")["jobs"][0]["id"] == job["id"]
    assert "exit code 3" in here.says("history")


def test_run_is_transparent(here: Workstation) -> None:
    """stdout is the job's stdout, the exit code its exit code, the devices its own."""
    done = here.run(
        "run", "-q", "-g", "2", "-t", "5m", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; exit 7"
    )
    assert done.returncode == 7
    assert len(done.stdout.strip().split(",")) == 2
    assert done.stderr == "" or "exit code 7" in done.stderr


def test_a_python_script_is_captured_and_told_as_one_can_ask_for_it_again(
    here: Workstation,
) -> None:
    """It knows its file; what --dry-run and show print of it is a line to type."""
    script = here.folder / "train.py"
    script.write_text(
        "#!/usr/bin/env python3\n#GPUBOARD -t 5m\nimport os, sys\n"
        "print(os.path.basename(__file__), sys.argv[1:], os.path.exists(__file__))\n"
    )
    line = f"{script} --lr 3"
    assert here.says("submit", "--dry-run", str(script), "--lr", "3").rstrip().endswith(line)
    assert here.says("run", str(script), "--lr", "3") == "train.py ['--lr', '3'] True\n"
    shown = here.says("show", "@")
    assert f"command      {line}\n" in shown
    assert "5 lines, as they were at the submission" in shown


@pytest.mark.parametrize(("program", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_run_of_what_is_no_program_ends_as_in_a_shell(
    here: Workstation, program: str, status: int
) -> None:
    """The code goes the whole way, the reason is said even with -q, and the record has both."""
    done = here.run("run", "-q", "-t", "5m", "--", program)
    assert (done.returncode, done.stdout) == (status, "")
    assert "start failed: command" in done.stderr
    assert here.json("show", "@")["job"]["exit_code"] == status
    no_log = here.run("logs", "@")
    assert no_log.returncode == 1
    assert (
        f"never ran: start failed: command {'not found' if status == 127 else 'cannot'}"
        in no_log.stderr
    )


def test_interrupt_of_run_ends_the_job(here: Workstation) -> None:
    """After ^C nothing goes on in the background."""
    process = here.start(
        "run", "-g", "1", "-t", "5m", "-J", "endless", "--", "sh", "-c", "echo begun; sleep 600"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert here.state("endless") == "cancelled"


def test_waiting_job_has_a_reason_and_a_start_time(here: Workstation) -> None:
    """`ps` and `why` say what it waits for and when it starts; a smaller request would start now."""
    here.says("submit", "-q", "-g", "1", "-t", "1h", "-J", "holder", "--", "sleep", "600")
    wait_until(lambda: here.state("holder") == "running", what="the holder")
    here.says("submit", "-q", "-g", "2", "-t", "1h", "-J", "wide", "--", "true")
    wait_until(
        lambda: here.json("ps", "-s", "queued")["jobs"][0]["latest_start_at"], what="a forecast"
    )
    why = here.says("why", "wide")
    assert "waits" in why
    assert "starts " in why
    assert "would start now with --gpus 1" in why
    listed = here.says("ps", "--all")
    assert listed.index("holder") < listed.index("wide")
    assert "by " in listed
    assert here.run("submit", "--nonblock", "-g", "2", "-t", "1h", "--", "true").returncode == 1
    gave_up = here.run("run", "--wait", "1s", "-g", "2", "-t", "1h", "--", "true")
    assert gave_up.returncode == 4
    dry = here.json("submit", "--dry-run", "-g", "1", "-t", "5m", "--", "true")
    assert dry["would_start_now"]
    assert here.run("gpus", "--free").returncode == 0
    here.says("cancel", "holder")
    assert here.run("wait", "-t", "30s", "wide").returncode == 0


def test_hold_release_update_and_dependencies(here: Workstation) -> None:
    """A held job waits for its release, a dependent one for the first; limits can be changed."""
    first = here.says("submit", "-q", "--hold", "-g", "1", "-t", "5m", "--", "true").strip()
    second = here.says("submit", "-q", "-d", first, "-g", "1", "-t", "5m", "--", "true").strip()
    assert "held" in here.says("why", first)
    assert first in here.says("why", second)
    here.says("update", first, "-t", "+5m", "--note", "longer")
    assert here.json("show", first)["job"]["limit_s"] == 600
    here.says("release", first)
    assert here.run("wait", "-t", "30s", first, second).returncode == 0
    assert here.run("hold", first).returncode == 1


def test_array_runs_every_index_and_wait_takes_its_range(here: Workstation) -> None:
    """One submission, four jobs; the highest exit code counts."""
    ids = here.json(
        "submit",
        "-a",
        "0-3%2",
        "-g",
        "1",
        "-t",
        "5m",
        "--",
        "sh",
        "-c",
        "exit $GPUBOARD_ARRAY_INDEX",
    )["ids"]
    assert len(ids) == 4
    assert here.run("wait", "-t", "60s", f"{ids[0]}-{ids[-1]}").returncode == 3


def test_three_words_book_and_the_timeline_shows_it(here: Workstation) -> None:
    """A booking is answered with devices and times, listed, drawn, and taken back."""
    answer = here.says("reserve", "2", "1h30m", "--at", "now+6h")
    assert "2 GPUs (likely GPU 0,1) from" in answer
    booking = here.json("reservations", "--mine")["reservations"][0]
    assert (booking["gpus"], booking["state"]) == (2, "booked")
    drawn = here.says("timeline")
    assert "GPU 0" in drawn
    assert "▓ booking" in drawn
    refused = here.run("reserve", "1", "1h", "--at", "now+6h")
    assert refused.returncode == 1
    assert "hint: " in refused.stderr
    changed = here.json("reserve", "--change", str(booking["id"]), "1", "1h")
    assert changed["reservation"]["gpus"] == 1
    here.says("unreserve", str(booking["id"]))
    assert here.json("reservations", "--mine")["reservations"] == []


def test_daemon_killed_in_the_middle_costs_the_follower_nothing(here: Workstation) -> None:
    """`kill -9` of the daemon: `run` starts the next one and still gives all output and the exit code."""
    process = here.start(
        "run", "-g", "1", "-t", "5m", "-J", "survivor", "--", "sh", "-c",
        "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.5; done; exit 5",
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "line 1\n"
    pid = here.daemon_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _is_alive(pid), what="the daemon's death")
    out, err = process.communicate(timeout=90)
    assert process.returncode == 5, err
    assert out == "".join(f"line {n}\n" for n in range(2, 9))


def test_what_only_looks_answers_in_text_and_json(here: Workstation) -> None:
    """usage, doctor, images, history and board work against the real daemon."""
    for words in (
        ["usage"],
        ["history"],
        ["board", "--once"],
        ["gpus"],
        ["reservations"],
        ["timeline"],
    ):
        here.says(*words)
        assert here.json(*words)["schema"] == 1
    assert here.run("doctor").returncode in (0, 1)


def test_submit_to_running_is_quick(here: Workstation) -> None:
    """A process job starts within a second of its submission, commands' own start included."""
    began = time.monotonic()
    assert here.run("run", "-q", "-g", "1", "-t", "1m", "--", "true").returncode == 0
    assert time.monotonic() - began < 5
