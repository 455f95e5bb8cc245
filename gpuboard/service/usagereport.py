"""From a past window to a report: sums by person, group, device and hour. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from gpuboard.model.ids import DeviceUuid
from gpuboard.model.instants import iso
from gpuboard.model.past import HOUR_MS, NOBODY, Past
from gpuboard.model.views.usage import UsageReport, UsedHour, UsedRow
from gpuboard.service.devices import DeviceNames


@dataclass
class _Sums:
    """Seconds of one row while they are added up."""

    held_s: float = 0.0
    seen_s: float = 0.0
    used_s: float = 0.0
    idle_s: float = 0.0
    waits: list[float] = field(default_factory=list)

    def row(self, name: str, *, uid: int | None = None, mine: bool = False) -> UsedRow:
        """Return the row."""
        return UsedRow(
            name=name,
            uid=uid,
            mine=mine,
            held_s=round(self.held_s, 3),
            seen_s=round(self.seen_s, 3),
            used_s=round(self.used_s, 3),
            idle_s=round(self.idle_s, 3),
            starts=len(self.waits),
            wait_median_s=round(median(self.waits), 3) if self.waits else None,
            wait_p90_s=round(percentile(self.waits, 0.9), 3) if self.waits else None,
        )


def report_on(past: Past, devices: DeviceNames, *, over: str, own_uid: int) -> UsageReport:
    """Return the report on a window; devices without any use are in it too."""
    people = _by_person(past)
    ordered = sorted(people.items(), key=lambda item: (-item[1].held_s, item[0]))
    return UsageReport(
        at=iso(past.until_at) or "",
        over=over,
        from_at=iso(past.from_at) or "",
        until_at=iso(past.until_at) or "",
        total=_total(people.values()).row("total"),
        people=[
            sums.row(past.names.get(uid) or f"uid {uid}", uid=uid, mine=uid == own_uid)
            for uid, sums in ordered
        ],
        groups=_groups(past, people),
        devices=_devices(past, devices),
        hours=_hours(past),
    )


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least this part of the values does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def _by_person(past: Past) -> dict[int, _Sums]:
    people: dict[int, _Sums] = defaultdict(_Sums)
    for span in past.held:
        people[span.uid].held_s += span.held_s
    for hour in past.hours:
        if hour.uid != NOBODY:
            sums = people[hour.uid]
            sums.seen_s += hour.seen_s
            sums.used_s += hour.used_s
            sums.idle_s += hour.idle_s
    for wait in past.waits:
        people[wait.uid].waits.append(wait.wait_s)
    return people


def _total(all_sums: Iterable[_Sums]) -> _Sums:
    total = _Sums()
    for sums in all_sums:
        total.held_s += sums.held_s
        total.seen_s += sums.seen_s
        total.used_s += sums.used_s
        total.idle_s += sums.idle_s
        total.waits += sums.waits
    return total


def _groups(past: Past, people: dict[int, _Sums]) -> list[UsedRow]:
    """Return a row a group: it held what was charged to it, and used a like part of what its people did."""
    held: dict[tuple[str, int], float] = defaultdict(float)
    for span in past.held:
        held[span.account, span.uid] += span.held_s
    if not any(account for account, _ in held):
        return []
    groups: dict[str, _Sums] = defaultdict(_Sums)
    for (account, uid), held_s in held.items():
        person, group = people[uid], groups[account]
        part = held_s / person.held_s if person.held_s else 0.0
        group.held_s += held_s
        group.seen_s += part * person.seen_s
        group.used_s += part * person.used_s
        group.idle_s += part * person.idle_s
    ordered = sorted(groups.items(), key=lambda item: (-item[1].held_s, item[0]))
    return [sums.row(name) for name, sums in ordered]


def _devices(past: Past, names: DeviceNames) -> list[UsedRow]:
    devices: dict[DeviceUuid, _Sums] = defaultdict(_Sums)
    for device in names.devices:
        devices[device.uuid] = _Sums()
    for span in past.held:
        devices[DeviceUuid(span.device)].held_s += span.held_s
    for hour in past.hours:
        sums = devices[DeviceUuid(hour.device)]
        sums.seen_s += hour.seen_s
        sums.used_s += hour.used_s
        sums.idle_s += hour.idle_s
    return [devices[DeviceUuid(ref.uuid)].row(ref.label) for ref in names.refs(devices)]


def _hours(past: Past) -> list[UsedHour]:
    hours: dict[int, _Sums] = defaultdict(_Sums)
    for span in past.held:
        for hour_at in range(span.from_at // HOUR_MS * HOUR_MS, span.until_at, HOUR_MS):
            inside = min(span.until_at, hour_at + HOUR_MS) - max(span.from_at, hour_at)
            hours[hour_at].held_s += span.part * inside / 1000
    for hour in past.hours:
        hours[hour.hour_at].seen_s += hour.seen_s
        hours[hour.hour_at].used_s += hour.used_s
    return [
        UsedHour(
            at=iso(hour_at) or "",
            held_s=round(sums.held_s, 3),
            seen_s=round(sums.seen_s, 3),
            used_s=round(sums.used_s, 3),
        )
        for hour_at, sums in sorted(hours.items())
    ]
