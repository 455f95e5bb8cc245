"""Watch on containers' own disks: who writes more beside their mounts than they may is stopped.

Most storage drivers cannot bound a container's writable layer, and they all share the engine's one
disk. Measuring walks every file written, so it is done seldom, on a worker, and the more seldom
the longer it takes: a job may overshoot by what it writes between two looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from gpuboard.engine.core import Core, log
from gpuboard.engine.stopping import Stopper
from gpuboard.engine.workers import Lane
from gpuboard.model.job import JobState, StopCause
from gpuboard.model.sizes import format_size
from gpuboard.runtimes.protocol import Runtime

LOOK_MS = 30_000
SHARE = 20
"""A look that took a second is not repeated within this many."""


class DiskWatch:
    """Asks the runtimes in which jobs run how much those wrote."""

    def __init__(self, core: Core, stopper: Stopper) -> None:
        self._core = core
        self._stopper = stopper
        self._next_boot_ms: dict[str, int] = {}
        self._looking: set[str] = set()

    def run(self) -> None:
        """Begin the looks that are due."""
        core = self._core
        if core.config.jobs.max_disk_bytes is None:
            return
        boot = core.clock.boot_ms()
        for name, runtime in core.runtimes.items():
            is_due = name not in self._looking and boot >= self._next_boot_ms.get(name, boot)
            if is_due and any(job.started_at is not None for job in core.ledger.of_runtime(name)):
                self._looking.add(name)
                core.workers.submit(
                    runtime.written_bytes, partial(self._seen, runtime, boot), Lane.LOOK
                )

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) the next look is due while jobs run."""
        if self._core.config.jobs.max_disk_bytes is None:
            return None
        holding = self._core.ledger.holding.values()
        names = {str(job.spec.runtime) for job in holding if job.started_at is not None}
        boot = self._core.clock.boot_ms()
        due = [self._next_boot_ms.get(name, boot) for name in names - self._looking]
        return max(min(due), boot + 1) if due else None

    def _seen(
        self,
        runtime: Runtime,
        asked_boot_ms: int,
        written: Mapping[str, int] | None,
        error: BaseException | None,
    ) -> None:
        core = self._core
        self._looking.discard(runtime.name)
        boot = core.clock.boot_ms()
        self._next_boot_ms[runtime.name] = boot + max(LOOK_MS, SHARE * (boot - asked_boot_ms))
        if written is None:
            log.warning("runtime %s cannot say what jobs wrote: %s", runtime.name, error)
            return
        most = core.config.jobs.max_disk_bytes
        for job in core.ledger.of_runtime(runtime.name):
            size = written.get(job.handle, 0)
            if most is None or size <= most or job.state is not JobState.RUNNING:
                continue
            words = f"wrote {format_size(size)} of {format_size(most)} to its container's disk"
            log.warning("job %d %s", job.id, words)
            self._stopper.request(job, StopCause.MISMATCH, "gpuboard", reason=words)
