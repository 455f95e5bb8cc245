"""Text from people is shown as it is and does nothing, on every screen."""

import pytest

from gpuboard.errors import Refused
from gpuboard.model.views.events import EventView
from tests.support.hostile import HOSTILE, poisoned, walked
from tests.support.screens import opened, screen_text, settled, until


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_text_is_only_text_on_every_screen(name, source):
    text = HOSTILE[name]
    poisoned(source, text)
    async with opened(source) as pilot:
        async for seen in walked(pilot):
            assert len(seen.splitlines()) <= 24
            assert "\x1b" not in seen
            assert "\x00" not in seen
            assert "\u202e" not in seen
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
