"""Capacity: who has which devices by limits, what is promised, and what may start beside that.

The state of one round of planning. Everything that may start goes through `devices_for`, so the
promises (bookings honoured to the second, the head's start) are kept in one place.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpuboard.model.ids import DeviceUuid, JobId, ReservationId, Uid
from gpuboard.model.world import Booking, Holder, World
from gpuboard.policy.arrangement import Arrangement, Claim, arrange
from gpuboard.policy.placement import Asks, DeviceBox
from gpuboard.policy.profile import FOREVER, Profile, gone_at
from gpuboard.policy.sharing import SharedDevices
from gpuboard.policy.topology import take_lowest

STOP_MARGIN_MS = 2000
"""Preemptible jobs are stopped so long before their grace would just do."""
PREEMPTIBLE_LEAST_MS = 60_000
"""A preemptible job starts only where it can stay at least so long."""
REARRANGEMENTS = 64
"""At most so many a round; only boxes whose devices or bookings differ need any."""


class Capacity:
    """Devices and promises at one instant; grows fuller as the round starts jobs."""

    def __init__(self, world: World, now: int, box: DeviceBox | None = None) -> None:
        """Take stock. `box` may be one made before from the same devices."""
        self.now = now
        settings = world.settings
        self.box = box or DeviceBox(world.devices, world.links, settings.job_mix)
        self._any = (self.box.available,)
        self._any_whole = (self.box.available & ~self.box.instances,)
        self._most, self._most_whole = self._any[0].bit_count(), self._any_whole[0].bit_count()
        self.holders = world.holders
        self._reserve_bytes = settings.sharing_reserve_bytes
        self.shared = SharedDevices(self.box, settings, world.holders, now)
        ahead = [one for one in _in_order(world) if one.until_at > now] if world.bookings else []
        self.blackouts = [(self._dark(one), one) for one in ahead if one.is_blackout]
        self.bookings = [one for one in ahead if not one.is_blackout]
        self._bound_now: dict[ReservationId, int] = {}
        self._rearranged = 0
        self.arrangements = 0
        """How often promises were arranged, or tried to be, anew in this round."""
        self.held = 0
        """Devices that jobs hold."""
        self.bound = 0
        """Devices of active bookings."""
        self.stoppable = 0
        """Devices of preemptible jobs not being stopped yet."""
        self.base = self._by_limits(world.holders)
        self.idle = self.base.masks[0]
        """Devices that anybody's job could have now."""
        self.claims = [claim for booking in self.bookings if (claim := self._claim_of(booking))]
        self.arrangement: Arrangement = self._arrange(self.base, self.claims)
        self._refused: dict[tuple[int, int], int] = {}
        self._unjoinable: dict[int, int] = {}
        """By shared device: until when nobody can join it, however claims are moved."""
        self._outlasting: dict[tuple[int, int], bool] = {}

    def candidates(self, gpu_uuids: tuple[DeviceUuid, ...], gpu_type: str) -> int:
        """Return the devices in service that a request names."""
        return self.box.candidates(gpu_uuids, gpu_type) & self.box.available

    def options(self, asks: Asks) -> tuple[int, ...]:
        """Return sets of devices in service, any `asks.gpus` of one of which would do; see `DeviceBox`."""
        if not (asks.gpu_memory_bytes or asks.gpu_uuids or asks.gpu_type or asks.nvlink):
            return self._any if asks.gpus <= 1 else self._any_whole
        available = self.box.available
        return tuple(each & available for each in self.box.options(asks, self._reserve_bytes))

    def most_at_once(self, asks: Asks) -> int:
        """Return how many devices in service a request of such devices could be given at most."""
        if not (asks.gpu_memory_bytes or asks.gpu_uuids or asks.gpu_type or asks.nvlink):
            return self._most if asks.gpus <= 1 else self._most_whole
        return max((each.bit_count() for each in self.options(asks)), default=-1)

    def can_join(self) -> bool:
        """Whether there is a device that jobs share, so that others might join them."""
        return bool(self._joinable())

    def join(self, asks: Asks, uid: Uid, until_at: int) -> int:
        """Return the shared device on which a job with a budget may run until `until_at`, or 0."""
        among = self._joinable() & ~self.dark_between(self.now, until_at)
        for candidates in self.options(asks) if among else ():
            budget, profile = asks.gpu_memory_bytes, self.arrangement.profile
            device = self.shared.join(uid, budget, candidates & among, profile, until_at)
            device = device or self._join_by_moving(uid, budget, candidates & among, until_at)
            if device:
                return device
        return 0

    def _join_by_moving(self, uid: Uid, budget: int, among: int, until_at: int) -> int:
        """Find a shared device for a job by moving claims to other devices; 0 when no way was found."""
        for device in self.shared.room_for(uid, budget, among):
            held_until = self.shared.held_until(device)
            if self._rearranged >= REARRANGEMENTS:
                return 0
            if until_at >= self._unjoinable.get(device, FOREVER):
                continue
            if device & self.base.free_throughout(held_until, until_at):
                self._rearranged += 1
                base = self.base.copy()
                base.block(device, held_until, until_at)
                if self._arrange(base, self.claims).shortage <= self.arrangement.shortage:
                    return device
            self._unjoinable[device] = until_at
        return 0

    def join_until(self, asks: Asks, uid: Uid) -> int:
        """Return an instant (ms) beyond which `join` is sure to find nothing: claims may be moved."""
        among, profile = self._joinable(), self.base
        return max(
            (
                self.shared.open_until(
                    uid, asks.gpu_memory_bytes, candidates & among, profile, self._unjoinable
                )
                for candidates in self.options(asks)
            ),
            default=0,
        )

    def _joinable(self) -> int:
        return self.shared.devices & self.box.available & ~self.bound

    def devices_for(self, gpus: int, candidates: int, until_at: int) -> int:
        """Return devices on which a job may run from now until `until_at`, or the empty set (0).

        None of the promises is broken by it. Nothing is taken yet: see `take`.
        """
        able = self.idle & candidates
        if able.bit_count() < gpus:
            return 0
        if until_at >= self._refused.get((candidates, gpus), FOREVER):
            return 0
        profile = self.arrangement.profile
        usable = profile.free_throughout(self.now, until_at) & able
        if usable.bit_count() >= gpus:
            quiet = profile.free_throughout(self.now, FOREVER)
            return self.box.choose(usable, gpus, quiet, self.idle)
        chosen = 0
        # Claims can be moved to other devices; maintenance, and what is held, cannot.
        able &= self.base.free_throughout(self.now, until_at)
        if able.bit_count() >= gpus and profile.least_free(self.now, until_at) >= gpus:
            chosen = self._make_room(gpus, able, usable, until_at)
        if not chosen:
            self._refused[candidates, gpus] = until_at
        return chosen

    def open_until(self, gpus: int, candidates: int) -> int:
        """Return an instant (ms) beyond which `devices_for` is sure to find nothing; cheap."""
        if (self.idle & candidates).bit_count() < gpus:
            return self.now
        bound = self._refused.get((candidates, gpus), FOREVER) - 1
        profile = self.arrangement.profile
        for at, mask in zip(profile.times, profile.masks, strict=True):
            if at >= bound:
                break
            if mask.bit_count() < gpus:
                return at
        return bound

    def preemptible_devices_for(
        self, gpus: int, candidates: int, grace_ms: int, until_at: int
    ) -> int:
        """Return devices for a job that will be stopped when somebody with a right comes, or 0."""
        able = self.idle & candidates
        if able.bit_count() < gpus:
            return 0
        profile = self.arrangement.profile
        least_until = self.now + grace_ms + STOP_MARGIN_MS + PREEMPTIBLE_LEAST_MS
        usable = profile.free_throughout(self.now, min(until_at, least_until)) & able
        if usable.bit_count() < gpus:
            return 0
        quiet = profile.free_throughout(self.now, until_at)
        return self.box.choose(usable, gpus, quiet, self.idle)

    def outlasts(self, devices: int, grace_ms: int) -> bool:
        """Whether a preemptible job could keep these idle devices for a while, and all others theirs.

        Promises are laid out as the next round will, which knows the job as one that can be stopped:
        else a round might start what the next one stops, for ever.
        """
        until_at = self.now + grace_ms + STOP_MARGIN_MS + PREEMPTIBLE_LEAST_MS
        if all(claim.from_at >= until_at for claim in self.claims):
            return True
        known = self._outlasting.get((devices, grace_ms))
        if known is not None:
            return known
        base = self.base.copy()
        base.block(devices, self.now, gone_at(self.now + grace_ms, self.now))
        settled = self._arrange(self.base, self.claims)
        trial = self._arrange(base, self.claims, devices)
        lost = _needed_before(trial, until_at) & (self.stoppable | devices)
        is_harmless = not lost & ~_needed_before(settled, until_at) and not lost & devices
        answer = is_harmless and trial.shortage <= settled.shortage
        self._outlasting[devices, grace_ms] = answer
        return answer

    def settle(self) -> None:
        """Lay all promises out anew where they are, so that no preemptible job is stopped without need.

        Each was laid out beside those known before it; together they may do with other devices.
        """
        settled = self._arrange(self.base, self.claims)
        if settled.shortage <= self.arrangement.shortage:
            self.arrangement = settled

    def take(self, devices: int, until_at: int, *, is_stoppable: bool = False) -> None:
        """Give devices to a job until an instant at the latest."""
        clash = devices & ~self.arrangement.profile.free_throughout(self.now, until_at)
        self.base.block(devices, self.now, until_at)
        self.idle &= ~devices
        self.held |= devices
        self._outlasting.clear()
        if is_stoppable:
            self.stoppable |= devices
        if clash:
            self.arrangement = self._arrange(self.base, self.claims)
        else:
            self.arrangement.profile.block(devices, self.now, until_at)

    def give_back(self, devices: int, ends_at: int) -> None:
        """Let whole devices be idle that a job held, by its limit until an instant. Promises stay as they are."""
        until_at = gone_at(ends_at, self.now)
        self.base.unblock(devices, self.now, until_at)
        self.arrangement.profile.unblock(devices, self.now, until_at)
        self.idle |= devices
        self.held &= ~devices
        self._refused.clear()

    def share(self, device: int, uid: Uid, budget: int, until_at: int) -> None:
        """Give a job its share of a device, which may be one that nobody shares yet."""
        if self.shared.of(device) is None:
            self.take(device, until_at)
        else:
            from_at = self.shared.held_until(device)
            free = self.arrangement.profile.free_throughout(from_at, max(from_at, until_at))
            self.base.block(device, self.now, until_at)
            if device & free or until_at <= from_at:
                self.arrangement.profile.block(device, self.now, until_at)
            else:
                self.arrangement = self._arrange(self.base, self.claims)
        self.shared.add(device, uid, budget, until_at)

    def bind(self, booking: Booking) -> int:
        """Bind idle devices to a booking that has begun, as many as it still lacks; 0 = none."""
        claim = self._claim_of(booking)
        if claim is None or claim.from_at > self.now:
            return 0
        devices = 0
        for given, some, from_at in self.arrangement.given:
            if given == claim and from_at <= self.now:
                devices |= some & self.idle
        if devices:
            self.claims.remove(claim)
            if devices.bit_count() == claim.gpus > 1 and self.box.topology is not None:
                devices = self._linked_for(claim) or devices
            missing = claim.gpus - devices.bit_count()
            if missing:
                left = claim.candidates & ~devices
                self.claims.append(claim._replace(gpus=missing, candidates=left))
            self.base.block(devices, self.now, booking.until_at)
            self.idle &= ~devices
            self.bound |= devices
            self._bound_now[booking.reservation_id] = devices
            self.arrangement = self._arrange(self.base, self.claims)
        return devices

    def promise(
        self, gpus: int, options: Sequence[int], span_ms: int, job_id: JobId | None = None
    ) -> int | None:
        """Promise the earliest start by limits to the head, or to `job_id`, and return it.

        None: not in sight. `options`: sets of devices of which one must hold all. From here on
        nothing that would delay it may start.
        """
        profile = self.arrangement.profile  # which stays as it is until the promise is laid out
        able = [candidates for candidates in options if candidates.bit_count() >= gpus]
        for at, free in zip(profile.times, profile.masks, strict=True):
            if free.bit_count() < gpus:
                continue
            for candidates in able:
                if self._can_lay(Claim(at, at + span_ms, gpus, candidates, None, job_id)):
                    return at
        return None

    def expect_stop(self, devices: int) -> None:
        """Arrange promises anew: these devices get free, since their preemptible jobs are stopped."""
        self.stoppable &= ~devices
        self._refused.clear()
        self._unjoinable.clear()
        self._outlasting.clear()
        self.arrangement = self._arrange(self.base, self.claims)

    def withdraw_promise(self) -> int:
        """End the head's promise and return the devices that were arranged for it."""
        promised = 0
        for claim, devices, _ in self.arrangement.given:
            if claim.is_of_head:
                promised |= devices
        self.claims = [claim for claim in self.claims if not claim.is_of_head]
        self.arrangement = self._arrange(self.base, self.claims)
        return promised

    def add_claims(self, claims: Sequence[Claim]) -> None:
        """Lay promises out together with those known."""
        self.claims += claims
        self.arrangement = self._arrange(self.base, self.claims)

    def withdraw(self, claim: Claim) -> int:
        """Take one claim out and return the devices that it had at its start."""
        self.claims.remove(claim)
        self._refused.clear()
        self._unjoinable.clear()
        return self.arrangement.withdraw(claim)

    def lay(self, claim: Claim) -> None:
        """Lay one claim out beside those known, moving none."""
        self.claims.append(claim)
        self.arrangement.lay(claim, 0, self._preference())

    def advance(self, claim: Claim) -> Claim:
        """Lay one claim out as early as can be, though after now, and return it as it was laid.

        No other claim is moved in time; devices are rearranged among them where that makes room.
        """
        profile, span_ms = self.arrangement.profile, claim.until_at - claim.from_at
        for at, free in zip(profile.times, profile.masks, strict=True):
            if at >= claim.from_at:
                break
            if at > self.now and free.bit_count() >= claim.gpus:
                earlier = claim._replace(from_at=at, until_at=at + span_ms)
                if self._can_lay(earlier):
                    return earlier
        self.lay(claim)
        return claim

    def _can_lay(self, claim: Claim) -> bool:
        """Lay a claim out if none other goes short by it; whether that was so."""
        profile = self.arrangement.profile
        usable = profile.free_throughout(claim.from_at, claim.until_at) & claim.candidates
        if usable.bit_count() >= claim.gpus:
            self.lay(claim)
            return True
        least = profile.least_free(claim.from_at, claim.until_at)
        if least < claim.gpus or self._rearranged >= REARRANGEMENTS:
            return False
        self._rearranged += 1
        trial = self._arrange(self.base, [*self.claims, claim])
        if trial.shortage > self.arrangement.shortage:
            return False
        self.claims.append(claim)
        self.arrangement = trial
        return True

    def dark_between(self, from_at: int, until_at: int) -> int:
        """Return the devices that a blackout takes at some time of [from_at, until_at)."""
        dark = 0
        for devices, blackout in self.blackouts:
            if blackout.from_at < until_at and from_at < blackout.until_at:
                dark |= devices
        return dark

    def is_box_dark_between(self, from_at: int, until_at: int) -> bool:
        """Whether a blackout of the whole box touches [from_at, until_at)."""
        return any(
            devices == self.box.everything
            and blackout.from_at < until_at
            and from_at < blackout.until_at
            for devices, blackout in self.blackouts
        )

    def bound_to(self, booking: Booking) -> int:
        """Return the devices of an active booking, in service or not."""
        now_bound = self._bound_now.get(booking.reservation_id, 0)
        return self.box.mask_of(booking.devices) | now_bound

    def _by_limits(self, holders: tuple[Holder, ...]) -> Profile:
        box, now = self.box, self.now
        free_at: dict[int, int] = {}
        held_by, held = box.held_by, 0
        for holder in holders:
            devices = held_by(holder)
            ends_at = holder.ends_at
            if holder.preemptible and not holder.stopping:
                self.stoppable |= devices
                ends_at = min(ends_at, now + holder.grace_s * 1000)
            held |= devices
            # of jobs that share a device the last to end counts
            ends_at = gone_at(ends_at, now)
            if ends_at > free_at.get(devices, now):
                free_at[devices] = ends_at
        self.held = held
        bound_until: dict[int, int] = {}
        for booking in self.bookings:
            if booking.devices:
                bound_until[self.bound_to(booking)] = booking.until_at
                self.bound |= self.bound_to(booking)
        releases: dict[int, int] = {}
        unbound = box.available & ~self.bound
        for devices, ends_at in free_at.items():
            usable = devices & unbound
            if usable:
                releases[ends_at] = releases.get(ends_at, 0) | usable
        for devices, until_at in bound_until.items():
            usable = devices & box.available
            for held, ends_at in free_at.items():
                late = held & usable
                if late and ends_at > until_at:
                    releases[ends_at] = releases.get(ends_at, 0) | late
                    usable &= ~late
            if usable:
                releases[until_at] = releases.get(until_at, 0) | usable
        profile = Profile.of_releases(now, unbound & ~self.held, releases)
        for devices, blackout in self.blackouts:
            profile.block(devices, blackout.from_at, blackout.until_at)
        return profile

    def _dark(self, blackout: Booking) -> int:
        named = (*blackout.gpu_uuids, *blackout.devices)
        return self.box.mask_of(named) if named else self.box.everything

    def _claim_of(self, booking: Booking) -> Claim | None:
        bound = self.bound_to(booking)
        missing = booking.gpus - len(booking.devices)
        if missing <= 0:
            return None
        candidates = self.candidates(booking.gpu_uuids, booking.gpu_type) & ~bound
        return Claim(
            max(booking.from_at, self.now),
            booking.until_at,
            missing,
            candidates,
            booking.reservation_id,
        )

    def _arrange(self, base: Profile, claims: list[Claim], taken: int = 0) -> Arrangement:
        self.arrangements += 1
        return arrange(base, claims, self._preference(taken))

    def _linked_for(self, claim: Claim) -> int:
        """Return the best-linked idle devices for a claim that all others leave, or 0."""
        rest = self._arrange(self.base, self.claims)
        if rest.shortage > self.arrangement.shortage:
            return 0
        free = rest.profile.free_throughout(self.now, claim.until_at)
        usable = free & self.idle & claim.candidates
        if usable.bit_count() < claim.gpus:
            return 0
        quiet = rest.profile.free_throughout(self.now, FOREVER)
        return self.box.choose(usable, claim.gpus, quiet, self.idle)

    def _preference(self, taken: int = 0) -> tuple[int, int, int]:
        """Return sets to give to claims: first what is busy until then, so that idle devices stay
        usable, then idle ones, last what only a stop would free, as if `taken` were too.
        """
        idle, stoppable = self.idle & ~taken, self.stoppable | taken
        busy = self.box.everything & ~idle & ~stoppable
        return busy, idle, stoppable & ~idle

    def _make_room(self, gpus: int, able: int, usable: int, until_at: int) -> int:
        """Find devices for a job by moving claims to others; 0 when no way was found."""
        wanted = 0
        for claim in self.claims:
            if claim.from_at < until_at and claim.candidates != self.box.available:
                wanted |= claim.candidates
        for first in (usable, able & ~wanted):
            if self._rearranged >= REARRANGEMENTS:
                return 0
            self._rearranged += 1
            chosen = take_lowest(first, gpus)
            chosen |= take_lowest(able & ~chosen, gpus - chosen.bit_count())
            base = self.base.copy()
            base.block(chosen, self.now, until_at)
            trial = self._arrange(base, self.claims)
            if trial.shortage <= self.arrangement.shortage:
                return chosen
        return 0


def _needed_before(arrangement: Arrangement, until_at: int) -> int:
    """Return the devices that some promise needs before an instant."""
    needed = 0
    for _, devices, from_at in arrangement.given:
        needed |= devices if from_at < until_at else 0
    return needed


def _in_order(world: World) -> list[Booking]:
    return sorted(
        world.bookings, key=lambda booking: (booking.from_at, booking.reservation_id, booking.uid)
    )
