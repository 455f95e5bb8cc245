"""A form: one line a field, errors named at the field, and a live answer to what is typed so far."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widgets import Input

from gpuboard.errors import GpuboardError, InvalidRequest
from gpuboard.tui.bindings import FORM, Key, bindings
from gpuboard.tui.dialogs.base import Dialog, Line, fault_lines
from gpuboard.tui.ink import Part, clean, width_of, wrapped
from gpuboard.tui.widgets.painted import ActionBar, Bar, Block

Request = TypeVar("Request")
Answer = TypeVar("Answer")
_OPTION = re.compile(r"^--[a-z-]+ ")
DEBOUNCE_S = 0.3
"""Typing pauses this long before the daemon is asked."""


@dataclass(frozen=True)
class Field:
    """One line of a form."""

    name: str
    label: str
    hint: str
    """Shown in the empty field."""
    also: tuple[str, ...] = ()
    """Other names under which an error may name it."""


class Form(Dialog[None], Generic[Request, Answer]):
    """Fields, the live answer, the command line, and the two ways out."""

    DEFAULT_CSS = """
    Form > .box { width: 78; }
    Form .field { height: 1; }
    Form .field Bar { width: 10; }
    Form .field Input { width: 1fr; background: $surface; }
    Form .field Input:focus { background: $panel; }
    Form .field .note { display: none; width: 32; }
    Form .fault { display: none; }
    Form .fault.-open { display: block; }
    """
    BINDINGS = bindings(FORM)
    FIELDS: Sequence[Field] = ()
    SEND = ""
    MORE_WAYS: ClassVar[Sequence[Key]] = ()
    """Keys of one form beside those of all."""

    def __init__(self, title: str, values: dict[str, str]) -> None:
        super().__init__(title)
        self._values = values
        self._timer: Timer | None = None
        self._asked = 0
        self._is_sending = False
        self._is_touched = False
        self._is_leaving = False
        """Whether it was told that another esc drops what is typed."""
        self.is_sent = False
        """Whether it was done: it then closes by itself."""
        self.line = ""
        """The same as a command line."""

    def content(self) -> ComposeResult:
        """Return the fields and what is below them."""
        yield Bar()
        for field in self.FIELDS:
            with Horizontal(classes="field"):
                yield Bar([(field.label, "dim")])
                yield Input(
                    self._values.get(field.name, ""),
                    placeholder=field.hint,
                    compact=True,
                    id=f"field-{field.name}",
                    select_on_focus=False,
                )
                yield Bar(id=f"note-{field.name}", ground="panel", classes="note")
            yield Bar(id=f"fault-{field.name}", classes="fault")
        yield Bar()
        yield Block(id="answer")
        yield Bar(id="line")
        yield Bar()
        yield ActionBar(ground="base", id="ways")

    def on_mount(self) -> None:
        """Ask for the answer to what is filled in already."""
        super().on_mount()
        self.query_one("#ways", ActionBar).show_items(
            [
                ([(" enter", "key!"), (f" {self.SEND} ", "text")], "screen.send"),
                *self.key_items(*FORM, *self.MORE_WAYS),
            ]
        )
        self.query(Input).first().focus()
        self._ask_soon()

    def values(self) -> dict[str, str]:
        """Return what is typed, by field."""
        return {field.name: self._input(field).value.strip() for field in self.FIELDS}

    def request(self, values: dict[str, str]) -> Request:
        """Return the request; raises InvalidRequest that names the field."""
        raise NotImplementedError

    def line_of(self, request: Request) -> str:
        """Return the request as a command line."""
        raise NotImplementedError

    def ask(self, request: Request) -> Answer:
        """Ask what the request would do (another thread)."""
        raise NotImplementedError

    def answer_parts(self, answer: Answer) -> tuple[list[Part], list[Part]]:
        """Return the answer in two lines."""
        raise NotImplementedError

    def answer_lines(self, answer: Answer) -> list[Line]:
        """Return the answer in as many lines as it takes."""
        first, second = self.answer_parts(answer)
        return [first, second] if second else [first]

    def fill(self, name: str, value: str) -> None:
        """Write a value into a field."""
        self.query_one(f"#field-{name}", Input).value = value

    def send(self, request: Request) -> str:
        """Do it (another thread); return what became of it, in words."""
        raise NotImplementedError

    def on_input_changed(self, event: Input.Changed) -> None:
        """Ask again when the typing pauses."""
        event.stop()
        self._is_leaving = False
        name = (event.input.id or "").removeprefix("field-")
        if event.value != self._values.get(name, ""):
            self._is_touched = True
        self._show_line()
        self._ask_soon()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter does it."""
        event.stop()
        self.action_send()

    def action_close(self) -> None:
        """Close; where that drops what was typed, say so first."""
        begun = {field.name: self._values.get(field.name, "").strip() for field in self.FIELDS}
        if self.values() == begun or self._is_leaving or self._is_sending:
            super().action_close()
            return
        self._is_leaving = True
        self._clear_faults()
        again = self.gpuboard.key("dialog.close")
        self._answer([(f"{again} again drops what you typed", "warn")])

    def action_copy(self) -> None:
        """Copy the command line."""
        if self.line:
            self.app.copy_to_clipboard(self.line)
            self.gpuboard.say("copied")

    def action_send(self) -> None:
        """Do it, unless something is missing."""
        if self._is_sending:
            return
        try:
            request = self.request(self.values())
        except GpuboardError as error:
            self._show_fault(error)
            return
        self._is_sending = True
        self._answer([("sending...", "dim")])
        self.gpuboard.errands.run(lambda: self.send(request), self._sent, self._refused)

    def _sent(self, words: str) -> None:
        self.is_sent = True
        self.gpuboard.say(words)
        if self.is_open:
            self.dismiss(None)

    def _refused(self, error: GpuboardError) -> None:
        self._is_sending = False
        if self.is_open:
            self._show_fault(error, with_focus=True)

    def _ask_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE_S, self._ask)

    def _ask(self) -> None:
        self._asked += 1
        number = self._asked
        self._show_line()
        try:
            request = self.request(self.values())
        except GpuboardError as error:
            if self._is_touched:
                self._show_fault(error, with_focus=False)
            return
        self.gpuboard.errands.run(
            lambda: self.ask(request),
            lambda answer: self._answered(number, answer),
            lambda error: self._not_answered(number, error),
        )

    def _is_awaited(self, number: int) -> bool:
        return number == self._asked and self.is_open and not (self._is_sending or self._is_leaving)

    def _answered(self, number: int, answer: Answer) -> None:
        if self._is_awaited(number):
            self._clear_faults()
            self.query_one("#answer", Block).show_lines(self.answer_lines(answer))

    def _not_answered(self, number: int, error: GpuboardError) -> None:
        if self._is_awaited(number):
            self._show_fault(error, with_focus=False)

    def _show_line(self) -> None:
        try:
            self.line = self.line_of(self.request(self.values()))
        except GpuboardError:
            self.line = ""
        shown = clean(self.line)
        self.query_one("#line", Bar).show(
            [("same as   ", "dim"), (shown, "accent")] if shown else []
        )

    def _show_fault(self, error: GpuboardError, *, with_focus: bool = True) -> None:
        self._clear_faults()
        wanted = error.field.lstrip("-").replace("-", "_").lower()
        field = next((f for f in self.FIELDS if wanted and wanted in (f.name, *f.also)), None)
        told, width = self.gpuboard.told, self.width
        # At its field the option's name (`--time 9d: at most 7d`) would be said twice.
        words = _OPTION.sub("", told(error.message))
        if field is None or width_of(words) > width - 10:
            self.query_one("#answer", Block).show_lines(fault_lines(error, width, told))
        else:
            bar = self.query_one(f"#fault-{field.name}", Bar)
            bar.show([(" " * 10 + words, "bad")])
            bar.add_class("-open")
            hints = wrapped(told(error.hint), width) if error.hint else []
            self.query_one("#answer", Block).show_lines([[(line, "text")] for line in hints])
        if field is None:
            return
        if with_focus:
            self._input(field).focus()

    def _clear_faults(self) -> None:
        for bar in self.query(".fault"):
            bar.remove_class("-open")

    def _answer(self, first: list[Part], second: list[Part] | None = None) -> None:
        self.query_one("#answer", Block).show_lines([first, second] if second else [first])

    @property
    def width(self) -> int:
        """Columns that a line of the answer may take."""
        return max(20, min(78, self.app.size.width) - 4)

    def _input(self, field: Field) -> Input:
        return self.query_one(f"#field-{field.name}", Input)


def whole_number(values: dict[str, str], name: str, *, default: int, least: int) -> int:
    """Return a field as a number; raises InvalidRequest that names it."""
    text = values[name]
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise InvalidRequest(f"'{text}' is not a number from {least} up", field=name)
    return int(text)
