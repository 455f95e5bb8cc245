"""Metrics for Prometheus: collected on the engine's thread, written on a worker.

prometheus_client is imported at the first scrape, so that a box that nobody scrapes does not pay
for it; the registry is our own and holds nothing of the process-wide one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gpuboard import __version__
from gpuboard.engine.protocol import Engine, Tally
from gpuboard.model.device import DeviceReading
from gpuboard.model.reservation import Lease

if TYPE_CHECKING:
    from prometheus_client.metrics_core import GaugeMetricFamily, Metric

_GIVEN = (
    ("utilization", "gpuboard_device_utilization_percent", "Utilisation as the driver says"),
    ("memory_used_bytes", "gpuboard_device_memory_used_bytes", "Memory in use"),
    ("memory_total_bytes", "gpuboard_device_memory_total_bytes", "Memory"),
    ("temperature_c", "gpuboard_device_temperature_celsius", "Temperature"),
    ("power_w", "gpuboard_device_power_watts", "Power drawn"),
    ("ecc_uncorrected", "gpuboard_device_ecc_uncorrected", "Uncorrected memory errors"),
)
"""Field of a reading, name of its metric, help. What the driver does not say is left out."""


class Collected(msgspec.Struct, frozen=True):
    """What one scrape needs, taken at one instant."""

    readings: tuple[DeviceReading, ...]
    held: dict[str, dict[int, float]]
    """What part of each device is charged to whom, by uid."""
    names: dict[int, str]
    drained: frozenset[str]
    foreign: frozenset[str]
    states: dict[str, int]
    queued: int
    bookings: int
    driver_ok: bool
    is_halted: bool
    store_ok: bool
    runtimes: dict[str, bool]
    connections: int
    step_age_s: float
    tally: Tally


def _parts(leases: Sequence[Lease]) -> dict[int, float]:
    parts: dict[int, float] = {}
    for lease in leases:
        parts[lease.uid] = parts.get(lease.uid, 0.0) + lease.devices_charged
    return parts


def collect(engine: Engine, *, connections: int = 0, step_age_s: float = 0.0) -> Collected:
    """Take the figures. On the engine's thread; `step_age_s`: since its last step ended well."""
    shares = engine.shares()
    held = {
        str(device): _parts(shares.get(device, (lease,)))
        for device, lease in engine.leases().items()
    }
    capabilities = engine.capabilities()
    snapshot = engine.snapshot()
    return Collected(
        readings=tuple(engine.devices()),
        held=held,
        names={uid: engine.person_of(uid) for parts in held.values() for uid in parts},
        drained=frozenset(engine.drains()),
        foreign=frozenset(engine.foreign_use()),
        states=dict(Counter(job.state.value for job in engine.running_jobs())),
        queued=engine.queue_length(),
        bookings=len(engine.reservations()),
        driver_ok=not snapshot.fault,
        is_halted=bool(engine.halted_words()),
        store_ok=not engine.store_fault(),
        runtimes={
            **dict.fromkeys(capabilities.runtimes, True),
            **dict.fromkeys(capabilities.faults, False),
        },
        connections=connections,
        step_age_s=step_age_s,
        tally=engine.tally(),
    )


def metrics_of(
    engine: Engine, connections: Callable[[], int], last_step_s: Callable[[], float]
) -> Callable[[], Callable[[], bytes]]:
    """Return what the server wants: a function that collects and returns one that writes.

    `last_step_s` says when (monotonic, s) the engine's last step ended well.
    """

    def collect_now() -> Callable[[], bytes]:
        step_age_s = time.monotonic() - last_step_s()
        found = collect(engine, connections=connections(), step_age_s=step_age_s)
        return lambda: write(found)

    return collect_now


def write(found: Collected) -> bytes:
    """Return the figures in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Once(found))
    return generate_latest(registry)


class _Once:
    """A collector over figures that are already there."""

    def __init__(self, found: Collected) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from _box_metrics(self._found)
        yield from _device_metrics(self._found)
        yield from _tally_metrics(self._found.tally)


def _box_metrics(found: Collected) -> Iterator[Metric]:
    build = _gauge("gpuboard_build_info", "The daemon's version", ("version",))
    build.add_metric((__version__,), 1)
    yield build
    jobs = _gauge("gpuboard_jobs", "Jobs that have not ended, by state", ("state",))
    jobs.add_metric(("queued",), found.queued)
    for state in ("starting", "running", "stopping"):
        jobs.add_metric((state,), found.states.get(state, 0))
    yield jobs
    runtimes = _gauge("gpuboard_runtime_up", "Whether a runtime can be used", ("runtime",))
    for name, is_up in sorted(found.runtimes.items()):
        runtimes.add_metric((name,), is_up)
    yield runtimes
    for name, words, value in (
        ("gpuboard_driver_up", "Whether the driver answers", found.driver_ok),
        ("gpuboard_scheduling_halted", "Whether a broken invariant stopped it", found.is_halted),
        (
            "gpuboard_store_ok",
            "Whether the database can be written and its disk has room",
            found.store_ok,
        ),
        ("gpuboard_reservations", "Bookings that have not ended", found.bookings),
        ("gpuboard_connections", "Open connections to the socket", found.connections),
        ("gpuboard_step_age_seconds", "Since the engine's last step ended well", found.step_age_s),
    ):
        gauge = _gauge(name, words, ())
        gauge.add_metric((), value)
        yield gauge


def _device_metrics(found: Collected) -> Iterator[Metric]:
    labels = ("uuid", "device", "name")
    for field, name, words in _GIVEN:
        gauge = _gauge(name, words, labels)
        for reading in found.readings:
            value: Any = getattr(reading, field)
            if value is not None:
                gauge.add_metric(_labels(reading), value)
        yield gauge
    held = _gauge(
        "gpuboard_device_held",
        "Part of it that a user holds: 1 unless it is shared",
        (*labels, "user"),
    )
    health = _gauge("gpuboard_device_healthy", "Whether the device may be given out", labels)
    drained = _gauge("gpuboard_device_drained", "Whether it is out of service", labels)
    foreign = _gauge("gpuboard_device_foreign", "Whether it is used outside the queue", labels)
    for reading in found.readings:
        uuid = reading.device.uuid
        for uid, part in found.held.get(uuid, {}).items():
            held.add_metric((*_labels(reading), found.names.get(uid, "")), part)
        health.add_metric(_labels(reading), reading.health == "ok")
        drained.add_metric(_labels(reading), uuid in found.drained)
        foreign.add_metric(_labels(reading), uuid in found.foreign)
    yield from (held, health, drained, foreign)


def _tally_metrics(tally: Tally) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, SummaryMetricFamily

    events = CounterMetricFamily(
        "gpuboard_events", "Events written since the daemon began, by kind", labels=("kind",)
    )
    for kind, count in sorted(tally.events.items()):
        events.add_metric((kind,), count)
    yield events
    yield SummaryMetricFamily(
        "gpuboard_decision_seconds",
        "Rounds of planning, and what they took",
        count_value=tally.decisions,
        sum_value=tally.deciding_s,
    )


def _labels(reading: DeviceReading) -> tuple[str, str, str]:
    return (reading.device.uuid, reading.device.label, reading.device.name)


def _gauge(name: str, words: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(name, words, labels=labels)
