"""Giving way: preemptible jobs that hold devices, which of them stop for whom, and what gets free by it.

The rules are `policy.leases`'; this is who holds what in one pass of `policy.filling`, so that whoever
waits is held against all of them at once, and nobody is stopped whose devices a promise would take.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.plan import Stop
from gpuboard.model.world import Holder, Waiting
from gpuboard.policy.arrangement import Arrangement
from gpuboard.policy.capacity import PREEMPTIBLE_LEAST_MS, STOP_MARGIN_MS
from gpuboard.policy.leases import LeaseRules
from gpuboard.policy.profile import OVERDUE_MS

if TYPE_CHECKING:
    from gpuboard.policy.plan import Round

LEAST_MS = STOP_MARGIN_MS + PREEMPTIBLE_LEAST_MS
"""For so long a device must be free of promises, grace aside, for a preemptible job to have it."""


class Turn(NamedTuple):
    """A preemptible job that holds devices, and when they could be somebody else's."""

    holder: Holder
    devices: int
    """As a set."""


class Tenure(NamedTuple):
    """Devices, until when (ms) they are somebody's, and whom to stop then, from when on."""

    devices: int
    free_at: int
    turn: Turn | None = None
    way_at: int = 0


class GivingWay:
    """Who could give way in one round of planning, looked at anew in each pass."""

    def __init__(self, round_: Round, rules: LeaseRules) -> None:
        self._round = round_
        self._now = round_.now
        self._capacity = round_.capacity
        self._rules = rules
        self.turns: list[Turn] = []
        """Those who need not be stopped yet, whoever gives way first coming first."""
        self.coming = 0
        """Devices of jobs that are being stopped."""
        self.coming_at = self._now
        """When the last of them should be free (ms)."""
        self.is_clearing = False
        """Whether some of them are free within a moment, after which all is to be looked at anew."""
        self.instants: set[int] = set()
        """When (ms) one of them would give way to somebody who waits."""
        self._uids: set[Uid] = set()
        self._hurdles = (0.0, 0.0)
        """What one has to have had less than, if anybody is to give way: of others, of newcomers."""
        self._none_able: set[tuple[Uid, bool]] = set()
        """People to whose jobs nobody has to give way now, of newcomers and of others."""
        self._none_from: dict[tuple[bool, int], float] = {}
        """By newness and grace: nobody gives way to whoever had so much or more and holds nothing."""
        self._stays: dict[JobId, bool] = {}
        """Of those who hold devices, whether another job could use them for a while."""
        self._stays_in: Arrangement | None = None

    def take_stock(self) -> None:
        """Look at who holds what, and what is about to be free."""
        box = self._capacity.box
        self.turns = []
        self.coming = 0
        self.coming_at = self._now
        self.is_clearing = False
        for holder in self._round.world.holders:
            devices = box.held_by(holder)
            if not devices:
                continue
            if holder.stopping or holder.job_id < 0 or holder.job_id in self._round.stops:
                self._expect(holder, self._leaves(holder, devices))
            elif holder.preemptible:
                self.turns.append(Turn(holder, devices))
        # The worst off come last: those who had most, and of theirs the longest safe, give way first.
        had, safe_until = self._rules.had, self._rules.safe_until
        self.turns.sort(
            key=lambda turn: (
                -had(turn.holder.uid),
                safe_until(turn.holder),
                turn.holder.job_id,
            )
        )
        if self._rules.lease_ms:
            self.set_hurdles()

    def set_hurdles(self) -> None:
        """Say anew how much less than others one has to have had; after every grant and stop."""
        holders = [turn.holder for turn in self.turns]
        self._uids = {holder.uid for holder in holders}
        rules = self._rules
        self._hurdles = rules.hurdle(holders, is_new=False), rules.hurdle(holders, is_new=True)
        self._none_able.clear()
        self._none_from.clear()

    def _expect(self, holder: Holder, devices: int) -> None:
        """Count on devices of a job that is being stopped."""
        gone_at = self._gone_at(holder)
        self.coming |= devices
        self.coming_at = max(self.coming_at, gone_at)
        is_on_time = holder.ends_at >= self._now and holder.job_id >= 0
        self.is_clearing |= is_on_time and gone_at <= self._now + OVERDUE_MS

    def _gone_at(self, holder: Holder) -> int:
        """Return when (ms) the holder is gone if it is being stopped, or is stopped now."""
        soonest_at = self._now + holder.grace_s * 1000
        return max(self._now, min(holder.ends_at, soonest_at))

    def may_gain(self, waiting: Waiting) -> bool:
        """Whether anybody who holds devices could have to give way to the job; cheap."""
        is_new = self._rules.is_newcomer(waiting)
        if (waiting.uid, is_new) in self._none_able:
            return False
        if waiting.uid in self._uids:
            return True
        had = self._rules.had(waiting.uid)
        none_from = self._none_from.get((is_new, waiting.grace_s), math.inf)
        return had < self._hurdles[is_new] and had < none_from

    def able(self, waiting: Waiting, kept: int) -> list[Turn]:
        """Return those who have to give way to the job now, all their devices being of use and none `kept`."""
        able: list[Turn] = []
        for turn in self.turns:
            way_at = self._way_at(turn.holder, waiting)
            if way_at is None:
                continue
            if way_at > self._now:
                self.instants.add(way_at)
            elif not turn.devices & kept and self._is_of_use(turn):
                able.append(turn)
        if not able:
            self._refuse(waiting)
        return able

    def _refuse(self, waiting: Waiting) -> None:
        """Remember that nobody gives way to the job, nor to any like it of people who had more.

        That does not hold of people who hold something, to whose jobs their own give way by other rules.
        """
        uid, is_new = waiting.uid, self._rules.is_newcomer(waiting)
        self._none_able.add((uid, is_new))
        if uid not in self._uids:
            like = (is_new, waiting.grace_s)
            had = self._rules.had(uid)
            self._none_from[like] = min(had, self._none_from.get(like, math.inf))

    def tenures(self, waiting: Waiting) -> list[Tenure]:
        """Return what those jobs hold, until when it is theirs, and who gives way then."""
        tenures: list[Tenure] = []
        for turn in self.turns:
            holder = turn.holder
            way_at = self._way_at(holder, waiting, is_head=True)
            if way_at is None:
                tenures.append(Tenure(turn.devices, max(holder.ends_at, self._now)))
            else:
                gone_at = max(self._now, way_at) + holder.grace_s * 1000
                free_at = min(gone_at, holder.ends_at)
                tenures.append(Tenure(turn.devices, free_at, turn, way_at))
        return tenures

    def stop(self, turn: Turn, waiting: Waiting) -> None:
        """Stop a job, in whose place the waiting one comes."""
        holder = turn.holder
        user = waiting.user or f"uid {waiting.uid}"
        if self._now < self._rules.safe_until(holder):
            words = f"job {waiting.job_id} of {user} has hardly run yet and comes first"
        else:
            words = f"its lease is over and it is the turn of job {waiting.job_id} of {user}"
        self._round.stops[holder.job_id] = Stop(holder.job_id, words)
        self.turns = [other for other in self.turns if other is not turn]
        self.set_hurdles()
        self._expect(holder, turn.devices)
        self._capacity.stoppable &= ~turn.devices

    def _is_of_use(self, turn: Turn) -> bool:
        """Whether another job could use all its devices for a while, once they are free."""
        arrangement = self._capacity.arrangement
        if self._stays_in is not arrangement:
            self._stays_in = arrangement
            self._stays.clear()
        known = self._stays.get(turn.holder.job_id)
        if known is None:
            left = self._leaves(turn.holder, turn.devices)
            known = self._stays[turn.holder.job_id] = left == turn.devices
        return known

    def _leaves(self, holder: Holder, devices: int) -> int:
        """Return those of a holder's devices that a preemptible job could have once it is stopped."""
        gone_at = self._gone_at(holder)
        from_at = max(gone_at, self._now + OVERDUE_MS)
        profile = self._capacity.arrangement.profile
        return devices & profile.free_throughout(from_at, gone_at + LEAST_MS)

    def _way_at(self, holder: Holder, waiting: Waiting, *, is_head: bool = False) -> int | None:
        if holder.gpu_memory_bytes or holder.job_id in self._round.stops:
            return None
        return self._rules.gives_way_at(holder, waiting, is_head=is_head)


def fewest(turns: list[Turn], option: int, needed: int) -> list[Turn]:
    """Return jobs with at least `needed` devices of a set, with the fewest beyond; [] = there are none.

    Of equals those that come first in `turns`.
    """
    best: dict[int, list[Turn]] = {0: []}
    for turn in turns:
        worth = (turn.devices & option).bit_count()
        for total, chosen in list(best.items()):
            if worth and total < needed and total + worth not in best:
                best[total + worth] = [*chosen, turn]
    enough = [total for total in best if total >= needed]
    return best[min(enough)] if enough and needed > 0 else []
