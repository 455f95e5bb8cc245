"""What poor terminals get: ASCII only, sixteen colours, or none at all."""

import pytest
from rich.color import ColorSystem

from gpuboard.tui.settings import Settings
from gpuboard.tui.terminals import in_ascii
from gpuboard.tui.theme import THEMES, Palette
from gpuboard.tui.top import TopApp
from tests.support.hostile import HOSTILE, poisoned, walked
from tests.support.screens import opened, settled, until


async def test_every_screen_and_dialog_is_ascii_where_that_is_asked_for(source, monkeypatch):
    """Whatever people are called, and whatever textual draws by itself."""
    monkeypatch.setenv("GPUBOARD_ASCII", "1")
    poisoned(source, HOSTILE["wide"])
    async with opened(source) as pilot:
        pilot.app.say(HOSTILE["wide"], title=HOSTILE["wide"])
        async for seen in walked(pilot):
            assert seen.isascii(), seen


async def test_ascii_asked_for_in_the_settings_holds_under_the_prompt_too(source):
    app = TopApp(source, Settings(is_ascii=True))
    async with app.run_test(size=(80, 5)) as pilot:
        await until(pilot, lambda: "free" in _text(app))
        assert _text(app).isascii()


def test_ascii_takes_the_same_room():
    """What is laid out for the wide letters stays in its columns."""
    assert in_ascii("a…漢字│é") == "a~????|?"


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_cursor_differs_from_other_rows_in_sixteen_colours_and_in_256(theme):
    for depth, system in (("few", ColorSystem.STANDARD), ("many", ColorSystem.EIGHT_BIT)):
        palette = Palette(theme, depth)
        for role in ("text", "dim", "mine"):
            looks = [
                palette.style(role, ground).bgcolor.downgrade(system).number
                for ground in ("selected", "base", "panel", "bar")
            ]
            assert looks[0] not in looks[1:], (depth, role)


@pytest.mark.parametrize(
    "environment",
    [{"TERM": "xterm-16color", "COLORTERM": ""}, {"NO_COLOR": "1"}],
    ids=["16", "none"],
)
async def test_cursor_has_a_mark_where_colours_do_not_tell_it(environment, source, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with opened(source) as pilot:
        assert "▌>0 H100" in await settled(pilot)
        await pilot.press("right")
        assert "▌>1 H100" in await settled(pilot)
        await pilot.press("3", "j", "space", "k")
        await settled(pilot)
        rows = pilot.app.query_one("#pane-queue RowList")
        assert [rows.render_line(y).text[:6] for y in range(3)] == ["● run ", "✓>run ", "    1 "]
        await pilot.press("j")
        assert [rows.render_line(y).text[:6] for y in range(3)] == ["● run ", "✓ run ", ">   1 "]


async def test_no_colour_is_written_where_none_is_wanted(source, monkeypatch):
    """Not even greys; the row under the cursor is reversed."""
    monkeypatch.setenv("NO_COLOR", "")
    source.refusal = None
    async with opened(source) as pilot:
        pilot.app.say("words")
        for keys in (["1"], ["2"], ["3"], ["5"], ["n"], ["escape", "comma"]):
            await pilot.press(*keys)
            await settled(pilot)
            for strip in pilot.app.screen._compositor.render_strips():
                for segment in strip:
                    assert segment.style is None or segment.style.color is None
                    assert segment.style is None or segment.style.bgcolor is None
        rows = pilot.app.screen.query_one("RowList")
        cursor, other = (rows.render_line(y) for y in (0, 1))
        assert all(segment.style.reverse for segment in cursor)
        assert not any(segment.style.reverse for segment in other)


def _text(app):
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize("command", [[], ["board"], ["top"], ["demo"]], ids=str)
def test_ascii_is_an_option_of_every_command_that_draws(command, monkeypatch, capsys):
    from gpuboard.cli.main import main
    from gpuboard.tui.theme import ASCII, glyphs_for

    monkeypatch.delenv("GPUBOARD_ASCII", raising=False)
    assert glyphs_for() is not ASCII
    try:
        assert main([*command, "--ascii", "--help"]) == 0
        assert glyphs_for() is ASCII
        assert "--ascii" in capsys.readouterr().out
    finally:
        monkeypatch.delenv("GPUBOARD_ASCII", raising=False)
