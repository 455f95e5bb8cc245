"""What is wrong with the box, in words, and the command that mends it. Runs on a worker thread."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from gpuboard.config import Config
from gpuboard.errors import GpuboardError
from gpuboard.model.device import Health, ProbeSnapshot
from gpuboard.model.sizes import format_size
from gpuboard.model.views import CheckView, DoctorView
from gpuboard.runtimes.protocol import Runtime

STALE_MS = 15_000
LOW_DISK_BYTES = 2 * 2**30
EARLIEST_CLOCK_S = 1_704_067_200
"""2024-01-01: a clock before that was never set."""


class Doctor:
    """Examines the box once."""

    def __init__(
        self,
        *,
        config: Config,
        snapshot: ProbeSnapshot,
        runtimes: Mapping[str, Runtime],
        personal: bool,
        halted: str = "",
        store_fault: str = "",
    ) -> None:
        self._config = config
        self._snapshot = snapshot
        self._runtimes = runtimes
        self._personal = personal
        self._halted = halted
        self._store_fault = store_fault
        self._devices_path = ""
        """How the container engine opens devices, once it was asked."""

    def examine(self) -> DoctorView:
        """Return all findings."""
        return DoctorView(
            checks=[
                *self._scheduling(),
                *self._driver(),
                *self._devices(),
                *self._engines(),
                *self._toolkit(),
                *self._permissions(),
                *self._disk(),
                *self._record(),
                *self._clock(),
            ]
        )

    def _scheduling(self) -> Iterator[CheckView]:
        if self._halted:
            yield CheckView(
                name="scheduling",
                status="error",
                words=f"stopped, since an invariant does not hold: {self._halted}",
                mend="gpuboard admin db backup FILE, keep it with the daemon's log for a report, then"
                " restart the daemon",
            )

    def _driver(self) -> Iterator[CheckView]:
        snapshot = self._snapshot
        if self._config.devices.probe == "simulated":
            yield CheckView(name="driver", status="skipped", words="devices are simulated")
            return
        if snapshot.fault:
            yield CheckView(
                name="driver",
                status="error",
                words=snapshot.fault,
                mend=snapshot.hint or "nvidia-smi",
            )
            return
        yield CheckView(
            name="driver",
            status="ok",
            words=f"driver {snapshot.driver or '?'}, CUDA {snapshot.cuda or '?'}, "
            f"{len(snapshot.readings)} devices",
        )
        age_ms = time.time_ns() // 1_000_000 - snapshot.at
        if age_ms > STALE_MS:
            yield CheckView(
                name="nvml",
                status="error",
                words=f"the driver has not answered for {age_ms // 1000} s",
                mend="nvidia-smi; look for Xid errors in: dmesg | grep -i xid",
            )
        else:
            yield CheckView(name="nvml", status="ok", words="answers")

    def _devices(self) -> Iterator[CheckView]:
        for reading in self._snapshot.readings:
            if reading.health is not Health.OK:
                yield CheckView(
                    name=f"gpu-{reading.device.label}",
                    status="error",
                    words=reading.fault or str(reading.health),
                    mend="gpuboard admin drain, then nvidia-smi --gpu-reset or a reboot",
                )
            elif reading.processes is None:
                yield CheckView(
                    name=f"gpu-{reading.device.label}",
                    status="warning",
                    words="its process list cannot be read: use from outside is not seen",
                )

    def _engines(self) -> Iterator[CheckView]:
        for name, runtime in self._runtimes.items():
            label = "engine" if name == "docker" else name
            try:
                found = runtime.check()
            except GpuboardError as error:
                yield CheckView(name=label, status="error", words=str(error), mend=error.hint)
                continue
            self._devices_path = found.devices if name == "docker" else self._devices_path
            words = " ".join(part for part in (name, found.version, found.detail) if part)
            yield CheckView(name=label, status="ok", words=words)
            if found.device_risk:
                yield CheckView(
                    name="gpu-after-reload",
                    status="warning",
                    words=found.device_risk,
                    mend=found.device_risk_mend,
                )
            if found.setup_fault:
                yield CheckView(
                    name="gpu-setup",
                    status="error",
                    words=found.setup_fault,
                    mend="nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; nvidia-ctk cdi list",
                )

    def _toolkit(self) -> Iterator[CheckView]:
        if "docker" not in self._runtimes or self._config.devices.probe == "simulated":
            yield CheckView(name="container-toolkit", status="skipped", words="not needed here")
        elif self._devices_path == "cdi":
            yield CheckView(name="container-toolkit", status="ok", words="devices come by CDI")
        elif shutil.which("nvidia-container-runtime-hook") or shutil.which("nvidia-ctk"):
            yield CheckView(name="container-toolkit", status="ok", words="found")
        else:
            yield CheckView(
                name="container-toolkit",
                status="warning",
                words="neither nvidia-container-runtime-hook nor nvidia-ctk is on the daemon's PATH",
                mend="apt-get install nvidia-container-toolkit, then restart Docker",
            )

    def _permissions(self) -> Iterator[CheckView]:
        folder = Path(self._config.daemon.state_dir)
        try:
            mode = stat.S_IMODE(folder.stat().st_mode)
        except OSError as error:
            yield CheckView(name="permissions", status="error", words=f"{folder}: {error.strerror}")
            return
        if mode & 0o077:
            yield CheckView(
                name="permissions",
                status="warning",
                words=f"{folder} can be read by others (mode {mode:o})",
                mend=f"chmod 700 {folder}",
            )
        else:
            yield CheckView(name="permissions", status="ok", words=f"{folder} is private")
        if os.geteuid() != 0 and not self._personal:
            yield CheckView(
                name="user",
                status="warning",
                words="the daemon does not run as root: it can start jobs only as itself",
            )

    def _disk(self) -> Iterator[CheckView]:
        folder = self._config.daemon.state_dir
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            yield CheckView(name="disk", status="error", words=f"{folder}: {error.strerror}")
            return
        status = "ok" if free >= LOW_DISK_BYTES else "warning"
        mend = "" if status == "ok" else f"free space on the disk of {folder}; docker system prune"
        yield CheckView(
            name="disk", status=status, words=f"{format_size(free)} free for {folder}", mend=mend
        )

    def _record(self) -> Iterator[CheckView]:
        if self._store_fault:
            yield CheckView(
                name="database",
                status="error",
                words=self._store_fault,
                mend="close what has it open: fuser -v "
                + str(Path(self._config.daemon.state_dir) / "gpuboard.db")
                + "; free space on its disk",
            )
        else:
            yield CheckView(name="database", status="ok", words="can be written")

    def _clock(self) -> Iterator[CheckView]:
        if time.time() < EARLIEST_CLOCK_S:
            yield CheckView(
                name="clock",
                status="error",
                words="the box's clock is not set",
                mend="timedatectl set-ntp true",
            )
        else:
            yield CheckView(name="clock", status="ok", words="set")
