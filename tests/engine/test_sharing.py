"""Jobs that share a device by budgets of its memory, on the whole engine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, PolicyConfig
from gpuboard.model.device import DeviceProcess
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box, uuid

GIB = 2**30
LONG = Script(run_s=5000)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """One GPU of 16 GiB, of which one is kept; people share with themselves."""
    found = Box(tmp_path, gpus=1)
    yield found
    found.workers.close(0)
    found.store.close()


def reopened(tmp_path: Path, sharing: str, **more: object) -> Box:
    return Box(tmp_path, gpus=1, config=Config(policy=PolicyConfig(sharing=sharing, **more)))


def small(box: Box, gib: int, owner=ANN, **more):
    more.setdefault("script", LONG)
    job_id = box.submit(owner=owner, gpu_memory_bytes=gib * GIB, limit_s=3600, **more)
    box.settle()
    return job_id


def test_jobs_of_one_person_share_a_device_while_their_budgets_fit(box: Box) -> None:
    """Two fit beside each other, the third waits with the reason; each gets its budget told."""
    first, second, third = (small(box, gib) for gib in (6, 8, 4))
    assert [box.state(job) for job in (first, second, third)] == ["running", "running", "queued"]
    assert box.job(first).devices == box.job(second).devices == (uuid(0),)
    box.check_invariants()
    words = " ".join(cause.words for cause in box.engine.explain(third).causes)
    assert "GPU 0 is shared (14G of 15G) by ann until" in words
    env = box.runtime.containers[box.job(first).runtime_name].request.env
    assert env["GPUBOARD_GPU_MEM_BYTES"] == str(6 * GIB)
    assert env["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.360"
    box.engine.cancel(second, ANN)
    box.advance(2)
    assert box.state(third) == "running"
    box.check_invariants()


def test_somebody_elses_job_and_a_whole_job_wait_for_the_last_sharer(box: Box) -> None:
    """With sharing = person nobody is beside a stranger, and never beside an exclusive job."""
    mine = small(box, 2)
    theirs = small(box, 2, owner=BEN)
    whole = box.submit(owner=ANN, limit_s=60)
    box.settle()
    assert [box.state(job) for job in (mine, theirs, whole)] == ["running", "queued", "queued"]
    box.engine.cancel(mine, ANN)
    box.advance(3)
    running = [job for job in (theirs, whole) if box.state(job) == "running"]
    assert len(running) == 1
    box.check_invariants()


def test_all_may_share_where_the_admin_says_so_and_each_pays_by_budget(tmp_path: Path) -> None:
    """The sharers of a device are charged for it together: 1 device-second a second, whoever comes."""
    box = reopened(tmp_path, "all")
    alone = small(box, 3)
    began = box.clock.now_ms()
    box.advance(100)
    beside = small(box, 9, owner=BEN)
    assert box.state(beside) == "running"
    joined = box.job(beside).leased_at
    box.advance(100)
    box.engine.cancel(alone, ANN)
    box.advance(3)
    left = max(x.released_at for x in box.store.leases_between(0, 2**62) if x.uid == ANN.uid)
    box.advance(100)
    now = box.clock.now_ms()
    charged = {usage.uid: usage.device_seconds for usage in box.engine.usage()}
    leased = box.job(alone).leased_at
    assert leased <= began
    assert charged[ANN.uid] == pytest.approx(
        ((joined - leased) + (left - joined) / 4) / 1000, rel=1e-3
    )
    assert charged[BEN.uid] == pytest.approx(
        ((left - joined) * 3 / 4 + (now - left)) / 1000, rel=1e-3
    )
    week = box.engine.usage_since(0)
    assert sum(week.values()) == pytest.approx((now - leased) / 1000, abs=0.01)
    box.check_invariants()
    box.workers.close(0)
    box.store.close()


def test_shares_are_found_again_after_a_crash(box: Box) -> None:
    """What the database says of shares is what the next daemon goes on with."""
    first, second = small(box, 6), small(box, 8)
    box.restart()
    box.settle()
    assert [box.state(job) for job in (first, second)] == ["running", "running"]
    assert [lease.job_id for lease in box.engine.shares()[uuid(0)]] == [first, second]
    late = small(box, 2)
    assert box.state(late) == "queued"
    box.check_invariants()


def test_a_job_over_its_budget_is_told_and_then_stopped(box: Box) -> None:
    """Its neighbour goes on; the reason says what it used and what it might."""
    greedy, modest = small(box, 4), small(box, 4)
    box.probe.memory[box.job(greedy).runtime_name] = 6 * GIB
    box.probe.memory[box.job(modest).runtime_name] = 4 * GIB
    box.advance(5)
    assert box.state(greedy) == "running"
    [event] = [e for e in box.engine.events(0, 999, greedy) if e.kind == "job.over_budget"]
    assert event.detail["reason"] == "uses 6G of GPU memory, its budget is 4G"
    box.advance(40)
    assert [box.state(job) for job in (greedy, modest)] == ["failed", "running"]
    assert "uses 6G of GPU memory, its budget is 4G" in box.job(greedy).reason


def test_who_comes_back_within_the_budget_is_not_stopped_and_warn_stops_nobody(
    tmp_path: Path,
) -> None:
    """A short excess is forgiven; with `warn` a long one too."""
    box = reopened(tmp_path, "person", sharing_overuse="warn")
    job_id = small(box, 4)
    name = box.job(job_id).runtime_name
    box.probe.memory[name] = 6 * GIB
    box.advance(100, by=5)
    assert box.state(job_id) == "running"
    box.engine.reconfigure(Config())
    box.probe.memory[name] = 4 * GIB
    box.advance(1)
    box.probe.memory[name] = 5 * GIB
    box.advance(20)
    assert box.state(job_id) == "running"
    kinds = [event.kind for event in box.engine.events(0, 999, job_id)]
    assert kinds.count("job.over_budget") == 2
    box.workers.close(0)
    box.store.close()


def test_no_figures_stop_nobody(box: Box) -> None:
    """A driver that gives no memory by process lets nothing be concluded."""
    job_id = small(box, 4)
    box.advance(100, by=5)
    assert box.state(job_id) == "running"


def test_a_failing_device_stops_all_that_share_it(box: Box) -> None:
    """Not only the oldest of them."""
    from gpuboard.model.device import Health

    jobs = [small(box, 4), small(box, 4)]
    box.probe.faults[uuid(0)] = (Health.FAULTY, "Xid 48")
    box.advance(15)
    assert [box.state(job) for job in jobs] == ["failed", "failed"]
    assert all("its device failed" in box.job(job).reason for job in jobs)


def test_with_sharing_off_a_budget_gets_a_whole_device(tmp_path: Path) -> None:
    """A job submitted before the admin turned it off still runs, alone."""
    box = reopened(tmp_path, "off")
    first, second = small(box, 4), small(box, 4)
    assert [box.state(job) for job in (first, second)] == ["running", "queued"]
    assert box.store.live_leases()[0].share is None
    box.workers.close(0)
    box.store.close()


def test_a_sharers_limit_may_be_changed_alone(box: Box) -> None:
    """Its own lease gets the new end; the other's stays, and the charge is the same."""
    first, second = small(box, 4), small(box, 8)
    spec = msgspec.structs.replace(box.job(second).spec, limit_s=7200)
    box.engine.update(second, ANN, spec)
    ends = {lease.job_id: lease.until_at for lease in box.engine.shares()[uuid(0)]}
    assert ends[second] == box.job(second).leased_at + 7210_000
    assert ends[first] == box.job(first).leased_at + 3610_000
    assert [lease.share.part for lease in box.store.live_leases()] == [1 / 3, 2 / 3]
    box.restart()
    box.settle()
    assert {x.job_id: x.until_at for x in box.engine.shares()[uuid(0)]} == ends


def test_quotas_of_the_week_count_a_sharer_as_one_device_once(box: Box) -> None:
    """However often its lease was opened anew, and also after the daemon was restarted."""
    first = small(box, 4)
    box.advance(50)
    second = small(box, 4)
    box.advance(50)
    for job_id in (first, second):
        box.engine.cancel(job_id, ANN)
    box.advance(3)
    held_ms = sum(
        max(x.released_at for x in leases) - min(x.granted_at for x in leases)
        for leases in (
            [x for x in box.store.leases_between(0, 2**62) if x.job_id == job_id]
            for job_id in (first, second)
        )
    )

    def week() -> float:
        rows = box.engine.core.ledger.week.rows(box.clock.now_ms(), iter(()))
        return sum(row.device_seconds for row in rows)

    assert week() == pytest.approx(held_ms / 1000, abs=0.01)
    box.restart()
    assert week() == pytest.approx(held_ms / 1000, abs=0.01)


def test_nobody_joins_a_shared_device_that_a_stranger_uses(box: Box) -> None:
    """What a process from outside takes is in no budget."""
    first = small(box, 4)
    box.probe.foreign[uuid(0)] = (DeviceProcess(pid=77, uid=4000, user="zoe"),)
    box.settle()
    second = small(box, 4)
    assert [box.state(job) for job in (first, second)] == ["running", "queued"]
    assert "zoe" in " ".join(cause.words for cause in box.engine.explain(second).causes)
    box.probe.foreign.clear()
    box.settle()
    assert box.state(second) == "running"


def test_what_an_admin_changes_of_the_reserve_holds_for_who_comes_and_not_for_who_is_there(
    tmp_path: Path,
) -> None:
    """More room lets another in, and the first may still change its limit; less room stops nobody."""
    box = reopened(tmp_path, "person", sharing_reserve_bytes=8 * GIB)
    first, late = small(box, 7), small(box, 7)
    assert [box.state(job) for job in (first, late)] == ["running", "queued"]
    box.engine.reconfigure(Config())
    box.settle()
    assert box.state(late) == "running"
    for limit_s in (7200, 3600):
        spec = msgspec.structs.replace(box.job(first).spec, limit_s=limit_s)
        box.engine.update(first, ANN, spec)
    box.engine.reconfigure(Config(policy=PolicyConfig(sharing_reserve_bytes=8 * GIB)))
    box.settle()
    assert not box.engine.core.halted
    assert [box.state(job) for job in (first, late)] == ["running", "running"]
    box.engine.cancel(first, ANN)
    box.advance(3)
    assert box.state(late) == "running"
    box.check_invariants()
    box.workers.close(0)
    box.store.close()


def test_room_on_a_shared_device_is_given_once_the_driver_shows_it_empty(box: Box) -> None:
    """What is left of a sharer for a moment keeps the next one waiting, and not for ever."""
    first, second = small(box, 8), small(box, 7)
    waits = small(box, 6)
    box.probe.remnants[uuid(0)] = box.job(first).runtime_name
    box.engine.cancel(first, ANN)
    box.advance(5)
    assert [box.state(job) for job in (first, second, waits)] == ["cancelled", "running", "queued"]
    del box.probe.remnants[uuid(0)]
    box.advance(1)
    assert box.state(waits) == "running"
    box.check_invariants()
