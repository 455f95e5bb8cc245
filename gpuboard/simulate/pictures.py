"""Simulations as a picture: waits, who held which GPU, and who had which part of the box when.

Of many people those who held most have a colour of their own and the others share one. Colours are
those of Okabe and Ito ("Color universal design", 2008), told apart by the colour-blind as well;
policies have dashes of their own besides. A picture is as large as its charts, not as its trace:
time is cut into the columns of the chart, and what was held for most of a column is drawn.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from gpuboard.model.text import plain
from gpuboard.simulate.metrics import quantile
from gpuboard.simulate.played import Played, Run, wait_s
from gpuboard.simulate.svg import FAINT, Drawing

PEOPLE_COLORS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#000000",
)
OTHERS_COLOR = "#9a9a9a"
POLICY_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 4", "14 3 3 3")

WIDTH = 1200
LEFT, RIGHT = 70, 190
PLOT = WIDTH - LEFT - RIGHT
COLUMNS = 940
"""Of a chart over time: one a px."""
GANTT_HEIGHT, SHARES_HEIGHT, WAITS_HEIGHT = 230, 130, 260
LONGEST_NAME = 20

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
WAIT_TICKS = (
    (1, "1 s"), (10, "10 s"), (MINUTE_S, "1 min"), (10 * MINUTE_S, "10 min"), (HOUR_S, "1 h"),
    (4 * HOUR_S, "4 h"), (DAY_S, "1 d"), (3 * DAY_S, "3 d"), (7 * DAY_S, "1 w"),
    (28 * DAY_S, "4 w"), (182 * DAY_S, "26 w"),
)  # fmt: skip
TIME_STEPS_S = (
    MINUTE_S, 5 * MINUTE_S, 15 * MINUTE_S, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, DAY_S, 2 * DAY_S,
    7 * DAY_S, 14 * DAY_S, 28 * DAY_S, 56 * DAY_S, 91 * DAY_S, 182 * DAY_S, 364 * DAY_S,
)  # fmt: skip
MOST_TIME_TICKS = 12


class Frame(NamedTuple):
    """Where a chart is, and what its x axis means."""

    x: float
    y: float
    width: float
    height: float
    until_s: float
    """Time at the right edge; the left one is the trace's begin."""

    def at(self, second: float) -> float:
        """Return the x of an instant (s)."""
        return self.x + self.width * min(1.0, max(0.0, second / self.until_s))


def picture_of(trace: str, gpus: int, played: Mapping[str, Played]) -> str:
    """Return an SVG of what was played, by the policy's name."""
    panel = GANTT_HEIGHT + SHARES_HEIGHT + 150
    height = 190 + WAITS_HEIGHT + panel * len(played)
    title = f"{trace or 'trace'} on {gpus} GPU{'s' if gpus > 1 else ''}"
    drawing = Drawing(WIDTH, height, title)
    drawing.label(LEFT, 34, title, size=20, bold=True)
    _waits(drawing, 90, played)
    until_s = max((one.until_s for one in played.values()), default=1.0) or 1.0
    colors = _colors(played)
    y = 190 + WAITS_HEIGHT
    for name, one in played.items():
        drawing.label(LEFT, y - 28, name, size=16, bold=True)
        frame = Frame(LEFT, y, PLOT, GANTT_HEIGHT, until_s)
        _gantt(drawing, frame, gpus, one.runs, colors)
        shares = Frame(LEFT, y + GANTT_HEIGHT + 50, PLOT, SHARES_HEIGHT, until_s)
        _shares(drawing, shares, gpus, one.runs, colors)
        _legend(drawing, y, gpus, one, colors)
        y += panel
    return drawing.text()


# waits


def _waits(drawing: Drawing, y: float, played: Mapping[str, Played]) -> None:
    """Draw which part of the jobs had waited no longer than so long."""
    waits = {name: sorted(map(wait_s, one.outcomes)) for name, one in played.items()}
    longest = max((own[-1] for own in waits.values() if own), default=0.0)
    ticks = WAIT_TICKS[: max(4, 1 + sum(seconds < longest for seconds, _ in WAIT_TICKS))]
    drawing.label(
        LEFT, y - 14, "Waits: the part of the jobs that waited no longer than …", bold=True
    )
    for part in (0, 25, 50, 75, 100):
        line_y = y + WAITS_HEIGHT * (1 - part / 100)
        drawing.line(LEFT, line_y, LEFT + PLOT, line_y, FAINT)
        drawing.label(LEFT - 8, line_y + 4, f"{part} %", anchor="end")
    for seconds, words in ticks:
        x = LEFT + PLOT * _wait_place(seconds, ticks)
        drawing.line(x, y, x, y + WAITS_HEIGHT, FAINT)
        drawing.label(x, y + WAITS_HEIGHT + 16, words, anchor="middle")
    drawing.label(LEFT + PLOT / 2, y + WAITS_HEIGHT + 34, "wait (logarithmic)", anchor="middle")
    for number, (name, own) in enumerate(waits.items()):
        color = PEOPLE_COLORS[number % 6]
        dash = POLICY_DASHES[number % len(POLICY_DASHES)]
        drawing.curve(_wait_curve(own, y, ticks), color, dash=dash)
        key_y = y + 14 + 34 * number
        drawing.curve([(LEFT + PLOT + 14, key_y), (LEFT + PLOT + 44, key_y)], color, dash=dash)
        drawing.label(LEFT + PLOT + 50, key_y + 4, _short(name))
        if own:
            spread = f"median {_span(quantile(own, 0.5))}, 95 % {_span(quantile(own, 0.95))}"
            drawing.label(LEFT + PLOT + 14, key_y + 18, spread, size=10)


def _wait_curve(
    waits: Sequence[float], y: float, ticks: Sequence[tuple[int, str]]
) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for column in range(0, PLOT + 1, 2):
        seconds = _wait_at(column / PLOT, ticks)
        part = bisect_left(waits, seconds + 1e-6) / len(waits) if waits else 0.0
        points.append((LEFT + column, y + WAITS_HEIGHT * (1 - part)))
    return points


def _wait_place(seconds: float, ticks: Sequence[tuple[int, str]]) -> float:
    """Return where a wait is on the axis (0..1): evenly between ticks, logarithmic in effect."""
    number = next(n for n, (tick, _) in enumerate(ticks) if tick == seconds)
    return number / (len(ticks) - 1)


def _wait_at(place: float, ticks: Sequence[tuple[int, str]]) -> float:
    """Return the wait (s) at a place (0..1) of the axis."""
    step = place * (len(ticks) - 1)
    low = min(int(step), len(ticks) - 2)
    first, second = ticks[low][0], ticks[low + 1][0]
    return float(first * (second / first) ** (step - low))


# time


def _time_axis(drawing: Drawing, frame: Frame) -> None:
    step_s = next(
        (step for step in TIME_STEPS_S if frame.until_s / step <= MOST_TIME_TICKS), TIME_STEPS_S[-1]
    )
    unit_s, unit = next(
        (one for one in ((DAY_S, "days"), (HOUR_S, "hours")) if step_s % one[0] == 0),
        (MINUTE_S, "minutes"),
    )
    bottom = frame.y + frame.height
    for second in range(0, int(frame.until_s) + 1, step_s):
        drawing.line(frame.at(second), bottom, frame.at(second), bottom + 4)
        drawing.label(
            frame.at(second), bottom + 17, str(second // unit_s), anchor="middle", size=11
        )
    drawing.label(
        frame.x + frame.width, bottom + 30, f"{unit} since the first job", anchor="end", size=11
    )
    drawing.line(frame.x, bottom, frame.x + frame.width, bottom)


def _gantt(
    drawing: Drawing, frame: Frame, gpus: int, runs: Sequence[Run], colors: Mapping[str, str]
) -> None:
    """Draw a row a GPU: in each column whoever held it for most of that time."""
    drawing.label(frame.x, frame.y - 8, "Who held which GPU (blank: idle)", bold=True)
    drawing.rect(frame.x, frame.y, frame.width, frame.height, "#f7f7f7")
    row_height = frame.height / gpus
    column_s = frame.until_s / COLUMNS
    rows: list[list[Run]] = [[] for _ in range(gpus)]
    for run in runs:
        for device in run.devices:
            rows[device].append(run)
    for device, own in enumerate(rows):
        y = frame.y + device * row_height
        columns = _most_of_each(own, column_s, colors)
        for color, same in groupby(range(COLUMNS), key=columns.__getitem__):
            held = list(same)
            if color:
                x = frame.x + held[0] * frame.width / COLUMNS
                width = len(held) * frame.width / COLUMNS
                drawing.rect(x, y, width, max(0.8, row_height - (row_height > 4)), color)
    every = max(1, -(-gpus // 16))
    for device in range(0, gpus, every):
        y = frame.y + (device + 0.5) * row_height + 4
        drawing.label(frame.x - 8, y, str(device), anchor="end", size=11)
    drawing.label(frame.x - 42, frame.y + frame.height / 2, "GPU", anchor="middle", turned=True)
    _time_axis(drawing, frame)


def _most_of_each(runs: Sequence[Run], column_s: float, colors: Mapping[str, str]) -> list[str]:
    """Return for each column the colour that held most of it; empty where it was idle for most."""
    held: list[dict[str, float]] = [{} for _ in range(COLUMNS)]
    for run in runs:
        color = colors[run.user]
        first, last = int(run.start_s / column_s), int(run.end_s / column_s)
        for column in range(first, min(last + 1, COLUMNS)):
            own_s = min(run.end_s, (column + 1) * column_s) - max(run.start_s, column * column_s)
            held[column][color] = held[column].get(color, 0.0) + own_s
    found = []
    for of_color in held:
        busiest = max(of_color.items(), key=lambda item: item[1], default=("", 0.0))
        found.append(busiest[0] if sum(of_color.values()) * 2 >= column_s else "")
    return found


def _shares(
    drawing: Drawing, frame: Frame, gpus: int, runs: Sequence[Run], colors: Mapping[str, str]
) -> None:
    """Draw the part of the box that each had over time, one upon the other."""
    drawing.label(frame.x, frame.y - 8, "The part of the box that each held", bold=True)
    bins = 188
    bin_s = frame.until_s / bins
    held: dict[str, list[float]] = {color: [0.0] * bins for color in dict.fromkeys(colors.values())}
    for run in runs:
        own = held[colors[run.user]]
        for number in range(int(run.start_s / bin_s), min(int(run.end_s / bin_s) + 1, bins)):
            own_s = min(run.end_s, (number + 1) * bin_s) - max(run.start_s, number * bin_s)
            own[number] += max(0.0, own_s) * len(run.devices) / (gpus * bin_s)
    for part in (0, 50, 100):
        y = frame.y + frame.height * (1 - part / 100)
        drawing.line(frame.x, y, frame.x + frame.width, y, FAINT)
        drawing.label(frame.x - 8, y + 4, f"{part} %", anchor="end", size=11)
    below = [0.0] * bins
    for color, own in held.items():
        above = [low + part for low, part in zip(below, own, strict=True)]
        if any(own):
            drawing.area(_band(frame, below, above), color)
        below = above
    _time_axis(drawing, frame)


def _band(
    frame: Frame, below: Sequence[float], above: Sequence[float]
) -> list[tuple[float, float]]:
    """Return the outline of what is between two stepped lines."""
    width = frame.width / len(above)

    def steps(parts: Sequence[float]) -> list[tuple[float, float]]:
        points: list[tuple[float, float]] = []
        for number, part in enumerate(parts):
            y = frame.y + frame.height * (1 - min(part, 1.0))
            points += [(frame.x + number * width, y), (frame.x + (number + 1) * width, y)]
        return points

    return steps(above) + steps(below)[::-1]


# people


def _colors(played: Mapping[str, Played]) -> dict[str, str]:
    """Return everybody's colour, those first who held most under the first policy."""
    first = next(iter(played.values()), None)
    held = _held_s(first.runs) if first else {}
    known = {run.user for one in played.values() for run in one.runs}
    ranked = sorted(known, key=lambda user: (-held.get(user, 0.0), user))
    own = len(PEOPLE_COLORS)
    colors = dict(zip(ranked, PEOPLE_COLORS, strict=False))
    return colors | dict.fromkeys(ranked[own:], OTHERS_COLOR)


def _held_s(runs: Sequence[Run]) -> dict[str, float]:
    held: dict[str, float] = {}
    for run in runs:
        seconds = (run.end_s - run.start_s) * len(run.devices)
        held[run.user] = held.get(run.user, 0.0) + seconds
    return held


def _legend(
    drawing: Drawing, y: float, gpus: int, played: Played, colors: Mapping[str, str]
) -> None:
    """Name the colours, each with its part of what was held."""
    held = _held_s(played.runs)
    total = sum(held.values()) or 1.0
    rows = [(user, color) for user, color in colors.items() if color != OTHERS_COLOR]
    rest = [user for user, color in colors.items() if color == OTHERS_COLOR]
    entries = [
        (color, f"{_short(user)}  {held.get(user, 0.0) / total:.0%}") for user, color in rows
    ]
    if rest:
        part = sum(held.get(user, 0.0) for user in rest) / total
        entries.append((OTHERS_COLOR, f"{len(rest)} others  {part:.0%}"))
    x = LEFT + PLOT + 14
    drawing.label(x, y - 8, "of all that was held", size=11)
    for number, (color, words) in enumerate(entries):
        key_y = y + 4 + 20 * number
        drawing.rect(x, key_y, 14, 12, color)
        drawing.label(x + 20, key_y + 10, words)
    used = total / (gpus * played.until_s) if played.until_s and held else 0.0
    drawing.label(x, y + 24 + 20 * len(entries), f"box held {used:.0%}", size=11)


def _short(words: str) -> str:
    shown = plain(words)
    return shown if len(shown) <= LONGEST_NAME else shown[: LONGEST_NAME - 1] + "…"


def _span(seconds: float) -> str:
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.0f} s"
