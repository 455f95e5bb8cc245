"""Windows that can or cannot be had, as the booking forms tell them."""

from __future__ import annotations

from collections.abc import Callable

from gpuboard.model.views.bookings import ReservationView, ReserveResult, WindowView
from gpuboard.tui.dialogs.base import Line
from gpuboard.tui.ink import clean, wrapped
from gpuboard.tui.instants import clock_of, epoch_s, limit_words, local_words

SHOWN = 3


def window_words(view: ReservationView, now_s: int) -> str:
    """Return devices and window: `GPU 2, 14:00 until 15:30`."""
    labels = ",".join(clean(device.label) for device in view.devices)
    gpus = f"GPU {labels}" if labels else f"{view.gpus} GPU{'s' * (view.gpus != 1)}"
    return f"{gpus}, {clock_of(view.from_at, now_s)} until {clock_of(view.until_at, now_s)}"


def nearest_lines(
    answer: ReserveResult, told: Callable[[str], str], width: int, now_s: int
) -> list[Line]:
    """Return why a window cannot be had, and the nearest that can."""
    lines: list[Line] = [[(line, "bad")] for line in wrapped(told(answer.refused), width)]
    if not answer.windows:
        return [*lines, [("no window of this length is free soon", "text")]]
    for place, window in enumerate(answer.windows[:SHOWN]):
        begin, end = clock_of(window.from_at, now_s), clock_of(window.until_at, now_s)
        how = "   ctrl+t takes it" if place == 0 else ""
        head = "free:   " if place == 0 else "        "
        lines.append([(head, "free!"), (f"{begin} until {end}", "text"), (how, "dim")])
    return lines


def take_nearest(window: WindowView) -> dict[str, str]:
    """Return a window as a form's fields `at` and `duration`, in local time."""
    begin, end = epoch_s(window.from_at), epoch_s(window.until_at)
    at = local_words(begin)
    if begin % 60:
        # The minute that has begun is past: the next one is inside the window all the same.
        at = local_words(begin + 60 - begin % 60)
    return {"at": at, "duration": limit_words(end - begin)}
