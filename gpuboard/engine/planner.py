"""Planning: build the world, ask the policy, carry its answer out."""

from __future__ import annotations

import time

from gpuboard.engine.booking import Bookings
from gpuboard.engine.core import Core
from gpuboard.engine.reconcile import Reconciler
from gpuboard.engine.starting import Starter
from gpuboard.engine.stopping import Stopper
from gpuboard.engine.vetting import Vetting
from gpuboard.engine.world import build_world, shareable_bytes
from gpuboard.errors import StateError
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.job import JobState, StopCause
from gpuboard.model.plan import Plan, Start
from gpuboard.policy.plan import plan_round


class Planner:
    """Runs one round of the policy whenever something changed."""

    def __init__(
        self,
        core: Core,
        bookings: Bookings,
        starter: Starter,
        stopper: Stopper,
        reconciler: Reconciler,
        *,
        vetting: Vetting,
    ) -> None:
        self._core = core
        self._bookings = bookings
        self._starter = starter
        self._stopper = stopper
        self._reconciler = reconciler
        self._vetting = vetting
        self._not_before_boot_ms = 0
        self._resume_boot_ms: int | None = None
        """When (boot time, ms) a start that was put off may be tried again."""
        self.rounds = 0
        self.deciding_s = 0.0
        """What all rounds took, the world's making included."""

    def run(self, *, at_once: bool = False) -> None:
        """Plan if something changed, or the last plan said when to plan again.

        `at_once`: for somebody who waits for the answer, however short ago the last plan was.
        """
        core = self._core
        now, boot = core.clock.now_ms(), core.clock.boot_ms()
        is_due = (core.plan.wake_at is not None and now >= core.plan.wake_at) or (
            self._resume_boot_ms is not None and boot >= self._resume_boot_ms
        )
        if not (core.wants_plan or is_due):
            return
        if boot < self._not_before_boot_ms and not (at_once or core.is_hurried):
            return
        if core.halted or not self._reconciler.is_ready():
            return
        core.wants_plan = core.is_hurried = False
        self._resume_boot_ms = None
        self._not_before_boot_ms = boot + int(core.pace.min_plan_s * 1000)
        self.rounds += 1
        began = time.perf_counter()
        plan = plan_round(build_world(core, now), core.ledger.queue, now)
        self.deciding_s += time.perf_counter() - began
        self._carry_out(plan)

    def _carry_out(self, plan: Plan) -> None:
        core = self._core
        core.plan = plan
        ready = [start for start in plan.starts if self._is_ready(start)]
        self._keep_promises(plan, {start.job_id for start in ready})
        for stop in plan.stops:
            job = core.ledger.holding[stop.job_id]
            if job.stop_cause is None:
                self._stopper.request(job, StopCause.PREEMPTION, "gpuboard", reason=stop.reason)
        did_something = False
        for bind in plan.binds:
            if not self._is_clearing(bind.devices):
                self._check_free(bind.devices)
                self._bookings.bind(bind)
                did_something = True
        for start in ready:
            did_something |= self._start(start)
        self._vetting.end_round()
        if did_something:
            core.plan_soon()

    def _keep_promises(self, plan: Plan, starting: set[JobId]) -> None:
        """Remember who is next and what is promised.

        Where a start is put off, nobody becomes next and nothing new is promised: the plan counted on
        that start, and a head behind it would keep from it the very devices that it was to have.
        """
        journal, ledger = self._core.journal, self._core.ledger
        head, fill_head, promises = plan.head, plan.fill_head, plan.promises
        if len(starting) < len(plan.starts):
            known = {promise.job_id for promise in ledger.promises}
            promises = tuple(promise for promise in promises if promise.job_id in known)
            head = ledger.head if ledger.head not in starting else None
            fill_head = ledger.fill_head if ledger.fill_head not in starting else None
        journal.keep_head(head)
        journal.keep_fill_head(fill_head)
        journal.keep_promises(promises)

    def _is_ready(self, start: Start) -> bool:
        """Whether a planned start can be carried out: its devices, runtime and person are ready."""
        core = self._core
        job = core.ledger.jobs.get(start.job_id)
        if job is None or job.state is not JobState.QUEUED:
            raise StateError(f"the plan starts job {start.job_id}, which is not queued")
        if self._is_clearing(start.devices):
            return False
        if not self._starter.can_start(job):
            health = core.health.get(job.spec.runtime)
            if health is not None and not health.fault():
                self._resume_boot_ms = health.resume_boot_ms
            return False
        return self._vetting.is_passed(job)

    def _start(self, start: Start) -> bool:
        """Carry a planned start out; False when the runtime puts it off."""
        self._check_start(start)
        resume_boot_ms = self._starter.begin(start)
        if resume_boot_ms is not None:
            self._resume_boot_ms = resume_boot_ms
            return False
        return True

    def _is_clearing(self, devices: tuple[DeviceUuid, ...]) -> bool:
        """Whether the driver has yet to show one of them empty; settling asks for a new plan."""
        return any(device in self._core.settling for device in devices)

    def _check_start(self, start: Start) -> None:
        """Hold the plan against the ledger: a device is free, or a booking's and without a job.

        The booking's of the start, or, for a preemptible job, any other's that lends it.
        """
        borrowed = start.borrowed if self._core.ledger.jobs[start.job_id].spec.preemptible else ()
        for device in start.devices:
            lease = self._core.ledger.leases.get(device)
            if start.gpu_memory_bytes and lease is not None and lease.share is not None:
                self._check_room(start, device)
            elif lease is None:
                if start.reservation_id is not None:
                    raise StateError(f"device {device} is not bound to the booking of its start")
            elif lease.job_id is None and device in borrowed:
                continue
            elif lease.job_id is not None or lease.reservation_id != start.reservation_id:
                raise StateError(f"the plan starts job {start.job_id} on leased device {device}")

    def _check_room(self, start: Start, device: DeviceUuid) -> None:
        """Hold a start on a shared device against the ledger: the budgets still fit."""
        shares = [lease.share for lease in self._core.ledger.shares_of(device)]
        given = sum(share.memory_bytes for share in shares if share is not None)
        if given + start.gpu_memory_bytes > shareable_bytes(self._core, device):
            raise StateError(
                f"the plan gives more of device {device} to job {start.job_id} than is left"
            )

    def _check_free(self, devices: tuple[DeviceUuid, ...]) -> None:
        taken = [device for device in devices if device in self._core.ledger.leases]
        if taken:
            raise StateError(f"the plan gives out {', '.join(taken)}, which is not free")

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) the next plan is due."""
        core = self._core
        if core.halted or not self._reconciler.is_ready():
            return None
        if core.wants_plan:
            return 0 if core.is_hurried else self._not_before_boot_ms
        due = [] if self._resume_boot_ms is None else [self._resume_boot_ms]
        if core.plan.wake_at is not None:
            due.append(core.clock.boot_ms() + core.plan.wake_at - core.clock.now_ms())
        return max(self._not_before_boot_ms, min(due)) if due else None
