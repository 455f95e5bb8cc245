"""Metrics: what Prometheus can read of a real box, hostile names included."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from gpuboard.daemon.metrics import metrics_of
from gpuboard.engine.protocol import Capabilities, Engine, Tally
from gpuboard.model.device import Device, DeviceReading, Health, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid, JobId, LeaseId
from gpuboard.model.job import JobState
from gpuboard.model.reservation import Lease, Share
from tests.support.daemon import DaemonProcess


def reading(index: int, **fields: Any) -> DeviceReading:
    device = Device(uuid=DeviceUuid(f"GPU-{index}"), index=index, name='H100 "x"\n\\y')
    return DeviceReading(device=device, **fields)


def engine(shares: dict[DeviceUuid, list[Lease]] | None = None) -> Engine:
    lease = Lease(LeaseId(1), DeviceUuid("GPU-0"), 1000, JobId(1), None, 0, 10)
    readings = (
        reading(0, utilization=97, temperature_c=61, power_w=300.5),
        reading(1, health=Health.LOST, fault="fell off the bus"),
    )
    return cast(
        "Engine",
        SimpleNamespace(
            leases=lambda: {DeviceUuid("GPU-0"): lease},
            shares=lambda: shares or {},
            capabilities=lambda: Capabilities("local", {"process": "1"}, {"docker": "down"}),
            snapshot=lambda: ProbeSnapshot(at=0, readings=readings),
            devices=lambda: readings,
            person_of=lambda uid: f"user{uid}",
            drains=lambda: {DeviceUuid("GPU-1"): None},
            foreign_use=dict,
            running_jobs=lambda: [SimpleNamespace(state=JobState.RUNNING)],
            queue_length=lambda: 12,
            reservations=list,
            tally=lambda: Tally({"job.failed": 2}, decisions=7, deciding_s=0.014),
            halted_words=lambda: "two leases",
            store_fault=lambda: "held",
        ),
    )


def samples() -> dict[tuple[str, str], float]:
    """Return values by name and by the one label that tells them apart."""
    text = metrics_of(engine(), lambda: 3, lambda: 0.0)()().decode()
    return {
        (
            sample.name,
            sample.labels.get("device")
            or sample.labels.get("state")
            or sample.labels.get("runtime")
            or sample.labels.get("kind")
            or "",
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_devices_queue_and_runtimes_are_told():
    found = samples()
    assert found["gpuboard_device_utilization_percent", "0"] == 97
    assert found["gpuboard_device_held", "0"] == 1
    assert found["gpuboard_device_healthy", "1"] == 0
    assert found["gpuboard_store_ok", ""] == 0
    assert found["gpuboard_device_drained", "1"] == 1
    assert found["gpuboard_jobs", "queued"] == 12
    assert found["gpuboard_jobs", "running"] == 1
    assert (found["gpuboard_runtime_up", "process"], found["gpuboard_runtime_up", "docker"]) == (
        1,
        0,
    )
    assert found["gpuboard_connections", ""] == 3
    assert found["gpuboard_scheduling_halted", ""] == 1


def test_sharers_of_a_device_hold_a_part_of_it_each():
    """By person: two jobs of one person are one line."""
    leases = [
        Lease(LeaseId(n), DeviceUuid("GPU-0"), uid, JobId(n), None, 0, 10, share=Share(1, 4, part))
        for n, (uid, part) in enumerate([(1000, 0.25), (1001, 0.5), (1000, 0.25)])
    ]
    text = metrics_of(engine({DeviceUuid("GPU-0"): leases}), lambda: 3, lambda: 0.0)()().decode()
    held = [line for line in text.splitlines() if line.startswith("gpuboard_device_held{")]
    assert [(line.split('user="')[1][:8], line[-4:]) for line in sorted(held)] == [
        ("user1000", " 0.5"), ("user1001", " 0.5"),
    ]  # fmt: skip


def test_what_was_done_is_counted():
    """Rates come from totals: ends of jobs by kind, decisions and what they took."""
    found = samples()
    assert found["gpuboard_events_total", "job.failed"] == 2
    assert found["gpuboard_decision_seconds_count", ""] == 7
    assert found["gpuboard_decision_seconds_sum", ""] == 0.014


def test_what_the_driver_does_not_say_is_left_out_and_not_zero():
    assert ("gpuboard_device_temperature_celsius", "0") in samples()
    assert ("gpuboard_device_temperature_celsius", "1") not in samples()


def test_a_real_daemon_can_be_scraped(daemon: DaemonProcess):
    text = b"".join(daemon.client().stream("/metrics")).decode()
    assert 'gpuboard_events_total{kind="' in text
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {"gpuboard_jobs", "gpuboard_device_healthy", "gpuboard_build_info"} <= families
