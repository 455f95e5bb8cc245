"""Planted bugs: mistakes that a broker can make, put in through its seams by tests alone.

`with planted(name):` makes gpuboard make the mistake; the simulation must find it. Production code
has no switch for any of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import msgspec

from gpuboard.engine import conclude, ending, planner, reconcile
from gpuboard.engine.change import Change
from gpuboard.engine.jobdesk import JobDesk
from gpuboard.engine.journal import Journal
from gpuboard.engine.ledger import Account
from gpuboard.model.job import JobState, Verdict
from gpuboard.runtimes.protocol import RunState

Patch = tuple[Any, str, Any]


def _double_lease() -> list[Patch]:
    """Stopping jobs are forgotten when devices are counted."""
    real = planner.build_world

    def build_world(core, now):
        world = real(core, now)
        holders = tuple(h for h in world.holders if not h.stopping)
        return msgspec.structs.replace(world, holders=holders)

    return [(planner, "build_world", build_world)]


def _lost_outcome() -> list[Patch]:
    """What ended while nobody looked has no exit code."""
    real = conclude._exited

    def exited(job, seen, around, max_attempts):
        verdict = real(job, seen, around, max_attempts)
        if around.engine_restarted:
            return Verdict(JobState.FAILED, "it ended", None, False, verdict.ended_at)
        return verdict

    return [(conclude, "_exited", exited)]


def _start_without_intent() -> list[Patch]:
    """`start_issued` is written with the answer, not before the call."""
    real = Journal.commit

    def commit(self, change: Change) -> None:
        if change.name in ("start.issue", "start.running"):
            issued = change.name == "start.running"
            for job_id, job in change.jobs.items():
                change.jobs[job_id] = msgspec.structs.replace(job, start_issued=issued)
        real(self, change)

    return [(Journal, "commit", commit)]


def _forgotten_requeue() -> list[Patch]:
    """A lost job with leave to rerun is ended all the same."""
    real = ending.ended_job

    def ended_job(job, verdict, now):
        if verdict.state is JobState.LOST and job.attempt > 1:
            verdict = Verdict(verdict.state, verdict.reason, verdict.exit_code)
        return real(job, verdict, now)

    return [(ending, "ended_job", ended_job)]


def _trust_the_engine_alone() -> list[Patch]:
    """The engine's word that nothing runs is taken for the kernel's."""
    return [(ending, "_is_surely_gone", lambda _runtime, _handle: True)]


def _error_means_empty() -> list[Patch]:
    """A listing that failed is an empty one."""
    real = reconcile.Reconciler._seen

    def seen(self, runtime, mark, shown, error):
        real(self, runtime, mark, shown or reconcile.Listing("", {}, ""), None)

    return [(reconcile.Reconciler, "_seen", seen)]


def _start_again_when_unsure() -> list[Patch]:
    """A start whose answer was lost is issued again."""
    real = reconcile.Reconciler._judge

    def judge(self, job, seen):
        is_unsure = job.start_issued and job.state is JobState.STARTING
        if is_unsure and seen is not None and seen.state in (RunState.CREATED, RunState.EXITED):
            self._starter._start(job)
            return
        real(self, job, seen)

    return [(reconcile.Reconciler, "_judge", judge)]


def _freed_before_the_stop_is_sure() -> list[Patch]:
    """A look that failed counts as gone."""
    real = ending.Ender._looked

    def looked(self, ended, verdict, is_gone, error, *, is_removed):
        real(self, ended, verdict, True, None, is_removed=is_removed)

    return [(ending.Ender, "_looked", looked)]


def _two_transactions() -> list[Patch]:
    """The intent and its leases are committed one after the other."""
    real = Journal.commit

    def commit(self, change: Change) -> None:
        if change.name == "start.intent" and change.opened:
            first = Change(change.name, jobs=change.jobs, events=change.events)
            real(self, first)
            change.jobs, change.events = {}, []
        real(self, change)

    return [(Journal, "commit", commit)]


def _charged_twice() -> list[Patch]:
    """What was settled at one change is counted again at the next."""
    real = Journal._settled_account

    def settled_account(self, uid, now):
        account = real(self, uid, now)
        before = self._ledger.accounts.get(uid)
        is_double = before is not None and self._ledger.held_by(uid) > 1
        return Account(account.device_seconds, before.at if is_double else now)

    return [(Journal, "_settled_account", settled_account)]


def _cancel_of_a_start_forgotten() -> list[Patch]:
    """A cancel that comes while the job starts is answered and forgotten."""
    real = JobDesk.cancel

    def cancel(self, job_id, by, *, force=False):
        job = self._core.ledger.jobs.get(job_id)
        if job is not None and job.state is JobState.STARTING and job.start_issued:
            return job
        return real(self, job_id, by, force=force)

    return [(JobDesk, "cancel", cancel)]


def _device_not_asked() -> list[Patch]:
    """Jobs start on devices on which the driver names others."""
    from gpuboard.engine import world

    return [
        (world, "_unavailable_reason", lambda _core, _reading, _foreign: ""),
        (planner.Planner, "_is_clearing", lambda _self, _devices: False),
    ]


def _array_limit_forgotten() -> list[Patch]:
    """An array's limit is forgotten."""
    from gpuboard.engine.ledger import Ledger

    real = Ledger._waiting

    def waiting(self, job):
        return msgspec.structs.replace(real(self, job), array_limit=None)

    return [(Ledger, "_waiting", waiting)]


def _dependencies_forgotten_at_restart() -> list[Patch]:
    """A daemon that starts takes all dependencies for met."""
    real = Journal.load

    def load(self) -> None:
        real(self)
        for job in list(self._ledger.jobs.values()):
            self._ledger.depend(job.id, ())
            self._ledger.put_job(job)

    return [(Journal, "load", load)]


PLANTED: dict[str, Callable[[], list[Patch]]] = {
    "double-lease": _double_lease,
    "lost-outcome": _lost_outcome,
    "start-without-intent": _start_without_intent,
    "forgotten-requeue": _forgotten_requeue,
    "trust-the-engine-alone": _trust_the_engine_alone,
    "error-means-empty": _error_means_empty,
    "start-again-when-unsure": _start_again_when_unsure,
    "freed-before-the-stop-is-sure": _freed_before_the_stop_is_sure,
    "two-transactions": _two_transactions,
    "charged-twice": _charged_twice,
    "cancel-of-a-start-forgotten": _cancel_of_a_start_forgotten,
    "device-not-asked": _device_not_asked,
    "array-limit-forgotten": _array_limit_forgotten,
    "dependencies-forgotten-at-restart": _dependencies_forgotten_at_restart,
}


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Make the named mistake inside the block; an empty name makes none."""
    with contextlib.ExitStack() as stack:
        for owner, attribute, value in PLANTED[name]() if name else ():
            stack.enter_context(patch.object(owner, attribute, value))
        yield
