"""Whose turn it is: the order in which preemptible jobs are served under leases, looked at lazily.

People come by what they had, and of each only as many jobs are looked at as a decision can afford:
the long line of one person costs no more than the short one of another.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.world import Waiting
from gpuboard.policy.lanes import Kind, Lane, even_depth
from gpuboard.policy.leases import LeaseRules, Rank

LOOKS = 256
"""About so many jobs are looked at in a round, equally many of each person."""
FEWEST_LOOKS = 4
"""At least so many of each person, or one of each of their lanes."""
FRESH = -1
"""Of a person whose jobs were not looked at yet."""

Place = int
"""Jobs of one kind and grace, by number: what devices would do for one does for all."""
Like = tuple[Uid, bool, Place]
"""Jobs that are refused alike: of one person, newcomers or not, of one place."""
Look = tuple[Rank, Waiting, Like]
"""A job that was looked at, with its rank among those of its person."""


class Line:
    """The jobs of one person that are looked at, the last of the list first."""

    __slots__ = ("jobs", "lanes", "uid")

    def __init__(self, uid: Uid) -> None:
        self.uid = uid
        self.lanes: list[Lane] = []
        self.jobs: list[Look] | None = None
        """None: not looked at yet."""


class TurnOrder:
    """Jobs by who had the least. Asked more than once in a round, it looks at each job once."""

    def __init__(
        self, lanes: Iterable[Lane], rules: LeaseRules, find: Callable[[JobId], Waiting | None]
    ) -> None:
        """Sort lanes by person. `find` returns the job of a number."""
        self._rules = rules
        self._find = find
        self._lines: dict[Uid, Line] = {}
        self._places: dict[tuple[Kind, int], Place] = {}
        """By kind and grace."""
        for lane in lanes:
            uid = lane.uid
            line = self._lines.get(uid)
            if line is None:
                line = self._lines[uid] = Line(uid)
            line.lanes.append(lane)
        self._looks = max(FEWEST_LOOKS, LOOKS // max(1, len(self._lines)))
        self._least = {uid: rules.least_rank(line.lanes) for uid, line in self._lines.items()}

    def jobs(
        self, is_passed_over: Callable[[Waiting, Like], bool]
    ) -> Iterator[tuple[Waiting, Like]]:
        """Yield jobs, what is granted on the way counted at once.

        Which are passed over is asked again as late as can be.
        """
        standing = self._rules.standing
        heap = [(_rank(standing(uid), own), uid, FRESH) for uid, own in self._least.items()]
        heapq.heapify(heap)
        looked = 0
        while heap:
            _, uid, place = heapq.heappop(heap)
            if place == FRESH and looked >= 2 * LOOKS:
                continue
            line = self._lines[uid]
            jobs = line.jobs
            if jobs is None:
                jobs = line.jobs = self._look_at(line)
            if place == FRESH:
                looked += len(jobs)
                place = len(jobs)
            else:
                _, waiting, like = jobs[place]
                if not is_passed_over(waiting, like):
                    yield waiting, like
            place -= 1
            while place >= 0 and is_passed_over(jobs[place][1], jobs[place][2]):
                place -= 1
            if place >= 0:
                heapq.heappush(heap, (_rank(standing(uid), jobs[place][0]), uid, place))

    def _look_at(self, line: Line) -> list[Look]:
        """Return the first jobs of a person's lanes, of each as many as of the others, the best last."""
        jobs: list[Look] = []
        rules, places = self._rules, self._places
        depth = even_depth([len(lane.ids) for lane in line.lanes], self._looks)
        for lane in line.lanes:
            for job_id in lane.ids[:depth]:
                waiting = self._find(JobId(job_id))
                if waiting is not None:
                    is_new = rules.is_newcomer(waiting)
                    place = places.setdefault((lane.kind, waiting.grace_s), len(places))
                    rank = rules.own_rank(waiting, is_new=is_new)
                    jobs.append((rank, waiting, (line.uid, is_new, place)))
        jobs.sort(key=itemgetter(0), reverse=True)
        return jobs


def _rank(standing: float, own: Rank) -> Rank:
    """Return a job's rank among everybody's, from its person's standing and its rank among theirs."""
    return standing + own[0], own[1], own[2], own[3]
