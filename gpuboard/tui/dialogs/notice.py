"""The form for an admin's words to everybody."""

from __future__ import annotations

from gpuboard.model.requests import NoticeRequest
from gpuboard.model.text import quote_command
from gpuboard.tui.dialogs.form import Field, Form
from gpuboard.tui.ink import Part, clean


class NoticeScreen(Form[NoticeRequest, NoticeRequest]):
    """A notice; empty words take the notices back."""

    FIELDS = (
        Field("text", "words", "the box goes down on Friday 18:00   (empty: take all back)"),
        Field("duration", "for", "2h, 1-00:00:00   (empty: until taken back)"),
    )
    SEND = "publish"

    def __init__(self) -> None:
        super().__init__("A notice to everybody", {})

    def request(self, values: dict[str, str]) -> NoticeRequest:
        """Return the notice."""
        return NoticeRequest(text=values["text"], duration=values["duration"])

    def line_of(self, request: NoticeRequest) -> str:
        """Return the command line."""
        words = ["gpuboard", "admin", "notice"]
        if not request.text:
            return quote_command([*words, "--clear"])
        if request.duration:
            words += ["--for", str(request.duration)]
        return quote_command([*words, request.text])

    def ask(self, request: NoticeRequest) -> NoticeRequest:
        """Nothing is asked: what everybody will see is what is typed."""
        return request

    def answer_parts(self, answer: NoticeRequest) -> tuple[list[Part], list[Part]]:
        """Show it as everybody will see it."""
        if not answer.text:
            return [("all notices are taken back", "warn")], []
        return [("everybody sees: ", "dim"), (clean(answer.text), "warn")], []

    def send(self, request: NoticeRequest) -> str:
        """Publish it."""
        return self.gpuboard.source.notice(request).words
