"""The app in a real terminal against a real daemon with real processes: book, submit, follow, cancel.

Keys go in through tmux and the screen comes out of it; what the screen says is held against what
the daemon itself says.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.tmux import Terminal, terminal, why_no_tmux
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(why_no_tmux()), reason=why_no_tmux() or "-")

CONFIG = """
[jobs]
runtimes = ["process"]
default_runtime = "process"
min_uid = 0
[devices]
probe = "simulated"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a short name, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="gb-screen-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def box(folder: Path) -> Iterator[Box]:
    box = Box(folder / "box", CONFIG)
    try:
        box.start()
        yield box
        for job in box.json("ps")["jobs"]:
            box.run("cancel", "--force", str(job["id"]))
            box.wait_state(job["id"], "cancelled")
    finally:
        box.stop()


@pytest.fixture
def app(box: Box, folder: Path) -> Iterator[Terminal]:
    """Give the app as somebody sees it who opens it for the first time, at 80x24."""
    home = folder / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_RUNTIME_DIR": str(home),
        "GPUBOARD_SOCKET": str(box.socket),
        "TZ": "UTC",
    }
    with terminal(folder, [sys.executable, "-m", "gpuboard"], environment) as found:
        yield found


def book_on_the_timeline(app: Terminal, box: Box) -> None:
    """Choose a window with the arrows, and book it."""
    app.press("2")
    app.wait("now", "nothing planned here")
    app.press("Right", "Right")
    app.press_until("S-Right", lambda screen: ", 1 GPU " in screen and " until " in screen)
    app.press("Enter")
    app.wait("Book GPUs", "can be booked: ", "same as   gpuboard reserve 1 ")
    app.press("Enter")
    app.wait("booking 1: ", without="Book GPUs")
    [booking] = box.json("reservations")["reservations"]
    assert (booking["id"], booking["gpus"], booking["state"]) == (1, 1, "booked")
    app.wait("\n any ")  # a row of its own: which device is decided when it begins


def submit_in_the_form(app: Terminal, box: Box, go: Path) -> None:
    """Fill in a command and a limit, hear when it would start, submit, and see it run."""
    app.press("n")
    app.wait("New job", "enter submit")
    app.press("Tab")
    app.type(f"echo waiting; until [ -e {go} ]; do sleep 0.1; done; echo released; sleep 600")
    app.press("Tab", "Tab")
    app.type("30m")
    app.wait("would start now on GPU", "-t 30m -- sh -c")
    app.press("Enter")
    app.wait("1 run", without="New job")
    assert box.wait_state(1, "running")["limit_s"] == 1800
    app.press("4")
    app.wait("STATE", "running        1 sh")


def follow_the_log(app: Terminal, go: Path) -> None:
    """See what was printed, and what is printed from now on."""
    app.press("l")
    app.wait("Log of job 1 (sh)", "following", "waiting")
    assert "released" not in app.screen()
    go.touch()
    app.wait("waiting\n released")
    app.press("Escape")
    app.wait("STATE", "running        1 sh")


def outlive_the_daemon(app: Terminal, box: Box) -> None:
    """Say that nobody answers, heed keys meanwhile, and go on by itself; the job went on too."""
    box.kill()
    app.wait("start it:")
    app.press("2")
    app.wait("GPU 7", "start it:")
    app.press("4")
    app.wait("STATE", "start it:", "running        1 sh")
    box.start()
    app.wait("1 run", "running        1 sh", without="start it:")
    assert box.job(1)["state"] == "running"


def cancel_with_the_dialog(app: Terminal, box: Box) -> None:
    """Read the exact effect, say no, then yes."""
    app.press("K")
    app.wait("Cancel this job?", "job 1 (sh) on GPU", "same as  gpuboard cancel 1")
    app.press("n")
    app.wait("STATE", without="Cancel this job?")
    assert box.job(1)["state"] == "running"
    app.press("K")
    app.wait("Cancel this job?")
    app.press("y")
    assert box.wait_state(1, "cancelled")["exit_code"] == 143
    app.wait("cancelled      1 sh", "0 run")


def test_whole_story_in_a_real_terminal(app: Terminal, box: Box, folder: Path) -> None:
    """From the first start on: book, submit, follow, a daemon that dies and comes back, cancel, leave."""
    go = folder / "go"
    app.wait("Welcome to gpuboard", "esc skip")
    app.press("Escape")
    app.wait("1 Board", "6/8 free", "0 run", without="Welcome")
    book_on_the_timeline(app, box)
    submit_in_the_form(app, box, go)
    follow_the_log(app, go)
    outlive_the_daemon(app, box)
    cancel_with_the_dialog(app, box)
    app.press("q")
    wait_until(app.is_over, what="the app to end")
    [booking] = box.json("reservations")["reservations"]
    assert booking["state"] == "booked"
