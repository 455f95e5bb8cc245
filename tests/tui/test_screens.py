"""Every screen and dialog as text, at the two sizes it is designed for."""

import pytest

from tests.support.screens import assert_screen, opened, settled, until
from tests.support.tui_source import notice

SIZES = [(80, 24), (160, 45)]
STORIES = {
    "board": [],
    "board-expanded": ["j", "right", "enter"],
    "board-sorted": ["s"],
    "board-filtered": ["slash", "b", "e", "a"],
    "device": ["i"],
    "queue": ["3"],
    "queue-chosen": ["3", "j", "j", "j", "space", "space"],
    "queue-filtered": ["3", "slash", "l", "l", "m"],
    "jobs": ["4"],
    "job": ["3", "j", "j", "enter"],
    "job-running": ["3", "enter"],
    "log": ["l"],
    "new-job": ["n"],
    "new-job-like": ["n", "ctrl+r"],
    "confirm-cancel": ["K"],
    "confirm-hold": ["3", "j", "j", "j", "H"],
    "confirm-cancel-several": ["3", "asterisk", "K"],
    "limit": ["3", "L", "2", "h"],
    "why": ["3", "j", "j", "w"],
    "help": ["question_mark"],
    "palette": ["colon"],
    "palette-device": ["colon", "g", "p", "u", "space"],
    "palette-person": ["colon", *"bea"],
}

WINDOWS = (["1", "i"], ["l"], ["K"], ["n"], ["colon"], ["comma"], ["question_mark"], ["4", "enter"],
           ["6", "D"])  # fmt: skip
"""Keys that open a dialog of each make."""
ASCII_WALK = {
    "board-ascii": ["1"],
    "timeline-ascii": ["2"],
    "new-job-ascii": ["n"],
    "confirm-ascii": ["1", "K"],
    "why-ascii": ["w"],
    "help-ascii": ["question_mark"],
}
"""Screens of an ASCII terminal, in the order of one walk, with the keys that lead from one to the next."""


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", STORIES)
async def test_screen_looks_as_it_was_last_seen(name, size, source):
    async with opened(source, size) as pilot:
        for key in STORIES[name]:
            await pilot.press(key)
            if key.isdecimal():
                await settled(pilot)
        if name == "log":
            await until(pilot, lambda: "ended" in _text(pilot))
        if name == "limit":
            await until(pilot, lambda: "then 2h" in _text(pilot))
        assert_screen(f"{name}-{size[0]}x{size[1]}", await settled(pilot))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_rest_of_a_day_looks_as_it_was_last_seen(size, source):
    """One walk: a held job is released, an ended one read, a log searched, a key without a job."""
    source.jobs[-1] = _copy(source.jobs[-1], mine=True, user="ann")
    name = f"{size[0]}x{size[1]}"
    async with opened(source, size) as pilot:
        await pilot.press("3")
        await settled(pilot)
        await pilot.press("G", "H")
        assert_screen(f"confirm-release-{name}", await settled(pilot))
        await pilot.press("n", "4")
        await settled(pilot)
        await pilot.press("G", "enter")
        await settled(pilot)
        assert_screen(f"job-ended-{name}", await settled(pilot))
        await pilot.press("escape", "1", "l")
        await until(pilot, lambda: "ended" in _text(pilot))
        await settled(pilot)
        await pilot.press("slash", *"loss")
        assert_screen(f"log-search-{name}", await settled(pilot))
        await pilot.press("escape", "escape", "j", "w")
        await until(pilot, lambda: "no job under" in _text(pilot))
        assert_screen(f"toast-{name}", _text(pilot))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_ascii_terminal_gets_ascii_only(size, source, monkeypatch):
    """Tabs and dialogs alike, and as wide as with all letters."""
    monkeypatch.setenv("GPUBOARD_ASCII", "1")
    async with opened(source, size) as pilot:
        for name, keys in ASCII_WALK.items():
            await pilot.press(*keys)
            await settled(pilot)
            text = await settled(pilot)
            assert_screen(f"{name}-{size[0]}x{size[1]}", text)
            assert text.isascii()
            if len(pilot.app.screen_stack) > 1:
                await pilot.press("escape")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_one_gpu_gets_a_tall_card(size, source):
    source.board = type(source.board)(
        **(_fields(source.board) | {"devices": source.board.devices[:1]})
    )
    async with opened(source, size) as pilot:
        assert_screen(f"board-one-{size[0]}x{size[1]}", await settled(pilot))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_sixteen_gpus_are_all_seen_at_once(size, source):
    more = [
        _copy(device, uuid=f"GPU-x{i}", label=str(i), index=i)
        for i, device in enumerate(source.board.devices * 2)
    ]
    source.board = _copy(source.board, devices=more)
    async with opened(source, size) as pilot:
        text = await settled(pilot)
        assert_screen(f"board-sixteen-{size[0]}x{size[1]}", text)
        assert all(f" {i} H100" in text for i in range(16))


async def test_notice_of_the_admin_is_seen_above_the_cards(source):
    source.board = _copy(source.board, notices=[notice("box goes down Friday 18:00")])
    async with opened(source) as pilot:
        assert "root: box goes down Friday 18:00" in (await settled(pilot)).splitlines()[2]


@pytest.mark.parametrize(
    ("size", "with_windows"), [((40, 10), False), ((20, 5), True), ((300, 80), True)], ids=str
)
async def test_any_size_shows_something_and_survives_resizing(size, with_windows, source):
    """Every tab, and a dialog of each make, from either size to the other."""
    source.board = _copy(source.board, is_admin=True)
    async with opened(source) as pilot:
        for place, keys in enumerate([*"123456", *(WINDOWS if with_windows else ())]):
            await pilot.press(*keys)
            await pilot.resize_terminal(*((80, 24) if place % 2 else size))
            while len(pilot.app.screen_stack) > 1:
                await pilot.press("escape")
        await pilot.resize_terminal(80, 24)
        await pilot.press("1")
        assert " 0 H100" in await settled(pilot)


def _text(pilot):
    from tests.support.screens import screen_text

    return screen_text(pilot.app)


def _fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _copy(struct, **changes):
    import msgspec

    return msgspec.structs.replace(struct, **changes)
