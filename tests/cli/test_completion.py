"""Completion: the packaged scripts are current, shells accept them, live words are completed safely."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpuboard.cli.completion import completion_script
from gpuboard.model.views.catalog import ImageList, ImageView
from tests.cli.conftest import Gpuboard
from tests.support.fake_server import FakeServer, board, booking, built, device, job, job_list

PACKAGED = Path(__file__).resolve().parents[2] / "packaging" / "completions"
FILES = {"bash": "gpuboard.bash", "zsh": "_gpuboard", "fish": "gpuboard.fish"}


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")


@pytest.mark.parametrize("shell", FILES)
def test_packaged_script_is_what_the_command_prints(gpuboard: Gpuboard, shell: str) -> None:
    """packaging/completions is made by packaging/make_completions.py and never by hand."""
    printed = gpuboard("completion", shell)
    assert printed.code == 0
    assert printed.out == completion_script(shell) == (PACKAGED / FILES[shell]).read_text()


@pytest.mark.parametrize("shell", FILES)
def test_shell_accepts_its_script(shell: str) -> None:
    """The shell itself parses it."""
    needs(shell)
    parse = [shell, "-n", str(PACKAGED / FILES[shell])]
    ran = subprocess.run(parse, check=True, capture_output=True, text=True, timeout=30)
    assert ran.stderr == ""


@pytest.fixture
def here(tmp_path: Path, server: FakeServer) -> dict[str, str]:
    """An environment in which `gpuboard` is this one."""
    launcher = tmp_path / "bin" / "gpuboard"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m gpuboard "$@"\n')
    launcher.chmod(0o755)
    images = [
        ImageView(reference=name, id="sha256:1")
        for name in ("pytorch:2", "pytorch:1", "$(reboot):3", "py\x1b[0m")
    ]
    server.answers["GET", "/images"] = built(ImageList(images=images))
    server.answers["GET", "/jobs"] = job_list(job(12), job(121, name="a\x1b[31m"), job(7))
    server.answers["GET", "/board"] = board(
        device("2"), device("3", state="leased"), runtimes=["docker", "process"]
    )
    server.answers["GET", "/reservations"] = {"schema": 1, "reservations": [booking(7)]}
    return os.environ | {"PATH": f"{launcher.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}


LINES = [
    ("gpuboard can", {"cancel"}),
    ("gpuboard admin dr", {"drain"}),
    ("gpuboard cancel 12", {"12", "121"}),
    ("gpuboard cancel tr", {"train"}),
    ("gpuboard ps -s queued,r", {"queued,running"}),
    ("gpuboard submit --gpu-type h", {"h100"}),
    ("gpuboard submit --runtime d", {"docker"}),
    ("gpuboard run --gpu-ids 2,", {"2,3"}),
    ("gpuboard unreserve ", {"7"}),
    ("gpuboard submit --preem", {"--preemptible"}),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_bash_completes(here: dict[str, str], line: str, expected: set[str]) -> None:
    """Commands, flags, job ids, GPUs and bookings, in a real bash."""
    needs("bash")
    assert bash(here, line) == expected


def bash(environment: dict[str, str], line: str) -> set[str]:
    script = 'source "$1"; COMP_LINE=$2; COMP_POINT=${#COMP_LINE}; _gpuboard gpuboard; printf "%s\\n" "${COMPREPLY[@]}"'
    ran = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", str(PACKAGED / "gpuboard.bash"), line],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return {word for word in ran.stdout.split("\n") if word}


def test_bash_completes_an_image_behind_its_colon(here: dict[str, str]) -> None:
    """bash splits words at `:`; what it gets is the rest behind it."""
    needs("bash")
    assert {"2", "1"} <= bash(here, "gpuboard run -g 1 pytorch:")


def test_nothing_that_a_shell_would_run_is_completed(here: dict[str, str]) -> None:
    """A reference with `$(...)` or an escape code never gets onto anybody's command line."""
    needs("bash")
    words = bash(here, "gpuboard run --image ")
    assert words == {"pytorch:1", "pytorch:2"}


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_fish_completes(here: dict[str, str], line: str, expected: set[str]) -> None:
    """The same in a real fish, with descriptions."""
    needs("fish")
    ran = subprocess.run(
        ["fish", "--no-config", "-c", f"source {PACKAGED / 'gpuboard.fish'}; complete -C '{line}'"],
        env=here, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert {row.split("\t")[0] for row in ran.stdout.splitlines() if row} == expected


def test_completion_without_a_daemon_is_empty_and_starts_none(
    here: dict[str, str], tmp_path: Path
) -> None:
    """A TAB never starts a daemon and never prints an error over the prompt."""
    here["GPUBOARD_SOCKET"] = str(tmp_path / "none.sock")
    ran = subprocess.run(
        [sys.executable, "-m", "gpuboard"],
        env=here | {"_GPUBOARD_COMPLETE": "bash_complete", "COMP_WORDS": "gpuboard cancel ", "COMP_CWORD": "2"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.stdout.strip(), ran.stderr) == ("", "")
