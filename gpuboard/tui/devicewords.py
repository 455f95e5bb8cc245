"""What a device's state is called on the screen: a word, a shape and a colour, each telling it apart."""

from __future__ import annotations

from dataclasses import dataclass

from gpuboard.model.views.devices import DeviceView
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import clock_of, epoch_s, span
from gpuboard.tui.theme import Glyphs

BOOKED_SOON_S = 4 * 3600
"""A booking that starts within this is shown on the card."""


@dataclass(frozen=True)
class Status:
    """How a device stands."""

    word: str
    glyph: str
    role: str


def status_of(device: DeviceView, glyphs: Glyphs, now_s: int = 0) -> Status:
    """Return how a device stands, the gravest first; with `now_s`, for how long it is free."""
    if any(process.belongs == "violation" for process in device.processes):
        return Status("ROGUE", glyphs.foreign, "foreign")
    match device.state:
        case "faulty":
            return Status("FAULTY", glyphs.faulty, "faulty")
        case "foreign":
            return Status("FOREIGN", glyphs.foreign, "foreign")
        case "drained":
            return Status("drained", glyphs.drained, "drained")
        case "booked":
            return Status("booked", glyphs.booked, "booked")
        case "leased" if device.idle_s is not None:
            return Status(f"IDLE {span(device.idle_s or 0)}", glyphs.idle, "idle")
        case "leased" if device.sharers:
            role = "mine" if device.mine else "used"
            return Status(f"shared {len(device.sharers)}", glyphs.shared, role)
        case "leased" if device.mine:
            return Status("yours", glyphs.mine, "mine")
        case "leased":
            return Status("in use", glyphs.leased, "used")
        case "free" if 0 < (free_s := _free_s(device, now_s)) < BOOKED_SOON_S:
            return Status(f"free {span(free_s)}", glyphs.soon, "booked")
        case "free":
            return Status("free", glyphs.free, "free")
    return Status(clean(device.state), "?", "warn")


def _free_s(device: DeviceView, now_s: int) -> int:
    """Return for how long a free device is free; 0 where that is not known."""
    booking = device.next_booking
    return epoch_s(booking.from_at) - now_s if booking is not None and now_s else 0


def holder_words(device: DeviceView, glyphs: Glyphs) -> str:
    """Return who has a device and for what: `ann . 412 train`; of sharers all."""
    if len(device.sharers) > 1:
        return f" {glyphs.dot} ".join(
            f"{'you' if each.mine else clean(each.user)} {each.job_id}" for each in device.sharers
        )
    parts = ["you" if device.mine else clean(device.user)]
    if device.job_id is not None:
        name = clean(device.job_name)
        parts.append(f"{device.job_id} {name}" if name else f"job {device.job_id}")
    elif device.state == "booked" and device.reservation_id is not None:
        parts.append(f"booking {device.reservation_id}")
    elif device.state_words and device.state not in ("leased", "free"):
        parts.append(clean(device.state_words))
    return f" {glyphs.dot} ".join(part for part in parts if part)


def until_words(device: DeviceView, now_s: int) -> str:
    """Return until when a device is held, or who has booked it from when."""
    if device.until_at:
        return "until " + clock_of(device.until_at, now_s)
    booking = device.next_booking
    if booking and epoch_s(booking.from_at) - now_s < BOOKED_SOON_S:
        return f"{clock_of(booking.from_at, now_s)} {clean(booking.user)}"
    return ""


def left_s(device: DeviceView, now_s: int) -> tuple[int, float] | None:
    """Return the seconds left of a hold and which fraction of it that is."""
    if not (device.until_at and device.since_at):
        return None
    since, until = epoch_s(device.since_at), epoch_s(device.until_at)
    left = max(0, until - now_s)
    return left, left / max(1, until - since)


def product_words(name: str) -> str:
    """Return a product name without what all of them share."""
    return clean(name).removeprefix("NVIDIA ").replace("GeForce ", "")
