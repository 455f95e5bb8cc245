"""The two lines above every tab: the tabs themselves, and how the box as a whole is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpuboard.model.views.board import BoardView, HostView
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Part, clean, cut, width_of, wrapped
from gpuboard.tui.instants import clock, epoch_s, gigabytes, span
from gpuboard.tui.theme import Glyphs
from gpuboard.tui.widgets.painted import Item

CLOCK = 6
"""Columns that the clock takes at the right of the tabs."""
_YIELDING = "shm load"
"""Labels of what is left out first, the last of them before the others."""
TABS = (
    ("board", "Board"),
    ("timeline", "Timeline"),
    ("queue", "Queue"),
    ("jobs", "Jobs"),
    ("people", "People"),
)


def tab_items(chosen: str, *, is_admin: bool = False) -> list[Item]:
    """Return the brand and the tabs."""
    items: list[Item] = [([(" gpuboard ", "accent!")], "app.tab('board')")]
    tabs = (*TABS, ("admin", "Admin")) if is_admin else TABS
    for number, (name, words) in enumerate(tabs, 1):
        is_chosen = name == chosen
        items.append(
            (
                [
                    (f" {number} ", "accent!" if is_chosen else "dim"),
                    (f"{words} ", "strong!" if is_chosen else "dim"),
                ],
                f"app.tab('{name}')",
            )
        )
    return items


def items_width(items: list[Item]) -> int:
    """Return how many columns items take."""
    return sum(width_of(text) for parts, _ in items for text, _ in parts)


def box_items(names: list[str], chosen: str, room: int) -> list[Item]:
    """Return the boxes that are watched, where there are several.

    Where `room` (columns) does not take all of them: the one that is shown, and how many more.
    """
    if len(names) == 1:
        return []
    items: list[Item] = [
        (
            [(f" {cut(clean(name), 16)} ", "accent!" if name == chosen else "dim")],
            f"app.box({number})",
        )
        for number, name in enumerate(names)
    ]
    if items_width(items) <= room:
        return items
    more = f" +{len(names) - 1} "
    name = cut(clean(chosen), max(4, min(16, room - len(more) - 2)))
    here = f"app.box({names.index(chosen)})"
    return [([(f" {name} ", "accent!")], here), ([(more, "dim")], "app.next_box")]


def link_parts(
    snapshot: Snapshot, *, is_stale: bool, go_on: str, age_s: float, glyphs: Glyphs, room: int
) -> list[Part]:
    """Return what is told at the right of the tabs: clock, or why there is none.

    `go_on` is the key that ends a pause; empty while there is none. In less `room` (columns) it is
    said shorter, so that no tab is pushed off.
    """
    if go_on:
        return [(f" PAUSED, {go_on} goes on ", "warn!")]
    if is_stale:
        if snapshot.board is None:
            return [(" connecting... ", "warn")]
        words = f" {glyphs.foreign} no answer for {span(age_s)} "
        return [(words if len(words) <= room else f" {glyphs.foreign} {span(age_s)} old ", "bad!")]
    if snapshot.board is None:
        return [(" connecting... ", "dim")]
    now_s = epoch_s(snapshot.board.at)
    return [(f"{clock(now_s, now_s)} ", "text")]


def away_lines(snapshot: Snapshot, told: Callable[[str], str], width: int) -> list[list[Part]]:
    """Return why the daemon does not answer and the way out, whole; nothing while it answers."""
    if not snapshot.fault:
        return []
    lines: list[list[Part]] = [
        [(f" {line}", "bad")] for line in wrapped(told(snapshot.fault), width - 2)
    ]
    if snapshot.hint:
        lines += [[(f" {line}", "accent")] for line in wrapped(told(snapshot.hint), width - 2)]
    return lines


def host_parts(
    board: BoardView, glyphs: Glyphs, width: int, *, is_stale: bool
) -> tuple[list[Part], list[Part]]:
    """Return the box's state: left the host, right the devices and the queue.

    Of the host all is said, shorter where there is less room, and only what fits whole; a fault
    always is.
    """
    dim = "faint" if is_stale else "dim"
    gap: Part = (f" {glyphs.dot} ", "faint")
    left = _name_parts(board.host, glyphs, is_stale=is_stale)
    counts = _count_parts(board, gap, dim, is_stale=is_stale)
    facts = host_facts(board.host)
    for texts in (_in_full(board.host, facts), [f"{fact.label} {fact.brief}" for fact in facts]):
        if _width(left, counts) + sum(width_of(text) + 3 for text in texts) <= width:
            return [*left, *(part for text in texts for part in (gap, (text, dim)))], counts
    if _width(left, counts) + sum(_fact_width(fact) for fact in facts) > width:
        counts = _count_parts(board, (" ", dim), dim, is_stale=is_stale, is_brief=True)
    for fact in _fitting(facts, width - _width(left, counts)):
        left += [(f" {fact.label} ", "faint"), (fact.brief, dim)]
    return left, counts


def _fitting(facts: list[HostFact], room: int) -> list[HostFact]:
    """Return the facts that fit in brief; load, which cpu tells too, and shm make room first."""
    kept: list[HostFact] = []
    for fact in sorted(facts, key=lambda fact: _YIELDING.find(fact.label)):
        if room >= _fact_width(fact):
            room -= _fact_width(fact)
            kept.append(fact)
    return [fact for fact in facts if fact in kept]


@dataclass(frozen=True)
class HostFact:
    """One thing that is told about the host: `mem 181/512G`, in little room `mem 35%`."""

    label: str
    words: str
    brief: str


def host_facts(host: HostView) -> list[HostFact]:
    """Return what is known of the host, the most telling first."""
    facts = []
    if host.cpu_percent is not None:
        percent = f"{host.cpu_percent:.0f}%"
        facts.append(HostFact("cpu", percent, percent))
    for label, used, total in (
        ("mem", host.memory_used_bytes, host.memory_total_bytes),
        ("shm", host.shm_used_bytes, host.shm_total_bytes),
    ):
        if used is not None and total:
            words = f"{gigabytes(used)}/{gigabytes(total)}G"
            facts.append(HostFact(label, words, f"{100 * used / total:.0f}%"))
    if host.disk_free_bytes is not None:
        size = f"{gigabytes(host.disk_free_bytes)}G"
        facts.append(HostFact("disk", f"{size} free", size))
    if host.load_1m is not None:
        load = f"{host.load_1m:.0f}"
        facts.append(HostFact("load", load, load))
    if host.engine and not host.engine_fault:
        name, _, version = clean(host.engine).partition(" ")
        facts.append(HostFact(name, version or "ok", "ok"))
    return facts


def _in_full(host: HostView, facts: list[HostFact]) -> list[str]:
    words = [f"{fact.label} {fact.words}" for fact in facts]
    if host.driver and not host.driver_fault:
        words.append(f"driver {clean(host.driver)}")
    return words


def _name_parts(host: HostView, glyphs: Glyphs, *, is_stale: bool) -> list[Part]:
    gap: Part = (f" {glyphs.dot} ", "faint")
    parts: list[Part] = [(f" {clean(host.hostname)}", "faint" if is_stale else "strong!")]
    if host.simulated:
        parts.append((" simulated", "warn"))
    for what, fault in (
        ("driver", host.driver_fault),
        ("engine", host.engine_fault),
        ("database", host.store_fault),
    ):
        if fault:
            parts += [gap, (f"{glyphs.faulty} {what}: {clean(fault)}", "bad")]
    return parts


def _count_parts(
    board: BoardView, gap: Part, dim: str, *, is_stale: bool, is_brief: bool = False
) -> list[Part]:
    free, total = sum(device.state == "free" for device in board.devices), len(board.devices)
    return [
        (f" {free}", "faint" if is_stale else ("free!" if free else "warn!")),
        (f"/{total} free" if is_brief else f" of {total} free", dim),
        gap,
        (f"{board.running} run" if is_brief else f"{board.running} running", dim),
        gap,
        (f"{board.queued} wait" if is_brief else f"{board.queued} queued ", dim),
    ]


def _width(*lines: list[Part]) -> int:
    return sum(width_of(text) for parts in lines for text, _ in parts)


def _fact_width(fact: HostFact) -> int:
    return 2 + width_of(fact.label) + width_of(fact.brief)


def notice_parts(board: BoardView, glyphs: Glyphs) -> list[Part]:
    """Return the admin's latest words, if there are any."""
    if not board.notices:
        return []
    notice = board.notices[-1]
    more = f"  (+{len(board.notices) - 1})" if len(board.notices) > 1 else ""
    return [
        (f" {glyphs.foreign} {clean(notice.by)}: ", "warn!"),
        (clean(notice.text) + more, "warn"),
    ]
