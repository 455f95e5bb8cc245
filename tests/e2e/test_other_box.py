"""Another box over ssh: the real sshd, the real daemon over there, the real commands here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box, people
from tests.support.sshd import Sshd, login_of, running_sshd, why_no_sshd
from tests.support.tmux import terminal, why_no_tmux
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_no_sshd()), reason=why_no_sshd() or "-"),
]
CONFIG = """
[jobs]
runtimes = ["process"]
default_runtime = "process"
[devices]
probe = "simulated"
"""


class Laptop:
    """A box without a gpuboard of its own, from which somebody speaks to another."""

    def __init__(self, folder: Path, far: Sshd, login: str) -> None:
        self.folder = folder
        (folder / "run").mkdir(parents=True, mode=0o700)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run"),
            "GPUBOARD_SSH": far.program_for(login), "TZ": "UTC", "VIRTUAL_ENV": "/of/the/laptop",
        }  # fmt: skip

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gpuboard", *arguments],
            check=False, env=self.environment | variables, cwd=self.folder, text=True,
            capture_output=True, timeout=60,
        )  # fmt: skip


@pytest.fixture(scope="module")
def far() -> Iterator[tuple[Box, Sshd, int]]:
    """The other box: its daemon, its sshd, and somebody who has an account there."""
    folder = Path(tempfile.mkdtemp(prefix="gb-far-"))
    folder.chmod(0o755)
    box = Box(folder / "box", CONFIG)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        [uid] = stack.enter_context(people("gbfar"))
        stack.callback(box.stop)
        box.start()
        variables = {"GPUBOARD_SOCKET": str(box.socket)}
        server = stack.enter_context(running_sshd(folder / "sshd", variables))
        yield box, server, uid


@pytest.fixture(scope="module")
def laptop(far: tuple[Box, Sshd, int]) -> Iterator[Laptop]:
    box, server, uid = far
    made = Laptop(box.folder.parent / "laptop", server, login_of(uid))
    yield made
    for control in (made.folder / "run").rglob("ssh-*"):  # the masters that ssh left behind
        program = made.environment["GPUBOARD_SSH"]
        subprocess.run(
            [program, "-o", f"ControlPath={control}", "-O", "exit", "box2"],
            check=False,
            capture_output=True,
        )


def test_a_job_submitted_over_ssh_is_the_accounts_over_there(far, laptop: Laptop) -> None:
    """Who asks is whom ssh logged in as: nothing that the laptop says of itself counts."""
    box, _, uid = far
    ran = laptop.run(
        "--host", "box2", "run", "-g", "1", "-t", "5m", "-w", "/", "--", "sh", "-c",
        'echo "$VIRTUAL_ENV on $(id -un)"; exit 7',
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (7, f" on {login_of(uid)}\n"), ran.stderr
    [job] = json.loads(laptop.run("-H", "box2", "history", "--json").stdout)["jobs"]
    assert (job["user"], job["state"]) == (login_of(uid), "failed")
    assert box.json("history")["jobs"][0]["id"] == job["id"]


def test_the_variable_names_the_box_as_docker_host_does(laptop: Laptop) -> None:
    """`GPUBOARD_HOST=box2` is `--host box2` for every command, the quick ones too."""
    named = laptop.run("gpus", "--json", GPUBOARD_HOST="box2")
    assert json.loads(named.stdout)["devices"], named.stderr
    assert json.loads(laptop.run("--host", "box2", "gpus", "--json").stdout)["devices"]


def test_paths_of_this_box_are_not_taken_for_paths_of_the_other(laptop: Laptop) -> None:
    """`~` and relative paths would be this box's: refused with the way out."""
    ran = laptop.run("--host", "box2", "submit", "-v", "~/data:/data", "img:1", "true")
    assert ran.returncode == 2
    assert "would be looked up on this box" in ran.stderr


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("-oProxyCommand=touch /tmp/owned", "is not a host"),
        ("box2; reboot", "is not a host"),
        ("nobody.invalid", "cannot reach gpuboard on nobody.invalid: "),
    ],
)
def test_a_host_that_is_none_says_so(laptop: Laptop, host: str, words: str) -> None:
    """A wrong host is one error in words, and never an option or a command."""
    ran = laptop.run("--host", host, "ps")
    assert ran.returncode in (2, 3)
    assert words in ran.stderr
    assert ran.stderr.count("error: ") == 1


def test_a_far_daemon_that_is_down_is_told_in_its_own_words(laptop: Laptop) -> None:
    """What `gpuboard dial` says over there is what the person reads here."""
    program = laptop.folder / "down"
    program.write_text("#!/bin/sh\necho 'error: there is no gpuboard daemon' >&2\nexit 3\n")
    program.chmod(0o755)
    ran = laptop.run("--host", "box2", "ps", "--json", GPUBOARD_SSH=str(program))
    assert ran.returncode == 3
    error = json.loads(ran.stdout)["error"]
    assert error["message"] == "cannot reach gpuboard on box2: there is no gpuboard daemon", error


def test_a_command_about_this_box_takes_no_host(laptop: Laptop) -> None:
    """`daemon`, `demo` and the like with --host are refused rather than done here."""
    for command in ("daemon", "demo", "dial"):
        ran = laptop.run("--host", "box2", command)
        assert ran.returncode == 2
        assert "is about this box" in ran.stderr


def test_a_line_that_breaks_costs_the_follower_nothing(far, laptop: Laptop) -> None:
    """`run` over ssh calls again when the line is cut: all output, and the job's own exit code."""
    _, server, _ = far
    process = subprocess.Popen(
        [
            sys.executable, "-m", "gpuboard", "--host", "box2", "run", "-g", "1", "-t", "5m", "--",
            "sh", "-c", "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done; exit 5",
        ],
        env=laptop.environment, cwd=laptop.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "line 1\n"
    server.cut()
    out = process.stdout.read()  # communicate() would lose what readline() has in hand
    assert process.wait(90) == 5
    assert out == "".join(f"line {n}\n" for n in range(2, 7))


@pytest.mark.skipif(bool(why_no_tmux()), reason=why_no_tmux() or "-")
def test_the_app_in_a_terminal_shows_the_other_box_and_outlives_a_cut_line(
    far, laptop: Laptop
) -> None:
    """A job typed here runs over there; when the line breaks the app says so and dials again."""
    box, server, uid = far
    command = [sys.executable, "-m", "gpuboard", "--host", "box2"]
    with terminal(laptop.folder, command, laptop.environment) as app:
        app.wait("Welcome to gpuboard")
        app.press("Escape")
        app.wait("1 Board", "8 free", without="Welcome")
        app.press("n")
        app.wait("New job")
        app.press("Tab")
        app.type("sleep 600")
        app.press("Tab", "Tab", "Tab", "Tab", "Tab", "Tab")
        app.type("from-afar")
        app.wait("would start now", "--name from-afar")
        app.press("Enter")
        app.wait("1 run", without="New job")
        [job_id] = [job["id"] for job in box.json("ps", "--all")["jobs"]]
        job = box.job(job_id)
        assert (job["user"], job["name"]) == (login_of(uid), "from-afar")
        server.cut()
        app.wait("no answer for")
        app.wait("1 run", without="no answer for")
        box.run("cancel", str(job_id))
        box.wait_state(job_id, "cancelled")
        app.wait("0 run")
        app.press("q")
        wait_until(app.is_over, what="the app to end")
