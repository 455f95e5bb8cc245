"""Whose is each process on a device: a job of ours, a stranger's, or on the wrong device. Pure.

A process is a job's only by what a person cannot forge: the engine's container that it is in
(anchored cgroup, see `cgroups`), the marks of the process runtime that the probe found (`runmarks`,
in `DeviceProcess.job_name`), or what the caller knows besides (`owner_of`). A container's name or
label is never asked. Nobody is blamed for a process of which nothing
can be read, nor for one that is gone: the probe leaves out those that ended, and what is hidden
is `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from gpuboard.model.device import DeviceProcess, DeviceReading
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.text import plain


class Belongs(StrEnum):
    """To whom a process on a device belongs."""

    JOB = "job"
    """A job of ours that has a lease of this device."""
    FOREIGN = "foreign"
    """Somebody uses the device from outside the queue."""
    VIOLATION = "violation"
    """A job of ours on a device of which it has no lease."""
    UNKNOWN = "unknown"
    """Nothing can be read of it: not free, and nobody to blame."""
    HOLDER = "holder"
    """A process of the person whose booking holds the device, without a job. Not in the way."""
    SYSTEM = "system"
    """The box's own: a desktop's graphics, the MPS server, NVIDIA's daemons. Not in the way."""


class ProcessUse(msgspec.Struct, frozen=True):
    """A process and whose it is."""

    process: DeviceProcess
    """With `job_name` filled in for a job of ours."""
    belongs: Belongs


class DeviceUse(msgspec.Struct, frozen=True, dict=True):
    """Who is on one device. Its words are made when first asked for, and kept."""

    uuid: DeviceUuid
    is_known: bool = True
    """False: the list could not be read, so nothing may be concluded from it."""
    processes: tuple[ProcessUse, ...] = ()

    @property
    def is_clear(self) -> bool:
        """Whether it is known that nobody is on the device, the box's own processes aside."""
        return self.is_known and not self.of(
            Belongs.JOB, Belongs.FOREIGN, Belongs.VIOLATION, Belongs.UNKNOWN
        )

    @property
    def job_names(self) -> tuple[str, ...]:
        """Return the runtime names of our jobs on the device, rightly there or not."""
        ours = self.of(Belongs.JOB, Belongs.VIOLATION)
        return tuple(sorted({process.job_name for process in ours}))

    @cached_property
    def foreign_words(self) -> str:
        """Return `used outside gpuboard by alice: python (pid 123)`, or an empty string."""
        foreign = self.of(Belongs.FOREIGN)
        return f"used outside gpuboard by {_named(foreign, _who)}" if foreign else ""

    @cached_property
    def violation_words(self) -> str:
        """Return `job gb-7-1 is here without a lease: python (pid 123)`, or an empty string."""
        astray = self.of(Belongs.VIOLATION)
        if not astray:
            return ""
        return f"here without a lease: {_named(astray, lambda each: f'job {each.job_name}')}"

    @cached_property
    def unknown_words(self) -> str:
        """Return `used by a process that cannot be looked up (pid 123)`, or an empty string."""
        pids = ", ".join(str(process.pid) for process in self.of(Belongs.UNKNOWN))
        return f"used by a process that cannot be looked up (pid {pids})" if pids else ""

    def named(self, *belongs: Belongs) -> tuple[str, ...]:
        """Return whose the processes are that belong to one of these: people, jobs, containers."""
        return tuple(
            sorted(
                {
                    f"job {process.job_name}" if process.job_name else _who(process)
                    for process in self.of(*belongs)
                }
            )
        )

    def memory_of(self, job_name: str) -> int | None:
        """Return how much memory (bytes) a job's processes have here; None where that is not known.

        A process without a figure makes the sum unknown; a job without a process has none.
        """
        if not self.is_known:
            return None
        used = [
            each.process.memory_bytes
            for each in self.processes
            if each.process.job_name == job_name
        ]
        known = [bytes_ for bytes_ in used if bytes_ is not None]
        return sum(known) if len(known) == len(used) else None

    def of(self, *belongs: Belongs) -> tuple[DeviceProcess, ...]:
        """Return the processes that belong to one of these."""
        return tuple(each.process for each in self.processes if each.belongs in belongs)


def attribute(
    readings: Iterable[DeviceReading],
    *,
    leased: Mapping[DeviceUuid, Collection[str]],
    containers: Mapping[str, str],
    booked: Mapping[DeviceUuid, int] = MappingProxyType({}),
    owner_of: Callable[[DeviceProcess], str | None] = lambda _process: None,
) -> dict[DeviceUuid, DeviceUse]:
    """Return who is on each device.

    `leased` gives by device the runtime names (`gb-<job>-<attempt>`) with a lease of it,
    `containers` by full container id the runtime name of each container that is ours (by our own
    records, not by its labels), `booked` by device the uid of the person whose booking holds it
    while no job of theirs runs there, `owner_of` the runtime name of a process without marks, or None.
    """
    return {
        reading.device.uuid: _device_use(
            reading,
            leased.get(reading.device.uuid, ()),
            booked.get(reading.device.uuid),
            containers,
            owner_of,
        )
        for reading in readings
    }


def _device_use(
    reading: DeviceReading,
    jobs: Collection[str],
    holder: int | None,
    containers: Mapping[str, str],
    owner_of: Callable[[DeviceProcess], str | None],
) -> DeviceUse:
    uuid = reading.device.uuid
    if reading.processes is None:
        return DeviceUse(uuid, is_known=False)
    return DeviceUse(
        uuid,
        processes=tuple(
            _process_use(process, jobs, holder, containers, owner_of)
            for process in reading.processes
        ),
    )


def _process_use(
    process: DeviceProcess,
    jobs: Collection[str],
    holder: int | None,
    containers: Mapping[str, str],
    owner_of: Callable[[DeviceProcess], str | None],
) -> ProcessUse:
    # A container decides alone: a process job cannot be in one, so whoever is in a container that
    # is not ours is a stranger even with our session or environment.
    if process.container_id:
        name = containers.get(process.container_id, "")
    else:
        name = process.job_name or owner_of(process) or ""
    process = replace(process, job_name=name)
    if name:
        return ProcessUse(process, Belongs.JOB if name in jobs else Belongs.VIOLATION)
    if _is_system(process):
        return ProcessUse(process, Belongs.SYSTEM)
    if process.started_at is None and process.uid is None and not process.container_id:
        return ProcessUse(process, Belongs.UNKNOWN)
    if holder is not None and process.uid == holder:
        return ProcessUse(process, Belongs.HOLDER)
    return ProcessUse(process, Belongs.FOREIGN)


def _is_system(process: DeviceProcess) -> bool:
    """Return whether this is the box's own; by its name only if it is root's, for names lie."""
    if process.container_id:
        return False
    return process.kind == "G" or (process.uid == 0 and process.command in _SYSTEM_COMMANDS)


_SYSTEM_COMMANDS = frozenset(
    {
        "Xorg",
        "nvidia-cuda-mps-server",
        "nvidia-cuda-mps-control",
        "nvidia-persistenced",
        "nv-hostengine",
        "dcgm-exporter",
    }
)


def _who(process: DeviceProcess) -> str:
    """Return `alice`, `container 3f2a91c07d1e` or `uid 1234`."""
    user = plain(process.user, 32)
    if process.container_id:
        return f"container {process.container_id[:12]}{f' of {user}' if user else ''}"
    if user:
        return user
    return "somebody" if process.uid is None else f"uid {process.uid}"


def _named(processes: Iterable[DeviceProcess], name: Callable[[DeviceProcess], str]) -> str:
    """Return `alice: python (pid 1), bash (pid 2); bob: python (pid 3)`."""
    by_name: dict[str, list[str]] = {}
    for process in processes:
        command = plain(process.command, 32) or "a process"
        by_name.setdefault(name(process), []).append(f"{command} (pid {process.pid})")
    return "; ".join(f"{who}: {_listed(what)}" for who, what in sorted(by_name.items()))


def _listed(items: list[str]) -> str:
    """Return at most three, and how many there are besides."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


_SHOWN = 3
