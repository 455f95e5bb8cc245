"""One GPU as lines of any width and height: from a single line to a tall card with history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpuboard.model.views.devices import DeviceView
from gpuboard.tui.devicewords import (
    Status,
    holder_words,
    left_s,
    product_words,
    status_of,
    until_words,
)
from gpuboard.tui.graphs import bar
from gpuboard.tui.histories import Charts, memory_percent
from gpuboard.tui.ink import Ink, Part, Row, clean, fit, width_of
from gpuboard.tui.instants import gigabytes, span
from gpuboard.tui.widgets.cardlists import expanded_rows, list_rows

PROCESSES = 3
"""Of a card that is not expanded so many processes are told at most."""
NARROW = 60
"""A card less wide than this has one chart beside another only below each other."""


@dataclass(frozen=True)
class Card:
    """What one card is drawn from."""

    device: DeviceView
    charts: Charts
    now_s: int
    is_stale: bool = False
    is_expanded: bool = False


def card_rows(ink: Ink, card: Card, width: int, height: int, ground: str) -> list[Row]:
    """Return `height` lines of `width` columns; `ground` is that of the title."""
    status = status_of(card.device, ink.glyphs, card.now_s)
    if card.is_stale:
        status = Status(status.word, status.glyph, "faint")
    if height == 1:
        return [_single(ink, card, status, width, ground if ground != "bar" else "base")]
    body = width - 2
    lines = [_title(ink, card, status, ground, with_holder=height == 2)]
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
    lines += [([edge, *row], [], "base") for row in rows]
    return lines


def head_row(ink: Ink, group: Sequence[DeviceView], *, is_stale: bool) -> Row:
    """Return the line above the instances of a GPU that is cut up."""
    first = group[0]
    number = clean(first.label).partition(":")[0]
    free = sum(device.state == "free" for device in group)
    count = "1 instance" if len(group) == 1 else f"{len(group)} instances"
    dim = "faint" if is_stale else "dim"
    return (
        [
            (ink.glyphs.edge, dim),
            (f" {number} ", "faint" if is_stale else "strong!"),
            (product_words(first.name).partition(" MIG")[0], dim),
        ],
        [(f"MIG, {count}, ", dim), (f"{free} free ", dim if is_stale or not free else "free!")],
        "bar",
    )


def _title(ink: Ink, card: Card, status: Status, ground: str, *, with_holder: bool) -> Row:
    device = card.device
    right: list[Part] = [(f" {status.glyph} {status.word} ", status.role + "!")]
    left: list[Part] = [
        (ink.glyphs.edge, status.role),
        (f" {device.label} ", _live("strong!", card)),
        (_product(device), _live("dim", card)),
    ]
    if with_holder:
        holder = holder_words(device, ink.glyphs)
        until = until_words(device, card.now_s)
        left.append(("  " + "  ".join(part for part in (holder, until) if part), "text"))
    return left, right, ground


def _product(device: DeviceView) -> str:
    """Return what a device is: of an instance its profile, since its GPU is named above it."""
    name = product_words(device.name)
    return name.rpartition("MIG ")[2] if device.parent else name


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
    use = _use_words(device)
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
        wide = width - used - (1 if used else 0)
        graph = card.charts.lines("utilization", wide, 1, ink.glyphs)[0]
        return [[(graph + (" " if left else ""), _live(_graph_role(status), card)), *left]]
    rows: list[list[Part]] = [_time_line(ink, card, width)]
    room -= 1
    if card.is_expanded:
        below = expanded_rows(card.device, card.now_s, width)[: max(0, room - 2)]
    else:
        blank = 1 if room >= 4 else 0
        most = max(
            min(PROCESSES, room - 3 - blank), min(len(card.device.sharers), room - 2 - blank)
        )
        below = list_rows(card.device, card.now_s, width, max(0, most)) + [[]] * blank
    return [*rows, *_graphs(ink, card, status, width, room - len(below)), *below]


def _graphs(ink: Ink, card: Card, status: Status, width: int, lines: int) -> list[list[Part]]:
    """Return the charts that fit: utilisation first, then memory, power and temperature."""
    use: _Chart = ("gpu", "utilization", _graph_role(status))
    memory: _Chart = ("mem", "memory", "booked")
    power: _Chart = ("pwr", "power", "accent")
    heat: _Chart = ("tmp", "temperature", "idle")
    if width >= NARROW:
        lower = lines // 3 if lines >= 4 else 0
        return [
            *_side_by_side(ink, card, (use, memory), width, lines - lower),
            *_side_by_side(ink, card, (power, heat), width, lower),
        ]
    small = max(1, lines // 5)
    if lines >= 8:
        below = [(memory, small), (power, small), (heat, small)]
    else:
        below = [(memory, lines // 3)] if lines >= 5 else []
    upper = lines - sum(tall for _, tall in below)
    rows: list[list[Part]] = []
    for chart, tall in [(use, upper), *below]:
        rows += _chart_rows(ink, card, chart, width, tall)
    return rows


_Chart = tuple[str, str, str]
"""Label, what is charted, role."""


def _side_by_side(
    ink: Ink, card: Card, pair: tuple[_Chart, _Chart], width: int, lines: int
) -> list[list[Part]]:
    half = (width - 2) // 2
    left = _chart_rows(ink, card, pair[0], half, lines)
    right = _chart_rows(ink, card, pair[1], width - half - 2, lines)
    return [[*one, ("  ", "text"), *other] for one, other in zip(left, right, strict=True)]


def _chart_rows(ink: Ink, card: Card, chart: _Chart, width: int, lines: int) -> list[list[Part]]:
    """Return one chart with its name at its top left."""
    if lines <= 0:
        return []
    label, name, role = chart
    rows = card.charts.lines(name, width - 4, lines, ink.glyphs)
    heads = [f"{label} ", *["    "] * (lines - 1)]
    return [
        [(head, _live("dim", card)), (row, _live(role, card))]
        for head, row in zip(heads, rows, strict=True)
    ]


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


def _single(ink: Ink, card: Card, status: Status, width: int, ground: str) -> Row:
    device = card.device
    until = until_words(device, card.now_s)
    who = holder_words(device, ink.glyphs)
    if width < NARROW:
        words = who or status.word
        return (
            [
                (f"{ink.glyphs.edge}{device.label:>3} ", status.role + "!"),
                (f"{status.glyph} ", status.role),
                (words, _live(status.role if not who else "text", card)),
                ("  " + until if until else "", "dim"),
            ],
            [(f" {_use_words(device)} {_memory_words(device)} ", _live("dim", card))],
            ground,
        )
    meters: list[Part] = []
    for name, percent, words in (
        (" ", device.utilization, f"{_use_words(device):>4}"),
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
    left: list[Part] = [
        (f"{ink.glyphs.edge}{device.label:>3} ", status.role + "!"),
        (fit(f"{status.glyph} {status.word}", 11), status.role),
        (" " + who, _live("text", card)),
        ("  " + until if until else "", "dim"),
    ]
    return left, [(" ", "text"), *meters], ground


def _use_words(device: DeviceView) -> str:
    return "n/a" if device.utilization is None else f"{device.utilization}%"


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
