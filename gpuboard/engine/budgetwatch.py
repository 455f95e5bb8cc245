"""Budgets on shared devices: whoever takes more of the memory than they said is told, and stopped.

A budget is a promise to the neighbours; CUDA keeps nobody to it. The driver says how much each
process has, so each sweep is held against the leases. A job that is over its budget gets an event
at once and, unless the configuration only warns, is stopped when it stays over for longer than
the configured patience. Where the driver gives no figures, nothing is concluded.
"""

from __future__ import annotations

from gpuboard.engine.change import Change
from gpuboard.engine.core import Core, log
from gpuboard.engine.foreign import device_uses
from gpuboard.engine.stopping import Stopper
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, StopCause
from gpuboard.model.reservation import Lease
from gpuboard.model.sizes import format_size


class BudgetWatch:
    """Looks at each new sweep."""

    def __init__(self, core: Core, stopper: Stopper) -> None:
        self._core = core
        self._stopper = stopper
        self._over_since: dict[JobId, int] = {}
        """Jobs over their budget, with since when (ms)."""
        core.on_end.append(self._forget)

    def look(self) -> None:
        """Hold the last sweep against the budgets."""
        core = self._core
        shares = core.ledger.shares()
        if not shares or core.snapshot.fault:
            return
        uses = device_uses(core)
        for device, leases in shares.items():
            use = uses.get(device)
            for lease in leases:
                job = core.ledger.holding.get(lease.job_id) if lease.job_id is not None else None
                used = use.memory_of(job.runtime_name) if use is not None and job else None
                if job is not None and used is not None:
                    self._judge(job, lease, used)

    def _judge(self, job: Job, lease: Lease, used_bytes: int) -> None:
        budget = lease.share.memory_bytes if lease.share is not None else 0
        if used_bytes <= budget:
            self._over_since.pop(job.id, None)
            return
        core, now = self._core, self._core.snapshot.at
        words = f"uses {format_size(used_bytes)} of GPU memory, its budget is {format_size(budget)}"
        if job.id not in self._over_since:
            self._over_since[job.id] = now
            log.warning("job %d %s", job.id, words)
            change = Change("budget.over")
            change.event("job.over_budget", job_id=job.id, device=lease.device, reason=words)
            core.journal.commit(change)
        over_ms = now - self._over_since[job.id]
        policy = core.config.policy
        is_patient = over_ms < policy.sharing_patience_s * 1000
        if policy.sharing_overuse == "stop" and not is_patient and job.stop_cause is None:
            reason = f"stopped: it {words} on a shared GPU"
            self._stopper.request(job, StopCause.MISMATCH, "gpuboard", reason=reason)

    def _forget(self, job_id: JobId) -> None:
        self._over_since.pop(job_id, None)
