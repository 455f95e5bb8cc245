"""Forms of an admin: a device out of service, a maintenance window, a copy of the database."""

from __future__ import annotations

from gpuboard.errors import InvalidRequest
from gpuboard.model.requests import BlackoutRequest, DrainRequest
from gpuboard.model.text import quote_command
from gpuboard.tui.dialogs.form import Field, Form
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.localzone import zone_name


class DrainScreen(Form[DrainRequest, str]):
    """Devices that get no new job, and why."""

    FIELDS = (
        Field("gpu_ids", "GPUs", "2,3"),
        Field("note", "why", "fan broken   (everybody sees it)"),
    )
    SEND = "drain"

    def __init__(self, label: str) -> None:
        super().__init__("Take GPUs out of service", {"gpu_ids": label})

    def request(self, values: dict[str, str]) -> DrainRequest:
        """Return the devices; the daemon would take none for all."""
        return DrainRequest(gpu_ids=_ids(values["gpu_ids"], is_needed=True), note=values["note"])

    def line_of(self, request: DrainRequest) -> str:
        """Return the command line."""
        words = ["gpuboard", "admin", "drain", *request.gpu_ids]
        return quote_command([*words, *(["--note", request.note] if request.note else [])])

    def ask(self, request: DrainRequest) -> str:
        """Say what is there now."""
        board = self.gpuboard.snapshot.board
        known = {device.label: device for device in board.devices} if board else {}
        busy = [
            f"GPU {label}: {clean(known[label].user)}"
            for label in request.gpu_ids
            if label in known and known[label].user
        ]
        return ", ".join(busy)

    def answer_parts(self, answer: str) -> tuple[list[Part], list[Part]]:
        """Say what happens to what runs."""
        return (
            [("They get no new job; what runs on them goes on to its end.", "text")],
            [(f"now on them: {answer}", "dim")] if answer else [],
        )

    def send(self, request: DrainRequest) -> str:
        """Drain them."""
        return self.gpuboard.source.drain(request).words


class BlackoutScreen(Form[BlackoutRequest, str]):
    """A window in which nothing runs."""

    FIELDS = (
        Field("at", "from", "now   (saturday 08:00, 2026-11-24 09:00)", ("from_at",)),
        Field("duration", "for", "2h, 1-00:00:00", ("until",)),
        Field("gpu_ids", "GPUs", "all   (2,3)"),
        Field("note", "why", "new fans   (everybody sees it)"),
    )
    SEND = "announce"

    def __init__(self) -> None:
        super().__init__("Maintenance: nothing runs", {})

    def request(self, values: dict[str, str]) -> BlackoutRequest:
        """Return the window."""
        if not values["duration"]:
            raise InvalidRequest("say for how long", field="duration")
        return BlackoutRequest(
            at=values["at"],
            duration=values["duration"],
            gpu_ids=_ids(values["gpu_ids"]),
            note=values["note"],
            timezone=zone_name(),
        )

    def line_of(self, request: BlackoutRequest) -> str:
        """Return the command line."""
        words = ["gpuboard", "admin", "blackout", str(request.duration)]
        words += ["--at", request.at] if request.at else []
        words += ["--gpu-ids", ",".join(request.gpu_ids)] if request.gpu_ids else []
        words += ["--note", request.note] if request.note else []
        return quote_command(words)

    def ask(self, request: BlackoutRequest) -> str:
        """Nothing is asked: an admin's window is taken as it is."""
        return f"GPU {', '.join(request.gpu_ids)}" if request.gpu_ids else "all GPUs"

    def answer_parts(self, answer: str) -> tuple[list[Part], list[Part]]:
        """Say what it means."""
        return (
            [("nothing starts that could still run then, on ", "text"), (clean(answer), "warn")],
            [("what runs already goes on to its limit; its numbers are told", "dim")],
        )

    def send(self, request: BlackoutRequest) -> str:
        """Announce it."""
        return self.gpuboard.told(self.gpuboard.source.blackout(request).words)


class BackupScreen(Form[str, str]):
    """Where a copy of the database goes."""

    FIELDS = (Field("path", "file", "beside the database, named by the time"),)
    SEND = "write"

    def __init__(self) -> None:
        super().__init__("A copy of the database", {})

    def request(self, values: dict[str, str]) -> str:
        """Return the path on the daemon's box."""
        if values["path"] and not values["path"].startswith("/"):
            raise InvalidRequest("an absolute path is needed", field="path")
        return values["path"]

    def line_of(self, request: str) -> str:
        """Return the command line."""
        words = ["gpuboard", "admin", "db", "backup"]
        return quote_command([*words, request] if request else words)

    def ask(self, request: str) -> str:
        """Nothing is asked."""
        return request

    def answer_parts(self, answer: str) -> tuple[list[Part], list[Part]]:
        """Say what is written."""
        where = clean(answer) or "beside the database"
        return [("a checked copy, while everything goes on, ", "text"), (where, "accent")], []

    def send(self, request: str) -> str:
        """Write it."""
        return self.gpuboard.source.backup(request).words


def _ids(text: str, *, is_needed: bool = False) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if is_needed and not found:
        raise InvalidRequest("name the GPUs, for example 2,3", field="gpu_ids")
    return found
