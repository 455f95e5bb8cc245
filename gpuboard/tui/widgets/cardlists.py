"""What a card lists below its charts: who shares the device, and what runs on it."""

from __future__ import annotations

from gpuboard.model.views.devices import DeviceView, SharerView
from gpuboard.tui.ink import Part, clean, fit, width_of
from gpuboard.tui.instants import clock_of, gigabytes
from gpuboard.tui.processwords import process_head, process_row

WIDE = 60
"""From this width on there is room for until when a sharer has its part."""


def list_rows(device: DeviceView, now_s: int, width: int, room: int) -> list[list[Part]]:
    """Return who shares the device and what runs on it, as far as there is room."""
    if room and not device.processes_known:
        return [[("its processes cannot be read", "warn")]]
    rows = [sharer_row(sharer, now_s, width) for sharer in device.sharers]
    for process in device.processes:
        size = gigabytes(process.memory_bytes) + "G"
        role = "foreign" if process.belongs in ("foreign", "violation") else "dim"
        left = f"{process.pid:>7} {clean(process.user)[:10]:<10} {clean(process.command)}"
        rows.append([(fit(left, width - len(size) - 1) + " ", role), (size, role)])
    return rows[:room]


def sharer_row(sharer: SharerView, now_s: int, width: int) -> list[Part]:
    """Return one of the jobs that share the device: whose, which, and its budget."""
    who = "you" if sharer.mine else clean(sharer.user)
    used = f"{gigabytes(sharer.used_bytes)}/" if sharer.used_bytes is not None else ""
    tail = f" {used}{gigabytes(sharer.memory_bytes)}G"
    until = clock_of(sharer.until_at, now_s)
    words = f"{sharer.job_id:>7} {who:<10} {clean(sharer.job_name)}"
    if until and width >= WIDE:
        tail = f" until {until}{tail}"
    return [
        (fit(words, max(8, width - width_of(tail))), "mine" if sharer.mine else "text"),
        (tail, "dim"),
    ]


def expanded_rows(device: DeviceView, now_s: int, width: int) -> list[list[Part]]:
    """Return everything that an expanded card says below its charts."""
    facts = [
        f"SM {device.sm_clock_mhz} MHz" if device.sm_clock_mhz is not None else "",
        f"fan {device.fan_percent}%" if device.fan_percent is not None else "",
        f"limit {device.power_limit_w:.0f} W" if device.power_limit_w is not None else "",
        f"ECC errors {device.ecc_uncorrected}" if device.ecc_uncorrected else "",
        f"throttled: {clean(', '.join(device.throttle))}" if device.throttle else "",
        clean(device.uuid),
    ]
    rows: list[list[Part]] = [[("  ".join(fact for fact in facts if fact), "dim")]]
    if device.sharers:
        given = f"{gigabytes(device.given_bytes)} of {gigabytes(device.shareable_bytes)}G given"
        rows.append([(f"shared by {len(device.sharers)}: {given}", "text")])
        rows += [sharer_row(sharer, now_s, width) for sharer in device.sharers]
    if not device.processes_known:
        return [*rows, [("its processes cannot be read", "warn")]]
    if not device.processes:
        return [*rows, [("no process is on it", "dim")]]
    table = [process_row(each, now_s, width) for each in device.processes]
    return [*rows, process_head(width), *table]
