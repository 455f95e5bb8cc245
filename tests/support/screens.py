"""The app's screen as plain text, compared with the committed ones.

`GPUBOARD_RENEW_SCREENS=1` writes them anew; look at the difference before you commit it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from textual.pilot import Pilot

from gpuboard.tui.app import GpuboardApp
from tests.support.tui_source import ScriptedSource

FOLDER = Path(__file__).parent.parent / "tui" / "screens"


def screen_text(app: GpuboardApp) -> str:
    """Return what the terminal shows, without trailing blanks."""
    lines = [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]
    return "\n".join(lines) + "\n"


async def until(pilot: Pilot[None], condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain; the screen:\n" + screen_text(pilot.app)  # type: ignore[arg-type]
        await pilot.pause()
        await asyncio.sleep(0.005)
    await pilot.pause()


@contextlib.asynccontextmanager
async def opened(
    source: ScriptedSource, size: tuple[int, int] = (80, 24), **values: object
) -> AsyncIterator[Pilot[None]]:
    """Run the app until its first snapshot is whole, and give its pilot."""
    app = GpuboardApp(source, **values)  # type: ignore[arg-type]
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.snapshot.reservations is not None and app.errands.is_idle)
        await pilot.pause()
        yield pilot


async def settled(pilot: Pilot[None]) -> str:
    """Wait until all errands are back and the screen no longer changes; return it."""
    app = pilot.app
    assert isinstance(app, GpuboardApp)
    await until(pilot, lambda: app.errands.is_idle)
    before = ""
    for _ in range(200):
        await pilot.pause()
        await asyncio.sleep(0.02)
        text = screen_text(app)
        if text == before and app.errands.is_idle:
            return text
        before = text
    return before


def assert_screen(name: str, text: str) -> None:
    """Compare a screen with the committed one of this name."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("GPUBOARD_RENEW_SCREENS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"{path.name} is not there: GPUBOARD_RENEW_SCREENS=1 makes it"
    assert text == path.read_text(encoding="utf-8"), f"{name} looks different:\n{text}"
