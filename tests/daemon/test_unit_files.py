"""The packaged units: what systemd says of them, and what must not creep in."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
UNITS = ("gpuboard.service", "gpuboard.socket", "gpuboard-containers-only.conf")

BREAKS_PLAIN_PROCESSES = (
    "ProtectHome", "PrivateTmp", "PrivateNetwork", "RestrictAddressFamilies", "IPAddressDeny",
    "MemoryDenyWriteExecute", "RestrictNamespaces", "SystemCallFilter", "MemoryMax", "TasksMax",
    "DevicePolicy", "LockPersonality",
)  # fmt: skip
BREAKS_THE_DAEMON = ("PrivateDevices", "PrivateUsers", "ProtectProc", "ProcSubset", "DynamicUser")


def parsed(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(PACKAGING / name)
    return parser


@pytest.mark.parametrize("name", UNITS)
def test_nothing_that_blinds_the_daemon_is_set(name: str):
    section = parsed(name)["Service"] if parsed(name).has_section("Service") else {}
    assert not set(BREAKS_THE_DAEMON).intersection(section)


def test_plain_processes_can_live_in_the_unit():
    """Jobs of the process runtime inherit the daemon's sandbox: the unit has none that breaks them."""
    service = parsed("gpuboard.service")["Service"]
    assert not set(BREAKS_PLAIN_PROCESSES).intersection(service)
    assert service["ProtectSystem"] != "strict"
    assert service["KillMode"] == "process"


def test_the_unit_keeps_the_promises_of_the_daemon():
    service = parsed("gpuboard.service")["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 30
    assert int(service["TimeoutStopSec"]) > 30
    assert service["RestartPreventExitStatus"] == "75"
    assert service["StateDirectoryMode"] == "0700"
    unit = parsed("gpuboard.service")["Unit"]
    for tie in ("Requires", "BindsTo", "PartOf"):
        assert tie not in unit, "a restart of Docker would take the queue with it"


@pytest.mark.parametrize("name", UNITS)
def test_every_directive_is_explained(name: str):
    """A comment stands right above each, or above the first of several with the same name."""
    bare, section, above = [], "", ""
    for line in (PACKAGING / name).read_text().splitlines():
        if line.startswith("["):
            section = line
        key = line.partition("=")[0] if "=" in line and not line.startswith("#") else ""
        if key and section != "[Install]" and key not in ("Description", "Documentation"):
            is_told = above.startswith("#") or above.partition("=")[0] == key
            bare += [] if is_told else [line]
        above = line
    assert bare == []


@pytest.mark.parametrize("name", ["gpuboard.service", "gpuboard.socket"])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path):
    for unit in ("gpuboard.service", "gpuboard.socket"):
        text = (PACKAGING / unit).read_text()
        text = text.replace("/usr/bin/gpuboard", "/bin/true").replace(
            "man:gpuboard(1)", "man:sh(1)"
        )
        text = text.replace("/usr/bin/nvidia-modprobe", "/bin/true")
        (tmp_path / unit).write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in found.stderr.splitlines() if "gpuboard" in line]
    assert complaints == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_sandbox_is_rated_well(tmp_path: Path):
    """systemd's own exposure figure: 9.6 is a plain unit, less is better."""
    unit = tmp_path / "gpuboard.service"
    unit.write_text((PACKAGING / "gpuboard.service").read_text())
    dropin = tmp_path / "tight.service"
    dropin.write_text(
        unit.read_text().replace(
            "[Install]",
            (PACKAGING / "gpuboard-containers-only.conf").read_text().partition("[Service]")[2]
            + "\n[Install]",
        )
    )
    assert exposure(unit) < 7.5
    assert exposure(dropin) < 4.0


def exposure(unit: Path) -> float:
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = found.stdout.strip().splitlines()[-1]
    return float(last.partition(": ")[2].split()[0])
