"""The doctor without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpuboard.daemon import examine

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
    start = "sudo systemctl start gpuboard" if os.geteuid() == 0 else "gpuboard daemon --personal"
    assert checks["daemon"]["mend"].startswith(start)
    assert not list(tmp_path.iterdir())


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
