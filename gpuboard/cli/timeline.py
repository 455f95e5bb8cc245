"""`timeline`: what ran, runs, is booked and is forecast, as bars; a row a device."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from gpuboard.cli import words
from gpuboard.cli.session import Session, is_for_ascii, json_option, pass_session
from gpuboard.cli.tables import output_width
from gpuboard.model.instants import from_iso
from gpuboard.model.text import cell_width, plain

_FILLS = {"ran": "░", "running": "█", "booking": "▓", "forecast": "·", "blackout": "x", "now": "┊"}
_ASCII_FILLS = {
    "ran": "-",
    "running": "#",
    "booking": "=",
    "forecast": ".",
    "blackout": "x",
    "now": "|",
}
_PIPE_WIDTH = 100
_LEAST_BAR = 20
_TICK_CELLS = 10
"""From one time on the axis to the next, at least."""

_STEPS_S = (60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400)


@click.command("timeline", short_help="Print bookings and runs as bars, a row a GPU.")
@click.option("--since", default="", metavar="TIME", help="From (default now).")
@click.option("--until", default="", metavar="TIME", help="Until (default a day later).")
@json_option
@pass_session
def timeline(session: Session, *, since: str, until: str) -> None:
    """Print bookings and runs as bars, a row a GPU."""
    from gpuboard.cli.times import instant

    query = {"since": instant(since, "--since"), "until": instant(until, "--until")}
    if session.as_json:
        session.pass_through("/timeline", **query)
        return
    answer = session.client.get("/timeline", **query)
    for line in draw(answer, output_width() or _PIPE_WIDTH, _fills()):
        print(line)


def _fills() -> dict[str, str]:
    if is_for_ascii():
        return _ASCII_FILLS
    try:
        "".join(_FILLS.values()).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _ASCII_FILLS
    return _FILLS


def draw(answer: dict[str, Any], width: int, fills: dict[str, str]) -> list[str]:
    """Return the lines of a timeline that is `width` cells wide."""
    devices = {device["uuid"]: f"GPU {plain(device['label'], 8)}" for device in answer["devices"]}
    gutter = max([7, *map(cell_width, devices.values())]) + 1
    scale = _Scale(
        from_iso(answer["from_at"]),
        from_iso(answer["until_at"]),
        words.at_ms(answer),
        max(_LEAST_BAR, width - gutter),
    )
    lines = [" " * gutter + scale.axis()]
    entries = sorted(answer["entries"], key=lambda entry: (entry["from_at"], entry["until_at"]))
    by_device: dict[str, list[dict[str, Any]]] = {uuid: [] for uuid in devices}
    unbound = []
    for entry in entries:
        if entry["uuid"] in by_device:
            by_device[entry["uuid"]].append(entry)
        else:
            unbound.append(entry)
    lines += [
        f"{label:<{gutter}}" + scale.row(by_device[uuid], fills) for uuid, label in devices.items()
    ]
    lines += [f"{_gutter_word(entry):<{gutter}}" + scale.row([entry], fills) for entry in unbound]
    used = {"now", *(entry["kind"] for entry in entries)}
    legend = "  ".join(f"{fill} {kind}" for kind, fill in fills.items() if kind in used)
    return [
        line.rstrip()
        for line in [
            *lines,
            " " * gutter + (legend if entries else "nothing runs and nothing is booked"),
        ]
    ]


def _gutter_word(entry: dict[str, Any]) -> str:
    """Return what stands before a bar that is on no device yet: `2 any`."""
    return "all" if entry["kind"] == "blackout" else f"{entry['gpus']} any"


class _Scale:
    """Time to cells."""

    def __init__(self, from_ms: int, until_ms: int, now_ms: int, cells: int) -> None:
        self._from_ms = from_ms
        self._until_ms = max(until_ms, from_ms + 1)
        self._now_ms = now_ms
        self._cells = cells

    def _cell(self, ms: int) -> int:
        cell = (ms - self._from_ms) * self._cells // (self._until_ms - self._from_ms)
        return max(0, min(self._cells, cell))

    def axis(self) -> str:
        """Return local times at round distances: `20:00`, at midnight `Mon 23`."""
        line = ""
        for ms in self._ticks():
            at = time.localtime(ms / 1000)
            midnight = (at.tm_hour, at.tm_min) == (0, 0)
            label = time.strftime("%a %d" if midnight else "%H:%M", at)
            cell = self._cell(ms)
            if cell + len(label) <= self._cells and (not line or cell > len(line)):
                line = line.ljust(cell) + label
        return line

    def _ticks(self) -> range:
        """Return instants at whole steps of local time, as close as their labels allow."""
        span_ms = self._until_ms - self._from_ms
        wanted_s = span_ms / 1000 * _TICK_CELLS / self._cells
        step_s = next((step for step in _STEPS_S if step >= wanted_s), _STEPS_S[-1])
        offset_ms = (time.localtime(self._from_ms / 1000).tm_gmtoff or 0) * 1000
        step_ms = max(step_s * 1000, span_ms // self._cells)
        first = -(-(self._from_ms + offset_ms) // step_ms) * step_ms - offset_ms
        return range(first, self._until_ms, step_ms)

    def row(self, entries: list[dict[str, Any]], fills: dict[str, str]) -> str:
        """Return the bars of one row; a later entry is drawn over an earlier one."""
        row = [" "] * self._cells
        if self._from_ms < self._now_ms < self._until_ms:
            row[min(self._cell(self._now_ms), self._cells - 1)] = fills["now"]
        for entry in entries:
            start, end = (
                self._cell(from_iso(entry["from_at"])),
                self._cell(from_iso(entry["until_at"])),
            )
            start = min(start, self._cells - 1)
            end = max(end, start + 1)
            row[start:end] = _bar(entry, end - start, fills.get(entry["kind"], "?"))
        return "".join(row)


def _bar(entry: dict[str, Any], cells: int, fill: str) -> list[str]:
    """Return the cells of one bar with as much of its title as fits; the cell after a wide character is empty."""
    name = entry["name"] or (f"job {entry['job_id']}" if entry["job_id"] else "")
    title = plain(f"{entry['user']} {name}".strip(), cells - 2)
    if cells < 5 or not title:
        return [fill] * cells
    bar = [fill]
    for char in title:
        size = cell_width(char)
        if size == 0:
            bar[-1] += char
        else:
            bar += [char, *[""] * (size - 1)]
    return bar + [fill] * (cells - len(bar))
