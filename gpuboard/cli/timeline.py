"""`timeline`: what ran, runs, is booked and is forecast, as bars; a row a device."""

from __future__ import annotations

import sys
from typing import Any

import click

from gpuboard.cli import words
from gpuboard.cli.session import Session, json_option, pass_session
from gpuboard.cli.tables import output_width
from gpuboard.model.instants import format_local, from_iso
from gpuboard.model.text import cell_width, plain

_FILLS = {"ran": "░", "running": "█", "booking": "▓", "forecast": "·", "blackout": "x"}
_ASCII_FILLS = {"ran": "-", "running": "#", "booking": "=", "forecast": ".", "blackout": "x"}
_PIPE_WIDTH = 100
_LEAST_BAR = 20
_TICK_CELLS = 18


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
    try:
        "".join(_FILLS.values()).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _ASCII_FILLS
    return _FILLS


def draw(answer: dict[str, Any], width: int, fills: dict[str, str]) -> list[str]:
    """Return the lines of a timeline that is `width` cells wide."""
    now = words.at_ms(answer)
    devices = {device["uuid"]: f"GPU {plain(device['label'], 8)}" for device in answer["devices"]}
    gutter = max([7, *map(cell_width, devices.values())]) + 1
    scale = _Scale(
        from_iso(answer["from_at"]), from_iso(answer["until_at"]), max(_LEAST_BAR, width - gutter)
    )
    lines = [" " * gutter + scale.axis(now)]
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
    used = {entry["kind"] for entry in entries}
    legend = "  ".join(f"{fill} {kind}" for kind, fill in fills.items() if kind in used)
    return [
        line.rstrip()
        for line in [*lines, " " * gutter + (legend or "nothing runs and nothing is booked")]
    ]


def _gutter_word(entry: dict[str, Any]) -> str:
    """Return what stands before a bar that is on no device yet: `2 any`."""
    return "all" if entry["kind"] == "blackout" else f"{entry['gpus']} any"


class _Scale:
    """Time to cells."""

    def __init__(self, from_ms: int, until_ms: int, cells: int) -> None:
        self._from_ms = from_ms
        self._span_ms = max(1, until_ms - from_ms)
        self._cells = cells

    def _cell(self, ms: int) -> int:
        return max(0, min(self._cells, (ms - self._from_ms) * self._cells // self._span_ms))

    def axis(self, now: int) -> str:
        """Return the ticks, in local time."""
        line = ""
        for cell in range(0, self._cells - 5, _TICK_CELLS):
            tick = "|" + format_local(self._from_ms + cell * self._span_ms // self._cells, now)
            line = line.ljust(cell)[:cell] + tick[: _TICK_CELLS - 1]
        return line[: self._cells]

    def row(self, entries: list[dict[str, Any]], fills: dict[str, str]) -> str:
        """Return the bars of one row; a later entry is drawn over an earlier one."""
        row = [" "] * self._cells
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
