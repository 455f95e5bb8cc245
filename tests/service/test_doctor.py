"""The doctor names what is wrong in words, each with its mending."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from gpuboard.config import Config
from gpuboard.errors import Unavailable
from gpuboard.model.device import Device, DeviceReading, Health, ProbeSnapshot
from gpuboard.runtimes.docker_check import reload_risk
from gpuboard.runtimes.protocol import Runtime, RuntimeCapabilities
from gpuboard.service import boxclock, doctor, enginefault, portcheck, privatefiles, toolkit
from gpuboard.service.doctor import Doctor
from tests.support.engine import uuid

replace = msgspec.structs.replace
WELL, BARE = RuntimeCapabilities(), ProbeSnapshot(at=0)


def findings(
    tmp_path: Path,
    found: RuntimeCapabilities | Callable[[], RuntimeCapabilities] = WELL,
    *,
    personal: bool = False,
    snapshot: ProbeSnapshot = BARE,
    **more: Any,
) -> dict[str, Any]:
    config = Config()
    daemon = replace(
        config.daemon, state_dir=str(tmp_path / "state"), socket=str(tmp_path / "gb.sock")
    )
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    docker = replace(config.docker, host=f"unix://{tmp_path}/docker.sock")
    check = found if callable(found) else lambda: found
    examined = Doctor(
        config=replace(config, daemon=daemon, docker=docker),
        snapshot=snapshot,
        runtimes={"docker": cast("Runtime", SimpleNamespace(check=check))},
        personal=personal,
        **more,
    ).examine()
    return {check.name: check for check in examined.checks}


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
    for version in ("1", "2"):
        info = {"CgroupDriver": driver, "CgroupVersion": version}
        words = reload_risk(info, devices)
        assert bool(words) is is_risk
        assert ("do not show it" in words) is (is_risk and version == "2")


def test_trouble_with_the_database_is_an_error_with_its_mending(tmp_path: Path) -> None:
    """And a line of its own when there is none."""
    check = findings(tmp_path, store_fault="another program holds it")["database"]
    assert check.status == "error"
    assert "fuser" in check.mend
    assert findings(tmp_path)["database"].status == "ok"


def test_a_sick_device_is_mended_by_its_number(tmp_path: Path) -> None:
    """The command can be pasted: a drain without a number would be all of them."""
    sick = Device(uuid=uuid(3), index=3, name="GPU", memory_bytes=1)
    blind = Device(uuid=uuid(1), index=1, name="GPU", memory_bytes=1)
    checks = findings(
        tmp_path,
        snapshot=ProbeSnapshot(
            at=0,
            readings=(
                DeviceReading(device=sick, health=Health.LOST, fault="fell off the bus"),
                DeviceReading(device=blind, processes=None),
            ),
        ),
    )
    assert checks["gpu-3"].words == "fell off the bus"
    assert "gpuboard admin drain 3;" in checks["gpu-3"].mend
    assert "--gpu-reset -i 3" in checks["gpu-3"].mend
    assert (checks["gpu-1"].status, "-i 1 " in checks["gpu-1"].mend) == ("warning", True)


# --- what is kept, and who may see it


def test_what_others_may_read_of_the_state_is_named_with_its_mode(tmp_path: Path) -> None:
    """The folder, the database with its log, backups, logs of jobs."""
    state = tmp_path / "state"
    assert findings(tmp_path)["permissions"].status == "ok"
    for folder in ("logs", "backups"):
        (state / folder).mkdir(mode=0o700)
    for name in ("gpuboard.db", "gpuboard.db-wal", "logs/1-1.log", "backups/old.db"):
        path = state / name
        path.touch(mode=0o600)
        assert findings(tmp_path)["permissions"].status == "ok"
        path.chmod(0o640)
        check = findings(tmp_path)["permissions"]
        assert check.words == f"{path} is open to others (mode 0640, should be 0600)"
        assert (check.status, check.mend) == ("warning", f"chmod -R go= {state}")
        path.chmod(0o600)
    (state / "logs").chmod(0o755)
    assert f"{state}/logs is open to others" in findings(tmp_path)["permissions"].words
    state.chmod(0o711)
    assert "and 1 more" in findings(tmp_path)["permissions"].words


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_who_may_not_look_is_not_told_that_all_is_well(tmp_path: Path) -> None:
    """A closed folder is as it should be; what is in it was not seen."""
    (tmp_path / "state").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        [check] = privatefiles.private_files(tmp_path / "state")
    finally:
        os.seteuid(0)
    assert (check.status, check.mend) == ("skipped", "sudo gpuboard doctor")


def test_the_umask_is_looked_at(tmp_path: Path) -> None:
    """New files of the daemon have the modes that it leaves them."""
    before = os.umask(0o077)
    try:
        assert findings(tmp_path)["umask"].status == "ok"
        os.umask(0o022)
        check = findings(tmp_path)["umask"]
    finally:
        os.umask(before)
    assert (check.status, "0022" in check.words, "UMask=0077" in check.mend) == (
        "warning",
        True,
        True,
    )


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    """The daemon's socket."""
    path = tmp_path / "gb.sock"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        yield path


def test_who_may_connect_is_held_against_the_configuration(tmp_path: Path, listening: Path) -> None:
    """Mode and group of the socket, and whether others could put another in its place."""
    listening.chmod(0o666)
    check = findings(tmp_path)["socket"]
    assert (check.status, "everybody" in check.words) == ("ok", True)
    listening.chmod(0o600)
    check = findings(tmp_path)["socket"]
    assert "has mode 0600, [daemon] socket_mode says 0666" in check.words
    assert check.mend.startswith("systemctl restart gpuboard")
    listening.chmod(0o666)
    tmp_path.chmod(0o777)
    check = findings(tmp_path)["socket"]
    assert (check.status, check.mend) == ("warning", f"chmod go-w {tmp_path}")
    listening.unlink()
    assert findings(tmp_path)["socket"].status == "error"


def test_a_state_that_is_not_made_yet_is_no_fault(tmp_path: Path) -> None:
    """The first daemon makes it."""
    [check] = privatefiles.private_files(tmp_path / "none")
    assert (check.status, "not there yet" in check.words) == ("skipped", True)


# --- disk and clock


def test_the_engines_disk_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and containers fill it, wherever the state is."""
    told = RuntimeCapabilities(data_root=str(tmp_path))
    monkeypatch.setattr(doctor, "LOW_ENGINE_DISK_BYTES", 1)
    assert findings(tmp_path, told)["engine-disk"].status == "ok"
    monkeypatch.setattr(doctor, "LOW_ENGINE_DISK_BYTES", 1 << 60)
    check = findings(tmp_path, told)["engine-disk"]
    assert (check.status, check.mend) == ("warning", "docker system prune")
    assert "engine-disk" not in findings(tmp_path)


@pytest.mark.parametrize(
    ("is_kept", "status"), [(True, "ok"), (False, "warning"), (None, "skipped")]
)
def test_a_clock_that_nobody_keeps_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool | None, status: str
) -> None:
    """Whoever cannot tell says so."""
    monkeypatch.setattr(boxclock, "_is_synchronised", lambda: is_kept)
    check = findings(tmp_path)["clock"]
    assert (check.status, "timedatectl" in check.mend) == (status, status == "warning")
    monkeypatch.setattr(boxclock, "EARLIEST_S", 1 << 40)
    assert findings(tmp_path)["clock"].status == "error"


def test_the_kernel_or_systemd_says_whether_the_clock_is_kept() -> None:
    """Whatever they say on this box; asking changes nothing and needs no rights."""
    assert boxclock._is_synchronised() in (True, False, None)


# --- the container toolkit


@pytest.mark.parametrize(
    ("version", "holes"),
    [
        ((1, 16, 1), ["CVE-2024-0132", "CVE-2025-23359", "CVE-2025-23266"]),
        ((1, 16, 2), ["CVE-2025-23359", "CVE-2025-23266"]),
        ((1, 17, 4), ["CVE-2025-23266"]),
        ((1, 17, 8), []),
        ((1, 18, 0), []),
    ],
)
def test_holes_of_the_toolkit_s_version_are_named(
    version: tuple[int, int, int], holes: list[str]
) -> None:
    """SAFETY.md B5: each lets an image become root; the version that mends all is named."""
    check = toolkit.judged(version, "request")
    assert [name for name in toolkit.FIXED_IN if name in check.words] == holes
    assert (check.status, "1.17.8" in check.words) == (
        ("error", True) if holes else ("ok", version == (1, 17, 8))
    )
    assert ("--only-upgrade" in check.mend) is bool(holes)


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ("nvidia-ctk", "NVIDIA Container Toolkit CLI version 1.16.1\ncommit: a470818ba7d9166be282"),
        ("nvidia-container-cli", "cli-version: 1.16.1\nlib-version: 1.16.1\nbuild date: 2024"),
    ],
)
def test_the_toolkit_s_version_is_asked_of_its_own_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, says: str
) -> None:
    """Either tells it; without either and without CDI, how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolkit, "_PLACES", str(tmp_path))
    check = findings(tmp_path)["container-toolkit"]
    assert "apt-get install nvidia-container-toolkit" in check.mend
    assert (
        findings(tmp_path, RuntimeCapabilities(devices="cdi"))["container-toolkit"].status == "ok"
    )
    (tmp_path / tool).write_text(
        f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n".replace("cat", "/bin/cat")
    )
    (tmp_path / tool).chmod(0o755)
    check = findings(tmp_path)["container-toolkit"]
    assert (check.status, check.words.split()[0]) == ("error", "1.16.1")


# --- the engine


def down() -> RuntimeCapabilities:
    raise Unavailable("asking the engine: the container engine does not answer", hint="?")


@pytest.mark.parametrize("is_installed", [True, False])
@pytest.mark.parametrize("personal", [True, False])
def test_an_engine_that_is_not_there_is_installed_or_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool, personal: bool
) -> None:
    """On a person's own box without Docker nothing is wrong."""
    monkeypatch.setattr(enginefault, "is_installed", lambda: is_installed)
    check = findings(tmp_path, down, personal=personal)["engine"]
    if is_installed:
        assert (check.status, check.mend.split(";")[0]) == ("error", "systemctl start docker")
    elif personal:
        assert (check.status, check.mend) == ("skipped", "")
    else:
        assert (check.status, "apt-get install docker.io" in check.mend) == ("error", True)


def test_an_engine_that_ended_is_restarted(tmp_path: Path) -> None:
    """Its socket is there and nobody listens."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "docker.sock"))
        check = findings(tmp_path, down)["engine"]
    assert "nothing listens" in check.words
    assert check.mend.startswith("systemctl restart docker")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
@pytest.mark.parametrize(("personal", "mend"), [(True, "ask the admin"), (False, "run as root")])
def test_an_engine_that_may_not_be_opened_is_no_matter_of_starting_it(
    personal: bool, mend: str
) -> None:
    """The docker group is root: nobody is told to join it."""
    folder = Path("/tmp") / f"gbd-{os.getpid()}"
    folder.mkdir(mode=0o755)
    path = folder / "docker.sock"
    try:
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(str(path))
            closed.listen()
            path.chmod(0o600)
            os.seteuid(65534)
            try:
                check = enginefault.engine_fault(
                    f"unix://{path}", Unavailable("x"), personal=personal
                )
            finally:
                os.seteuid(0)
    finally:
        path.unlink(missing_ok=True)
        folder.rmdir()
    assert "may not be opened by uid 65534" in check.words
    assert mend in check.mend


@pytest.mark.parametrize(
    ("outgoing", "reserved", "is_told"),
    [
        ("32768\t60999\n", "\n", False),
        ("16384\t60999\n", "\n", True),
        ("20999\t60999\n", "\n", True),
        ("16384\t60999\n", "8080,20000-20999\n", False),
        ("16384\t60999\n", "20000-20500\n", True),
    ],
)
def test_a_range_of_ports_that_the_kernel_gives_out_too_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outgoing: str,
    reserved: str,
    is_told: bool,
) -> None:
    """Jobs would now and then find their port taken; what is reserved for us is ours."""
    for name, text in (("_OUTGOING", outgoing), ("_RESERVED", reserved)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(portcheck, name, tmp_path / name)
    check = findings(tmp_path).get("port-range")
    assert (check is not None) is is_told
    if check is not None:
        assert check.status == "warning"
        assert "ip_local_reserved_ports=2" in check.mend
