"""The two lines above every tab: the tabs themselves, and how the box as a whole is."""

from __future__ import annotations

from collections.abc import Callable

from gpuboard.model.views import BoardView, HostView
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Part, clean, cut, width_of, wrapped
from gpuboard.tui.instants import clock, epoch_s, gigabytes, span
from gpuboard.tui.theme import Glyphs
from gpuboard.tui.widgets.painted import Item

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


def box_items(names: list[str], chosen: str) -> list[Item]:
    """Return the boxes that are watched, where there are several."""
    if len(names) == 1:
        return []
    return [
        (
            [(f" {cut(clean(name), 16)} ", "accent!" if name == chosen else "dim")],
            f"app.box({number})",
        )
        for number, name in enumerate(names)
    ]


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

    Of the host only what fits whole is said; a fault always is.
    """
    host = board.host
    dim = "faint" if is_stale else "dim"
    gap: Part = (f" {glyphs.dot} ", "faint")
    left: list[Part] = [(f" {clean(host.hostname)}", "faint" if is_stale else "strong!")]
    if host.simulated:
        left.append((" simulated", "warn"))
    if host.driver_fault:
        left += [gap, (f"{glyphs.faulty} driver: {clean(host.driver_fault)}", "bad")]
    if host.engine_fault:
        left += [gap, (f"{glyphs.faulty} engine: {clean(host.engine_fault)}", "bad")]
    if host.store_fault:
        left += [gap, (f"{glyphs.faulty} database: {clean(host.store_fault)}", "bad")]
    free = sum(device.state == "free" for device in board.devices)
    right: list[Part] = [
        (f" {free}", "faint" if is_stale else ("free!" if free else "warn!")),
        (f" of {len(board.devices)} free", dim),
        gap,
        (f"{board.running} running", dim),
        gap,
        (f"{board.queued} queued ", dim),
    ]
    room = width - sum(width_of(text) for text, _ in [*left, *right])
    for words in _host_words(host):
        room -= width_of(words) + 3
        if room >= 0:
            left += [gap, (words, dim)]
    return left, right


def _host_words(host: HostView) -> list[str]:
    words = []
    if host.cpu_percent is not None:
        words.append(f"cpu {host.cpu_percent:.0f}%")
    if host.load_1m is not None:
        words.append(f"load {host.load_1m:.0f}")
    if host.memory_used_bytes is not None:
        words.append(
            f"mem {gigabytes(host.memory_used_bytes)}/{gigabytes(host.memory_total_bytes)}G"
        )
    if host.shm_total_bytes:
        words.append(f"shm {gigabytes(host.shm_used_bytes)}/{gigabytes(host.shm_total_bytes)}G")
    if host.disk_free_bytes is not None:
        words.append(f"disk {gigabytes(host.disk_free_bytes)}G free")
    if host.engine and not host.engine_fault:
        words.append(clean(host.engine))
    if host.driver and not host.driver_fault:
        words.append(f"driver {clean(host.driver)}")
    return words


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
