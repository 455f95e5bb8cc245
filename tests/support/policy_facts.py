"""Short spellings of worlds for table tests of the policy; minutes instead of milliseconds."""

from __future__ import annotations

from msgspec.structs import replace

from gpuboard.model.plan import ReservationRequest
from gpuboard.model.world import Booking, DeviceFact, Holder, Waiting, World

MINUTE = 60_000


def devices(*types: str) -> tuple[DeviceFact, ...]:
    """GPU-0, GPU-1, ... of these types."""
    return tuple(DeviceFact(f"GPU-{n}", n, kind, numa_node=n // 4) for n, kind in enumerate(types))


def box(count: int, **changes) -> World:
    """A world of equal devices."""
    return World(devices=devices(*["A100"] * count), **changes)


def without(world: World, *numbers: int, reason: str = "drained: fan") -> World:
    """The world with some devices out of service."""
    facts = tuple(
        replace(fact, available=False, unavailable_reason=reason) if fact.index in numbers else fact
        for fact in world.devices
    )
    return replace(world, devices=facts)


def gpus(*numbers: int) -> tuple[str, ...]:
    return tuple(f"GPU-{number}" for number in numbers)


def job(number: int, count: int = 1, minutes: float = 60, uid: int = 1, **changes) -> Waiting:
    """A waiting job without grace, submitted in the minute of its number."""
    facts = {"submitted_at": number * MINUTE, "grace_s": 0, "user": f"user{uid}", **changes}
    return Waiting(job_id=number, uid=uid, gpus=count, limit_s=round(minutes * 60), **facts)


def held(number: int, *on: int, until: float, uid: int = 9, **changes) -> Holder:
    """A job on some devices until a minute at the latest."""
    return Holder(
        job_id=number,
        uid=uid,
        devices=gpus(*on),
        ends_at=round(until * MINUTE),
        user=f"user{uid}",
        **changes,
    )


def booked(number: int, count: int, start: float, end: float, uid: int = 5, **changes) -> Booking:
    """A booking between two minutes."""
    return Booking(
        reservation_id=number,
        uid=uid,
        gpus=count,
        from_at=round(start * MINUTE),
        until_at=round(end * MINUTE),
        user=f"user{uid}",
        **changes,
    )


def wish(count: int, start: float, end: float, **changes) -> ReservationRequest:
    return ReservationRequest(count, round(start * MINUTE), round(end * MINUTE), **changes)
