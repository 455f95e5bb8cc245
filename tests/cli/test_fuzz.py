"""Whatever is typed, a command ends with an exit code and words, never with a traceback."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuboard.cli import script
from gpuboard.cli.main import main
from gpuboard.errors import GpuboardError
from gpuboard.model.scripts import interpreter

ASKING = (
    "run", "submit", "ps", "show", "why", "logs", "wait", "cancel", "hold", "release", "update", "history",
    "gpus", "timeline", "usage", "images", "doctor", "reserve", "reservations", "unreserve", "admin", "completion",
)  # fmt: skip
FLAGS = (
    "-g", "-t", "-v", "-e", "-w", "-J", "-m", "-d", "-a", "-n", "-o", "-s", "-u", "-q", "-f", "--", "-", "--json",
    "--at", "--since", "--until", "--gpu-ids", "--dry-run", "--wait", "--env-file", "--columns", "--change", "drain",
    "notice", "blackout", "config", "check", "db", "backup", "1", "2,3", "1h", "a:b", "A=1", "@", "4-7", "/", ".",
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(FLAGS), st.text(max_size=30), st.just("x" * 5000), st.just("\udcff")
)


class Captured(io.TextIOWrapper):
    """A stdout that takes text and bytes, as the real one."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(command=st.sampled_from(ASKING), words=st.lists(WORDS, max_size=6))
def test_no_words_end_in_a_traceback(tmp_path: Path, command: str, words: list[str]) -> None:
    """One of the documented exit codes, `error:` on stderr when it is not 0, and no exception.

    Without a daemon `doctor` looks by itself: what it finds wrong is its answer, on stdout.
    """
    out, err = Captured(), Captured()
    stdin = io.TextIOWrapper(io.BytesIO(b"#!/bin/sh\ntrue\n"))
    surroundings = os.environ | {"GPUBOARD_SOCKET": str(tmp_path / "none.sock")}
    with (
        patch.dict(os.environ, surroundings, clear=True),
        patch("sys.stdin", stdin),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(tmp_path),
    ):
        code = main([command, *words])
    assert code in (0, 1, 2, 3), (code, err.text())
    if code == 1 and command == "doctor":
        assert any(
            line.startswith("error ") or '"error"' in line for line in out.text().splitlines()
        )
    elif code:
        assert "error: " in err.text()


@given(st.binary(max_size=300))
def test_no_script_breaks_the_reader(content: bytes) -> None:
    """Any file is a script with directives and a command, no script, or a clear refusal."""
    with (
        patch.object(script, "_content", lambda _path: b"#!" + content),
        contextlib.suppress(GpuboardError),
    ):
        found = script.read("job.sh")
        assert found is not None
        list(found.directives())
        assert interpreter(found.content)


@pytest.mark.parametrize("words", [["ps"], ["submit", "img"], ["wait", "@"]])
def test_json_failure_of_every_kind_is_one_value(tmp_path: Path, words: list[str]) -> None:
    """No daemon, with --json: still exactly one value."""
    import json

    out = Captured()
    with (
        patch.dict(os.environ, {"GPUBOARD_SOCKET": str(tmp_path / "none")}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(Captured()),
    ):
        assert main([words[0], "--json", *words[1:]]) == 3
    assert json.loads(out.text())["error"]["code"] == "unavailable"
