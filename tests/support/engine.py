"""A whole box in one thread: real engine and store, simulated runtime, scripted probe, virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from gpuboard.config import Config
from gpuboard.devices.roster import nameless_uuid
from gpuboard.engine.clock import VirtualClock
from gpuboard.engine.crash import CrashPoints
from gpuboard.engine.local import LocalEngine
from gpuboard.engine.protocol import NewJob
from gpuboard.engine.workers import InlineWorkers, StepWorkers
from gpuboard.model.device import (
    Device,
    DeviceLink,
    DeviceProcess,
    DeviceReading,
    Health,
    ProbeSnapshot,
)
from gpuboard.model.ids import DeviceUuid, JobId, Uid
from gpuboard.model.job import Job, JobSpec, RuntimeName
from gpuboard.model.person import Person
from gpuboard.model.reservation import Lease
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.simulated import Script, SimulatedRuntime
from gpuboard.store.database import Store


def person(uid: int = 1001, name: str = "") -> Person:
    return Person(Uid(uid), uid, name or f"user{uid - 1000}", f"/home/user{uid - 1000}", (uid,))


ANN, BEN = person(1001, "ann"), person(1002, "ben")


def uuid(index: int) -> DeviceUuid:
    return DeviceUuid(f"GPU-{index:08d}-0000-0000-0000-000000000000")


class ScriptedProbe:
    """Shows the devices that a test says, and the simulated runtime's processes on them."""

    name = "simulated"

    def __init__(self, gpus: int, clock: VirtualClock, runtime: SimulatedRuntime) -> None:
        self.gpus = gpus
        self.clock = clock
        self.runtime = runtime
        self.fault = ""
        self.is_hung = False
        self.hurries = 0
        """How often a sweep was asked for."""
        self.faults: dict[DeviceUuid, tuple[Health, str]] = {}
        self.foreign: dict[DeviceUuid, tuple[DeviceProcess, ...]] = {}
        self.unreadable: set[DeviceUuid] = set()
        self.missing: set[DeviceUuid] = set()
        self.nameless: set[int] = set()
        """GPUs that were lost before anybody asked who they are."""
        self.utilizations: dict[DeviceUuid, int] = {}
        """In percent; of other devices it is not known."""
        self.remnants: dict[DeviceUuid, str] = {}
        """Devices on which the driver still names a process of that attempt."""
        self.memory: dict[str, int] = {}
        """Device memory (bytes) of an attempt's process, by runtime name; of others it is not known."""
        self.links: tuple[DeviceLink, ...] = ()
        self.models: dict[int, tuple[str, int]] = {}
        """Name and memory (bytes) by index; of others they are all the same."""
        self._snapshot = ProbeSnapshot(at=0, fault="not read yet")
        self._sequence = 0

    def sweep(self) -> None:
        if self.is_hung:
            return
        self._sequence += 1
        self._snapshot = ProbeSnapshot(
            at=self.clock.now_ms(),
            readings=()
            if self.fault
            else tuple(self._reading(i) for i in range(self.gpus) if uuid(i) not in self.missing),
            fault=self.fault,
            sequence=self._sequence,
            links=self.links,
        )

    def _reading(self, index: int) -> DeviceReading:
        name, memory_bytes = self.models.get(index, ("Simulated GPU", 2**34))
        device = Device(uuid=uuid(index), index=index, name=name, memory_bytes=memory_bytes)
        health, words = self.faults.get(device.uuid, (Health.OK, ""))
        if index in self.nameless:
            device = Device(uuid=nameless_uuid(index), index=index, name="GPU")
            health, words = Health.LOST, "fell off the bus"
        ours = tuple(
            DeviceProcess(
                pid=10_000 + p.job_id,
                uid=0,
                job_name=p.name,
                memory_bytes=self.memory.get(p.name),
            )
            for p in self.runtime.truth.processes.values()
            if device.uuid in p.devices
        )
        if device.uuid in self.remnants:
            ours = (*ours, DeviceProcess(pid=9, uid=0, job_name=self.remnants[device.uuid]))
        processes = (*ours, *self.foreign.get(device.uuid, ()))
        return DeviceReading(
            device=device,
            health=health,
            fault=words,
            utilization=self.utilizations.get(device.uuid),
            processes=None if device.uuid in self.unreadable else processes,
        )

    def start(self, on_snapshot: Callable[[ProbeSnapshot], None] | None = None) -> None: ...

    def snapshot(self) -> ProbeSnapshot:
        return self._snapshot

    def wait_first(self, timeout_s: float) -> ProbeSnapshot:
        return self._snapshot

    def sweep_soon(self) -> None:
        self.hurries += 1

    def stop(self) -> None: ...


class Box:
    """Everything of one box; `restart` is what a crash of the daemon leaves and the next one finds."""

    def __init__(
        self,
        state_dir: Path,
        *,
        gpus: int = 4,
        config: Config | None = None,
        script: Callable[[RunRequest], Script] | None = None,
        workers: StepWorkers | None = None,
        make_store: Callable[[str], Store] = Store,
    ) -> None:
        self.state_dir = state_dir
        self._make_store = make_store
        self.config = config or Config()
        self.clock = VirtualClock()
        self.scripts: dict[str, Script] = {}
        """By job name; else `script`."""
        self._script = script or (lambda _request: Script())
        self.runtime = SimulatedRuntime(self.clock, self._script_of)
        self.probe = ScriptedProbe(gpus, self.clock, self.runtime)
        self.crash = CrashPoints()
        self.make_workers: Callable[[], StepWorkers] = (
            InlineWorkers if workers is None else type(workers)
        )
        self.engine: LocalEngine
        self.open()

    def _script_of(self, request: RunRequest) -> Script:
        return self.scripts.get(request.env["GPUBOARD_JOB_NAME"]) or self._script(request)

    def open(self) -> None:
        self.store = self._make_store(str(self.state_dir))
        self.workers = self.make_workers()
        self.engine = LocalEngine(
            config=self.config,
            store=self.store,
            clock=self.clock,
            probe=self.probe,
            runtimes={"simulated": self.runtime},
            workers=self.workers,
            crash=self.crash,
        )
        self.engine.open()

    def restart(self) -> None:
        """Let the daemon die and the next one begin."""
        self.workers.close(0)
        self.store.close()
        self.crash.hook = lambda _name: None
        self.open()

    def step(self) -> None:
        self.runtime.settle()
        self.probe.sweep()
        self.engine.step()

    def settle(self, rounds: int = 6) -> None:
        """Step, with a little time between, until what is under way has landed."""
        for _ in range(rounds):
            self.step()
            self.clock.advance(60)

    def advance(self, seconds: float, by: float = 1.0) -> None:
        """Let time pass, with a step each `by` seconds."""
        left = seconds
        while left > 1e-9:
            part = min(by, left)
            self.clock.advance(round(part * 1000))
            self.step()
            left -= part
        self.engine.look_soon()
        self.settle(4)

    def submit(
        self,
        name: str = "",
        *,
        owner: Person = ANN,
        gpus: int = 1,
        limit_s: int = 600,
        script: Script | None = None,
        token: str = "",
        held_by: str = "",
        **spec: object,
    ) -> JobId:
        return self.submit_many(
            [self.spec(name, gpus=gpus, limit_s=limit_s, script=script, **spec)],
            owner=owner,
            token=token,
            held_by=held_by,
        )[0]

    def submit_many(
        self, specs: list[JobSpec], *, owner: Person = ANN, **how: object
    ) -> list[JobId]:
        jobs = self.engine.submit(owner, [NewJob(spec) for spec in specs], **how)
        return [job.id for job in jobs]

    def spec(self, name: str = "", *, script: Script | None = None, **fields: object) -> JobSpec:
        if script is not None:
            name = name or f"job{len(self.scripts)}"
            self.scripts[name] = script
        return msgspec.structs.replace(
            JobSpec(
                runtime=RuntimeName.SIMULATED, image="simulated:latest", name=name, limit_s=600
            ),
            **fields,
        )

    def job(self, job_id: JobId) -> Job:
        return self.engine.job(job_id)

    def state(self, job_id: JobId) -> str:
        return str(self.job(job_id).state)

    def check_invariants(self) -> None:
        """No device in two processes, every process has its lease, nothing started twice."""
        taken: dict[str, str] = {}
        by_device: dict[DeviceUuid, list[Lease]] = {}
        for lease in self.store.live_leases():
            by_device.setdefault(lease.device, []).append(lease)
        for device, leases in by_device.items():
            assert len(leases) == 1 or all(lease.share for lease in leases), f"{device}: {leases}"
            given = sum(lease.share.memory_bytes for lease in leases if lease.share)
            most = min((x.share.capacity_bytes for x in leases if x.share), default=0)
            assert given <= most, f"{device} is shared beyond its memory: {leases}"
            assert abs(sum(lease.devices_charged for lease in leases) - 1) < 1e-9, leases
        for process in self.runtime.truth.processes.values():
            for device in process.devices:
                leases = by_device.get(device, [])
                names = {f"gb-{lease.job_id}-{lease.attempt}" for lease in leases}
                assert process.name in names, f"{process.name} lives on {device} of {names}"
                shared = all(lease.share for lease in leases)
                assert shared or device not in taken, f"{device}: {taken[device]}, {process.name}"
                taken[device] = process.name
        starts = self.runtime.truth.starts
        assert len(starts) == len(set(starts)), "an attempt was started twice"
        assert not self.engine.core.halted, self.engine.core.halted
