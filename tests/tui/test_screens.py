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


async def test_one_gpu_gets_a_tall_card(source):
    source.board = type(source.board)(
        **(_fields(source.board) | {"devices": source.board.devices[:1]})
    )
    async with opened(source) as pilot:
        assert_screen("board-one-80x24", await settled(pilot))


async def test_sixteen_gpus_are_all_seen_at_once(source):
    more = [
        _copy(device, uuid=f"GPU-x{i}", label=str(i), index=i)
        for i, device in enumerate(source.board.devices * 2)
    ]
    source.board = _copy(source.board, devices=more)
    async with opened(source) as pilot:
        text = await settled(pilot)
        assert_screen("board-sixteen-80x24", text)
        assert all(f" {i} H100" in text for i in range(16))


async def test_ascii_terminal_gets_ascii_only(source, monkeypatch):
    monkeypatch.setenv("GPUBOARD_ASCII", "1")
    async with opened(source) as pilot:
        text = await settled(pilot)
        assert_screen("board-ascii-80x24", text)
        assert text.isascii()


async def test_notice_of_the_admin_is_seen_above_the_cards(source):
    source.board = _copy(source.board, notices=[notice("box goes down Friday 18:00")])
    async with opened(source) as pilot:
        assert "root: box goes down Friday 18:00" in (await settled(pilot)).splitlines()[2]


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (300, 80)], ids=str)
async def test_any_size_shows_something_and_survives_resizing(size, source):
    async with opened(source) as pilot:
        for keys in ("1", "2", "3", "4", "5"):
            await pilot.press(keys)
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await pilot.resize_terminal(80, 24)
            await pilot.pause()
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
