"""Recent samples with honest gaps, and idleness that blames nobody wrongly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuboard.devices.history import HistoryRecorder, IdleWatch
from gpuboard.model.device import Device, DeviceReading, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid

A = DeviceUuid("GPU-a")
T0 = 1_700_000_000_000


def snapshot(second: int, busy: int | None, *, uuid: str = A, sequence: int = 0) -> ProbeSnapshot:
    """A sweep of one device, `second` seconds after T0."""
    reading = DeviceReading(
        device=Device(uuid=DeviceUuid(uuid), index=0, name="x"),
        utilization=busy,
        memory_used_bytes=30,
        memory_total_bytes=120,
    )
    return ProbeSnapshot(
        at=T0 + second * 1000, readings=(reading,), sequence=sequence or second + 1
    )


def test_samples_come_back_oldest_first() -> None:
    """The last seconds of utilisation and memory, in percent."""
    recorder = HistoryRecorder()
    for second in range(5):
        recorder.record(snapshot(second, second * 10))
    view = recorder.view(T0 + 4000, seconds=3)
    assert view.utilization == {A: [20, 30, 40]}
    assert view.memory == {A: [25, 25, 25]}
    assert (view.interval_s, view.at[:4]) == (1.0, "2023")


def test_a_second_that_was_not_read_is_a_gap() -> None:
    """Seconds without a sweep, and figures that the driver did not give, are null."""
    recorder = HistoryRecorder()
    for second, busy in ((0, 10), (3, None), (4, 50)):
        recorder.record(snapshot(second, busy))
    assert recorder.view(T0 + 4500, seconds=5).utilization[A] == [10, None, None, None, 50]


def test_a_hung_drivers_old_figures_are_not_drawn_again() -> None:
    """A snapshot that is no new sweep adds nothing."""
    recorder = HistoryRecorder()
    recorder.record(snapshot(0, 10, sequence=1))
    recorder.record(snapshot(1, 99, sequence=1))
    assert recorder.view(T0 + 2000, seconds=2).utilization[A] == [10, None]


def test_the_running_second_is_no_gap_yet() -> None:
    """Between two sweeps the view ends with the last one."""
    recorder = HistoryRecorder()
    recorder.record(snapshot(0, 10))
    assert recorder.view(T0 + 1400, seconds=1).utilization[A] == [10]


def test_devices_that_went_away_are_forgotten_when_their_samples_aged() -> None:
    """A MIG instance that was removed leaves the history with its last sample."""
    recorder = HistoryRecorder(seconds=5)
    recorder.record(snapshot(0, 10, uuid="MIG-old"))
    recorder.record(snapshot(3, 10))
    assert "MIG-old" in recorder.view(T0 + 3000).utilization
    recorder.record(snapshot(6, 10))
    assert list(recorder.view(T0 + 6000).utilization) == [A]


@given(st.dictionaries(st.integers(0, 300), st.integers(0, 100), min_size=1), st.integers(1, 200))
def test_the_view_is_what_was_recorded_and_nothing_else(
    samples: dict[int, int], seconds: int
) -> None:
    """Every slot shows the sample of its own second or null, whatever was skipped."""
    recorder = HistoryRecorder(seconds=60)
    for second in sorted(samples):
        recorder.record(snapshot(second, samples[second]))
    last = max(samples)
    shown = recorder.view(T0 + last * 1000, seconds=seconds).utilization[A]
    wanted = [samples.get(last - back) for back in reversed(range(min(seconds, 60)))]
    assert shown == wanted


def test_idle_is_counted_from_the_last_work_or_the_start_of_the_lease() -> None:
    """A holder is idle since it last worked, at most since it holds the device."""
    watch = IdleWatch()
    watch.observe(snapshot(100, 80))
    watch.observe(snapshot(110, 0))
    now = T0 + 130_000
    assert watch.idle({A: T0}, now) == {A: 30}
    assert watch.idle({A: T0 + 120_000}, now) == {A: 10}
    watch.observe(snapshot(130, 5))
    assert watch.idle({A: T0}, now) == {}


def test_nobody_is_called_idle_when_the_driver_is_silent() -> None:
    """An unknown utilisation is not zero."""
    watch = IdleWatch()
    for second in range(100):
        watch.observe(snapshot(second, None))
    assert watch.idle({A: T0}, T0 + 99_000) == {}
