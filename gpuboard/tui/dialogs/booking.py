"""The form for a booking: what it would get, or why not and the nearest windows, while one types."""

from __future__ import annotations

from gpuboard.errors import InvalidRequest
from gpuboard.model.requests import ReserveRequest
from gpuboard.model.views import ReserveResult
from gpuboard.tui.commandlines import reserve_line
from gpuboard.tui.dialogs.form import Field, Form, whole_number
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.instants import clock_of, epoch_s
from gpuboard.tui.localzone import zone_name


class BookingScreen(Form[ReserveRequest, ReserveResult]):
    """A booking; `like` fills it in."""

    FIELDS = (
        Field("gpus", "GPUs", "1", ("gpu_ids",)),
        Field("duration", "for", "1h30m, 90m, 1-00:00:00", ("until",)),
        Field(
            "at", "from", "now   (14:30, tomorrow 09:00, 2026-11-24 09:00)", ("from_at", "begin")
        ),
        Field("name", "name", "paper deadline"),
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
        return ReserveRequest(
            gpus=whole_number(values, "gpus", default=1, least=1),
            duration=values["duration"],
            at=values["at"],
            name=values["name"],
            timezone=zone_name(),
        )

    def line_of(self, request: ReserveRequest) -> str:
        """Return the command line."""
        return reserve_line(request)

    def ask(self, request: ReserveRequest) -> ReserveResult:
        """Ask what it would get."""
        import msgspec

        return self.gpuboard.source.reserve(msgspec.structs.replace(request, dry_run=True))

    def answer_parts(self, answer: ReserveResult) -> tuple[list[Part], list[Part]]:
        """Say which devices, when, and what is on them now."""
        more: list[Part] = []
        if answer.reservation.on_them_now:
            more = [("now: " + clean("; ".join(answer.reservation.on_them_now)), "dim")]
        return [("can be booked: ", "free!"), (self._window(answer), "text")], more

    def send(self, request: ReserveRequest) -> str:
        """Book it."""
        answer = self.gpuboard.source.reserve(request)
        return f"booking {answer.reservation.id}: {self._window(answer)}"

    def _window(self, answer: ReserveResult) -> str:
        view = answer.reservation
        now = self.gpuboard.now_iso
        now_s = epoch_s(now) if now else 0
        labels = ",".join(clean(device.label) for device in view.devices)
        gpus = f"GPU {labels}" if labels else f"{view.gpus} GPUs"
        return f"{gpus}, {clock_of(view.from_at, now_s)} until {clock_of(view.until_at, now_s)}"
