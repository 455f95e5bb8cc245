"""The form for a booking: what it would get, or why not and the nearest windows, while one types."""

from __future__ import annotations

from gpuboard.errors import InvalidRequest
from gpuboard.model.requests import ReserveRequest
from gpuboard.model.views.bookings import ReservationView, ReserveResult
from gpuboard.tui.bindings import WINDOW, bindings
from gpuboard.tui.commandlines import reserve_line
from gpuboard.tui.dialogs.base import Line
from gpuboard.tui.dialogs.form import Field, Form, Request, whole_number
from gpuboard.tui.dialogs.windows import (
    nearest_lines,
    take_nearest,
    window_words,
)
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import clock_of, epoch_s
from gpuboard.tui.localzone import zone_name


class WindowForm(Form[Request, ReserveResult]):
    """A form that asks for a window: a refusal tells the nearest ones, and a key takes the first."""

    BINDINGS = bindings(WINDOW)
    MORE_WAYS = WINDOW

    def __init__(self, title: str, values: dict[str, str]) -> None:
        super().__init__(title, values)
        self._nearest: ReserveResult | None = None

    def action_take_nearest(self) -> None:
        """Fill in the nearest window that can be had."""
        if self._nearest is None or not self._nearest.windows:
            self.gpuboard.say("there is no other window to take")
            return
        for name, value in take_nearest(self._nearest.windows[0]).items():
            self.fill(name, value)

    def answer_lines(self, answer: ReserveResult) -> list[Line]:
        """Say what it would get, or why not and when."""
        self._nearest = answer if answer.refused else None
        if answer.refused:
            return nearest_lines(answer, self.gpuboard.told, self.width, self.now_s)
        return self.had_lines(answer)

    def had_lines(self, answer: ReserveResult) -> list[Line]:
        """Return what is said of a window that can be had."""
        view = answer.reservation
        lines: list[Line] = [
            [("can be booked: ", "free!"), (window_words(view, self.now_s), "text")]
        ]
        if view.on_them_now:
            now = "; ".join(self.gpuboard.told(words) for words in view.on_them_now)
            lines.append([("now: " + now, "dim")])
        if len(answer.series) > 1:
            lines.append([(series_words(answer.series, self.now_s), "text")])
        return lines

    @property
    def now_s(self) -> int:
        """The daemon's now."""
        now = self.gpuboard.now_iso
        return epoch_s(now) if now else 0


class BookingScreen(WindowForm[ReserveRequest]):
    """A booking; `like` fills it in."""

    FIELDS = (
        Field("gpus", "GPUs", "1", ("gpu_ids",)),
        Field("duration", "for", "1h30m, 90m, 1-00:00:00"),
        Field(
            "at", "from", "now   (14:30, tomorrow 09:00, 2026-11-24 09:00)", ("from_at", "begin")
        ),
        Field("name", "name", "paper deadline"),
        Field("repeat", "repeat", "never   (daily, weekly, weekdays, FREQ=WEEKLY;BYDAY=MO,TH)"),
        Field("times", "how often", "8   (or until when: 2026-12-24)", ("count", "until")),
    )
    SEND = "book"

    def __init__(self, like: ReserveRequest | None = None) -> None:
        values = {"gpus": "1", "duration": "1h"}
        if like is not None:
            values = {
                "gpus": str(like.gpus),
                "duration": str(like.duration),
                "at": like.at,
                "name": like.name,
            }
        super().__init__("Book GPUs", values)

    def request(self, values: dict[str, str]) -> ReserveRequest:
        """Return the booking."""
        if not values["duration"]:
            raise InvalidRequest("say for how long", field="duration")
        times = values["times"]
        if times and not values["repeat"]:
            raise InvalidRequest("say how it repeats: daily, weekly, weekdays", field="repeat")
        return ReserveRequest(
            gpus=whole_number(values, "gpus", default=1, least=1),
            duration=values["duration"],
            at=values["at"],
            name=values["name"],
            timezone=zone_name(),
            repeat=values["repeat"],
            count=int(times) if times.isdecimal() and len(times) < 6 else None,
            until="" if times.isdecimal() and len(times) < 6 else times,
        )

    def line_of(self, request: ReserveRequest) -> str:
        """Return the command line."""
        return reserve_line(request)

    def ask(self, request: ReserveRequest) -> ReserveResult:
        """Ask what it would get."""
        import msgspec

        trial = msgspec.structs.replace(request, dry_run=True, suggest=True)
        return self.gpuboard.source.reserve(trial)

    def send(self, request: ReserveRequest) -> str:
        """Book it."""
        answer = self.gpuboard.source.reserve(request)
        words = f"booking {answer.reservation.id}: {window_words(answer.reservation, self.now_s)}"
        more = len(answer.series) - 1
        return f"{words}, and {more} more" if more > 0 else words


def series_words(series: list[ReservationView], now_s: int) -> str:
    """Return the rest of a series in words."""
    last = clean(clock_of(series[-1].from_at, now_s))
    return f"and {len(series) - 1} more like it, the last one {last}"
