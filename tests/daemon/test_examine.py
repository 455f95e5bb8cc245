"""The doctor without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpuboard.daemon import examine
from gpuboard.errors import Unavailable

NEEDED = {"daemon", "configuration", "driver", "engine", "permissions", "disk", "clock"}


def test_what_a_command_sees_by_itself_is_told_and_how_to_start_a_daemon(tmp_path: Path):
    """Each matter has its line; nothing is made where the daemon's things would be."""
    done = subprocess.run(
        [sys.executable, "-m", "gpuboard", "doctor", "--json"],
        env={**os.environ, "GPUBOARD_SOCKET": str(tmp_path / "none.sock"), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert set(checks) >= NEEDED
    assert (checks["daemon"]["status"], "none.sock" in checks["daemon"]["words"]) == ("error", True)
    assert "gpuboard" in checks["daemon"]["mend"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("personal", "has_system", "start"),
    [
        (True, False, "gpuboard daemon --personal"),
        (False, True, "sudo systemctl start gpuboard"),
        (False, False, "install gpuboard's Debian package"),
    ],
)
def test_how_to_start_a_daemon_is_told_for_the_box_at_hand(
    monkeypatch: pytest.MonkeyPatch, personal: bool, has_system: bool, start: str
):
    monkeypatch.setattr(examine, "has_system_daemon", lambda: has_system)
    assert examine._daemon(Unavailable("x"), personal=personal).mend.startswith(start)


def test_a_wrong_configuration_is_a_finding_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """All else is then looked at with the defaults."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "gpuboard").mkdir()
    (tmp_path / "gpuboard/config.toml").write_text('[daemon]\nidle_exit = "never"\n')
    config, [wrong] = examine._config(personal=True)
    assert (wrong.status, "idle_exit" in wrong.words, bool(wrong.mend)) == ("error", True, True)
    assert config.jobs.default_runtime == "process"
