"""Promised classes: every job that does not fit is promised a start, which only moves earlier.

Conservative backfill (Mu'alem, Feitelson: "Utilization, predictability, workloads, and user runtime
estimates in scheduling the IBM SP2 with backfilling", IEEE TPDS 12(6), 2001), for the jobs of the
classes that ask for it, beside EASY for all others. A promise is kept from round to round as an
instant: the promises of the last round are laid out first, where they were; then each in turn is
moved to the earliest start that delays no other ("compression"). What is free by limits only
grows, so while nobody adds a reservation no promise moves later.

At most `PolicySettings.most_promises` at once, since what a decision costs grows with their square
(measured: 3 ms with 32, 15 ms with 100, 110 ms with 256). A job beyond that waits as one of no such
class: it may become head, or be backfilled, and is promised a start as soon as an older promise was
kept. A promise ends when its job is held, asks for more than before, or is over a quota; and it is
made anew, later, when a device fails or maintenance is announced.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator

from gpuboard.model.ids import JobId
from gpuboard.model.world import Promise, Waiting, World
from gpuboard.policy.arrangement import Claim
from gpuboard.policy.capacity import Capacity
from gpuboard.policy.lanes import span_of
from gpuboard.policy.queue import WaitingQueue


class Promises:
    """The promises of one round."""

    def __init__(self, world: World, queue: WaitingQueue, capacity: Capacity, now: int) -> None:
        self._world = world
        self._queue = queue
        self._capacity = capacity
        self._now = now
        self.most = world.settings.most_promises
        """So many jobs may be promised a start at once."""
        classes = world.settings.classes.items()
        self.promised_classes = frozenset(name for name, one in classes if one.is_promised)
        """Names of the classes whose jobs are all promised a start."""
        self._claims: dict[JobId, Claim] = {}
        self._starts_at: dict[JobId, int] = {}
        self._dormant: list[Promise] = []
        """Of jobs whose devices are all out of service: kept, and laid out when they are back."""

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._claims

    def ids(self) -> Iterable[JobId]:
        """Return the jobs that are promised a start."""
        return self._claims.keys()

    def is_promised_class(self, waiting: Waiting) -> bool:
        """Whether each such job is to be promised a start."""
        if waiting.class_name not in self.promised_classes:
            return False
        return bool(waiting.gpus) and not waiting.preemptible and not waiting.gpu_memory_bytes

    def has_room(self) -> bool:
        """Whether another job may be promised a start."""
        return len(self._claims) + len(self._dormant) < self.most

    def start_at(self, job_id: JobId) -> int | None:
        """Return when (ms) a job is promised to start; None when it is not."""
        return self._starts_at.get(job_id)

    def all(self) -> tuple[Promise, ...]:
        """Return the promises of this round, the earliest first."""
        return *self._dormant, *(
            Promise(job_id, self._starts_at[job_id], claim.gpus, claim.until_at - claim.from_at)
            for job_id, claim in sorted(self._claims.items(), key=self._by_start)
        )

    def keep(self, may_run: Callable[[Waiting], bool]) -> None:
        """Lay out the promises of the last round where they were, those that still hold."""
        if not self._world.promises:
            return
        for promise in sorted(self._world.promises, key=lambda one: (one.start_at, one.job_id)):
            waiting = self._queue.get(promise.job_id)
            if waiting is None or not self._queue.is_eligible(promise.job_id, self._now):
                continue
            span_ms = span_of(waiting)
            is_same = waiting.gpus <= promise.gpus and span_ms <= promise.span_ms
            if not (is_same and self.is_promised_class(waiting) and may_run(waiting)):
                continue
            options = self._capacity.options(waiting)
            able = [some for some in options if some.bit_count() >= waiting.gpus]
            if not able:
                self._dormant.append(promise)
            else:
                from_at = max(promise.start_at, self._now)
                claim = Claim(
                    from_at, from_at + span_ms, waiting.gpus, able[0], None, waiting.job_id
                )
                self._claims[waiting.job_id] = claim
                self._starts_at[waiting.job_id] = promise.start_at
        if not self._claims:
            return
        self._capacity.add_claims(list(self._claims.values()))
        for job_id in self._late():
            self._end(job_id)

    def compress(self, may_run: Callable[[Waiting], bool]) -> Iterator[tuple[Waiting, int]]:
        """Move each promise as early as it can be; yield the jobs to start now, with their devices.

        The promise of a job that is yielded has ended, and its devices are not taken yet. One whose
        quota or array those before it have used up waits without a promise. One that moved may
        have left room for others, so this goes on until none moves.
        """
        while (yield from self._compress_each(may_run)):
            pass

    def _compress_each(
        self, may_run: Callable[[Waiting], bool]
    ) -> Generator[tuple[Waiting, int], None, bool]:
        """Try each promise once, the earliest first; whether any was moved or ended."""
        has_moved = False
        for job_id, claim in sorted(self._claims.items(), key=self._by_start):
            waiting = self._queue.get(job_id)
            if waiting is None:
                continue
            self._capacity.withdraw(claim)
            until_at = self._now + claim.until_at - claim.from_at
            devices = self._capacity.devices_for(claim.gpus, claim.candidates, until_at)
            if devices:
                has_moved = True
                del self._claims[job_id], self._starts_at[job_id]
                if may_run(waiting):
                    yield waiting, devices
                continue
            laid = self._claims[job_id] = self._capacity.advance(claim)
            has_moved = has_moved or laid != claim
            self._starts_at[job_id] = min(self._starts_at[job_id], laid.from_at)
        return has_moved

    def add(self, waiting: Waiting) -> bool:
        """Promise a job the earliest start that delays no promise; False when none is in sight."""
        capacity = self._capacity
        options = capacity.options(waiting)
        start_at = capacity.promise(waiting.gpus, options, span_of(waiting), waiting.job_id)
        if start_at is None:
            return False
        self._claims[waiting.job_id] = next(
            claim for claim in capacity.claims if claim.job_id == waiting.job_id
        )
        self._starts_at[waiting.job_id] = start_at
        return True

    def forget(self, job_id: JobId) -> None:
        """End the promise to a job that was started otherwise."""
        if job_id in self._claims:
            self._end(job_id)

    def _late(self) -> list[JobId]:
        """Return jobs whose promise cannot be kept: a device failed, or maintenance came between."""
        short = self._capacity.arrangement.short
        return [
            job_id
            for job_id, claim in self._claims.items()
            if claim in short and claim.from_at > self._now
        ]

    def _end(self, job_id: JobId) -> None:
        self._capacity.withdraw(self._claims.pop(job_id))
        del self._starts_at[job_id]

    def _by_start(self, item: tuple[JobId, Claim]) -> tuple[int, JobId]:
        return item[1].from_at, item[0]
