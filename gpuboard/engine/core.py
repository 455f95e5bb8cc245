"""What the rooms of the local engine share: parts, live state, and the wish to be woken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpuboard.config import Config
from gpuboard.devices.attribution import DeviceUse
from gpuboard.devices.protocol import Probe
from gpuboard.engine.clock import Clock
from gpuboard.engine.crash import CrashPoints
from gpuboard.engine.flights import Flights
from gpuboard.engine.journal import Journal
from gpuboard.engine.ledger import Ledger
from gpuboard.engine.workers import Workers
from gpuboard.model.device import ProbeSnapshot
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.job import Job
from gpuboard.model.plan import Plan
from gpuboard.runtimes.protocol import Runtime

log = logging.getLogger("gpuboard.engine")


@dataclass(frozen=True)
class Pace:
    """How often, and how long, in seconds."""

    observe_s: float = 3.0
    """Between two listings while something lives; also the retry after a failed one."""
    idle_observe_s: float = 10.0
    """Between two listings while nothing does."""
    min_observe_s: float = 0.05
    """Between two listings however many events come."""
    min_plan_s: float = 0.05
    """Between two plans while submissions pour in."""
    start_look_s: float = 60.0
    """How long to look after a start whose answer was lost. Removing the attempt then waits, in the
    engine, for a start still under way, so that looking longer would only help a very slow one."""
    settle_s: float = 30.0
    """After the end of a lease: what the driver still names on the device is foreign use then."""
    retry_s: float = 3.0
    """Before a call that did not reach its runtime is tried again."""
    unkillable_s: float = 60.0
    """After SIGKILL, before a device is called stuck."""
    backoff_max_s: float = 300.0
    """Ceiling of the pause before a broken runtime is given another job."""


@dataclass
class RuntimeHealth:
    """What is known of one runtime."""

    version: str = ""
    check_fault: str = ""
    """Why it cannot be used at all, in words."""
    observe_fault: str = ""
    """Why it could not be listed last time, in words."""
    is_checked: bool = False
    is_listed: bool = False
    """Whether one complete listing came since the daemon started."""
    create_failures: int = 0
    resume_boot_ms: int = 0
    """After failures of the box: no job is started before this (boot time)."""

    def fault(self) -> str:
        """Return why nothing can be started in it, or an empty string."""
        if self.check_fault or self.observe_fault:
            return self.check_fault or self.observe_fault
        if not (self.is_checked and self.is_listed):
            return "it has not been listed yet"
        return ""


@dataclass
class Core:
    """The shared parts. One object an engine; only the engine's thread touches it."""

    config: Config
    clock: Clock
    ledger: Ledger
    journal: Journal
    workers: Workers
    probe: Probe
    runtimes: Mapping[str, Runtime]
    log_dir: Path
    crash: CrashPoints = field(default_factory=CrashPoints)
    pace: Pace = field(default_factory=Pace)
    flights: Flights = field(default_factory=Flights)
    health: dict[str, RuntimeHealth] = field(default_factory=dict)
    snapshot: ProbeSnapshot = field(
        default_factory=lambda: ProbeSnapshot(at=0, fault="not read yet")
    )
    plan: Plan = field(default_factory=Plan)
    settling: dict[DeviceUuid, int] = field(default_factory=dict)
    """Devices whose lease ended at this instant (ms) and that no later sweep has shown empty."""
    uses: Mapping[DeviceUuid, DeviceUse] = field(default_factory=dict)
    """Who is on each device; ask `foreign.device_uses` for it."""
    uses_of: tuple[ProbeSnapshot, int] | None = None
    """Of which snapshot and revision that was made."""
    lists_processes: set[DeviceUuid] = field(default_factory=set)
    """Devices whose process list could be read at least once."""
    job_mix: tuple[tuple[int, float], ...] = ()
    """What the box was asked for of late, as (devices, weight); empty: not known."""
    progress: dict[JobId, str] = field(default_factory=dict)
    """What a starting or stopping job is at, in words (`pulling ...`); never stored."""
    recheck: Callable[[Job], str] = lambda _job: ""
    """Says, before a start, why the job may no longer run; then it is held. The service's."""
    require_room: Callable[[], None] = lambda: None
    """Raises Unavailable while the database's disk is nearly full. On any thread."""
    on_end: list[Callable[[JobId], None]] = field(default_factory=list)
    """Called after the end of every attempt, and of every job that had none: each room forgets it."""
    wants_plan: bool = True
    is_hurried: bool = False
    """Whether the plan that is wanted need not keep its distance from the last one."""
    wants_look: bool = True
    halted: str = ""
    """Why scheduling stopped (a broken invariant); empty while all is well."""

    def plan_soon(self) -> None:
        """Ask for a new plan: something changed."""
        if not self.wants_plan:
            self.wants_plan = True
            self.workers.wake()

    def plan_now(self) -> None:
        """Ask for a new plan at once: only an answer was missing for a start."""
        self.is_hurried = True
        self.plan_soon()

    def look_soon(self) -> None:
        """Ask for a listing: something may have happened."""
        if not self.wants_look:
            self.wants_look = True
            self.workers.wake()

    def forget_ended(self, job_ids: Iterable[JobId]) -> None:
        """Have every room forget what it kept of attempts, or jobs, that ended in one change."""
        for job_id in job_ids:
            for forget in self.on_end:
                forget(job_id)

    def runtime_of(self, job: Job) -> Runtime:
        """Return the runtime of a job."""
        return self.runtimes[job.spec.runtime]

    def health_of(self, job: Job) -> RuntimeHealth:
        """Return what is known of the job's runtime."""
        return self.health[job.spec.runtime]

    def current(self, job_id: JobId, attempt: int) -> Job | None:
        """Return the live job if it is still at this attempt."""
        job = self.ledger.holding.get(job_id)
        return job if job is not None and job.attempt == attempt else None

    def log_path(self, job_id: JobId, attempt: int) -> Path:
        """Return where the log of an ended attempt is kept."""
        return self.log_dir / f"{job_id}-{attempt}.log"

    def is_idle(self) -> bool:
        """Whether no attempt lives and no call is under way."""
        return not self.ledger.holding and not self.flights.count()
