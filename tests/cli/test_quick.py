"""The quick answers are the command line's own, for a fraction of its start."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gpuboard.cli.lists import ps
from gpuboard.cli.quick import LIMIT, QUICK
from tests.cli.conftest import Gpuboard
from tests.support.fake_server import FakeServer, board, device, job, job_list

WORDS = list(QUICK)

PROBE = """
import os, sys
before = set(sys.modules)
from gpuboard.cli import quick
quick.os._exit = lambda code: (sys.stderr.write(" ".join(sorted(set(sys.modules) - before))), sys.exit(code))
quick.run()
"""


def quick(socket_path: str, *arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    program = ["-S", "-c", code] if code else ["-m", "gpuboard"]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env={
            **os.environ,
            "GPUBOARD_SOCKET": socket_path,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_quick_answer_is_the_command_lines_own(
    server: FakeServer, gpuboard: Gpuboard, words: tuple[str, ...]
) -> None:
    """The same question to the daemon and the same bytes on stdout as through the parser."""
    server.answers["GET", "/jobs"] = job_list(job())
    server.answers["GET", "/board"] = board(device())
    ran = quick(server.socket_path, *words)
    slow = gpuboard(*words)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == slow.out
    assert server.asked[0] == server.asked[1]


def test_the_limit_is_the_parsers() -> None:
    """What `ps` asks for by default is written in one more place only here, and this compares them."""
    assert next(option.default for option in ps.params if option.name == "limit") == LIMIT


def test_a_quick_answer_loads_no_click(server: FakeServer) -> None:
    """That is what makes it quick."""
    server.answers["GET", "/jobs"] = job_list(job())
    modules = quick(server.socket_path, "ps", "--json", code=PROBE).stderr.split()
    assert "gpuboard.api.client" in modules
    assert not {"click", "inspect", "gpuboard.cli.main", "dataclasses"} & set(modules)


def test_an_error_is_told_by_the_command_line() -> None:
    """Nothing quick about a failure: the words, the hint and the JSON value are `main`'s."""
    ran = quick("/nonexistent/gpuboard.sock", "ps", "--json")
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["error"]["code"] == "unavailable"
    assert ran.stderr.startswith("error: ")
