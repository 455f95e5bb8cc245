"""`gpuboard top --inline`: the box in a few lines, read as text."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
from textual.pilot import Pilot

from gpuboard.tui.settings import Settings
from gpuboard.tui.top import LINES, TopApp
from tests.support.hostile import HOSTILE, poisoned
from tests.support.screens import assert_screen, until
from tests.support.tui_source import ScriptedSource, device


@contextlib.asynccontextmanager
async def shown(source: ScriptedSource, width: int) -> AsyncIterator[tuple[Pilot[None], str]]:
    app = TopApp(source, Settings())
    async with app.run_test(size=(width, LINES)) as pilot:
        await until(pilot, lambda: "free" in text_of(app))
        yield pilot, text_of(app)


def text_of(app: TopApp) -> str:
    lines = [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("width", [80, 160])
async def test_five_lines_tell_every_device(source: ScriptedSource, width: int) -> None:
    """Each of eight devices has its cell: number, state, use, whose it is."""
    async with shown(source, width) as (_, text):
        assert_screen(f"top-{width}x{LINES}", text)


async def test_sixteen_devices_fit_eighty_columns_and_more_are_counted(
    source: ScriptedSource,
) -> None:
    """Nothing is dropped in silence: what does not fit is said as a number."""
    board = msgspec.structs.replace(
        source.board, devices=[device(number, "free") for number in range(16)]
    )
    source.board = board
    async with shown(source, 80) as (_, text):
        assert all(f"{number:>2} " in text for number in range(16)), text
    source.board = msgspec.structs.replace(
        board, devices=[device(number, "free") for number in range(56)]
    )
    async with shown(source, 80) as (_, text):
        assert "+37 more" in text, text


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_text_is_only_text_under_the_prompt(
    source: ScriptedSource, name: str
) -> None:
    """Names of people, jobs and of the host: no control code, and no line more."""
    poisoned(source, HOSTILE[name])
    async with shown(source, 80) as (_, text):
        assert len(text.splitlines()) <= LINES
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


async def test_q_ends_it(source: ScriptedSource) -> None:
    """One key, and the prompt is back."""
    async with shown(source, 80) as (pilot, _):
        await pilot.press("q")
        await until(pilot, lambda: not pilot.app.is_running)
