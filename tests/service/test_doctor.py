"""The doctor names what is wrong in words, each with its mending."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from gpuboard.config import Config
from gpuboard.model.device import ProbeSnapshot
from gpuboard.runtimes.docker_check import _is_reload_a_risk
from gpuboard.runtimes.protocol import Runtime, RuntimeCapabilities
from gpuboard.service.doctor import Doctor


def findings(tmp_path: Path, found: RuntimeCapabilities, **more: Any) -> dict[str, Any]:
    config = Config()
    daemon = msgspec.structs.replace(config.daemon, state_dir=str(tmp_path))
    doctor = Doctor(
        config=msgspec.structs.replace(config, daemon=daemon),
        snapshot=ProbeSnapshot(at=0),
        runtimes={"docker": cast("Runtime", SimpleNamespace(check=lambda: found))},
        personal=False,
        **more,
    )
    return {check.name: check for check in doctor.examine().checks}


def test_gpus_that_a_reload_of_systemd_would_take_are_told_before(tmp_path: Path) -> None:
    """A hook under systemd's control groups: a warning with the way out, though all is well now."""
    told = RuntimeCapabilities(version="26", device_risk="daemon-reload", device_risk_mend="CDI")
    check = findings(tmp_path, told)["gpu-after-reload"]
    assert (check.status, check.words, check.mend) == ("warning", "daemon-reload", "CDI")
    assert "gpu-after-reload" not in findings(tmp_path, RuntimeCapabilities(version="26"))


@pytest.mark.parametrize(
    ("driver", "devices", "is_risk"),
    [
        ("systemd", "request", True),
        ("systemd", "cdi", False),
        ("cgroupfs", "request", False),
        ("systemd", "", False),
    ],
)
def test_only_a_hook_under_systemd_is_a_risk(driver: str, devices: str, is_risk: bool) -> None:
    """CDI tells the engine of the devices, and cgroupfs is not rewritten by systemd."""
    assert _is_reload_a_risk({"CgroupDriver": driver}, devices) is is_risk


def test_trouble_with_the_database_is_an_error_with_its_mending(tmp_path: Path) -> None:
    """And a line of its own when there is none."""
    found = RuntimeCapabilities()
    check = findings(tmp_path, found, store_fault="another program holds it")["database"]
    assert check.status == "error"
    assert "fuser" in check.mend
    assert findings(tmp_path, found)["database"].status == "ok"
