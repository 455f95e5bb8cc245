"""The last samples of every device, one a second, and a mark that moves only when a chart would.

A card of a device that does the same for minutes need not be painted again: its samples are as
they were, one second later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpuboard.model.views import BoardView, DeviceHistory, DeviceView

KEPT = 320
"""Samples kept a device: two a column of the widest card."""
Samples = Sequence[int | None]
_NAMES = ("utilization", "memory", "temperature", "power")


@dataclass(frozen=True)
class Past:
    """A device's samples, oldest first, in percent (temperature: degrees Celsius)."""

    utilization: Samples = ()
    memory: Samples = ()
    temperature: Samples = ()
    power: Samples = ()
    mark: int = 0
    """Raised by every sample that changes how the charts look."""


@dataclass
class _Track:
    rows: tuple[deque[int | None], ...] = field(
        default_factory=lambda: tuple(deque[int | None](maxlen=KEPT) for _ in _NAMES)
    )
    flat: int = 0
    """So many samples at the end are equal."""
    mark: int = 0

    def add(self, sample: tuple[int | None, ...]) -> None:
        is_same = all(
            row and row[-1] == value for row, value in zip(self.rows, sample, strict=True)
        )
        self.flat = self.flat + 1 if is_same else 1
        for row, value in zip(self.rows, sample, strict=True):
            row.append(value)
        if self.flat <= KEPT:
            self.mark += 1


class Histories:
    """The samples of all devices."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._last_at = ""

    def begin(self, view: DeviceHistory) -> None:
        """Start over with what the daemon remembers."""
        marks = {uuid: track.mark for uuid, track in self._tracks.items()}
        self._tracks.clear()
        given: list[Mapping[str, list[int | None]]] = [getattr(view, name) for name in _NAMES]
        for uuid, uses in view.utilization.items():
            track = self._tracks[uuid] = _Track(mark=marks.get(uuid, 0) + 1)
            rows = [each.get(uuid, []) for each in given]
            for place in range(max(0, len(uses) - KEPT), len(uses)):
                track.add(tuple(row[place] if place < len(row) else None for row in rows))
        self._last_at = view.at

    def add(self, board: BoardView) -> None:
        """Add one second, once."""
        if board.at <= self._last_at:
            return
        self._last_at = board.at
        for device in board.devices:
            track = self._tracks.setdefault(device.uuid, _Track())
            sample = (
                device.utilization,
                memory_percent(device),
                device.temperature_c,
                power_percent(device),
            )
            track.add(sample)

    def of(self, uuid: str) -> Past:
        """Return a device's samples."""
        track = self._tracks.get(uuid)
        if track is None:
            return Past()
        use, memory, temperature, power = (list(row) for row in track.rows)
        return Past(use, memory, temperature, power, track.mark)

    def mark_of(self, uuid: str) -> int:
        """Return what is raised when the device's charts look different."""
        track = self._tracks.get(uuid)
        return 0 if track is None else track.mark


def memory_percent(device: DeviceView) -> int | None:
    """Return used memory in percent; None where the driver does not say."""
    if device.memory_used_bytes is None or not device.memory_total_bytes:
        return None
    return round(100 * device.memory_used_bytes / device.memory_total_bytes)


def power_percent(device: DeviceView) -> int | None:
    """Return the power drawn in percent of its limit; None where the driver does not say."""
    if device.power_w is None or not device.power_limit_w:
        return None
    return min(100, round(100 * device.power_w / device.power_limit_w))
