"""Import cost is a feature: what a command loads, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.fake_server import FakeServer, board, device, job, job_list, submitted

HEAVY = {
    "textual", "docker", "sqlite_utils", "sqlite3", "aiohttp", "asyncio", "msgspec", "pynvml", "psutil",
    "prometheus_client", "requests", "urllib3", "rich", "http", "email", "ssl", "dataclasses", "tempfile",
    "subprocess", "logging", "pathlib", "shutil", "importlib.metadata", "zoneinfo", "unicodedata",
    "gpuboard.daemon", "gpuboard.engine", "gpuboard.service", "gpuboard.tui", "gpuboard.config",
    "gpuboard.policy", "gpuboard.store",
}  # fmt: skip
"""Not in any command that only asks the daemon."""

LIGHT = HEAVY | {
    "shlex",
    "gpuboard.model.instants",
    "gpuboard.model.durations",
    "gpuboard.cli.completion",
}
"""Not in those that scripts call in loops."""

PROBE = """
import sys
before = set(sys.modules)
from gpuboard.cli.main import main
code = main(sys.argv[1:])
print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
sys.exit(code)
"""


def loaded(socket_path: str, *arguments: str) -> set[str]:
    """Return the modules that this command loads beyond a bare interpreter's."""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", PROBE, *arguments],
        env={
            "GPUBOARD_SOCKET": socket_path, "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(ran.stderr.split())


def test_ps_json_loads_nothing_but_click_json_and_socket(server: FakeServer) -> None:
    """The command that scripts call in loops costs the least that it can."""
    server.answers["GET", "/jobs"] = job_list(job())
    modules = loaded(server.socket_path, "ps", "--json")
    assert not modules & LIGHT
    assert {name for name in modules if name.startswith("gpuboard.")} == {
        "gpuboard.api", "gpuboard.api.client", "gpuboard.api.places", "gpuboard.api.wire",
        "gpuboard.cli", "gpuboard.cli.lists", "gpuboard.cli.main", "gpuboard.cli.session",
        "gpuboard.errors", "gpuboard.model", "gpuboard.model.text",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps"],
        ["submit", "img", "true"],
        ["submit", "--", "true"],
        ["gpus", "--json"],
        ["cancel", "12"],
        ["why", "--json", "12"],
    ],
    ids=" ".join,
)
def test_no_command_loads_a_heavy_library(server: FakeServer, arguments: list[str]) -> None:
    """textual, docker, aiohttp, msgspec and the like cost 150-400 ms each: no asking command pays."""
    server.answers["GET", "/jobs"] = job_list(job())
    server.answers["POST", "/jobs"] = submitted(12)
    server.answers["GET", "/board"] = {}
    server.answers["GET", "/jobs/12/why"] = {}
    server.answers["POST", "/jobs/cancel"] = {"schema": 1, "results": []}
    assert not loaded(server.socket_path, *arguments) & HEAVY


def test_help_of_the_whole_loads_no_command(server: FakeServer) -> None:
    """`gpuboard --help` is made from the table."""
    modules = {
        name for name in loaded(server.socket_path, "--help") if name.startswith("gpuboard.cli.")
    }
    assert modules == {"gpuboard.cli.main", "gpuboard.cli.session"}


def test_module_runs_as_the_command_does(server: FakeServer) -> None:
    """`python -m gpuboard` is `gpuboard`, exit code included."""
    server.answers["GET", "/jobs"] = job_list(job())
    ran = subprocess.run(
        [sys.executable, "-m", "gpuboard", "ps", "--json"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(ran.stdout)["total"] == 1
    refused = subprocess.run(
        [sys.executable, "-m", "gpuboard", "show", "99"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1


def test_broken_pipe_is_no_traceback(server: FakeServer) -> None:
    """`gpuboard ps | head -1` ends in silence."""
    server.answers["GET", "/jobs"] = job_list(*(job(n) for n in range(3000)))
    ran = subprocess.run(
        f"{sys.executable} -m gpuboard ps | head -1",
        shell=True, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stdout.startswith("  ID")
    assert ran.stderr == ""


@pytest.mark.parametrize("arguments", [["completion", "bash"], ["gpus"], ["ps", "--json"]])
def test_a_full_disk_under_the_answer_is_one_error(
    server: FakeServer, arguments: list[str]
) -> None:
    """`gpuboard ... > file` on a full disk says so and exits 1, without a traceback."""
    server.answers["GET", "/jobs"] = job_list(job())
    server.answers["GET", "/board"] = board(device())
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "gpuboard", *arguments],
            env={**os.environ, "GPUBOARD_SOCKET": server.socket_path},
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr == "error: cannot write the answer: No space left on device\n"
