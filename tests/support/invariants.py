"""What must hold after every step of a simulated box, and at its end (SAFETY.md C6, I1-I8, and the charge).

I1 one process a device. I2 an attempt is started at most once, a job without leave to rerun runs at
most once. I3 every process has its lease. I4 no lease of a job that is over. At the end: I5 nothing
stuck, I6 no processes, I7 no containers, I8 true exit codes and whole logs; every device-second
charged once.
"""

from __future__ import annotations

from collections import defaultdict

from gpuboard.engine.dependencies import Standing, standing
from gpuboard.engine.ending import attempt_of
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.job import Job, JobState, StopCause
from gpuboard.model.reservation import Lease
from tests.support.engine import Box

SLACK_S = 1.01
"""Charges so small that they are forgotten."""
_MIRROR_EVERY = 4
"""Steps between two comparisons of memory and database: what differs once, differs until a restart."""


class Invariants:
    """Looks at one box after each of its steps."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.removed: set[str] = set()
        """Attempts whose container was removed behind the engine's back."""
        self.cancelled: dict[JobId, int] = {}
        """At which attempt a job was when its cancel was answered."""
        self.rebooted = False
        self.jumped_back = False
        self._held: set[tuple[JobId, int]] = set()
        self._seen: tuple[int, int, int] = (0, -1, -1)
        self._looks = 0

    def check(self) -> None:
        """Hold I1-I4 against the truth of the simulated box."""
        box, core = self.box, self.box.engine.core
        assert not core.halted, f"scheduling stopped: {core.halted}"
        ledger = core.ledger
        taken: dict[str, str] = {}
        for process in box.runtime.truth.processes.values():
            for device in process.devices:
                shares = ledger.shares_of(device)
                if not shares:
                    assert device not in taken, f"I1 {device}: {taken[device]} and {process.name}"
                taken[device] = process.name
                lease = ledger.leases.get(device)
                assert lease is not None, f"I3 {process.name} lives on {device} without a lease"
                owners = {f"gb-{one.job_id}-{one.attempt}" for one in shares or [lease]}
                assert process.name in owners, f"I3 {process.name} lives on {owners}'s {device}"
        for device, leases in ledger.shares().items():
            shares = [lease.share for lease in leases if lease.share is not None]
            given = sum(share.memory_bytes for share in shares)
            most = min(share.capacity_bytes for share in shares)
            assert given <= most, f"I1 {device} is shared beyond its memory: {leases}"
        self._check_mirror()
        core.journal.check()
        self._check_starts()

    def _check_mirror(self) -> None:
        """Memory is what the database says; looked at where either was written since the last look."""
        box, ledger = self.box, self.box.engine.core.ledger
        self._looks += 1
        seen = (id(box.store), box.store.changes, ledger.revision)
        if seen == self._seen or (self._looks % _MIRROR_EVERY and seen[0] == self._seen[0]):
            return
        self._seen = seen
        assert ledger.jobs == {job.id: job for job in box.store.load_live_jobs()}
        ports = [(e.host_port, job.id) for job in ledger.holding.values() for e in job.ports]
        assert box.store.live_ports() == dict(ports), "I1 ports are not those of live attempts"
        assert len(ports) == len(dict(ports)), "I1 a port of the box is two attempts'"
        leases = box.store.live_leases()
        assert sorted(ledger.every_lease(), key=lambda lease: lease.id) == leases
        alone = [lease.device for lease in leases if lease.share is None]
        shared = {lease.device for lease in leases if lease.share is not None}
        assert len(alone) == len(set(alone)), "I1 a device has two leases"
        assert not shared & set(alone), "I1 a shared device has a lease of its own"
        assert ledger.leases.keys() == shared | set(alone)
        starts = box.runtime.truth.starts
        assert len(starts) == len(set(starts)), "I2 an attempt was started twice"

    def _check_starts(self) -> None:
        """Nothing starts that may not, or on a device on which the driver named somebody else."""
        core = self.box.engine.core
        held = {(job.id, job.attempt): job for job in core.ledger.holding.values()}
        fresh = held.keys() - self._held
        if fresh:
            seen = {r.device.uuid: r.processes for r in core.snapshot.readings}
            for key in fresh:
                self._check_leave(held[key])
                for device in held[key].devices:
                    own = held[key].runtime_name
                    beside = {
                        f"gb-{one.job_id}-{one.attempt}" for one in core.ledger.shares_of(device)
                    }
                    others = [p for p in seen.get(device) or () if p.job_name not in (own, *beside)]
                    is_starting = held[key].state == JobState.STARTING
                    assert not others or not is_starting, f"{key} on {device} with {others}"
        self._held = set(held)

    def _check_leave(self, job: Job) -> None:
        """What was asked for is what is given, and nothing that holds a job back was overlooked."""
        core = self.box.engine.core
        assert not job.is_held, f"{job.runtime_name} starts though {job.held_by} holds it"
        assert len(job.devices) == job.spec.gpus, f"{job.runtime_name} got {job.devices}"
        if job.spec.gpu_uuids:
            assert set(job.devices) == set(job.spec.gpu_uuids), f"{job.runtime_name}: {job.devices}"
        if job.state is JobState.STARTING:
            drained = core.ledger.drains.keys() & set(job.devices)
            assert not drained, f"{job.runtime_name} starts on drained {drained}"
        for dependency in job.spec.depends_on:
            state = core.journal.state_of(dependency.job_id)
            assert state is not None
            assert standing(dependency, state) is Standing.MET, f"{job.id} on {dependency}: {state}"
        if job.array_limit is not None:
            beside = [j for j in core.ledger.holding.values() if j.array_id == job.array_id]
            assert len(beside) <= job.array_limit, f"array {job.array_id}: {len(beside)} at once"
        if job.spec.begin_at is not None and not self.jumped_back:
            now = self.box.clock.now_ms()
            assert now >= job.spec.begin_at, f"{job.runtime_name} starts before its time"

    def check_end(self, submitted: set[JobId]) -> None:
        """Hold I5-I8 once the weather is clear and all has come to its end."""
        box = self.box
        left = [(job.id, job.state, job.reason) for job in box.store.load_live_jobs()]
        assert not left, f"I5 jobs stuck: {left}"
        assert not box.store.live_leases(), "I5 leases left"
        assert not box.runtime.truth.processes, "I6 processes left"
        assert not box.runtime.containers, f"I7 containers left: {sorted(box.runtime.containers)}"
        jobs = box.engine.find_jobs(limit=100_000)
        assert {job.id for job in jobs} >= submitted, "a submission that was answered is not there"
        runs: dict[JobId, int] = defaultdict(int)
        for name in box.runtime.truth.starts:
            runs[attempt_of(name)[0]] += 1
        for job in jobs:
            self._check_outcome(job, runs[job.id])
        self._check_history()

    def _check_outcome(self, job: Job, runs: int) -> None:
        """Whatever is recorded of a job is true, and what ran to its end is told so."""
        box, spec = self.box, job.spec
        for event in box.engine.events(0, 1000, job.id):
            if event.detail.get("reason") == "its container was removed":
                name = f"gb-{job.id}-{event.detail['ended_attempt']}"
                assert name in self.removed, f"{name} was not removed, but called so"
        assert runs <= 1 or spec.requeue or spec.preemptible, f"I2 job {job.id} ran {runs} times"
        truth = box.runtime.truth.exits.get(job.runtime_name)
        if job.exit_code is not None and job.exit_code != 128:
            assert truth == job.exit_code, f"I8 job {job.id}: {job.exit_code}, was {truth}"
        if job.state is JobState.SUCCEEDED:
            assert truth == 0, f"I8 job {job.id} succeeded, was {truth}"
            log = box.engine.core.log_path(job.id, job.attempt).read_bytes()
            assert log == job.runtime_name.encode() + b"\n", f"I8 job {job.id}: log {log!r}"
        if job.state is JobState.FAILED and job.stop_cause is None:
            is_told = job.exit_code is not None or job.reason.startswith("start ")
            assert is_told, f"I8 job {job.id} failed without an exit code: {job.reason}"
        if job.state is JobState.LOST:
            assert "exit code is not known" not in job.reason, (
                f"I8 the outcome of job {job.id} is lost"
            )
            tries = box.config.jobs.max_attempts
            is_owed = spec.requeue and job.attempt < tries
            assert not is_owed, f"job {job.id} was to be rerun: {job.reason}"
        if job.stop_cause is StopCause.CANCEL:
            assert job.state is not JobState.LOST, f"job {job.id}: a cancel was forgotten"
        if job.id in self.cancelled:
            assert job.attempt == self.cancelled[job.id], f"job {job.id}: a cancel was forgotten"

    def _account_of(self, lease: Lease) -> str:
        job = self.box.engine.job(lease.job_id) if lease.job_id is not None else None
        if job is not None and job.owner.uid == lease.uid:
            return job.spec.account
        booking = self.box.engine.reservation(lease.reservation_id)
        return booking.account

    def _check_history(self) -> None:
        """No device was given out twice at one time, and each person is charged for theirs once."""
        box = self.box
        leases = box.store.leases_between(0, 2**62)
        changes: dict[DeviceUuid, list[tuple[int, float]]] = defaultdict(list)
        held_ms: dict[tuple[int, str], float] = defaultdict(float)
        """By person, and again by person and group."""
        for lease in leases:
            assert lease.released_at is not None
            part = lease.devices_charged
            changes[lease.device] += [(lease.granted_at, part), (lease.released_at, -part)]
            ms = part * max(0, lease.released_at - lease.granted_at)
            held_ms[lease.uid, ""] += ms
            account = self._account_of(lease)
            if account:
                held_ms[lease.uid, account] += ms
        if self.jumped_back:
            return  # spans on a clock that was set back say nothing
        for device, parts in changes.items():
            given = 0.0
            for at, part in sorted(parts):  # at one instant what ends comes first
                given += part
                assert given < 1 + 1e-6, f"I1 {device} was given out {given} times at {at}"
        charged: dict[tuple[int, str], float] = defaultdict(float)
        for usage in box.engine.usage():
            charged[usage.uid, ""] += usage.device_seconds
            if usage.account:
                charged[usage.uid, usage.account] += usage.device_seconds
        for whose, ms in held_ms.items():
            owed, told = ms / 1000, charged[whose]
            assert abs(told - owed) <= SLACK_S + owed * 1e-4, f"{whose} owe {owed} s, told {told}"
        assert charged.keys() <= held_ms.keys() | {whose for whose, s in charged.items() if s < 1}
