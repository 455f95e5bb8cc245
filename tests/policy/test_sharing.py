"""Shared devices and linked sets in the plan: tables, and P1-P8, P12 on random worlds."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.plan import ReservationRequest, WaitCause
from gpuboard.model.world import DeviceFact, PolicySettings, Waiting, World
from gpuboard.policy.explain import explain_wait
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.sharing import charged_parts
from tests.support.policy_facts import MINUTE, booked, held, job
from tests.support.policy_world import Arrival, BookingWish, Lab

GIB = 2**30
SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def cards(count: int, gib: int = 80) -> tuple[DeviceFact, ...]:
    return tuple(
        DeviceFact(f"GPU-{n}", n, "A100", memory_bytes=gib * GIB, numa_node=n // 4)
        for n in range(count)
    )


def paired(count: int) -> tuple[DeviceLink, ...]:
    """Each GPU bridged with its neighbour."""
    return tuple(
        DeviceLink(f"GPU-{n}", f"GPU-{n + 1}", LinkKind.NVLINK, 4) for n in range(0, count - 1, 2)
    )


def world(count: int, **more) -> World:
    more.setdefault("settings", PolicySettings(sharing="all", sharing_reserve_bytes=GIB))
    return World(devices=cards(count), **more)


def share(number: int, gib: int, minutes: float = 60, **more) -> Waiting:
    return job(number, 1, minutes, gpu_memory_bytes=gib * GIB, **more)


def sharing(number: int, on: int, gib: int, until: float, uid: int = 9):
    return held(number, on, until=until, uid=uid, gpu_memory_bytes=gib * GIB)


def starts(world: World, *jobs: Waiting) -> dict[int, tuple[str, ...]]:
    plan = plan_round(world, WaitingQueue(jobs), 0)
    return {start.job_id: start.devices for start in plan.starts}


def test_budgets_fill_a_device_before_the_next_one_is_opened():
    """Three of 30 GiB: two together, the third on a device of its own."""
    assert starts(world(2), share(1, 30), share(2, 30), share(3, 30)) == {
        1: ("GPU-0",), 2: ("GPU-0",), 3: ("GPU-1",),
    }  # fmt: skip


def test_the_own_device_comes_before_a_fuller_one_of_somebody_else():
    """Same person first, then the least left over."""
    holders = (sharing(11, 0, 60, 600, uid=2), sharing(12, 1, 10, 600, uid=1))
    assert starts(world(3, holders=holders), share(1, 10, uid=1)) == {1: ("GPU-1",)}
    assert starts(world(3, holders=holders), share(1, 10, uid=3)) == {1: ("GPU-0",)}


def test_sharing_with_strangers_off_or_altogether():
    """`person`: nobody is beside a stranger; `off`: each has a device of its own."""
    holders = (sharing(11, 0, 10, 600, uid=2),)
    for word in ("person", "off"):
        some = world(1, holders=holders, settings=PolicySettings(sharing=word))
        assert starts(some, share(1, 10, uid=1)) == {}
    alone = world(2, settings=PolicySettings(sharing="off"))
    assert starts(alone, share(1, 10), share(2, 10)) == {1: ("GPU-0",), 2: ("GPU-1",)}


def test_who_joins_delays_no_promise():
    """The head is promised the shared device at 60: to join until then costs nothing, longer does."""
    holders = (sharing(11, 0, 10, 60), held(12, 1, until=90))
    some = world(2, holders=holders, head=1)
    wide = job(1, 2, 60)
    assert starts(some, wide, share(2, 10, 60)) == {2: ("GPU-0",)}
    assert starts(some, wide, share(2, 10, 90)) == {2: ("GPU-0",)}
    assert starts(some, wide, share(2, 10, 91)) == {}
    dark = replace(some, bookings=(booked(-1, 2, 50, 70, uid=-1, is_blackout=True),))
    assert starts(dark, share(2, 10, 51)) == {}


def test_no_share_on_a_booked_device():
    """A device bound to a booking is its owner's."""
    bookings = (booked(7, 1, -10, 600, uid=2, devices=("GPU-0",)),)
    holders = (sharing(11, 0, 10, 500, uid=2),)
    assert starts(world(1, bookings=bookings, holders=holders), share(1, 10, uid=1)) == {}


def test_a_head_with_a_budget_joins_as_soon_as_there_is_room():
    """It does not wait for the whole device that it was promised."""
    some = world(1, holders=(sharing(11, 0, 70, 60),), head=1)
    queue = WaitingQueue([share(1, 10)])
    plan = plan_round(some, queue, 0)
    assert (plan.head, plan.head_start_at) == (1, 60 * MINUTE)
    freed = replace(some, holders=(sharing(11, 0, 69, 60),))
    plan = plan_round(freed, queue, 0)
    assert ([start.job_id for start in plan.starts], plan.head) == ([1], None)


def test_a_whole_job_has_the_device_when_the_last_sharer_is_gone():
    """The forecast says so too."""
    holders = (sharing(11, 0, 10, 60), sharing(12, 0, 10, 90))
    [(_, forecast)] = forecast_starts(world(1, holders=holders), WaitingQueue([job(1)]), 0).items()
    assert forecast.latest_start_at == 90 * MINUTE


def test_why_says_how_much_of_a_shared_device_is_given():
    """And that no device of the box has what is asked for."""
    some = world(1, holders=(sharing(11, 0, 60, 60), sharing(12, 0, 10, 60)))
    queue = WaitingQueue([share(1, 20), share(2, 90)])
    plan = plan_round(some, queue, 0)
    words = [cause.words for cause in explain_wait(some, queue, plan, 1, 0).causes]
    assert any("GPU 0 is shared (70G of 79G) by user9 until" in text for text in words)
    [never] = explain_wait(some, queue, plan, 2, 0).causes
    assert never.cause is WaitCause.NO_SUCH_DEVICE
    assert never.words == "1 GPU with 90G to share wanted, this box has 0"


def test_linked_sets_only_for_who_asks_for_them():
    """Two pairs, one of each busy: two GPUs are free, and not linked."""
    holders = (held(11, 0, until=60), held(12, 2, until=90))
    some = world(4, links=paired(4), holders=holders)
    assert starts(some, job(1, 2)) == {1: ("GPU-1", "GPU-3")}
    assert starts(some, job(1, 2, nvlink=True)) == {}
    queue = WaitingQueue([job(1, 2, nvlink=True), job(2, 3, nvlink=True)])
    plan = plan_round(some, queue, 0)
    assert (plan.head, plan.head_start_at) == (1, 60 * MINUTE)
    explanation = explain_wait(some, queue, plan, 1, 0)
    assert explanation.would_start_now == "without --nvlink or --gpus 1"
    [never] = explain_wait(some, queue, plan, 2, 0).causes
    assert never.words == "3 GPUs linked by NVLink wanted, this box has 2"


def test_a_booking_gets_linked_devices_where_nobody_else_needs_them():
    """One of the first pair is busy: the pair alone on its node, not the lowest; a promise stands."""
    holders = (held(11, 0, until=60),)
    some = world(6, links=paired(6), holders=holders, bookings=(booked(7, 2, 0, 60),))
    [bind] = plan_round(some, WaitingQueue([]), 0).binds
    assert bind.devices == ("GPU-4", "GPU-5")
    soon = booked(8, 1, 30, 90, gpu_uuids=("GPU-4",))
    taken = replace(some, bookings=(*some.bookings, soon))
    [bind] = plan_round(taken, WaitingQueue([]), 0).binds
    assert bind.devices == ("GPU-2", "GPU-3")


def test_backfill_leaves_the_linked_pair_that_the_head_was_promised():
    """A job for one GPU takes another one, or ends in time."""
    holders = (held(11, 0, until=60),)
    some = world(4, links=paired(2), holders=holders, head=1)
    head = job(1, 2, nvlink=True)
    assert starts(some, head, job(2, 1, 120)) == {2: ("GPU-2",)}
    assert starts(some, head, job(2, 3, 120)) == {}
    assert starts(some, head, job(2, 3, 60)) == {2: ("GPU-1", "GPU-2", "GPU-3")}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 40)), max_size=9))
def test_what_is_charged_for_a_device_is_one_device_whoever_shares_it(rows):
    """P13: the parts of its sharers come to one, in proportion to their budgets."""
    holders = [sharing(n, on, gib, 60, uid) for n, (uid, on, gib) in enumerate(rows)]
    holders.append(held(99, 5, 6, until=60))
    parts = list(charged_parts(holders))
    assert len(parts) == len(holders)
    by_device: dict[str, list] = {}
    for holder, part in parts:
        by_device.setdefault(holder.devices[0], []).append((holder, part))
    assert by_device.pop("GPU-5") == [(holders[-1], 2)]
    for together in by_device.values():
        total = sum(holder.gpu_memory_bytes for holder, _ in together)
        assert abs(sum(part for _, part in together) - 1) < 1e-9
        for holder, part in together:
            assert abs(part - float(Fraction(holder.gpu_memory_bytes, total))) < 1e-12


@st.composite
def arrivals(draw, count: int, most: int = 20) -> list[Arrival]:
    """Jobs of all kinds: whole, sharing, linked."""
    jobs = []
    for number in range(1, draw(st.integers(1, most)) + 1):
        kind = draw(st.sampled_from(["whole", "share", "share", "linked"]))
        waiting = Waiting(
            number,
            draw(st.integers(1, 3)),
            draw(st.integers(0, 90)) * MINUTE,
            1 if kind == "share" else draw(st.integers(1, count)),
            draw(st.integers(1, 90)) * 60,
            gpu_memory_bytes=draw(st.integers(1, 80)) * GIB if kind == "share" else 0,
            nvlink=kind == "linked",
            grace_s=draw(st.sampled_from([0, 10])),
            predicted_s=draw(st.sampled_from([None, 60])),
        )
        jobs.append(Arrival(waiting, draw(st.integers(1, 100)) * 60))
    return jobs


@st.composite
def labs(draw) -> Lab:
    count = draw(st.integers(1, 6))
    policy = PolicySettings(
        sharing=draw(st.sampled_from(["all", "person", "off"])),
        sharing_reserve_bytes=GIB,
        priority_window_s=draw(st.sampled_from([0, 1800, 7 * 86400])),
    )
    return Lab(cards(count), settings=policy, links=draw(st.sampled_from([(), paired(count)])))


@st.composite
def wishes(draw, count: int) -> list[BookingWish]:
    found = []
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, 120)) * MINUTE
        from_at = at + draw(st.integers(0, 90)) * MINUTE
        until_at = from_at + draw(st.integers(1, 60)) * MINUTE
        request = ReservationRequest(draw(st.integers(1, count)), from_at, until_at)
        found.append(BookingWish(at, draw(st.integers(1, 3)), request))
    return found


def test_a_job_joins_beside_a_booking_that_can_have_another_device():
    """The booking was laid on the shared device while the head was to have the other one."""
    found = world(
        2,
        holders=(sharing(11, 1, 1, until=101, uid=2),),
        bookings=(booked(5, 1, 110, 120),),
        head=13,
        settings=PolicySettings(priority_window_s=0, sharing_reserve_bytes=GIB),
    )
    queue = WaitingQueue([job(13, minutes=10), share(14, 1, minutes=15, uid=2)])
    plan = plan_round(found, queue, 100 * MINUTE)
    assert {start.job_id: start.devices for start in plan.starts} == {
        13: ("GPU-0",),
        14: ("GPU-1",),
    }


@SOME
@given(st.data())
def test_promises_and_bookings_hold_beside_shared_and_linked_devices(data):
    """P1, P2, P3, P8, P12 with shares and linked sets: whatever joins, nobody's promise moves later."""
    lab = data.draw(labs())
    promised: dict[int, int] = {}

    def look(lab, world, plan):
        starting = {start.job_id for start in plan.starts}
        if world.head in promised and not lab.promises_changed:
            if world.head in starting:
                assert lab.now <= promised[world.head]
            else:
                assert plan.head == world.head
                assert plan.head_start_at <= promised[world.head]
        if plan.head is not None:
            promised[plan.head] = plan.head_start_at
        bound = {bind.reservation_id: len(bind.devices) for bind in plan.binds}
        for number, booking in lab.bookings.items():
            if booking.from_at <= lab.now:
                assert len(booking.devices) + bound.get(number, 0) == booking.gpus
        mirrored = replace(
            world,
            devices=tuple(reversed(world.devices)),
            holders=tuple(reversed(world.holders)),
            links=tuple(DeviceLink(x.b, x.a, x.kind, x.nvlinks) for x in reversed(world.links)),
        )
        assert plan_round(mirrored, WaitingQueue(reversed(list(lab.queue))), lab.now) == plan

    lab.on_plan = [look]
    apply = lab.apply

    def apply_and_ask_again(plan, ends):
        apply(plan, ends)
        again = plan_round(lab.world(), lab.queue, lab.now)
        assert (again.starts, again.binds, again.stops) == ((), (), ())

    lab.apply = apply_and_ask_again
    lab.run(data.draw(arrivals(len(lab.devices))), data.draw(wishes(len(lab.devices))))


@SOME
@given(st.data())
def test_everything_that_can_run_runs_and_what_waits_has_a_reason(data):
    """P6, P7: sharers do not keep a device from others for ever; no wait without a cause."""
    lab = data.draw(labs())
    jobs = data.draw(arrivals(len(lab.devices), most=12))
    linked = {frozenset((x.a, x.b)) for x in lab.links}

    def can_run(waiting: Waiting) -> bool:
        if waiting.gpu_memory_bytes > 79 * GIB:
            return False
        return not waiting.nvlink or any(
            all(frozenset(pair) in linked for pair in combinations(some, 2))
            for some in combinations([fact.uuid for fact in lab.devices], waiting.gpus)
        )

    apply = lab.apply

    def apply_and_check(plan, ends):
        apply(plan, ends)
        for waiting in lab.queue:
            causes = explain_wait(lab.world(), lab.queue, plan, waiting.job_id, lab.now).causes
            assert causes
            is_never = any(cause.cause is WaitCause.NO_SUCH_DEVICE for cause in causes)
            assert is_never != can_run(waiting)

    lab.apply = apply_and_check
    lab.run(jobs)
    assert set(lab.ended) == {one.waiting.job_id for one in jobs if can_run(one.waiting)}
