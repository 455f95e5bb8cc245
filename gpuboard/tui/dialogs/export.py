"""The form for a calendar file of the bookings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gpuboard.errors import InvalidRequest
from gpuboard.model.text import quote_command
from gpuboard.model.views.bookings import ReservationView
from gpuboard.tui.dialogs.form import Field, Form
from gpuboard.tui.ink import Part, clean

DEFAULT_NAME = "gpuboard.ics"


@dataclass(frozen=True)
class ExportRequest:
    """Which bookings, and where to."""

    path: str
    is_mine: bool


class ExportScreen(Form[ExportRequest, int]):
    """A file in the person's own home; what was there is replaced only when it is a calendar."""

    FIELDS = (
        Field("path", "file", "~/gpuboard.ics"),
        Field("whose", "whose", "mine   (or: all)"),
    )
    SEND = "write"

    def __init__(self, *, is_mine: bool) -> None:
        values = {"path": f"~/{DEFAULT_NAME}", "whose": "mine" if is_mine else "all"}
        super().__init__("Bookings as a calendar file", values)

    def request(self, values: dict[str, str]) -> ExportRequest:
        """Return where to write what."""
        if values["whose"] not in ("", "mine", "all"):
            raise InvalidRequest("mine, or all", field="whose")
        path = Path(values["path"] or f"~/{DEFAULT_NAME}").expanduser()
        if not path.is_absolute():
            raise InvalidRequest("an absolute path, or one that begins with ~", field="path")
        return ExportRequest(str(path), values["whose"] != "all")

    def line_of(self, request: ExportRequest) -> str:
        """Return the command line."""
        words = ["gpuboard", "reservations", *(["--mine"] if request.is_mine else []), "--ics"]
        home, path = str(Path.home()), request.path
        inside = path.startswith(f"{home}/")
        target = f"~/{quote_command([path[len(home) + 1 :]])}" if inside else quote_command([path])
        return f"{quote_command(words)} > {target}"

    def ask(self, request: ExportRequest) -> int:
        """Count what would be in it."""
        return len(self._bookings(request))

    def answer_parts(self, answer: int) -> tuple[list[Part], list[Part]]:
        """Say how many."""
        return [(f"{answer} booking{'s' * (answer != 1)}", "text")], []

    def send(self, request: ExportRequest) -> str:
        """Write it, whole or not at all."""
        from gpuboard.model.calendarfile import calendar_text

        board = self.gpuboard.snapshot.board
        hostname = board.host.hostname if board else "box"
        text = calendar_text(self._bookings(request), hostname, self.gpuboard.now_iso)
        target = Path(request.path)
        try:
            if target.exists() and not target.read_bytes().startswith(b"BEGIN:VCALENDAR"):
                raise InvalidRequest(f"{target} is there and is no calendar", field="path")
            beside = target.with_name(f".{target.name}.{os.getpid()}")
            beside.write_bytes(text)
            beside.replace(target)
        except OSError as error:
            raise InvalidRequest(
                f"{target} cannot be written: {error.strerror}", field="path"
            ) from error
        return f"written: {clean(str(target))}"

    def _bookings(self, request: ExportRequest) -> list[ReservationView]:
        known = self.gpuboard.snapshot.reservations
        rows = known.reservations if known else []
        return [row for row in rows if row.mine or not request.is_mine]
