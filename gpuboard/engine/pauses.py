"""Pauses: who is given no start for a while, after one that failed and may have failed by the box.

What fails one person's starts need not fail anybody else's: a path, an image, a quota of theirs. So
their own jobs of that runtime rest, longer each time, and others pass. Only when starts of two
people failed and none has worked since is the runtime itself paused.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpuboard.engine.core import Core
from gpuboard.model.ids import Uid
from gpuboard.model.job import Job, RuntimeName

_FIRST_S = 5.0

Whose = tuple[RuntimeName, Uid]


@dataclass
class _Rest:
    failures: int = 0
    until_boot_ms: int = 0
    is_over: bool = False
    """Whether it is counted only, for the next to be longer."""


class StartPauses:
    """Counts failed starts by person and runtime, and lets people and runtimes rest."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rests: dict[Whose, _Rest] = {}
        self._failed: dict[RuntimeName, set[Uid]] = {}
        """Whose starts failed since one last worked."""

    def failed(self, job: Job) -> None:
        """Count a start that failed and may have failed by the box."""
        core, name, uid = self._core, job.spec.runtime, job.owner.uid
        people = self._failed.setdefault(name, set())
        people.add(uid)
        rest = self._rests.setdefault((name, uid), _Rest())
        rest.failures += 1
        rest.until_boot_ms = self._until(rest.failures)
        rest.is_over = False
        core.ledger.rest(name, uid, is_resting=True)
        if len(people) > 1:
            health = core.health[name]
            health.create_failures += 1
            health.resume_boot_ms = self._until(health.create_failures)

    def worked(self, job: Job) -> None:
        """Note a start that worked: the box's runtime is well, and so is this person's way of asking."""
        self._failed.pop(job.spec.runtime, None)
        self._core.health_of(job).create_failures = 0
        if self._rests.pop((job.spec.runtime, job.owner.uid), None) is not None:
            self._let_go(job.spec.runtime, job.owner.uid)

    def run(self) -> None:
        """Let those be served again whose pause is over."""
        boot = self._core.clock.boot_ms()
        for (name, uid), rest in self._rests.items():
            if not rest.is_over and boot >= rest.until_boot_ms:
                rest.is_over = True
                self._let_go(name, uid)

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) the next pause is over."""
        due = (rest.until_boot_ms for rest in self._rests.values() if not rest.is_over)
        return min(due, default=None)

    def _let_go(self, name: RuntimeName, uid: Uid) -> None:
        self._core.ledger.rest(name, uid, is_resting=False)
        self._core.plan_soon()

    def _until(self, failures: int) -> int:
        core = self._core
        pause_s = min(core.pace.backoff_max_s, _FIRST_S * 2 ** min(failures - 1, 30))
        return core.clock.boot_ms() + int(pause_s * 1000)
