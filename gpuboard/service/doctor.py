"""What is wrong with the box, in words, and the command that mends it. Runs on a worker thread."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from gpuboard.config import Config
from gpuboard.errors import GpuboardError
from gpuboard.model.device import Health, ProbeSnapshot
from gpuboard.model.sizes import format_size
from gpuboard.model.views.doctor import CheckView, DoctorView
from gpuboard.runtimes.protocol import Runtime
from gpuboard.service.boxclock import clock_check
from gpuboard.service.enginefault import engine_fault
from gpuboard.service.portcheck import port_check
from gpuboard.service.privatefiles import own_umask, private_files, socket_file
from gpuboard.service.toolkit import toolkit_check

STALE_MS = 15_000
LOW_DISK_BYTES = 2 * 2**30
LOW_ENGINE_DISK_BYTES = 10 * 2**30
"""One image of a framework is as large."""


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
        is_daemon: bool = True,
    ) -> None:
        """`is_daemon` False: a command looks by itself, since no daemon answers."""
        self._is_daemon = is_daemon
        self._config = config
        self._snapshot = snapshot
        self._runtimes = runtimes
        self._personal = personal
        self._halted = halted
        self._store_fault = store_fault
        self._devices_path = ""
        """How the container engine opens devices, once it was asked."""
        self._data_root = ""
        """Where it keeps images and containers."""

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
                *port_check(self._config),
                *clock_check(),
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
            label, index = reading.device.label, reading.device.index
            if reading.health is not Health.OK:
                yield CheckView(
                    name=f"gpu-{label}",
                    status="error",
                    words=reading.fault or str(reading.health),
                    mend=f"gpuboard admin drain {label}; once nothing runs on it: nvidia-smi"
                    f" --gpu-reset -i {index}, or a reboot; then gpuboard admin resume {label}",
                )
            elif reading.processes is None:
                yield CheckView(
                    name=f"gpu-{label}",
                    status="warning",
                    words="its process list cannot be read: use from outside is not seen",
                    mend=f"nvidia-smi -i {index} --query-compute-apps=pid --format=csv says why",
                )

    def _engines(self) -> Iterator[CheckView]:
        for name, runtime in self._runtimes.items():
            label = "engine" if name == "docker" else name
            try:
                found = runtime.check()
            except GpuboardError as error:
                host = self._config.docker.host
                yield (
                    engine_fault(host, error, personal=self._personal)
                    if name == "docker"
                    else CheckView(name=label, status="error", words=str(error), mend=error.hint)
                )
                continue
            if name == "docker":
                self._devices_path, self._data_root = found.devices, found.data_root
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
        else:
            yield from toolkit_check(self._devices_path)

    def _permissions(self) -> Iterator[CheckView]:
        yield from private_files(Path(self._config.daemon.state_dir))
        if not self._is_daemon:
            return
        yield from socket_file(self._config)
        yield from own_umask()
        if os.geteuid() != 0 and not self._personal:
            yield CheckView(
                name="user",
                status="warning",
                words="the daemon does not run as root: it can start jobs only as itself",
                mend="run it by systemd: systemctl enable --now gpuboard",
            )

    def _disk(self) -> Iterator[CheckView]:
        state_dir = self._config.daemon.state_dir
        yield _free_space(
            "disk", state_dir, LOW_DISK_BYTES, f"free space on the disk of {state_dir}"
        )
        if self._data_root:
            yield _free_space(
                "engine-disk", self._data_root, LOW_ENGINE_DISK_BYTES, "docker system prune"
            )

    def _record(self) -> Iterator[CheckView]:
        if not self._is_daemon:
            return
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


def _free_space(name: str, folder: str, low_bytes: int, mend: str) -> CheckView:
    place = Path(folder)
    try:
        while not place.exists() and place != place.parent:
            place = place.parent  # not made yet: it will be on this disk
        free = shutil.disk_usage(place).free
    except OSError as error:
        return CheckView(name=name, status="warning", words=f"{folder}: {error.strerror}")
    is_low = free < low_bytes
    return CheckView(
        name=name,
        status="warning" if is_low else "ok",
        words=f"{format_size(free)} free for {folder}",
        mend=mend if is_low else "",
    )
