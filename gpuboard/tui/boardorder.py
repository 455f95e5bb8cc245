"""Which devices the board shows, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gpuboard.model.views.devices import DeviceView
from gpuboard.tui.devicewords import holder_words, product_words, status_of
from gpuboard.tui.histories import memory_percent
from gpuboard.tui.theme import ASCII

ORDERS = ("number", "use", "memory", "free", "person", "time left")
"""What cards may be sorted by; the first is what one starts with."""


def chosen(
    devices: Sequence[DeviceView], order: str, words: str, *, only_mine: bool
) -> list[DeviceView]:
    """Return the devices that match, sorted; instances of one GPU stay together."""
    found = [
        device
        for device in devices
        if (device.mine or not only_mine) and _matches(device, words.lower().split())
    ]
    if order == ORDERS[0]:
        return found
    groups: dict[str, list[DeviceView]] = {}
    for device in found:
        groups.setdefault(device.parent or device.uuid, []).append(device)
    ranked = sorted(groups.values(), key=lambda group: min(_rank(each, order) for each in group))
    return [device for group in ranked for device in group]


def _rank(device: DeviceView, order: str) -> tuple[object, ...]:
    match order:
        case "use":
            return (-(device.utilization or 0), device.index)
        case "memory":
            return (-(memory_percent(device) or 0), device.index)
        case "free":
            return (device.state != "free", device.state, device.index)
        case "person":
            return (not device.mine, not device.user, device.user, device.index)
    return (device.until_at is None, device.until_at or "", device.index)


def _matches(device: DeviceView, words: Sequence[str]) -> bool:
    """Whether what the card says has all of these words."""
    if not words:
        return True
    parts = [device.label, product_words(device.name), status_of(device, ASCII).word]
    parts += [holder_words(device, ASCII), device.user, device.state_words, device.job_name]
    parts += [f"{each.user} {each.job_id} {each.job_name}" for each in device.sharers]
    parts += [f"{each.user} {each.command}" for each in device.processes]
    text = " ".join(parts).lower()
    return all(word in text for word in words)
