"""The probe's threads: a hung driver hangs nobody, and is told while it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gpuboard.devices.sweeping import SweepingProbe
from gpuboard.errors import StateError
from gpuboard.model.device import Health, ProbeSnapshot
from tests.support.probes import ScriptedSource, host_error
from tests.support.waiting import wait_until

NOW = 777


@pytest.fixture
def source() -> Iterator[ScriptedSource]:
    """A source that is let go at the end."""
    source = ScriptedSource()
    yield source
    source.may_answer.set()


@pytest.fixture
def probe(source: ScriptedSource) -> Iterator[SweepingProbe]:
    """A fast and impatient probe."""
    probe = SweepingProbe(
        "scripted", source, interval_s=0.01, timeout_s=0.3, clock=lambda: NOW, hang_hint="reboot"
    )
    yield probe
    source.may_answer.set()
    probe.stop()


def test_before_the_first_sweep_nothing_is_known(probe: SweepingProbe) -> None:
    """A probe that was not started has a fault and no device."""
    snapshot = probe.wait_first(0.01)
    assert snapshot.fault
    assert (snapshot.readings, snapshot.sequence) == ((), 0)


def test_each_sweep_is_published_once_and_numbered(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """Listeners see every sweep, in order, with a rising number."""
    seen: list[ProbeSnapshot] = []
    probe.start(seen.append)
    assert probe.wait_first(10).sequence >= 1
    wait_until(lambda: probe.snapshot().sequence >= 5)
    sweeps = [each.sequence for each in seen if not each.fault]
    assert sweeps[:5] == [1, 2, 3, 4, 5]


def test_sweep_asked_for_does_not_wait_for_the_interval(source: ScriptedSource) -> None:
    """A device that was given back is looked at now; with a storm of wishes, a moment apart."""
    probe = SweepingProbe("scripted", source, interval_s=600, timeout_s=5, clock=lambda: NOW)
    probe.start()
    probe.wait_first(10)
    for _ in range(3):
        before = probe.snapshot().sequence
        probe.sweep_soon()
        wait_until(lambda before=before: probe.snapshot().sequence > before)
    began, before = time.monotonic(), source.sweeps
    while time.monotonic() - began < 0.2:
        probe.sweep_soon()
    assert source.sweeps - before <= 12
    probe.stop()


def test_a_hung_driver_is_told_with_its_seconds_and_knows_nothing(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """While a call hangs: a fault in words, the old number and instant, no figure, no process."""
    seen: list[ProbeSnapshot] = []
    probe.start(seen.append)
    wait_until(lambda: probe.snapshot().sequence >= 1)
    source.may_answer.clear()
    wait_until(lambda: probe.snapshot().fault)
    last = [each for each in seen if not each.fault][-1]
    hung = probe.snapshot()
    assert "has not answered for" in hung.fault
    assert (hung.sequence, hung.at, hung.hint) == (last.sequence, last.at, "reboot")
    reading = hung.readings[0]
    assert (reading.health, reading.processes, reading.utilization) == (Health.UNKNOWN, None, None)
    assert reading.device == last.readings[0].device
    count = len(seen)
    wait_until(lambda: len(seen) >= count + 3)
    assert {each.sequence for each in seen[count:]} == {last.sequence}


def test_a_driver_that_hangs_at_its_first_call_is_told_too(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """Whoever waits for the first sweep hears of the hang within the time-out."""
    source.may_answer.clear()
    probe.start()
    snapshot = probe.wait_first(10)
    assert "has not answered" in snapshot.fault
    assert (snapshot.sequence, snapshot.readings) == (0, ())
    source.may_answer.set()
    wait_until(lambda: probe.snapshot().sequence >= 1)


def test_no_second_call_is_made_into_a_hung_driver(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """One thread alone is in the driver, however long it hangs, and no new one is started."""
    probe.start()
    wait_until(lambda: source.sweeps >= 2)
    source.may_answer.clear()
    wait_until(lambda: probe.snapshot().fault)
    threads = set(threading.enumerate())
    faults = {probe.snapshot().fault}
    wait_until(lambda: faults.add(probe.snapshot().fault) or len(faults) >= 2)
    assert set(threading.enumerate()) <= threads  # those of other tests may end meanwhile
    assert source.most_inside == 1
    assert len(source.threads) == 1


def test_what_a_hung_call_brings_at_last_is_thrown_away(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """The answer of a call that hung is old: the next one counts, and the number goes on."""
    seen: list[ProbeSnapshot] = []
    probe.start(seen.append)
    wait_until(lambda: source.sweeps >= 1 and probe.snapshot().sequence >= 1)
    source.may_answer.clear()
    wait_until(lambda: probe.snapshot().fault)
    hung, sequence = source.sweeps, probe.snapshot().sequence
    source.may_answer.set()
    wait_until(lambda: probe.snapshot().sequence > sequence)
    fresh = next(each for each in seen if each.sequence == sequence + 1)
    assert fresh.at == hung + 1
    assert not fresh.fault


def test_a_probe_with_a_hung_driver_stops_in_bounded_time(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """Stopping leaves the hung thread behind, as a daemon."""
    source.may_answer.clear()
    probe.start()
    wait_until(lambda: source.inside)
    began = time.monotonic()
    probe.stop()
    assert time.monotonic() - began < 2
    assert all(thread.daemon for thread in probe._threads)


def test_a_stopped_probe_has_closed_the_driver(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """After stop no thread runs and the driver was let go; a second stop does nothing."""
    probe.start()
    probe.wait_first(10)
    probe.stop()
    wait_until(lambda: not any(thread.is_alive() for thread in probe._threads))
    assert source.is_closed
    probe.stop()


def test_a_probe_may_be_stopped_from_its_listener(
    source: ScriptedSource, probe: SweepingProbe
) -> None:
    """A listener that stops the probe does not wait for its own thread."""
    probe.start(lambda _snapshot: probe.stop())
    wait_until(lambda: not any(thread.is_alive() for thread in probe._threads))


def test_a_faulty_driver_is_told_and_tried_again(
    probe: SweepingProbe, source: ScriptedSource
) -> None:
    """A driver's fault is published with its hint, known devices stay as unknown; then all is well."""
    probe.start()
    wait_until(lambda: probe.snapshot().sequence >= 1)
    source.fault = host_error()
    wait_until(lambda: probe.snapshot().fault)
    snapshot = probe.snapshot()
    assert (snapshot.fault, snapshot.hint) == ("the driver is gone", "bring it back")
    assert snapshot.at == NOW
    reading = snapshot.readings[0]
    assert (reading.health, reading.fault) == (Health.UNKNOWN, "the driver is gone")
    assert reading.processes is None
    source.fault = None
    wait_until(lambda: not probe.snapshot().fault)
    assert probe.snapshot().readings[0].utilization == 50


@pytest.mark.parametrize("make", [lambda: ValueError("a bug"), lambda: TypeError("another")])
def test_a_bug_in_a_binding_ends_no_thread(
    probe: SweepingProbe, source: ScriptedSource, make: Callable[[], Exception]
) -> None:
    """An unexpected error is a fault in words, and the sweeps go on."""
    source.fault = make()
    probe.start()
    wait_until(lambda: "reading the devices failed" in probe.snapshot().fault)
    source.fault = None
    wait_until(lambda: not probe.snapshot().fault)


def test_a_bug_in_a_listener_ends_no_thread(probe: SweepingProbe) -> None:
    """A listener that raises does not stop the sweeps."""

    def listener(_snapshot: ProbeSnapshot) -> None:
        raise RuntimeError("a bug")

    probe.start(listener)
    wait_until(lambda: probe.snapshot().sequence >= 3)


def test_a_probe_is_started_once(probe: SweepingProbe) -> None:
    """A second start is a bug of the caller."""
    probe.start()
    with pytest.raises(StateError):
        probe.start()
