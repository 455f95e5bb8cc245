"""Text from people is shown as it is and does nothing, on every screen."""

import msgspec
import pytest

from gpuboard.errors import Refused
from gpuboard.model.views import EventView, SharerView
from tests.support.screens import opened, screen_text, settled, until
from tests.support.tui_source import notice

HOSTILE = [
    "[/x][@click=app.quit]quit[/][bold red]red[/bold red]",
    "\x1b[2J\x1b]0;title\x07gone\u202egnp.exe\u202cnul\x00bell\x07back\x08\r\n\ttab",
    "x" * 300,
    "漢字かな" * 40,
    "👩‍👩‍👧‍👦 family" + "e\u0301\u0301\u0301\u0301\u0301" * 60,
]


def poisoned(source, text):
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
    source.board = replace(source.board, devices=devices, host=host, notices=[notice(text)])
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
    source.poison = text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text_is_only_text_on_every_screen(text, source):
    poisoned(source, text)
    async with opened(source) as pilot:
        for keys in (
            ["1"], ["enter"], ["l"], ["enter", "i"], ["right", "enter"], ["w"], ["K"],
            ["slash", "x", "enter"], ["slash", "escape"], ["s"],
            ["3"], ["j", "j", "j"], ["j", "enter"], ["asterisk", "K"], ["L", "1", "h"], ["p"], ["p"],
            ["4"], ["4", "enter"], ["u"], ["n", "ctrl+r"],
            ["2"], ["2", "right"], ["5"], ["5", "K"], ["n", "tab", "a"], ["b"], ["colon"],
        ):  # fmt: skip
            await pilot.press(*keys)
            seen = await settled(pilot)
            lines = seen.splitlines()
            assert len(lines) <= 24
            assert "\x1b" not in seen
            assert "\x00" not in seen
            assert "\u202e" not in seen
            for _ in range(3):
                if type(pilot.app.screen).__name__ != "Screen":
                    await pilot.press("escape")
                    await pilot.pause()
        source.push(
            EventView(9, "2026-11-23T13:41:00Z", "job.failed", text, job_id=412, user="ann")
        )
        await pilot.pause()
        pilot.app.say(text)
        pilot.app.say_error(Refused(text, hint=text))
        await settled(pilot)
        assert pilot.app.is_running


async def test_brackets_are_shown_as_they_are(source):
    poisoned(source, "[@click=app.quit]quit[/]")
    async with opened(source, (160, 45)) as pilot:
        await pilot.press("3")
        text = await settled(pilot)
        assert "[@click=app.quit]quit[/]" in text


async def test_click_on_hostile_markup_does_nothing(source):
    poisoned(source, "[@click=app.quit]quit[/]")
    async with opened(source) as pilot:
        for y in range(2, 20, 3):
            await pilot.click(offset=(12, y))
        await pilot.pause()
        assert pilot.app.is_running


async def test_log_line_of_a_progress_bar_is_one_line(source):
    source.log_chunks = [b"start\n", *(f"\r{i}% done".encode() for i in range(101)), b"\nend\n"]
    async with opened(source) as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "ended" in screen_text(pilot.app))
        text = await settled(pilot)
        assert "100% done" in text
        assert "99% done" not in text
        assert "3 lines" in text
