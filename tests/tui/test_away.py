"""A daemon that is away: why, and the way out, are said whole on every tab."""

import pytest

from gpuboard.tui.app import GpuboardApp
from gpuboard.tui.watched import Watched
from tests.support.screens import assert_screen, opened, screen_text, settled, until

SIZES = [(80, 24), (160, 45)]


@pytest.fixture(autouse=True)
def age(monkeypatch):
    """The last answer is always 72 s old."""
    monkeypatch.setattr(Watched, "age_s", property(lambda _box: 72.0))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_without_a_daemon_the_fault_and_the_way_out_are_in_the_body(size, source):
    source.is_down = True
    app = GpuboardApp(source)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "systemctl status gpuboard" in screen_text(app))
        await pilot.press("3")
        text = await settled(pilot)
        assert_screen(f"no-daemon-{size[0]}x{size[1]}", text)
        assert "asking..." not in text


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_daemon_that_went_away_is_told_with_the_way_out_and_no_tab_is_pushed_off(
    size, source
):
    source.board = type(source.board)(
        **{name: getattr(source.board, name) for name in source.board.__struct_fields__}
        | {"is_admin": True}
    )
    async with opened(source, size) as pilot:
        source.is_down = True
        source.push(OSError("broken"))
        await until(pilot, lambda: "systemctl status gpuboard" in screen_text(pilot.app))
        text = await settled(pilot)
        assert_screen(f"away-{size[0]}x{size[1]}", text)
        assert "6 Admin" in text.splitlines()[0]
        source.is_down = False
        await until(pilot, lambda: "systemctl" not in screen_text(pilot.app))
