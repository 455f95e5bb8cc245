"""Probe and runtimes as the configuration names them.

What only some boxes need is imported here and late: no Docker SDK without the docker runtime, no
NVML on a simulated box.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from gpuboard.config import Config
from gpuboard.devices.protocol import Probe
from gpuboard.engine.protocol import Engine
from gpuboard.errors import HostError
from gpuboard.model.device import DeviceProcess
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.job import JobState
from gpuboard.runtimes.protocol import Runtime
from gpuboard.runtimes.sandbox import SandboxSettings, TakesSettings
from gpuboard.service.validation import sandbox_settings
from gpuboard.store.space import FLOOR_BYTES

_BOX_ID = "box-id"


def make_probe(config: Config, holders: HeldDevices) -> Probe:
    """Return the probe that the configuration names."""
    devices = config.devices
    if devices.probe == "simulated":
        from gpuboard.devices.scenario import load_scenario
        from gpuboard.devices.simulated import SimulatedProbe

        scenario = load_scenario(devices.scenario)
        return SimulatedProbe(scenario, devices.interval_s, devices.timeout_s, occupancy=holders)
    from gpuboard.devices.nvml import NvmlProbe
    from gpuboard.devices.processes import ProcessTable

    run_dir = process_dir(config) if "process" in config.jobs.runtimes else ""
    return NvmlProbe(
        devices.interval_s,
        devices.slow_interval_s,
        devices.timeout_s,
        ignore=devices.ignore,
        processes=ProcessTable(run_dir=run_dir),
    )


def make_runtimes(config: Config) -> dict[str, Runtime]:
    """Return the runtimes that the configuration names, by name; none is asked anything yet."""
    state_dir = Path(config.daemon.state_dir)
    sandbox = sandbox_of(config)
    found: dict[str, Runtime] = {}
    for name in config.jobs.runtimes:
        if name == "process":
            from gpuboard.runtimes.process import ProcessRuntime

            found[name] = ProcessRuntime(
                process_dir(config),
                log_bytes=config.logs.max_process_bytes,
                floor_bytes=FLOOR_BYTES,
                memory_bytes=sandbox.default_memory_bytes or sandbox.max_memory_bytes,
                cpus=sandbox.max_cpus,
                script_dir=str(Path(config.daemon.socket).parent / "scripts"),
            )
        elif name == "docker":
            from gpuboard.runtimes.docker import DockerRuntime

            ours = Path(config.daemon.socket).parent
            found[name] = DockerRuntime(
                config.docker.host,
                sandbox,
                box_id(state_dir),
                pin_dir=str(ours / "mounts"),
                closed=(str(state_dir), str(ours)),
            )
        else:
            raise HostError(f"[jobs] runtimes: there is no runtime '{name}'")
    return found


def reconfigure_runtimes(config: Config, runtimes: Mapping[str, Runtime]) -> None:
    """Have attempts created from now on be what a new configuration allows."""
    settings = sandbox_of(config)
    for runtime in runtimes.values():
        if isinstance(runtime, TakesSettings):
            runtime.take_settings(settings)


def process_dir(config: Config) -> str:
    """Return where plain processes have their run directories: the mark by which the probe knows them."""
    return str(Path(config.daemon.state_dir) / "processes")


def sandbox_of(config: Config) -> SandboxSettings:
    """Return what containers may be: what submissions are checked by, and how they are run."""
    return msgspec.structs.replace(
        sandbox_settings(config),
        log_max_bytes=config.docker.log_max_bytes,
        log_files=config.docker.log_files,
        device_injection="label" if config.devices.probe == "simulated" else "auto",
    )


def box_id(state_dir: Path) -> str:
    """Return the name of this installation, made at its first start: what is ours bears it."""
    path = state_dir / _BOX_ID
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        made = secrets.token_hex(6)
        part = path.with_suffix(".part")
        part.write_text(made + "\n", encoding="ascii")
        part.rename(path)
        return made


class HeldDevices:
    """What simulated devices show as running on them: the jobs that hold them.

    Written on the engine's thread, read on the probe's; the mapping is replaced, never changed.
    """

    def __init__(self) -> None:
        self._held: Mapping[DeviceUuid, Sequence[DeviceProcess]] = {}
        self._revision = -1

    def __call__(self) -> Mapping[DeviceUuid, Sequence[DeviceProcess]]:
        """Return the processes by device."""
        return self._held

    def note(self, engine: Engine) -> None:
        """Take over who holds what, if that changed. On the engine's thread."""
        if engine.revision() == self._revision:
            return
        self._revision = engine.revision()
        self._held = {
            device: (
                DeviceProcess(
                    pid=job.id,
                    started_at=job.started_at,
                    command=" ".join(job.spec.command)[:200] or job.spec.image,
                    uid=job.owner.uid,
                    user=job.owner.name,
                    job_name=job.runtime_name,
                ),
            )
            for job in engine.running_jobs()
            if job.state is JobState.RUNNING
            for device in job.devices
        }
