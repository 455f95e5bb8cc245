"""Several boxes in one app: a tab each, one shown, all followed."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.model.views.events import EventView
from gpuboard.tui.watched import Watched
from tests.support.screens import assert_screen, opened, screen_text, settled, until
from tests.support.tui_source import NOW, ScriptedSource


def renamed(source: ScriptedSource, hostname: str) -> ScriptedSource:
    host = msgspec.structs.replace(source.board.host, hostname=hostname)
    source.board = msgspec.structs.replace(source.board, host=host)
    return source


async def test_a_key_and_the_mouse_change_the_box() -> None:
    """`B` and a click on a box's tab show the other box's board, queue and jobs; nothing of the first stays."""
    first, second = renamed(ScriptedSource(), "hopper"), renamed(ScriptedSource(), "curie")
    async with opened(first, (120, 30), others=[Watched(second, "curie")], name="hopper") as pilot:
        assert "hopper · cpu" in screen_text(pilot.app)
        await pilot.press("3")
        await pilot.press("B")
        await until(pilot, lambda: "curie · cpu" in screen_text(pilot.app))
        assert "hopper · cpu" not in screen_text(pilot.app)
        assert pilot.app.source is second
        line = screen_text(pilot.app).splitlines()[0]
        await pilot.click("#tabs", offset=(line.index("hopper") + 1, 0))
        await until(pilot, lambda: "hopper · cpu" in screen_text(pilot.app))


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_tabs_of_several_boxes_look_as_they_were_last_seen(size) -> None:
    """The second of three is shown."""
    names = ("hopper", "curie", "meitner")
    first, *rest = (renamed(ScriptedSource(), name) for name in names)
    others = [Watched(source, name) for source, name in zip(rest, names[1:], strict=True)]
    async with opened(first, size, others=others, name="hopper") as pilot:
        await pilot.press("B")
        await until(pilot, lambda: pilot.app.source is rest[0])
        assert_screen(f"boxes-{size[0]}x{size[1]}", await settled(pilot))


async def test_notices_of_every_box_are_told_with_its_name() -> None:
    """A job that ends on a box that is not shown is still told, and where."""
    first, second = renamed(ScriptedSource(), "hopper"), renamed(ScriptedSource(), "curie")
    box = Watched(second, "curie")
    async with opened(first, (120, 30), others=[box], name="hopper") as pilot:
        await until(pilot, lambda: box.snapshot.board is not None)
        second.push(EventView(9, NOW, "job.failed", "failed", job_id=412, user="ann"))
        await until(pilot, lambda: any(n.title == "curie" for n in pilot.app._notifications))
