"""The people of a simulated box: what they submit, ask, book and look at, by throws of dice.

A refusal is an answer. What an answer promised is noted for the invariants.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from gpuboard.config import (
    ClassConfig,
    Config,
    DockerConfig,
    GroupConfig,
    JobsConfig,
    PolicyConfig,
    QuotaConfig,
    ReservationsConfig,
)
from gpuboard.engine.protocol import NewJob
from gpuboard.errors import RequestError
from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.ids import JobId
from gpuboard.model.job import Dependency, DependencyKind, Job, JobSpec, JobState
from gpuboard.model.plan import ReservationRequest
from tests.support.engine import ANN, BEN, Box, person, uuid
from tests.support.invariants import Invariants

PEOPLE = (ANN, BEN, person(1003, "cat"))
IMAGES = ("simulated:latest", "simulated:1", "simulated:2")
GROUPS = {
    "lab": GroupConfig(shares=2.0),
    "vision": GroupConfig(parent="lab", members=("ann",)),
    "robots": GroupConfig(parent="lab", members=("ann", "ben")),
}
MOST_JOBS = 400
WISHES = (
    *("cancel", "cancel", "cancel", "hold", "release", "update", "update"),
    *("drain", "resume", "blackout", "reopen", "reload", "look", "look"),
)
BOOKINGS = ("reserve", "reserve", "reserve", "series", "change", "unbook", "unbook_series")


def beside(dice: random.Random) -> random.Random:
    """Return dice that hang on these without throwing them: stories told before stay what they were."""
    version, state, _ = dice.getstate()
    return random.Random(f"{version} {state[:4]} {state[-1]}")


def some_config(dice: random.Random, scale: int, pull: str) -> Config:
    """Return how an admin may have set the box up."""
    quotas: dict[str, dict[str, int | tuple[str, ...] | None]] = {}
    if dice.random() < 0.3:
        quotas["ben"] = {"running_gpus": 2}
    if dice.random() < 0.2:
        quotas["cat"] = {"gpu_hours_per_week": scale, "soft": ("gpu_hours_per_week",)}
    return Config(
        docker=DockerConfig(pull=pull),
        groups=GROUPS,
        classes={"quick": ClassConfig(boost_s=600, promised=dice.random() < 0.5)},
        jobs=JobsConfig(max_attempts=3, on_device_fault=dice.choice(("stop", "stop", "keep"))),
        policy=PolicyConfig(
            half_life_s=10**11,
            sharing=beside(dice).choice(("all", "person", "person", "off")),
            sharing_patience_s=20 * scale,
            sharing_overuse=dice.choice(("stop", "warn")),
            backfill=dice.random() < 0.8,
            lease_s=dice.choice((0, 0, 30, 120)) * scale,
            lease_newcomer_s=10 * scale,
        ),
        quota=QuotaConfig(
            users=quotas, groups={"lab": {"running_gpus": 3}} if dice.random() < 0.2 else {}
        ),
        reservations=ReservationsConfig(
            no_show_after_s=dice.choice((None, 30 * scale, 120 * scale))
        ),
    )


class Folk:
    """Everybody who uses one box, its admin among them."""

    def __init__(self, box: Box, invariants: Invariants, scale: int) -> None:
        self.box = box
        self.invariants = invariants
        self.scale = scale
        """How slow this box's life is: minutes, or days."""
        self.submitted: list[JobId] = []
        box.probe.links = tuple(
            DeviceLink(uuid(n), uuid(n + 1), LinkKind.NVLINK, 4)
            for n in range(0, box.probe.gpus - 1, 2)
        )

    def submit(self, dice: random.Random) -> str:
        """Submit a job or an array; now and then the answer gets lost and it is sent again."""
        if len(self.submitted) >= MOST_JOBS:
            return "nothing more"
        owner, spec = dice.choice(PEOPLE), self._spec(dice)
        width = dice.choice((2, 3, 5)) if dice.random() < 0.08 else 0
        jobs = [NewJob(spec, index) for index in range(width)] if width else [NewJob(spec)]
        token = f"t{dice.getrandbits(40)}" if dice.random() < 0.2 else ""
        how = {
            "token": token,
            "array_limit": dice.choice((None, 1, 2)) if width else None,
            "held_by": "user" if dice.random() < 0.05 else "",
        }
        try:
            placed = self.box.engine.submit(owner, jobs, **how)
        except RequestError as error:
            return f"refused: {error}"
        if token:
            again = self.box.engine.submit(owner, jobs, **how)
            assert [job.id for job in again] == [job.id for job in placed], "submitted twice"
        self.submitted += [job.id for job in placed]
        return ", ".join(str(job.id) for job in placed)

    def _spec(self, dice: random.Random):
        gpus = min(self.box.probe.gpus, dice.choice((0, 1, 1, 2, 4)))
        fields: dict[str, object] = {}
        if self.submitted and dice.random() < 0.12:
            on = dice.choice(self.submitted[-20:])
            fields["depends_on"] = (Dependency(on, dice.choice(list(DependencyKind))),)
        if dice.random() < 0.05:
            fields["begin_at"] = self.box.clock.now_ms() + dice.choice((5, 60)) * 1000 * self.scale
        if gpus == 1 and dice.random() < 0.1:
            fields["gpu_uuids"] = (uuid(dice.randrange(self.box.probe.gpus)),)
        if dice.random() < 0.1:
            fields["class_name"] = "quick"
        if dice.random() < 0.3:
            fields["account"] = dice.choice(("vision", "robots"))
        if len(self.submitted) % 5 == 0:  # no die is thrown: the stories of old seeds stay theirs
            fields["ports"] = (8888, 6006)
        spec = self.box.spec(
            gpus=gpus,
            image=dice.choice(IMAGES),
            limit_s=dice.choice((20, 60, 300)) * self.scale,
            requeue=dice.random() < 0.3,
            preemptible=dice.random() < 0.2,
            grace_s=dice.choice((1, 10)),
            **fields,
        )
        return msgspec.structs.replace(spec, **self._wishes_of(spec, beside(dice)))

    def _wishes_of(self, spec: JobSpec, dice: random.Random) -> dict[str, object]:
        """Return what a job wants of its devices beyond their number: a share, or links."""
        if spec.gpus == 1 and not spec.preemptible and dice.random() < 0.3:
            return {"gpu_memory_bytes": dice.choice((1, 3, 7, 15)) * 2**30}
        return {"nvlink": True} if spec.gpus == 2 and dice.random() < 0.3 else {}

    def ask(self, dice: random.Random) -> str:
        """Want something of a job or a device."""
        return self.do(dice.choice(WISHES), dice)

    def book(self, dice: random.Random) -> str:
        """Book, change a booking, or take it back."""
        return self.do(dice.choice(BOOKINGS), dice)

    def do(self, wish: str, dice: random.Random) -> str:
        """Do one thing that people want, by name."""
        act: Callable[[random.Random], object] = getattr(self, "_" + wish)
        try:
            return f"{wish} {act(dice) or ''}"
        except RequestError as error:
            return f"{wish} refused: {error}"

    def _some_job(self, dice: random.Random) -> JobId:
        return dice.choice(self.submitted[-30:]) if self.submitted else JobId(1)

    def _device(self, dice: random.Random):
        return uuid(dice.randrange(self.box.probe.gpus))

    def _cancel(self, dice: random.Random) -> JobId:
        holding = self.box.engine.running_jobs()
        job_id = (
            dice.choice(holding).id if holding and dice.random() < 0.6 else self._some_job(dice)
        )
        job = self.box.engine.cancel(job_id, ANN, force=dice.random() < 0.3)
        assert job.state in (JobState.CANCELLED, JobState.STOPPING), f"cancel: {job.state}"
        self.invariants.cancelled.setdefault(job_id, job.attempt)
        return job_id

    def _hold(self, dice: random.Random) -> Job:
        return self.box.engine.hold(self._some_job(dice), ANN, dice.choice(("user", "admin"))).id

    def _release(self, dice: random.Random) -> JobId:
        return self.box.engine.release(self._some_job(dice), ANN).id

    def _update(self, dice: random.Random) -> JobId:
        job = self.box.engine.job(self._some_job(dice))
        changes: dict[str, object] = {"limit_s": dice.choice((20, 120, 600)) * self.scale}
        is_bound = job.spec.gpu_uuids or job.spec.gpu_memory_bytes or job.spec.nvlink
        if not is_bound and dice.random() < 0.3:
            changes["gpus"] = min(self.box.probe.gpus, dice.choice((1, 2)))
        self.box.engine.update(job.id, ANN, msgspec.structs.replace(job.spec, **changes))
        return job.id

    def _drain(self, dice: random.Random) -> str:
        device = self._device(dice)
        self.box.engine.drain([device], "admin", "looking at it")
        return device

    def _resume(self, dice: random.Random) -> None:
        self.box.engine.resume(list(self.box.engine.drains()), "admin")

    def _blackout(self, dice: random.Random) -> int:
        from_at = self.box.clock.now_ms() + dice.choice((0, 60, 600)) * 1000 * self.scale
        until_at = from_at + dice.choice((30, 100)) * 1000 * self.scale
        devices = () if dice.random() < 0.3 else (self._device(dice),)
        return self.box.engine.add_blackout(from_at, until_at, devices, "admin", "moving").id

    def _reopen(self, dice: random.Random) -> None:
        for blackout in self.box.engine.blackouts()[:1]:
            self.box.engine.cancel_blackout(blackout.id, "admin")

    def _reload(self, dice: random.Random) -> None:
        self.box.config = some_config(dice, self.scale, self.box.config.docker.pull)
        self.box.engine.reconfigure(self.box.config)

    def _look(self, dice: random.Random) -> None:
        """Look at all that the screens show; nobody's look breaks anything."""
        engine = self.box.engine
        queue = engine.queue(dice.choice((3, None)))
        for job in queue[:2]:
            engine.explain(job.id)
        engine.forecast_of(dice.choice(PEOPLE), NewJob(self.box.spec(gpus=1)))()()
        engine.reservations(), engine.usage(), engine.foreign_use(), engine.idle_s()

    def _window(self, dice: random.Random) -> ReservationRequest:
        from_at = self.box.clock.now_ms() + dice.choice((0, 30, 120)) * 1000 * self.scale
        return ReservationRequest(
            gpus=min(self.box.probe.gpus, dice.choice((1, 2))),
            from_at=from_at,
            until_at=from_at + dice.choice((30, 200)) * 1000 * self.scale,
        )

    def _reserve(self, dice: random.Random) -> int:
        return self.box.engine.reserve(dice.choice(PEOPLE), self._window(dice)).id

    def _series(self, dice: random.Random) -> list[int]:
        first = self._window(dice)
        span = (first.until_at - first.from_at) * 2
        windows = [
            msgspec.structs.replace(
                first, from_at=first.from_at + n * span, until_at=first.until_at + n * span
            )
            for n in range(3)
        ]
        made = self.box.engine.reserve_series(dice.choice(PEOPLE), windows, "", "FREQ=DAILY")
        return [booking.id for booking in made]

    def _change(self, dice: random.Random) -> int | None:
        for booking in self.box.engine.reservations()[:1]:
            until_at = booking.until_at + dice.choice((-20, 60)) * 1000 * self.scale
            request = ReservationRequest(
                gpus=min(self.box.probe.gpus, dice.choice((1, 2, 3))),
                from_at=booking.from_at,
                until_at=max(until_at, booking.from_at + 1000),
            )
            return self.box.engine.change_reservation(booking.id, ANN, request, "changed").id
        return None

    def _unbook(self, dice: random.Random) -> int | None:
        for booking in self.box.engine.reservations()[:1]:
            return self.box.engine.unreserve(booking.id, ANN).id
        return None

    def _unbook_series(self, dice: random.Random) -> list[int]:
        for booking in self.box.engine.reservations()[:1]:
            return [b.id for b in self.box.engine.unreserve_series(booking.id, ANN)]
        return []

    def go_home(self) -> None:
        """Let all that people hold back go on: every job has to come to its end."""
        engine = self.box.engine
        if self.box.config.quota != QuotaConfig():
            self.box.config = msgspec.structs.replace(self.box.config, quota=QuotaConfig())
            engine.reconfigure(self.box.config)
        engine.resume(list(engine.drains()), "admin")
        for blackout in engine.blackouts():
            engine.cancel_blackout(blackout.id, "admin")
        for job in list(engine.live_jobs()):
            if job.is_held:
                engine.release(job.id, ANN)
