"""When a device may be given out, judged over time."""

from __future__ import annotations

import pytest

from gpuboard.devices.health import EVENT_S, XID_WORDS, HealthJudge, Vitals
from gpuboard.model.device import Health
from gpuboard.model.ids import DeviceUuid

A, B = DeviceUuid("GPU-a"), DeviceUuid("GPU-b")


def test_figures_that_are_not_given_are_no_fault() -> None:
    """A device of which the driver tells nothing is healthy."""
    assert HealthJudge().judge(A, Vitals()).health is Health.OK


def test_old_memory_errors_are_forgiven_and_new_ones_are_not() -> None:
    """Errors from before are no fault, each growth is one, and a counter may begin anew."""
    now = [0.0]
    judge = HealthJudge(clock=lambda: now[0])
    healths = []
    for count in (3, 3, 4, 4, 0, 1, None, 2):
        healths.append(judge.judge(A, Vitals(ecc_uncorrected=count)).health)
        now[0] += EVENT_S
    ok, faulty = Health.OK, Health.FAULTY
    assert healths == [ok, ok, faulty, ok, ok, faulty, ok, faulty]


@pytest.mark.parametrize("xid", XID_WORDS)
def test_a_grave_xid_is_told_for_a_minute_then_an_admin_may_give_the_device_back(xid: int) -> None:
    """A grave Xid makes its device faulty, it alone, for long enough to be drained."""
    now = [0.0]
    judge = HealthJudge(clock=lambda: now[0])
    assert judge.judge(A, Vitals(xids=(13, xid, 31))).health is Health.FAULTY
    now[0] = EVENT_S - 1
    verdict = judge.judge(A, Vitals())
    assert (verdict.health, verdict.words) == (Health.FAULTY, f"Xid {xid}: {XID_WORDS[xid]}")
    assert judge.judge(B, Vitals()).health is Health.OK
    now[0] = EVENT_S
    assert judge.judge(A, Vitals()).health is Health.OK


def test_a_device_that_comes_back_begins_anew() -> None:
    """A lost device comes back only by a reset: what happened before is over."""
    judge = HealthJudge()
    judge.judge(A, Vitals(xids=(79,), ecc_uncorrected=0))
    assert judge.judge(A, Vitals(lost="gone")).health is Health.LOST
    assert judge.judge(A, Vitals(ecc_uncorrected=5)).health is Health.OK


def test_a_failed_call_is_not_a_loss() -> None:
    """A device that could not be read is not given out, and not called lost: that ends jobs."""
    judge = HealthJudge()
    assert judge.judge(A, Vitals(unreadable="time-out")) == (Health.UNKNOWN, "time-out")
    assert judge.judge(A, Vitals()).health is Health.OK


@pytest.mark.parametrize("xid", [13, 31, 43, 45])
def test_a_programs_own_xid_is_no_fault_of_the_device(xid: int) -> None:
    """A job that accesses memory wrongly takes no device out of the queue."""
    assert HealthJudge().judge(A, Vitals(xids=(xid,))).health is Health.OK


def test_a_hot_device_is_fit_again_only_when_it_has_cooled() -> None:
    """Around its shutdown temperature a device does not flap."""
    judge = HealthJudge()
    healths = [
        judge.judge(A, Vitals(temperature_c=t, shutdown_c=95)).health for t in (94, 95, 92, 90, 89)
    ]
    ok, faulty = Health.OK, Health.FAULTY
    assert healths == [ok, faulty, faulty, faulty, ok]


def test_lost_outweighs_all_and_a_reset_outweighs_the_rest() -> None:
    """The gravest cause is the one that is named."""
    judge = HealthJudge()
    both = Vitals(lost="fell off the bus", needs_reset=True, remap_failed=True)
    assert judge.judge(A, both) == (Health.LOST, "fell off the bus")
    assert "reset" in judge.judge(A, both._replace(lost="")).words
    assert "worn out" in judge.judge(A, Vitals(remap_failed=True)).words
