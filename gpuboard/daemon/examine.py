"""The doctor without a daemon: what a command can see by itself, and how to get a daemon.

Driver, NVML, engine, toolkit, permissions, disk and clock are looked at as whoever runs the command;
what only root may see is said to be so. Nothing is changed and nothing is left behind.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from gpuboard.api.places import has_system_daemon
from gpuboard.config import SYSTEM_FILE, Config, config_file, defaults_for, load_config
from gpuboard.daemon.parts import HeldDevices, make_probe, sandbox_of
from gpuboard.errors import GpuboardError, HostError
from gpuboard.model.device import ProbeSnapshot
from gpuboard.model.views.doctor import CheckView, DoctorView
from gpuboard.runtimes.protocol import Runtime
from gpuboard.service.doctor import Doctor

_SWEEP_S = 10.0


def examine(unreachable: GpuboardError) -> dict[str, Any]:
    """Return the JSON of all findings, the first that no daemon answers (`unreachable` says how)."""
    personal = os.geteuid() != 0 and not has_system_daemon()
    config, wrong = _config(personal=personal)
    runtimes = _runtimes(config)
    try:
        found = Doctor(
            config=config,
            snapshot=_snapshot(config),
            runtimes=runtimes,
            personal=personal,
            is_daemon=False,
        ).examine()
    finally:
        for runtime in runtimes.values():
            runtime.close()
    view = DoctorView(checks=[_daemon(unreachable, personal=personal), *wrong, *found.checks])
    built: dict[str, Any] = msgspec.to_builtins(view)
    return built


def _daemon(unreachable: GpuboardError, *, personal: bool) -> CheckView:
    mend = "sudo systemctl start gpuboard; why it ended: journalctl -u gpuboard -n 50"
    if personal:
        mend = "gpuboard daemon --personal (it says there why it ends)"
    elif not has_system_daemon():
        mend = "install gpuboard's Debian package, which has it started by systemd, or: gpuboard daemon"
    return CheckView(
        name="daemon",
        status="error",
        words=f"{unreachable.message} (what follows was seen without it)",
        mend=mend,
    )


def _config(*, personal: bool) -> tuple[Config, list[CheckView]]:
    """Return the configuration, or the defaults with what is wrong with the file."""
    name = config_file(None, personal=personal) or f"no file, such as {SYSTEM_FILE}: defaults"
    try:
        config = load_config(None, personal=personal)
    except HostError as error:
        wrong = CheckView(
            name="configuration", status="error", words=error.message, mend=error.hint
        )
        return defaults_for(personal, os.environ), [wrong]
    return config, [CheckView(name="configuration", status="ok", words=name)]


def _snapshot(config: Config) -> ProbeSnapshot:
    try:
        probe = make_probe(config, HeldDevices())
        probe.start(lambda _snapshot: None)
    except GpuboardError as error:
        return ProbeSnapshot(at=0, fault=error.message, hint=error.hint)
    try:
        return probe.wait_first(_SWEEP_S)
    finally:
        probe.stop()


def _runtimes(config: Config) -> dict[str, Runtime]:
    """Return the engine alone: plain processes need nothing that could be missing."""
    if "docker" not in config.jobs.runtimes:
        return {}
    from gpuboard.runtimes.docker import DockerRuntime

    return {"docker": DockerRuntime(config.docker.host, sandbox_of(config), "doctor")}
