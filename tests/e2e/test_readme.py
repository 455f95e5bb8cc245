"""The README is true: its two commands and every `gpuboard ...` line in it run as they stand."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.box import ROOT, Box
from tests.support.dockerd import busybox_root, missing_parts, running_engine
from tests.support.waiting import wait_until

README = (ROOT / "README.md").read_text()
CONFIG = """
[jobs]
runtimes = ["docker", "process"]
default_shm = "64M"
min_uid = 0
[docker]
host = "{host}"
network = "none"
mount_roots = ["{data}"]
[groups.vision]
members = ["root"]
[devices]
probe = "simulated"
scenario = "lab8"
"""
PYTHON = b"#!/bin/sh\necho trained by $@\nsleep 1\n"


def commands() -> list[str]:
    """Return the `gpuboard ...` lines of the table of README's second section, in order."""
    table = README.split("## What it does")[1].split("## Install")[0]
    return [found for found in re.findall(r"`(gpuboard [^`]+)`", table) if "(" not in found]


def test_make_demo_tells_its_story_in_a_pipe_and_leaves_nothing():
    """`make demo` with no terminal ends with 0, shows board, queue, log and booking, and cleans up."""
    before = set(Path(tempfile.gettempdir()).glob("gpuboard-demo-*"))
    done = subprocess.run(
        ["make", "demo", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.stamp"],
        cwd=ROOT,
        check=False,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for words in (
        "$ gpuboard gpus",
        "queued",
        "about ",
        "saved model.pt",
        "booking ",
        "FAULTY".lower(),
    ):
        assert words in done.stdout, words
    assert set(Path(tempfile.gettempdir()).glob("gpuboard-demo-*")) == before


@pytest.mark.engine
@pytest.mark.root
def test_the_demo_runs_containers_where_an_engine_is():
    """With a Docker Engine the lab's jobs are real containers, and none is left behind."""
    why_not = missing_parts()
    if why_not and not os.environ.get("GPUBOARD_REQUIRE_ENGINE"):
        pytest.skip(why_not)
    with running_engine() as engine, contextlib.closing(engine.client()) as client:
        demo = subprocess.Popen(
            [sys.executable, "-m", "gpuboard", "demo"],
            env={**os.environ, "DOCKER_HOST": engine.host},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        names = wait_until(
            lambda: [row["Names"][0] for row in client.containers()], 60, "a container"
        )
        assert all(name.startswith("/gb-") for name in names)
        output, _ = demo.communicate(timeout=110)
        assert demo.returncode == 0, output
        assert "the lab's jobs are containers" in output
        assert client.containers(all=True) == []


def test_the_table_names_the_commands_people_need():
    """The table still has its lines, so that the test below tests something."""
    assert len(commands()) >= 11


@pytest.mark.engine
@pytest.mark.root
@pytest.mark.timeout(180)
def test_every_command_of_the_table_runs_as_it_stands():
    """In the order of the README, in a folder with a `train.py`, on a box with a real engine whose
    `pytorch:2` prints one line."""
    why_not = missing_parts()
    if why_not and not os.environ.get("GPUBOARD_REQUIRE_ENGINE"):
        pytest.skip(why_not)
    folder = Path(tempfile.mkdtemp(prefix="gpuboard-readme-"))
    try:
        with running_engine() as engine:
            with contextlib.closing(engine.client()) as client:
                client.import_image_from_data(
                    busybox_root((("bin/python", 0o755, PYTHON),)),
                    repository="pytorch",
                    tag="2",
                    changes=["ENV PATH=/bin"],
                )
            _run_them(folder, engine.host)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_them(folder: Path, host: str) -> None:
    data = folder / "home/data"
    data.mkdir(parents=True)
    config = CONFIG.format(host=host, data=folder / "home")
    (folder / "home/train.py").write_text("print('trained')\n")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `python` is this one
    box = Box(folder / "box", config, {"HOME": str(folder / "home"), "PATH": programs})
    box.start()
    try:
        wait_until(lambda: "docker" in str(box.json("gpus")["host"]["runtimes"]), 30, "the engine")
        for line in commands():
            words = shlex.split(line.replace("~", str(folder / "home")))  # as the shell does
            done = box.run(*words[1:], timeout_s=90, folder=str(folder / "home"))
            assert done.returncode == 0, (line, done.stdout, done.stderr)
        _script(box, folder)
    finally:
        for job in box.json("ps", "--all")["jobs"]:
            box.run("cancel", "--force", str(job["id"]))
        wait_until(lambda: not box.json("ps", "--all")["jobs"], 60, "the jobs to end")
        box.stop()


def _script(box: Box, folder: Path) -> None:
    """README's job script is read with its own flags, and runs."""
    script = re.search(r"```sh\n(#!/bin/sh\n#GPUBOARD.*?)```", README, re.DOTALL)
    assert script is not None
    path = folder / "train.sh"
    path.write_text(script.group(1))
    job = box.submit(str(path))
    assert (box.job(job)["gpus"], box.job(job)["limit_s"]) == (2, 4 * 3600)
    assert box.wait_state(job, "succeeded", "failed")["state"] == "succeeded"
    assert "trained by train.py" in box.run("logs", str(job)).stdout
