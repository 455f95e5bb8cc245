"""The admin's tab: seen by admins only; each action asks first and is told as a command line."""

import msgspec
import pytest

from gpuboard.errors import Unavailable
from gpuboard.model.requests import DrainRequest, NoticeRequest
from gpuboard.model.views import EventView
from tests.support.screens import assert_screen, opened, screen_text, settled, until
from tests.support.tui_source import NOW


@pytest.fixture
def source(source):
    source.board = msgspec.structs.replace(source.board, is_admin=True)
    return source


def event(number, words, kind="device.drained"):
    return EventView(number, NOW, kind, words, device="6")


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_admin_tab_looks_as_it_was_last_seen(size, source):
    async with opened(source, size) as pilot:
        source.push(event(1, "GPU 6 is drained by root: fan broken"))
        await until(pilot, lambda: pilot.app.events)
        await pilot.press("6")
        assert_screen(f"admin-{size[0]}x{size[1]}", await settled(pilot))


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_notice_form_looks_as_it_was_last_seen(size, source):
    async with opened(source, size) as pilot:
        await pilot.press("6", "N", *"down")
        await until(pilot, lambda: "everybody sees: down" in screen_text(pilot.app))
        assert_screen(f"notice-{size[0]}x{size[1]}", await settled(pilot))


async def test_drain_and_resume_ask_first_and_say_the_command(source):
    async with opened(source) as pilot:
        await pilot.press("6", "D")
        await until(pilot, lambda: "gpuboard admin drain 0" in screen_text(pilot.app))
        await pilot.press("n")
        assert not source.called("drain")
        await pilot.press("D", "y")
        await until(pilot, lambda: source.called("drain") == [DrainRequest(gpu_ids=["0"])])
        await pilot.press("j", "j", "j", "j", "j", "j", "D")
        await until(pilot, lambda: "gpuboard admin resume 6" in screen_text(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: source.called("resume") == [DrainRequest(gpu_ids=["6"])])


async def test_reload_asks_first(source):
    async with opened(source) as pilot:
        await pilot.press("6", "R")
        await until(pilot, lambda: "gpuboard admin config reload" in screen_text(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: source.called("reload"))


async def test_notice_is_published(source):
    async with opened(source) as pilot:
        await pilot.press("6", "N", *"down", "tab", *"2h")
        await until(pilot, lambda: "notice --for 2h down" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: source.called("notice") == [NoticeRequest("down", "2h")])


async def test_events_are_filtered_by_words(source):
    async with opened(source) as pilot:
        source.push(event(1, "GPU 6 is drained"), event(2, "config read", "daemon.reloaded"))
        await until(pilot, lambda: len(pilot.app.events) == 2)
        await pilot.press("6", "slash", *"config")
        await until(pilot, lambda: "GPU 6 is drained" not in screen_text(pilot.app))
        assert "config read" in screen_text(pilot.app)


async def test_hostile_words_of_an_event_are_only_text(source):
    async with opened(source) as pilot:
        source.push(event(1, "[@click=app.quit]x\x1b[2J\u202e", "[bold]"))
        await until(pilot, lambda: pilot.app.events)
        await pilot.press("6")
        seen = await settled(pilot)
        assert "[@click=app.quit]x" in seen
        assert "\x1b" not in seen
        assert "\u202e" not in seen


async def test_doctor_that_fails_is_told_on_the_tab(source):
    def fails():
        raise Unavailable("the daemon does not answer")

    source.doctor = fails
    async with opened(source) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "the daemon does not answer" in screen_text(pilot.app))


async def test_who_is_no_admin_sees_no_such_tab(source):
    source.board = msgspec.structs.replace(source.board, is_admin=False)
    async with opened(source) as pilot:
        assert "6 Admin" not in screen_text(pilot.app)
        await pilot.press("6")
        await until(pilot, lambda: "for admins of the box" in screen_text(pilot.app))
