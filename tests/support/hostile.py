"""Text from people as an enemy would write it, put into every field; and a walk over every screen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from textual.pilot import Pilot

from gpuboard.errors import Refused
from gpuboard.model.views.devices import SharerView
from gpuboard.model.views.events import EventView
from tests.support.screens import settled
from tests.support.tui_source import ScriptedSource, notice

MARKUP = "[/x][@click=app.quit]quit[/][bold red]red[/bold red]"
ESCAPES = "\x1b[2J\x1b]0;title\x07gone\u202egnp.exe\u202cnul\x00bell\x07back\x08\r\n\ttab"
WIDE = "漢字かな" * 20 + "👩‍👩‍👧‍👦 family" + "e\u0301\u0301\u0301\u0301\u0301" * 30
LONG = "x" * 10_000
HOSTILE = {"markup-and-escapes": MARKUP + ESCAPES, "long": LONG, "wide": WIDE}

WALK = (
    ["1"], ["enter"], ["l"], ["enter", "i"], ["right", "enter"], ["w"], ["K"],
    ["slash", "x", "enter"], ["slash", "escape"], ["s"],
    ["2", "right"], ["p"], ["shift+right", "shift+down", "enter"], ["v", "K"], ["m"], ["i"], ["v"],
    ["3"], ["j", "j", "j"], ["j", "enter"], ["asterisk", "K"], ["H"], ["L", "1", "h"], ["p"], ["p"],
    ["4"], ["4", "enter"], ["u"], ["l", "slash", "x", "x"], ["n", "ctrl+r"],
    ["5", "v"], ["v"], ["p"], ["6"], ["D"], ["v"], ["slash", "x"], ["v"], ["v"],
    ["M"], ["N", "x"], ["R"], ["S"], ["C"],
    ["n", "tab", "a"], ["b"], ["colon"], ["comma"], ["enter"], ["question_mark"],
)  # fmt: skip
"""Keys that open every tab and dialog in turn; between them whatever is open is closed."""


async def walked(pilot: Pilot[None]) -> AsyncIterator[str]:
    """Go the whole walk, and give what is seen at each stop."""
    for keys in WALK:
        await pilot.press(*keys)
        yield await settled(pilot)
        while len(pilot.app.screen_stack) > 1:
            await pilot.press("escape")
            await pilot.pause()


def poisoned(source: ScriptedSource, text: str) -> None:
    """Put the text into every field that a person can write."""
    replace = msgspec.structs.replace
    devices = [
        replace(
            device,
            name=text,
            user=text,
            job_name=text,
            state_words=text,
            throttle=[text],
            processes=[
                replace(process, user=text, command=text, container=text)
                for process in device.processes
            ],
            sharers=[
                SharerView(user=text, job_id=412, job_name=text, memory_bytes=2**30)
                for _ in range(2 if device.label == "1" else 0)
            ],
        )
        for device in source.board.devices
    ]
    host = replace(source.board.host, hostname=text, engine=text)
    source.board = replace(
        source.board, devices=devices, host=host, notices=[notice(text)], is_admin=True
    )
    source.jobs = [
        replace(job, name=text, user=text, reason=text, image=text, command=[text, text], note=text)
        for job in source.jobs
    ]
    source.ended_jobs = [replace(job, name=text, exit_words=text) for job in source.ended_jobs]
    source.reservations = [
        replace(booking, name=text, user=text) for booking in source.reservations
    ]
    source.entries = [replace(entry, name=text, user=text) for entry in source.entries]
    source.log_chunks = [text.encode("utf-8", "replace") + b"\n"] * 50
    source.refusal = Refused(text, hint=text, field="gpus")
    source.older_events = [
        EventView(8, source.board.at, "job.failed", text, job_id=412, user=text, device="6")
    ]
    source.poison = text
