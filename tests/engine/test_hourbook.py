"""The hour book: held, used and idle seconds by hour, device and person; an idle box stays idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuboard.config import Config, DevicesConfig, UsageConfig
from gpuboard.errors import HostError
from gpuboard.model.past import NOBODY, DeviceHour
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, Box, uuid

HOUR = 3_600_000


def hours(box: Box) -> list[DeviceHour]:
    return box.engine.past(0, 2**50).hours


def of(box: Box, uid: int) -> DeviceHour:
    """The sums of all hours of one person."""
    rows = [row for row in hours(box) if row.uid == uid]
    sums = [sum(getattr(row, name) for row in rows) for name in ("seen_s", "used_s", "idle_s")]
    return DeviceHour(0, "", uid, *sums)


def test_use_is_summed_up_by_who_held_the_device(tmp_path: Path) -> None:
    """Half busy for five minutes is 150 seconds; what nobody held is nobody's."""
    box = Box(tmp_path / "state", gpus=2)
    box.probe.utilizations = {uuid(0): 50, uuid(1): 10}
    box.settle()
    box.submit(owner=ANN, script=Script(run_s=5000), limit_s=6000)
    box.settle()
    box.advance(300)
    box.engine.keep_hours()
    [lease] = box.store.live_leases()
    assert lease.device == uuid(0)
    ann, nobody = of(box, ANN.uid), of(box, NOBODY)
    assert ann.seen_s == pytest.approx(300, abs=3)
    assert ann.used_s == pytest.approx(ann.seen_s / 2)
    assert ann.idle_s == 0
    assert nobody.used_s == pytest.approx(nobody.seen_s / 10, abs=2)


def test_held_time_without_use_counts_as_idle_after_what_the_configuration_says(
    tmp_path: Path,
) -> None:
    """The same rule by which the board calls a device idle."""
    box = Box(tmp_path / "state", gpus=1, config=Config(devices=DevicesConfig(idle_after_s=60)))
    box.probe.utilizations = {uuid(0): 0}
    box.settle()
    box.submit(owner=ANN, script=Script(run_s=5000), limit_s=6000)
    box.settle()
    box.advance(200)
    box.engine.keep_hours()
    assert of(box, ANN.uid).idle_s == pytest.approx(140, abs=4)
    assert of(box, ANN.uid).used_s == 0


def test_unknown_utilisation_is_neither_use_nor_idleness(tmp_path: Path) -> None:
    """Never blame on silence."""
    box = Box(tmp_path / "state", gpus=1)
    box.submit(owner=ANN, script=Script(run_s=5000), limit_s=6000)
    box.advance(700)
    box.engine.keep_hours()
    assert hours(box) == []


def test_idle_box_writes_once_an_hour_and_a_held_one_once_a_minute(tmp_path: Path) -> None:
    """An idle daemon stays idle."""
    box = Box(tmp_path / "state", gpus=1)
    box.probe.utilizations = {uuid(0): 0}
    box.settle()
    writes = []
    add_hours = box.store.add_hours
    box.store.add_hours = lambda rows: writes.append(rows) or add_hours(rows)  # type: ignore[method-assign,func-returns-value]
    box.clock.advance(HOUR - box.clock.now_ms() % HOUR)
    box.advance(3500, by=10)
    assert len(writes) <= 1  # what the last hour left
    box.advance(200, by=10)
    assert len(writes) <= 2
    before = len(writes)
    box.submit(owner=ANN, script=Script(run_s=5000), limit_s=6000)
    box.advance(600, by=10)
    assert 8 <= len(writes) - before <= 11


def test_a_full_disk_loses_nothing_and_stops_nothing(tmp_path: Path) -> None:
    """It is written with the next minute's."""
    box = Box(tmp_path / "state", gpus=1)
    box.probe.utilizations = {uuid(0): 100}
    box.settle()

    def full(rows: object) -> None:
        raise HostError("the disk is full")

    box.store.add_hours = full  # type: ignore[method-assign]
    box.advance(100)
    box.engine.keep_hours()
    assert hours(box) == []
    del box.store.add_hours
    box.engine.keep_hours()
    assert of(box, NOBODY).used_s == pytest.approx(100, abs=3)


def test_a_gap_between_sweeps_is_not_counted(tmp_path: Path) -> None:
    """A suspended box, or a driver that hung, has not used anything that we know of."""
    box = Box(tmp_path / "state", gpus=1)
    box.probe.utilizations = {uuid(0): 100}
    box.advance(10)
    box.advance(3000, by=1000)
    box.engine.keep_hours()
    assert of(box, NOBODY).seen_s < 20


def test_old_hours_go_with_the_housekeeping(tmp_path: Path) -> None:
    """After `[usage] keep_days`."""
    box = Box(tmp_path / "state", gpus=1, config=Config(usage=UsageConfig(keep_days=2)))
    now = box.clock.now_ms()
    with box.store.transaction() as store:
        store.add_hours([DeviceHour(now - days * 24 * HOUR, uuid(0), 7, 1) for days in (1, 3)])
    box.advance(2 * 3600, by=600)
    assert [row.hour_at for row in hours(box) if row.uid == 7] == [now - 24 * HOUR]
