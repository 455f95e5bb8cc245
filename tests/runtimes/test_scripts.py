"""Captured scripts run as files of the job's own: by name, closed to others, gone with the attempt."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from gpuboard.runtimes.process_files import Order, RunDirectory
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.scripts import in_container
from tests.support.runtimes import PERSON, RuntimeBench

PYTHON = """#!/usr/bin/env python3
import multiprocessing, pathlib, sys
import beside

def work(number):
    return number + beside.ONE

if __name__ == "__main__":
    print(pathlib.Path(__file__).name, pathlib.Path(sys.argv[0]).name, sys.argv[1:], __file__)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1, 2]))
"""
SHELL = """#!/bin/sh
echo "$0" "$@" "$(cat /proc/$$/comm)"
"""


@pytest.fixture
def bench(process_bench: RuntimeBench) -> RuntimeBench:
    return process_bench


def script_request(bench: RuntimeBench, script: str, *command: str) -> RunRequest:
    (bench.home / "beside.py").write_text("ONE = 1\n")
    (bench.home / "beside.py").chmod(0o644)
    return bench.request(*command, script=script, workdir=str(bench.home))


def test_python_script_is_a_file_that_it_can_ask_for_and_start_anew(bench: RuntimeBench) -> None:
    """`__file__`, sys.argv, spawn; modules beside it are found in the working directory."""
    handle = bench.begin(script_request(bench, PYTHON, "jobs/train.py", "--lr", "1"))
    seen, lines = bench.ended(handle), bench.log(handle).decode().splitlines()
    assert (seen.exit_code, len(lines)) == (0, 2), lines
    assert lines[0].startswith("train.py train.py ['--lr', '1'] /")
    assert lines[1] == "[2, 3]"


def test_shell_script_knows_itself_by_the_name_it_was_given(bench: RuntimeBench) -> None:
    """So that `cd "$(dirname "$0")"` leads where it would have."""
    handle = bench.begin(script_request(bench, SHELL, "jobs/train.sh", "a b"))
    bench.ended(handle)
    assert bench.log(handle) == b"jobs/train.sh a b sh\n"


def test_file_is_the_persons_alone_and_goes_with_the_attempt(bench: RuntimeBench) -> None:
    """Whoever passes through the folder can neither list nor read it."""
    request = script_request(bench, "#!/usr/bin/env python3\nprint(__file__)\n", "train.py")
    handle = bench.begin(request)
    bench.ended(handle)
    path = Path(bench.log(handle).decode().strip())
    found = path.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (bench.uid, 0o400)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o711
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o711
    if os.geteuid() == 0:
        other = str(PERSON + 1)
        as_other = ["setpriv", f"--reuid={other}", f"--regid={other}", "--clear-groups"]
        assert subprocess.run([*as_other, "cat", path], check=False, capture_output=True).returncode
    bench.runtime.remove(handle)
    assert not path.parent.exists()


def test_create_repeated_after_a_crash_adopts_and_has_the_file(bench: RuntimeBench) -> None:
    """What a crash left of an attempt that is not there goes at the next check."""
    request = script_request(bench, "#!/usr/bin/env python3\nprint('ran')\n", "train.py")
    bench.runtime.create(request)
    handle = bench.reborn().create(request)
    bench.runtime.start(handle)
    bench.ended(handle)
    assert bench.log(handle) == b"ran\n"
    left = bench.runtime._scripts._folder / "gb-999999-1"
    left.mkdir()
    bench.runtime.check()
    assert not left.exists()
    assert (bench.runtime._scripts._folder / handle).exists()


def test_sweep_waits_for_an_attempt_that_is_being_made(
    bench: RuntimeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is there before its run directory is."""
    make = RunDirectory.make
    sweeps = []

    def make_slowly(parent: Path, order: Order) -> RunDirectory:
        sweeps.append(threading.Thread(target=bench.runtime._sweep_scripts))
        sweeps[0].start()
        sweeps[0].join(0.2)
        return make(parent, order)

    monkeypatch.setattr(RunDirectory, "make", make_slowly)
    handle = bench.runtime.create(script_request(bench, "#!/usr/bin/awk -f\n", "x.awk"))
    sweeps[0].join()
    assert (bench.runtime._scripts._folder / handle / "x.awk").exists()


def test_container_makes_the_file_inside_by_its_own_shell(
    bench: RuntimeBench, tmp_path: Path
) -> None:
    """The same command runs here: one file, no content in any argument, none left in the environment."""
    script = (
        "#!/usr/bin/env python3\nimport os, sys, beside\n"
        "print(sys.argv[1:], os.path.basename(__file__), 'GPUBOARD_SCRIPT' in os.environ, beside.ONE)\n"
    )
    request = in_container(script_request(bench, script, "train.py", "it's", "$(x)"))
    assert request.command[0] == "sh"
    assert not any("beside" in word for word in request.command)
    done = subprocess.run(
        request.command, cwd=bench.home, check=False, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), **request.env},
    )  # fmt: skip
    assert done.stdout == "[\"it's\", '$(x)'] train.py False 1\n", done.stderr
    (made,) = tmp_path.glob("tmp.*/train.py")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700


def test_request_without_a_script_is_left_as_it_is(bench: RuntimeBench) -> None:
    request = bench.request("true")
    assert in_container(request) is request


@pytest.mark.engine
def test_script_runs_in_a_real_container(docker_bench: RuntimeBench) -> None:
    """Of any interpreter that the image has."""
    script = '#!/usr/bin/env -S awk -f\nBEGIN { print ARGV[1], ENVIRON["GPUBOARD_SCRIPT"] "!" }\n'
    request = in_container(docker_bench.request("count.awk", "a b", script=script))
    handle = docker_bench.begin(request)
    assert docker_bench.ended(handle).exit_code == 0
    assert docker_bench.log(handle) == b"a b !\n"
