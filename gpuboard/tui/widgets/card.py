"""One GPU as lines of any width and height: from a single line to a tall card with history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.strip import Strip

from gpuboard.model.views import DeviceView
from gpuboard.tui.devicewords import (
    Status,
    holder_words,
    left_s,
    product_words,
    status_of,
    until_words,
)
from gpuboard.tui.graphs import bar, history
from gpuboard.tui.ink import Ink, Part, clean, fit, width_of
from gpuboard.tui.instants import gigabytes, span

Samples = Sequence[int | None]


@dataclass(frozen=True)
class Card:
    """What one card is drawn from."""

    device: DeviceView
    utilization: Samples
    memory: Samples
    now_s: int
    is_stale: bool = False


def paint_card(ink: Ink, card: Card, width: int, height: int, ground: str) -> list[Strip]:
    """Return `height` lines of `width` columns; `ground` is that of the title."""
    status = status_of(card.device, ink.glyphs)
    if card.is_stale:
        status = Status(status.word, status.glyph, "faint")
    if height == 1:
        return [_single(ink, card, status, width, ground if ground != "bar" else "base")]
    body = width - 2
    lines = [_title(ink, card, status, width, ground, with_holder=height == 2)]
    rows: list[list[Part]]
    if height == 2:
        rows = [_both_bars(ink, card, body)]
    elif height == 3:
        rows = [_holder(ink, card, status, body), _both_bars(ink, card, body)]
    else:
        rows = [
            _holder(ink, card, status, body),
            _gpu_bar(ink, card, body),
            _memory_bar(ink, card, body),
            *_tall_rows(ink, card, status, body, height - 4),
        ]
    edge = (ink.glyphs.edge + " ", status.role)
    lines += [ink.line([edge, *row], width) for row in rows]
    return lines


def _title(
    ink: Ink, card: Card, status: Status, width: int, ground: str, *, with_holder: bool
) -> Strip:
    device = card.device
    right: list[Part] = [(f"{status.glyph} {status.word} ", status.role + "!")]
    left: list[Part] = [
        (ink.glyphs.edge, status.role),
        (f" {device.label} ", _live("strong!", card)),
        (product_words(device.name), _live("dim", card)),
    ]
    if with_holder:
        holder = holder_words(device, ink.glyphs)
        until = until_words(device, card.now_s)
        left.append(("  " + "  ".join(part for part in (holder, until) if part), "text"))
    return ink.spread(left, right, width, ground)


def _holder(ink: Ink, card: Card, status: Status, width: int) -> list[Part]:
    until = until_words(card.device, card.now_s)
    holder = holder_words(card.device, ink.glyphs)
    if not holder and until:
        return [("booked from " + until, _live("dim", card))]
    room = width - width_of(until) - (1 if until else 0)
    role = status.role if status.role in ("mine", "faulty", "foreign", "booked") else "text"
    return [(fit(holder, room) + (" " if until else ""), _live(role, card)), (until, "dim")]


def _gpu_bar(ink: Ink, card: Card, width: int) -> list[Part]:
    device = card.device
    tail = _heat_words(ink, device)
    number = "  n/a" if device.utilization is None else f"{device.utilization:4d}%"
    return _bar_line(ink, card, "gpu", device.utilization, f"{number} {tail:>11}", width=width)


def _memory_bar(ink: Ink, card: Card, width: int) -> list[Part]:
    percent = memory_percent(card.device)
    number = "  n/a" if percent is None else f"{percent:4d}%"
    tail = f"{number} {_memory_words(card.device):>11}"
    return _bar_line(ink, card, "mem", percent, tail, width=width)


def _bar_line(
    ink: Ink, card: Card, name: str, percent: int | None, tail: str, *, width: int
) -> list[Part]:
    room = max(3, width - 4 - len(tail))
    filled, empty = bar(None if percent is None else percent / 100, room, ink.glyphs)
    return [
        (name + " ", _live("dim", card)),
        (filled, _live(_bar_role(name, percent), card)),
        (empty, "track"),
        (tail, _live("text", card)),
    ]


def _both_bars(ink: Ink, card: Card, width: int) -> list[Part]:
    device = card.device
    half = (width - 2) // 2
    use = "n/a" if device.utilization is None else f"{device.utilization}%"
    tail = f" {use:>4} {_heat_words(ink, device):>11}" if half >= 32 else f" {use:>4}"
    left = _bar_line(ink, card, "gpu", device.utilization, tail, width=half)
    right = _bar_line(
        ink,
        card,
        "mem",
        memory_percent(device),
        f" {_memory_words(device):>7}",
        width=width - half - 2,
    )
    return [*left, ("  ", "text"), *right]


def _tall_rows(ink: Ink, card: Card, status: Status, width: int, room: int) -> list[list[Part]]:
    """Return what fills the `room` lines below the bars."""
    if room <= 0:
        return []
    if room == 1:
        left = _time_left(ink, card, min(18, width // 2))
        used = sum(width_of(text) for text, _ in left)
        graph = history(card.utilization, width - used - (1 if used else 0), 1, ink.glyphs)[0]
        return [[(graph + (" " if left else ""), _live(_graph_role(status), card)), *left]]
    rows: list[list[Part]] = [_time_line(ink, card, width)]
    room -= 1
    blank = 1 if room >= 4 else 0
    processes = _process_rows(card, width, max(0, min(3, room - 3 - blank)))
    lines = room - blank - len(processes)
    rows += _graphs(ink, card, status, width, lines)
    rows += processes
    rows += [[]] * blank
    return rows


def _graphs(ink: Ink, card: Card, status: Status, width: int, lines: int) -> list[list[Part]]:
    """Return utilisation and, beside it when there is room, memory, as history."""
    if width < 60:
        upper = lines if lines < 5 else lines - lines // 3
        rows = history(card.utilization, width, upper, ink.glyphs)
        out: list[list[Part]] = [[(row, _live(_graph_role(status), card))] for row in rows]
        if upper < lines:
            memory = history(card.memory, width, lines - upper, ink.glyphs)
            out += [[(row, _live("booked", card))] for row in memory]
        return out
    half = (width - 2) // 2
    left = history(card.utilization, half, lines, ink.glyphs)
    right = history(card.memory, width - half - 2, lines, ink.glyphs)
    return [
        [(use, _live(_graph_role(status), card)), ("  ", "text"), (memory, _live("booked", card))]
        for use, memory in zip(left, right, strict=True)
    ]


def _process_rows(card: Card, width: int, room: int) -> list[list[Part]]:
    device = card.device
    if room and not device.processes_known:
        return [[("its processes cannot be read", "warn")]]
    rows: list[list[Part]] = []
    for process in device.processes[:room]:
        size = gigabytes(process.memory_bytes) + "G"
        role = "foreign" if process.belongs in ("foreign", "violation") else "dim"
        left = f"{process.pid:>7} {clean(process.user)[:10]:<10} {clean(process.command)}"
        rows.append([(fit(left, width - len(size) - 1) + " ", role), (size, role)])
    return rows


def _time_left(ink: Ink, card: Card, width: int) -> list[Part]:
    left = left_s(card.device, card.now_s)
    if left is None:
        return []
    seconds, fraction = left
    words = f" {span(seconds)} left"
    filled, empty = bar(fraction, max(3, width - len(words)), ink.glyphs)
    role = "warn" if seconds < 600 else "accent"
    return [(filled, _live(role, card)), (empty, "track"), (words, _live("dim", card))]


def _time_line(ink: Ink, card: Card, width: int) -> list[Part]:
    left = left_s(card.device, card.now_s)
    if left is None:
        return []
    filled, empty = bar(left[1], max(3, width - 4 - 17), ink.glyphs)
    return [
        ("for ", _live("dim", card)),
        (filled, _live("warn" if left[0] < 600 else "accent", card)),
        (empty, "track"),
        (f"{span(left[0]) + ' left':>17}", _live("text", card)),
    ]


def _single(ink: Ink, card: Card, status: Status, width: int, ground: str) -> Strip:
    device = card.device
    use = "n/a" if device.utilization is None else f"{device.utilization}%"
    meters: list[Part] = []
    for name, percent, words in (
        (" ", device.utilization, f"{use:>4}"),
        (" ", memory_percent(device), f"{_memory_words(device):>7}"),
    ):
        filled, empty = bar(None if percent is None else percent / 100, 6, ink.glyphs)
        meters += [
            (name, "text"),
            (filled, _live("accent", card)),
            (empty, "track"),
            (words, _live("text", card)),
        ]
    meters.append((f" {_degrees(ink, device):>4}", _live("dim", card)))
    until = until_words(device, card.now_s)
    who = holder_words(device, ink.glyphs)
    left: list[Part] = [
        (f"{ink.glyphs.edge}{device.label:>2} ", status.role + "!"),
        (fit(f"{status.glyph} {status.word}", 11), status.role),
        (" " + who, _live("text", card)),
        ("  " + until if until else "", "dim"),
    ]
    return ink.spread(left, [(" ", "text"), *meters], width, ground)


def memory_percent(device: DeviceView) -> int | None:
    """Return used memory in percent; None where the driver does not say."""
    if device.memory_used_bytes is None or not device.memory_total_bytes:
        return None
    return round(100 * device.memory_used_bytes / device.memory_total_bytes)


def _bar_role(name: str, percent: int | None) -> str:
    """Return the colour of a bar: a GPU that works is well, memory that is nearly full may not be."""
    return "warn" if name == "mem" and (percent or 0) >= 95 else "accent"


def _graph_role(status: Status) -> str:
    return "mine" if status.role == "mine" else "used"


def _memory_words(device: DeviceView) -> str:
    if device.memory_total_bytes is None:
        return "n/a"
    return f"{gigabytes(device.memory_used_bytes)}/{gigabytes(device.memory_total_bytes)}G"


def _degrees(ink: Ink, device: DeviceView) -> str:
    return (
        "" if device.temperature_c is None else f"{device.temperature_c}{ink.glyphs.degree or 'C'}"
    )


def _heat_words(ink: Ink, device: DeviceView) -> str:
    power = "" if device.power_w is None else f"{device.power_w:.0f}W"
    return f"{_degrees(ink, device):>4} {power:>5}"


def _live(role: str, card: Card) -> str:
    return "faint" if card.is_stale else role
