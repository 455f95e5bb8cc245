"""The last samples of every device, one a second, and of them the whole columns that cards chart.

A column of a chart is two samples: it is drawn when it is whole, so that charts move every other
second, and are the very same object in between. A device that does the same for minutes keeps its
charts for as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpuboard.model.views.board import BoardView
from gpuboard.model.views.devices import DeviceHistory, DeviceView
from gpuboard.tui.graphs import A_COLUMN, history
from gpuboard.tui.theme import Glyphs

KEPT = 160 * A_COLUMN
"""Samples kept a device: as many columns as the widest card has."""
Samples = Sequence[int | None]
_NAMES = ("utilization", "memory", "temperature", "power")


@dataclass(frozen=True)
class Past:
    """A device's samples, oldest first, in percent (temperature: degrees Celsius)."""

    utilization: Samples = ()
    memory: Samples = ()
    temperature: Samples = ()
    power: Samples = ()


class Charts:
    """A device's whole columns, and the charts that were drawn of them."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._drawn: dict[tuple[object, ...], list[str]] = {}

    def lines(self, name: str, width: int, height: int, glyphs: Glyphs) -> list[str]:
        """Return one of the charts (`utilization`, `memory`, `temperature`, `power`), as `history` does."""
        size = (name, width, height, glyphs.is_ascii)
        drawn = self._drawn.get(size)
        if drawn is None:
            drawn = self._drawn[size] = history(getattr(self._past, name), width, height, glyphs)
        return drawn


@dataclass
class _Track:
    rows: tuple[deque[int | None], ...] = field(
        default_factory=lambda: tuple(deque[int | None](maxlen=KEPT + 1) for _ in _NAMES)
    )
    count: int = 0
    """Samples so far."""
    flat: int = 0
    """So many samples at the end are equal."""
    charts: Charts | None = None
    """Of the whole columns; None while they are yet to be made."""

    def add(self, sample: tuple[int | None, ...]) -> None:
        is_same = all(
            row and row[-1] == value for row, value in zip(self.rows, sample, strict=True)
        )
        self.flat = self.flat + 1 if is_same else 1
        for row, value in zip(self.rows, sample, strict=True):
            row.append(value)
        self.count += 1
        if self.count % A_COLUMN == 0 and self.flat <= KEPT:
            self.charts = None

    def past(self, less: int = 0) -> Past:
        """Return the samples but for the `less` newest ones."""
        return Past(*(list(row)[: len(row) - less] for row in self.rows))


class Histories:
    """The samples of all devices."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._last_at = ""

    def begin(self, view: DeviceHistory) -> None:
        """Start over with what the daemon remembers."""
        self._tracks.clear()
        given: list[Mapping[str, list[int | None]]] = [getattr(view, name) for name in _NAMES]
        for uuid, uses in view.utilization.items():
            track = self._tracks[uuid] = _Track()
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
        return Past() if track is None else track.past()

    def charts_of(self, uuid: str) -> Charts:
        """Return a device's charts: the same object for as long as they look the same."""
        track = self._tracks.get(uuid)
        if track is None:
            return NO_CHARTS
        if track.charts is None:
            track.charts = Charts(track.past(track.count % A_COLUMN))
        return track.charts


NO_CHARTS = Charts(Past())


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
