"""Lanes: waiting jobs that need the same devices, one first-in-first-out line for each person.

A lane that cannot be served is passed over as a whole. They are kept by kind, so that what holds for
all lanes that ask for the same devices is asked once, and by who pays, so that the serving order
looks at the first job of each person rather than of each lane.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import NamedTuple

from gpuboard.model.ids import DeviceUuid, JobId, Uid
from gpuboard.model.world import Waiting
from gpuboard.policy.profile import FOREVER


class Kind(NamedTuple):
    """Which devices would do: two lanes of a kind are served by the same ones."""

    gpus: int
    gpu_uuids: tuple[DeviceUuid, ...]
    gpu_type: str
    gpu_memory_bytes: int
    nvlink: bool


Payer = tuple[Uid, str, str]
"""Person, account and class: what the lead over the submission goes by."""


class LaneKey(NamedTuple):
    """What all jobs of a lane have in common."""

    uid: Uid
    gpus: int
    gpu_uuids: tuple[DeviceUuid, ...]
    gpu_type: str
    preemptible: bool
    array_id: JobId | None
    """Only for an array with a limit of jobs running at once."""
    account: str = ""
    class_name: str = ""
    gpu_memory_bytes: int = 0
    nvlink: bool = False

    @property
    def kind(self) -> Kind:
        """Return which devices would do."""
        return Kind(self.gpus, self.gpu_uuids, self.gpu_type, self.gpu_memory_bytes, self.nvlink)

    @property
    def payer(self) -> Payer:
        """Return who is charged."""
        return self.uid, self.account, self.class_name


class LaneClass(StrEnum):
    """How the jobs of a lane are served. Of strings, since those hash faster than an Enum's."""

    ORDINARY = "ordinary"
    PREEMPTIBLE = "preemptible"
    """They take what ordinary jobs leave."""
    DEVICELESS = "deviceless"
    """They take nothing from anybody."""


class Lane:
    """One first-in-first-out line of jobs that need the same devices.

    The line is arrays of the same length rather than a list of jobs: a scan over many lanes is
    bound by how much memory it touches.
    """

    __slots__ = (
        "expected_s",
        "ids",
        "key",
        "kind",
        "limits",
        "owner",
        "payer",
        "shortest_ms",
        "spans_ms",
        "submitted_at",
        "uid",
    )

    def __init__(self, key: LaneKey, owner: object) -> None:
        self.key = key
        self.kind = key.kind
        self.payer = key.payer
        self.uid = key.uid
        self.owner = owner
        """The mark of the one queue that may change it; any other copies it first."""
        self.submitted_at = array("q")
        """Submissions (ms), ascending."""
        self.ids = array("q")
        """The jobs, ascending where submitted at the same instant."""
        self.spans_ms = array("q")
        """Their limits plus grace."""
        self.expected_s = array("q")
        """How long they are predicted to take, or their limits."""
        self.limits: dict[int, int] = {}
        """How many jobs have this limit plus grace (ms)."""
        self.shortest_ms = FOREVER
        """The smallest of these."""

    def __len__(self) -> int:
        return len(self.ids)

    def copy_for(self, owner: object) -> Lane:
        """Return a copy that another queue may change."""
        twin = Lane(self.key, owner)
        twin.submitted_at = self.submitted_at[:]
        twin.ids = self.ids[:]
        twin.spans_ms = self.spans_ms[:]
        twin.expected_s = self.expected_s[:]
        twin.limits = self.limits.copy()
        twin.shortest_ms = self.shortest_ms
        return twin

    def add(self, waiting: Waiting) -> None:
        """Put a job in its place."""
        span_ms = span_of(waiting)
        place = self.place_of(waiting.submitted_at, waiting.job_id)
        self.submitted_at.insert(place, waiting.submitted_at)
        self.ids.insert(place, waiting.job_id)
        self.spans_ms.insert(place, span_ms)
        predicted_s = waiting.predicted_s
        self.expected_s.insert(place, waiting.limit_s if predicted_s is None else predicted_s)
        self.limits[span_ms] = self.limits.get(span_ms, 0) + 1
        self.shortest_ms = min(self.shortest_ms, span_ms)

    def remove(self, waiting: Waiting) -> None:
        """Take a job out."""
        place = self.place_of(waiting.submitted_at, waiting.job_id)
        del self.submitted_at[place], self.ids[place], self.spans_ms[place]
        del self.expected_s[place]
        span_ms = span_of(waiting)
        left = self.limits[span_ms] - 1
        if left:
            self.limits[span_ms] = left
        else:
            del self.limits[span_ms]
            if span_ms == self.shortest_ms:
                self.shortest_ms = min(self.limits, default=FOREVER)

    def place_of(self, submitted_at: int, job_id: JobId) -> int:
        """Return how many jobs of the lane come before such a one."""
        low = bisect_left(self.submitted_at, submitted_at)
        high = bisect_right(self.submitted_at, submitted_at, low)
        return bisect_left(self.ids, job_id, low, high)


class Own:
    """The lanes of one payer."""

    __slots__ = ("first_at", "lanes")

    def __init__(self, first_at: int, lanes: dict[LaneKey, Lane]) -> None:
        self.first_at = first_at
        """The first submission (ms)."""
        self.lanes = lanes


class LaneIndex(Collection[Lane]):
    """The lanes of one class of jobs."""

    __slots__ = ("by_kind", "by_payer")

    def __init__(self) -> None:
        self.by_kind: dict[Kind, dict[LaneKey, Lane]] = {}
        self.by_payer: dict[Payer, Own] = {}

    def __len__(self) -> int:
        return sum(map(len, self.by_kind.values()))

    def __bool__(self) -> bool:
        return bool(self.by_kind)

    def __iter__(self) -> Iterator[Lane]:
        for lanes in self.by_kind.values():
            yield from lanes.values()

    def __contains__(self, lane: object) -> bool:
        return isinstance(lane, Lane) and lane.key in self.by_kind.get(lane.kind, ())

    def copy(self) -> LaneIndex:
        """Return a copy that shares the lanes."""
        twin = LaneIndex()
        twin.by_kind = {kind: lanes.copy() for kind, lanes in self.by_kind.items()}
        twin.by_payer = {
            payer: Own(own.first_at, own.lanes.copy()) for payer, own in self.by_payer.items()
        }
        return twin

    def add(self, waiting: Waiting, key: LaneKey, owner: object) -> None:
        """Put a job into its lane."""
        payer = key.payer
        own = self.by_payer.get(payer)
        if own is None:
            own = self.by_payer[payer] = Own(waiting.submitted_at, {})
        self._lane(own, key, owner).add(waiting)
        own.first_at = min(own.first_at, waiting.submitted_at)

    def remove(self, waiting: Waiting, key: LaneKey, owner: object) -> None:
        """Take a job out of its lane."""
        own = self.by_payer[key.payer]
        lane = self._lane(own, key, owner)
        lane.remove(waiting)
        if not lane:
            del own.lanes[key], self.by_kind[lane.kind][key]
            if not self.by_kind[lane.kind]:
                del self.by_kind[lane.kind]
        if not own.lanes:
            del self.by_payer[key.payer]
        elif waiting.submitted_at == own.first_at:
            own.first_at = min(lane.submitted_at[0] for lane in own.lanes.values())

    def _lane(self, own: Own, key: LaneKey, owner: object) -> Lane:
        """Return a lane to be changed."""
        lane = own.lanes.get(key)
        if lane is None or lane.owner is not owner:
            lane = own.lanes[key] = Lane(key, owner) if lane is None else lane.copy_for(owner)
            self.by_kind.setdefault(lane.kind, {})[key] = lane
        return lane


def lane_class(key: LaneKey) -> LaneClass:
    """Return how the jobs of such a lane are served."""
    if not key.gpus:
        return LaneClass.DEVICELESS
    return LaneClass.PREEMPTIBLE if key.preemptible else LaneClass.ORDINARY


def span_of(waiting: Waiting) -> int:
    """Return how long the job may hold its devices (ms): limit plus grace."""
    return (waiting.limit_s + waiting.grace_s) * 1000


def lane_key(waiting: Waiting) -> LaneKey:
    """Return the lane to which a job belongs."""
    return LaneKey(
        waiting.uid,
        waiting.gpus,
        tuple(sorted(waiting.gpu_uuids)) if waiting.gpu_uuids else (),
        waiting.gpu_type,
        waiting.preemptible,
        waiting.array_id if waiting.array_limit is not None else None,
        waiting.account,
        waiting.class_name,
        waiting.gpu_memory_bytes,
        waiting.nvlink,
    )


def even_depth(lengths: Collection[int], limit: int) -> int:
    """Return the greatest depth to which lines of these lengths give `limit` jobs at most, but 1 at least."""
    deepest = max(lengths, default=1)
    if sum(lengths) <= limit:
        return deepest
    left, depth = limit, 0
    ascending = sorted(lengths)
    for number, length in enumerate(ascending):
        depth = left // (len(ascending) - number)
        if length > depth:
            break
        left -= length
    return max(1, depth)
