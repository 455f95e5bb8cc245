"""Rows as plain as they can be, for tests of whatever keeps or shows them."""

from gpuboard.model.ids import JobId, ReservationId, Uid
from gpuboard.model.job import Job, JobSpec, JobState
from gpuboard.model.person import Person
from gpuboard.model.reservation import Reservation

ALICE = Person(Uid(1001), 1001, "alice", "/home/alice", (1001, 44))
BOB = Person(Uid(1002), 1002, "bob", "/home/bob", (1002,))
DEVICES = tuple(f"GPU-{n:08x}-0000-0000-0000-000000000000" for n in range(8))
HOUR_MS = 3_600_000


def new_job(owner=ALICE, *, spec=None, state=JobState.QUEUED, submitted_at=1000, **more):
    """Return a job that no store has seen yet."""
    return Job(
        id=JobId(0),
        owner=owner,
        spec=spec or JobSpec(limit_s=3600),
        state=state,
        submitted_at=submitted_at,
        **more,
    )


def new_reservation(owner=ALICE, *, gpus=2, from_at=0, until_at=HOUR_MS, **more):
    """Return a booking that no store has seen yet."""
    return Reservation(ReservationId(0), owner, gpus, from_at, until_at, **more)
