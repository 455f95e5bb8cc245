"""The admin's tab: seen by admins only; each action asks first and is told as a command line."""

import msgspec
import pytest

from gpuboard.errors import Unavailable
from gpuboard.model.requests import BlackoutRequest, DrainRequest, NoticeRequest
from gpuboard.model.views.events import EventView
from tests.support.screens import assert_screen, opened, screen_text, settled, until
from tests.support.tui_past import daemon_state
from tests.support.tui_source import NOW, at

SIZES = [(80, 24), (160, 45)]


@pytest.fixture
def source(source):
    source.board = msgspec.structs.replace(source.board, is_admin=True)
    source.older_events = [
        EventView(1, at("09:00"), "admin.notice", "root wrote to everybody", user="root"),
        EventView(2, at("09:30"), "device.drained", "GPU 6 is drained by root: fan broken"),
    ]
    return source


def event(number, words, kind="device.drained"):
    return EventView(number, NOW, kind, words, device="6")


def current(pilot):
    return type(pilot.app.screen).__name__


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_admin_tab_and_its_dialogs_look_as_they_were_last_seen(size, source):
    """Four parts and eight dialogs in one walk."""
    name = f"{size[0]}x{size[1]}"
    async with opened(source, size) as pilot:

        async def see(screen, *keys, words=""):
            await pilot.press(*keys)
            await settled(pilot)
            if words:
                await until(pilot, lambda: words in screen_text(pilot.app))
            assert_screen(f"{screen}-{name}", await settled(pilot))

        source.push(event(3, "GPU 7 is drained by gpuboard: lost: fell off the bus (Xid 79)"))
        await until(pilot, lambda: pilot.app.events)
        await see("admin", "6")
        await see("confirm-reload", "R")
        await see("confirm-resume", "n", *["down"] * 6, "D")
        await pilot.press("n", *["up"] * 6)
        await see("admin-events", "v", words="root wrote to everybody")
        await see("admin-configuration", "v")
        await see("admin-daemon", "v")
        await see("confirm-blackout-back", "G", "K")
        await pilot.press("n")
        await see("drain", "D", words="They get no new job")
        await pilot.press("escape")
        await see("blackout", "M", "down", *"2h", words="all GPUs")
        await pilot.press("escape", "escape")
        await see("backup", "S", words="beside the database")
        await pilot.press("escape")
        await see("confirm-check", "C")
        await pilot.press("n")
        await see("notice", "N", *"down", words="everybody sees: down")


async def test_drain_says_why_and_resume_asks_first(source):
    """Both with their command lines; nothing happens without a yes."""
    async with opened(source) as pilot:
        await pilot.press("6", "D", "tab", *"fan")
        await until(pilot, lambda: "gpuboard admin drain 0 --note fan" in screen_text(pilot.app))
        await until(pilot, lambda: "GPU 0: ann" in screen_text(pilot.app))
        await pilot.press("escape", "escape")
        assert not source.called("drain")
        await pilot.press("D", "enter")
        await until(pilot, lambda: source.called("drain") == [DrainRequest(gpu_ids=["0"])])
        await until(pilot, lambda: current(pilot) == "Screen")
        await pilot.press("j", "j", "j", "j", "j", "j", "D")
        await until(pilot, lambda: "gpuboard admin resume 6" in screen_text(pilot.app))
        await pilot.press("n")
        assert not source.called("resume")
        await pilot.press("D", "y")
        await until(pilot, lambda: source.called("resume") == [DrainRequest(gpu_ids=["6"])])


async def test_blackout_is_announced_and_taken_back(source):
    """The form needs a span; the last part of the tab lists what was announced."""
    async with opened(source) as pilot:
        await pilot.press("6", "M", "enter")
        await until(pilot, lambda: "say for how long" in screen_text(pilot.app))
        await pilot.press(*"2h", "tab", *"2,3", "tab", *"fans")
        line = "gpuboard admin blackout 2h --gpu-ids 2,3 --note fans"
        await until(pilot, lambda: line in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: source.called("blackout"))
        sent = source.called("blackout")[0]
        assert (sent.duration, sent.gpu_ids, sent.note) == ("2h", ["2", "3"], "fans")
        await until(pilot, lambda: current(pilot) == "Screen")
        await pilot.press("K")
        await until(pilot, lambda: "no blackout under the cursor" in screen_text(pilot.app))
        await pilot.press("V", "G", "K")
        await until(pilot, lambda: "gpuboard admin blackout --cancel 3" in screen_text(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: source.called("blackout")[-1] == BlackoutRequest(cancel=3))


async def test_backup_check_and_reload_ask_first(source):
    """What came of it is told, and the daemon's state is asked anew."""
    async with opened(source) as pilot:
        await pilot.press("6")
        await settled(pilot)
        asked = len(source.called("admin_state"))
        await pilot.press("R")
        await until(pilot, lambda: "gpuboard admin config reload" in screen_text(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: source.called("reload"))
        await pilot.press("C")
        await until(pilot, lambda: "gpuboard admin db check" in screen_text(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: source.called("check_database"))
        await pilot.press("S", *"x")
        await until(pilot, lambda: "an absolute path is needed" in screen_text(pilot.app))
        await pilot.press("backspace", *"/b.db")
        await until(pilot, lambda: "gpuboard admin db backup /b.db" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: source.called("backup") == ["/b.db"])
        await until(pilot, lambda: len(source.called("admin_state")) > asked)


async def test_notice_is_published(source):
    """With its span."""
    async with opened(source) as pilot:
        await pilot.press("6", "N", *"down", "tab", *"2h")
        await until(pilot, lambda: "notice --for 2h down" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: source.called("notice") == [NoticeRequest("down", "2h")])


async def test_events_are_of_before_too_and_filtered_by_words(source):
    """What the daemon remembers, then what happens; each once."""
    async with opened(source) as pilot:
        source.push(event(2, "the same again"), event(3, "config read", "daemon.reloaded"))
        await until(pilot, lambda: len(pilot.app.events) == 2)
        await pilot.press("6", "slash")
        await until(pilot, lambda: "root wrote to everybody" in screen_text(pilot.app))
        assert len(pilot.app.query_one("#events").rows) == 3
        await pilot.press(*"config")
        await until(pilot, lambda: "wrote to everybody" not in screen_text(pilot.app))
        assert "config read" in screen_text(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: "wrote to everybody" in screen_text(pilot.app))


async def test_click_on_a_part_shows_it(source):
    """Mouse everywhere."""
    async with opened(source) as pilot:
        await pilot.press("6")
        await settled(pilot)
        await pilot.click("#parts", offset=(33, 0))
        await until(pilot, lambda: "last backup" in screen_text(pilot.app))


async def test_configuration_marks_what_the_file_sets_and_hides_secrets(source):
    """As the daemon has it in force."""
    async with opened(source) as pilot:
        await pilot.press("6", "v", "v")
        seen = await settled(pilot)
        assert "/etc/gpuboard/config.toml, 3 set" in seen
        assert '"2d"   set' in seen
        assert "(not shown)" in seen


async def test_broken_engine_database_and_daemon_are_told(source):
    """In words; red as well."""
    whole = daemon_state()
    source.state = lambda: msgspec.structs.replace(
        whole, halted="device GPU-1 would be leased twice", check_words="page 7 is damaged",
        runtimes=[msgspec.structs.replace(whole.runtimes[0], fault="does not answer")],
        database=msgspec.structs.replace(whole.database, backup="", backup_at=None), config_file="",
    )  # fmt: skip
    async with opened(source) as pilot:
        await pilot.press("6", "V")
        seen = await settled(pilot)
        for words in (
            "STOPPED",
            "leased twice",
            "page 7",
            "does not answer",
            "none yet",
            "no file",
        ):
            assert words in seen


async def test_hostile_words_are_only_text_in_every_part(source):
    """Events, notes, settings, paths."""
    text = "[@click=app.quit]x\x1b[2J\u202e"
    whole = daemon_state()
    replace = msgspec.structs.replace
    source.state = lambda: replace(
        whole, version=text, config_file=text, check_words=text, driver=text,
        settings=[replace(row, section=text, key=text, value=text) for row in whole.settings],
        drains=[replace(row, by=text, note=text) for row in whole.drains],
        blackouts=[replace(row, note=text) for row in whole.blackouts],
        runtimes=[replace(row, name=text, version=text) for row in whole.runtimes],
        database=replace(whole.database, path=text, backup=text),
    )  # fmt: skip
    async with opened(source) as pilot:
        source.push(event(1, text, "[bold]"))
        await until(pilot, lambda: pilot.app.events)
        await pilot.press("6")
        for _ in range(4):
            seen = await settled(pilot)
            assert "\x1b" not in seen
            assert "\u202e" not in seen
            await pilot.press("v")
        await pilot.press("v")
        assert "[@click=app.quit]x" in await settled(pilot)


async def test_nothing_is_drawn_while_nothing_changed(source):
    """A board each second alone."""
    async with opened(source) as pilot:
        await pilot.press("6")
        await settled(pilot)
        drawn = []
        compositor = pilot.app.screen._compositor
        original = compositor.render_update
        compositor.render_update = lambda *a, **k: drawn.append(1) or original(*a, **k)
        snapshot = pilot.app.snapshot
        source.push_board()
        await until(pilot, lambda: pilot.app.snapshot is not snapshot)
        await settled(pilot)
        assert drawn == []


async def test_doctor_that_fails_is_told_on_the_tab(source):
    """Beside what is known."""

    def fails():
        raise Unavailable("the daemon does not answer")

    source.doctor = fails
    async with opened(source) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "the daemon does not answer" in screen_text(pilot.app))


async def test_who_is_no_admin_sees_no_such_tab(source):
    """The daemon would refuse anyhow."""
    source.board = msgspec.structs.replace(source.board, is_admin=False)
    async with opened(source) as pilot:
        assert "6 Admin" not in screen_text(pilot.app)
        await pilot.press("6")
        await until(pilot, lambda: "for admins of the box" in screen_text(pilot.app))
