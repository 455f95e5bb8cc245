"""A trace played with the policy's properties looked at on the way: what DESIGN.md section 6 promises.

At each decision P1 (no device twice), P4 (a head starts within the longest limit), P5 (only whom D
allows may be head before others) and P7 (no idle device while somebody fits and nobody is promised it);
where none is made, that it would start nothing; every so many decisions, since they plan again, P2
(the order of rows is irrelevant), P10 (a longer limit starts nothing) and P12 (planning again changes
nothing). P3 and P8 are counted by the simulation itself, and P6 is that all jobs end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.plan import Plan
from gpuboard.model.world import PolicySettings, Waiting, World
from gpuboard.policy.lanes import LaneClass
from gpuboard.policy.plan import Round
from gpuboard.policy.queue import ServingOrder
from gpuboard.simulate.played import Played
from gpuboard.simulate.simulation import Conditions, Simulation
from gpuboard.simulate.trace import TraceJob

PLAN_AGAIN_EVERY = 50


class WatchedSimulation(Simulation):
    """A simulation that fails at the first decision that breaks a property."""

    def __init__(
        self,
        jobs: Sequence[TraceJob],
        gpus: int,
        settings: PolicySettings,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__(jobs, gpus, settings, conditions)
        self.looked: Counter[str] = Counter()
        """How often each property was looked at."""
        self._longest_ms = 1000 * max(job.limit_s for job in jobs)
        self._became_head_at: dict[JobId, int] = {}
        self._is_booked = bool(self._conditions.bookings_a_day or self._conditions.bookings)

    def _decide(self) -> Plan:
        plan = super()._decide()
        self._look_at_head(plan)
        self._look_at_work(plan)
        if len(self._decision_ms) % PLAN_AGAIN_EVERY == 0 and not plan.stops:
            self._look_at_planning_again()
            self._look_at_a_longer_limit()
        return plan

    def _could_start_any(self) -> bool:
        could = super()._could_start_any()
        if not could:
            plan = self._plan(self._world_now())
            assert (plan.starts, plan.head) == ((), self._promise.head), "a plan was left out"
            self.looked["no plan"] += 1
        return could

    def _start(self, job_id: JobId, devices: tuple[DeviceUuid, ...], *args: Any) -> None:
        held = {uuid for holder in self._holders.values() for uuid in holder.devices}
        assert not held & set(devices), f"P1: {job_id} is given what others hold"
        assert len(set(devices)) == self._jobs[job_id].gpus
        self.looked["P1"] += 1
        self._look_at_the_wait_of_a_head(job_id)
        super()._start(job_id, devices, *args)

    def _look_at_the_wait_of_a_head(self, job_id: JobId) -> None:
        became_at = self._became_head_at.pop(job_id, None)
        if became_at is not None and not self._is_booked:
            assert self._now - became_at <= self._longest_ms, f"P4: {job_id} was head too long"
            self.looked["P4"] += 1

    def _look_at_head(self, plan: Plan) -> None:
        if plan.head is None or plan.head in self._became_head_at:
            return
        self._became_head_at = {plan.head: self._now}
        head = self._jobs[plan.head]
        others = [one.submitted_at for one in self._ordinary() if one.job_id != plan.head]
        settings = self._world.settings
        boosts = [one.boost_s for one in settings.classes.values()]
        most_ms = 1000 * (settings.priority_window_s + max(boosts, default=0))
        late_ms = head.submit_s * 1000 - min(others, default=head.submit_s * 1000)
        assert late_ms <= most_ms, f"P5: {plan.head} passed a job submitted {late_ms} ms before it"
        self.looked["P5"] += 1

    def _look_at_work(self, plan: Plan) -> None:
        if plan.head is not None or plan.stops or self._is_booked:
            return
        fitting = [one.job_id for one in self._ordinary() if one.gpus <= self._idle]
        assert not fitting, f"P7: {fitting[:3]} fit, and nobody is promised what is idle"
        self.looked["P7"] += 1

    def _look_at_planning_again(self) -> None:
        world = self._world_now()
        again = self._plan(world)
        assert (again.starts, again.binds, again.stops) == ((), (), ()), "P12"
        turned = replace(
            world,
            holders=world.holders[::-1],
            bookings=world.bookings[::-1],
            usage=world.usage[::-1],
        )
        assert self._plan(turned, ServingOrder(turned)) == self._plan(world, ServingOrder(world))
        self.looked["P2"] += 1
        self.looked["P12"] += 1

    def _look_at_a_longer_limit(self) -> None:
        """What waits now starts no sooner for having asked for more time."""
        waiting = next(iter(self._ordinary()), None)
        if waiting is None:
            return
        self._queue.add(replace(waiting, limit_s=2 * waiting.limit_s + 60))
        plan = self._plan(self._world_now())
        self._queue.add(waiting)
        assert waiting.job_id not in {start.job_id for start in plan.starts}, "P10"
        self.looked["P10"] += 1

    def _plan(self, world: World, order: ServingOrder | None = None) -> Plan:
        order = order or self._order_now()
        return Round(world, self._queue, self._now, box=self._box, order=order).run()

    def _ordinary(self) -> list[Waiting]:
        lanes = self._queue.lanes(self._now, LaneClass.ORDINARY)
        found = (self._queue.get(JobId(job_id)) for lane in lanes for job_id in lane.ids)
        return [waiting for waiting in found if waiting is not None]


def watch(
    jobs: Sequence[TraceJob], gpus: int, settings: PolicySettings, conditions: Conditions
) -> tuple[Played, Counter[str]]:
    """Play the jobs to their end; AssertionError names the first property that does not hold."""
    simulation = WatchedSimulation(jobs, gpus, settings, conditions)
    played = simulation.play()
    assert played.promise_violations == 0, f"P3, P8: {played.promise_violations} times"
    assert len(played.outcomes) == len(jobs), "P6: all jobs end"
    simulation.looked["P6"] = len(jobs)
    return played, simulation.looked
