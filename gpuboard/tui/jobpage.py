"""The parts of a job's page that are more than facts: live charts of its devices, and its attempts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpuboard.model.views.devices import DeviceRef
from gpuboard.model.views.events import EventView
from gpuboard.tui.graphs import history
from gpuboard.tui.histories import Past, Samples
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.instants import clock_of, epoch_s, span
from gpuboard.tui.theme import Glyphs

Line = list[Part]
CHART_LINES = 3
CHARTED = 8
"""Devices of a job that are charted at most."""
_ENDS = ("succeeded", "failed", "cancelled", "timed_out", "preempted", "lost")


def chart_lines(
    devices: Sequence[DeviceRef],
    past_of: Callable[[str], Past],
    ran_s: int,
    width: int,
    glyphs: Glyphs,
) -> list[Line]:
    """Return utilisation and memory of a job's devices as charts beside each other.

    Of a device's past (a sample a second) only what lies in the `ran_s` seconds of the job is shown.
    """
    lines: list[Line] = []
    half = max(8, (width - 6) // 2)
    for device in devices[:CHARTED]:
        past = past_of(device.uuid)
        label = clean(device.label)
        uses, memories = (_last_of(row, ran_s) for row in (past.utilization, past.memory))
        use, memory = _last(uses), _last(memories)
        head = f"  GPU {label}  utilisation {use}"
        lines.append([(head.ljust(half + 4), "text"), (f"memory {memory}", "text")])
        charts = (
            history(uses, half, CHART_LINES, glyphs),
            history(memories, half, CHART_LINES, glyphs),
        )
        for left, right in zip(*charts, strict=True):
            lines.append([("  ", "text"), (left, "mine"), ("  ", "text"), (right, "booked")])
    more = len(devices) - CHARTED
    return [*lines, [(f"  and {more} more", "dim")]] if more > 0 else lines


def _last_of(samples: Samples, count: int) -> Samples:
    return samples[-count:] if count > 0 else ()


def _last(samples: Samples) -> str:
    return "n/a" if not samples or samples[-1] is None else f"{samples[-1]}%"


@dataclass(frozen=True)
class Attempt:
    """One start of a job, as its events tell it."""

    number: int
    started_at: str
    ended_at: str = ""
    how: str = ""


def attempts_of(events: Sequence[EventView]) -> list[Attempt]:
    """Return a job's attempts, the first first."""
    found: list[Attempt] = []
    for event in events:
        state = event.kind.removeprefix("job.")
        if state == "starting":
            found.append(Attempt(len(found) + 1, event.at))
        elif state in _ENDS and found and not found[-1].ended_at:
            last = found[-1]
            found[-1] = Attempt(last.number, last.started_at, event.at, event.words)
    return found


def attempt_lines(attempts: Sequence[Attempt], now_s: int) -> list[Line]:
    """Return attempts as lines: when each began, how long it took, how it ended."""
    lines: list[Line] = []
    for each in attempts:
        end_s = epoch_s(each.ended_at) if each.ended_at else now_s
        took = span(end_s - epoch_s(each.started_at))
        how = clean(each.how) or "goes on"
        begun = f"  {each.number:>3}  {clock_of(each.started_at, now_s):<12} {took:>6}  "
        lines.append([(begun, "dim"), (how, "text")])
    return lines
