"""A person's settings and the first-run tour."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from gpuboard.errors import HostError
from gpuboard.tui.bindings import SECTIONS, rival_of
from gpuboard.tui.settings import Settings, load_settings, save_settings
from tests.support.screens import assert_screen, opened, settled, until


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The settings file of a person with a home of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "gpuboard").mkdir()
    return tmp_path / "gpuboard" / "app.toml"


def kept(home) -> dict[str, object]:
    return tomllib.loads(home.read_text())


async def test_settings_hold_at_once_and_are_kept_with_the_persons_comments(source, home) -> None:
    """Enter takes the next theme and refresh; the file keeps what a person wrote beside them."""
    home.write_text('# mine\ntour = false\ntheme = "light"  # for the sun\n')
    async with opened(source, settings=load_settings()) as pilot:
        await pilot.press("comma", "enter", "down", "enter")
        assert pilot.app.theme == "gpuboard-contrast"
        assert pilot.app.settings.refresh_s == 2
        assert "2 s" in await settled(pilot)
    assert home.read_text().startswith('# mine\ntour = false\ntheme = "contrast"  # for the sun\n')
    assert load_settings().refresh_s == 2


async def test_t_keeps_the_theme_beside_what_a_person_wrote(source, home) -> None:
    home.write_text("tour = false  # seen\n")
    async with opened(source, settings=load_settings()) as pilot:
        await pilot.press("t")
        assert pilot.app.theme == "gpuboard-light"
    assert home.read_text().startswith("tour = false  # seen\n")
    assert load_settings().theme_name == "gpuboard-light"


async def test_theme_that_cannot_be_kept_holds_and_is_told(source, home) -> None:
    home.write_text("theme = ")
    async with opened(source) as pilot:
        await pilot.press("t")
        assert pilot.app.theme == "gpuboard-light"
        assert "cannot be written" in str([n.message for n in pilot.app._notifications])


async def test_a_key_is_given_by_pressing_it_and_a_taken_one_is_refused(source, home) -> None:
    """The new key works at once and is kept; a key that means something else there is not taken."""
    async with opened(source, (80, 40)) as pilot:
        await pilot.press("comma")
        rows = pilot.app.screen.query_one("RowList")
        rows.move_to(next(n for n, row in enumerate(rows.rows) if row.name == "app.new"))
        await pilot.press("enter", "b")
        await until(pilot, lambda: "is taken" in str([n.message for n in pilot.app._notifications]))
        assert not home.exists()
        await pilot.press("enter", "a")
        await until(pilot, lambda: pilot.app.settings.keys == {"app.new": "a"})
        await pilot.press("escape", "a")
        assert type(pilot.app.screen).__name__ == "NewJobScreen"
        await pilot.press("escape", "comma")
        rows = pilot.app.screen.query_one("RowList")
        rows.move_to(next(n for n, row in enumerate(rows.rows) if row.name == "app.new"))
        await pilot.press("backspace")
        assert pilot.app.settings.keys == {}
    assert kept(home)["keys"] == {}


async def test_ascii_symbols_are_a_setting(source, home) -> None:
    """With it no symbol beyond ASCII is drawn, whatever the terminal can show."""
    async with opened(source, settings=Settings(is_ascii=True)) as pilot:
        assert (await settled(pilot)).isascii()


async def test_a_slower_refresh_shows_less_often_and_the_latest(source) -> None:
    """Of three boards within a second one is drawn, the last."""
    async with opened(source, settings=Settings(refresh_s=60)) as pilot:
        seen = pilot.app._shown
        source.push(msgspec.structs.replace(source.board, queued=77))
        await until(pilot, lambda: pilot.app.snapshot.board.queued == 77)
        assert pilot.app._shown is seen
        pilot.app._shown_at -= 60
        pilot.app._watch()
        assert pilot.app._shown.board.queued == 77


async def test_a_broken_file_is_not_overwritten(source, home) -> None:
    """What cannot be understood is left for its owner to mend, and said."""
    home.write_text("theme = [")
    with pytest.raises(HostError, match="cannot be written"):
        save_settings({"theme": "light"}, home)
    assert home.read_text() == "theme = ["


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_the_tour_comes_once_and_the_help_brings_it_back(source, home, size) -> None:
    """Four pages, enter after enter; esc skips; a second start does not show it."""
    async with opened(source, size, settings=load_settings()) as pilot:
        for number in range(1, 5):
            text = await settled(pilot)
            assert f"{number} of 4" in text
            assert_screen(f"tour-{number}-{size[0]}x{size[1]}", text)
            await pilot.press("enter")
        assert "of 4" not in await settled(pilot)
        await pilot.press("question_mark", "t")
        assert "1 of 4" in await settled(pilot)
        await pilot.press("escape")
        assert "1 of 4" not in await settled(pilot)
    assert not load_settings().wants_tour


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_the_settings_screen(source, size, monkeypatch) -> None:
    """Every setting and every key with its value, and the question for another key."""
    path = Path("/home/ann/.config/gpuboard/app.toml")
    monkeypatch.setattr("gpuboard.tui.dialogs.settings.settings_path", lambda: path)
    async with opened(source, size) as pilot:
        await pilot.press("comma")
        assert_screen(f"settings-{size[0]}x{size[1]}", await settled(pilot))
        await pilot.press("G", "enter")
        assert_screen(f"press-key-{size[0]}x{size[1]}", await settled(pilot))


def test_no_two_keys_of_the_table_are_rivals() -> None:
    """As it is made, no key means two things in one place."""
    for keys in SECTIONS.values():
        for key in keys:
            for pressed in key.keys.split(","):
                assert rival_of(key, pressed, {}) is None, (key, pressed)
