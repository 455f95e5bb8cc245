"""Arrangement: a provisional answer to "which device will serve which promise", kept feasible.

Promises (bookings, the head's start) are *claims*: so many of these devices during this window.
They are bound late, so an arrangement is made anew in every round and may be rearranged whenever
that makes room. A job may start only if an arrangement of all claims exists around it: counting
devices would do on a box of equal devices, but not where jobs and bookings name types or devices.

Claims are laid out by start time, best fit: on equal devices that is exact (colouring an interval
graph from the left), and with named devices other orders are tried where that comes short. What
cannot be had for a whole claim (a device was lost) is arranged as far as it goes, and nothing may
start that would widen the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpuboard.model.ids import JobId, ReservationId
from gpuboard.policy.profile import FOREVER, Profile
from gpuboard.policy.topology import take_lowest

ATTEMPTS = 12
"""At most so many orders are tried when claims that name devices come short."""


class Claim(NamedTuple):
    """So many devices of a set, promised during [from_at, until_at)."""

    from_at: int
    until_at: int
    gpus: int
    candidates: int
    """The devices that would do, as a set."""
    reservation_id: ReservationId | None = None
    """None: a promise to a job."""
    job_id: JobId | None = None
    """The job of a promised class; None for the head's promise."""

    @property
    def is_of_head(self) -> bool:
        """Whether it is the head's promise."""
        return self.reservation_id is None and self.job_id is None

    @property
    def identity(self) -> tuple[int, ...]:
        """Return what tells it from any other claim, for a stable order."""
        job_id = self.job_id or 0
        return self.reservation_id or 0, job_id, self.until_at, self.gpus, self.candidates

    @property
    def is_pinned(self) -> bool:
        """Whether there is no choice of devices."""
        return self.candidates.bit_count() <= self.gpus


class Arrangement:
    """Claims laid over what holders leave free by limits."""

    __slots__ = ("given", "profile", "short", "shortage")

    def __init__(self, base: Profile) -> None:
        self.profile = base.copy()
        """What holders and claims leave free."""
        self.given: list[tuple[Claim, int, int]] = []
        """(claim, devices, from when on): a claim may get some of its devices late."""
        self.short: set[Claim] = set()
        """Claims that go without some device at their start."""
        self.shortage = 0
        """Devices that claims go without at their start."""

    def lay(self, claim: Claim, wanted_by_others: int, preference: Sequence[int]) -> None:
        """Give the claim its devices, or as many as there are and the rest as they get free."""
        profile = self.profile
        usable = profile.free_throughout(claim.from_at, claim.until_at) & claim.candidates
        chosen = usable
        if usable.bit_count() > claim.gpus:
            # Best fit: a device that somebody has later anyway, before one that is free for good.
            committed = usable & ~profile.free_throughout(claim.from_at, FOREVER)
            chosen = _choose(usable, committed, claim.gpus, wanted_by_others, preference)
        self._give(claim, chosen, claim.from_at)
        missing = claim.gpus - chosen.bit_count()
        if not missing:
            return
        self.shortage += missing
        self.short.add(claim)
        for at in list(profile.instants(claim.from_at)):
            if at >= claim.until_at or not missing:
                break
            late = profile.free_throughout(at, claim.until_at) & claim.candidates
            chosen = _choose(late, 0, missing, wanted_by_others, preference)
            self._give(claim, chosen, at)
            missing -= chosen.bit_count()

    def withdraw(self, claim: Claim) -> int:
        """Take a claim out and return the devices that it had at its start."""
        devices = 0
        for given, some, from_at in self.given:
            if given == claim:
                self.profile.unblock(some, from_at, claim.until_at)
                devices |= some if from_at == claim.from_at else 0
        self.given = [entry for entry in self.given if entry[0] != claim]
        if claim in self.short:
            self.short.discard(claim)
            self.shortage -= claim.gpus - devices.bit_count()
        return devices

    def _give(self, claim: Claim, devices: int, from_at: int) -> None:
        if devices:
            self.profile.block(devices, from_at, claim.until_at)
            self.given.append((claim, devices, from_at))


def arrange(base: Profile, claims: Sequence[Claim], preference: Sequence[int]) -> Arrangement:
    """Return the best arrangement found; `preference` lists disjoint sets to give away first.

    What came short is laid first the next time ("squeaky wheel" optimisation: Joslin, Clements,
    1999): with named devices the exact problem is NP-hard, and this finds what people book.
    """
    if not claims:
        return Arrangement(base)
    is_uniform = len({claim.candidates for claim in claims}) <= 1
    order = sorted(claims, key=_by_start)
    best = _lay_out(base, order, preference, is_uniform=is_uniform)
    if not best.shortage or is_uniform:
        return best
    tried = {tuple(order)}
    latest = best
    for attempt in range(ATTEMPTS):
        order.sort(key=lambda claim: claim not in latest.short)
        if tuple(order) in tried:
            order = sorted(claims, key=_by_choice if attempt % 2 else _by_candidates)
        if tuple(order) in tried:
            break
        tried.add(tuple(order))
        latest = _lay_out(base, order, preference, is_uniform=False)
        if latest.shortage < best.shortage:
            best = latest
            if not best.shortage:
                break
    return best


def _lay_out(
    base: Profile, order: Sequence[Claim], preference: Sequence[int], *, is_uniform: bool
) -> Arrangement:
    arrangement = Arrangement(base)
    for claim in order:
        wanted = 0 if is_uniform else _wanted_by_narrower(claim, order)
        arrangement.lay(claim, wanted, preference)
    return arrangement


def _by_start(claim: Claim) -> tuple[int, ...]:
    return not claim.is_pinned, claim.from_at, claim.candidates.bit_count(), *claim.identity


def _by_choice(claim: Claim) -> tuple[int, ...]:
    return claim.candidates.bit_count() - claim.gpus, claim.from_at, *claim.identity


def _by_candidates(claim: Claim) -> tuple[int, ...]:
    return claim.candidates.bit_count(), claim.from_at, *claim.identity


def _wanted_by_narrower(claim: Claim, claims: Sequence[Claim]) -> int:
    """Return the devices that claims with less choice want at some time during this one."""
    wanted = 0
    for other in claims:
        if (
            other.from_at < claim.until_at
            and claim.from_at < other.until_at
            and other.candidates.bit_count() < claim.candidates.bit_count()
        ):
            wanted |= other.candidates
    return wanted


def _choose(
    usable: int, committed: int, count: int, wanted_by_others: int, preference: Sequence[int]
) -> int:
    """Choose devices: first what nobody with less choice wants, as preferred, best fit."""
    if usable.bit_count() <= count:
        return usable
    chosen = 0
    for pool in (usable & ~wanted_by_others, usable & wanted_by_others):
        for liked in preference:
            for fitting in (pool & liked & committed, pool & liked & ~committed):
                chosen |= take_lowest(fitting, count - chosen.bit_count())
                if chosen.bit_count() == count:
                    return chosen
    return chosen
