"""The tables' columns: chosen by a person, kept, and giving way where there is no room."""

from __future__ import annotations

import tomllib

import pytest

from gpuboard.tui.columns import TABLES, heads, laid_out, usual
from gpuboard.tui.settings import Settings, load_settings
from tests.support.screens import opened, screen_text, settled, until


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("width", [20, 40, 78, 118, 200])
def test_a_row_never_has_more_columns_than_there_is_room(table, width) -> None:
    for names in (usual(table), tuple(TABLES[table])):
        layout = laid_out(table, names, width)
        assert layout
        assert len(heads(layout)) <= width


def test_what_matters_most_stays_where_the_room_is_small() -> None:
    assert [each.name for each, _ in laid_out("queue", usual("queue"), 74)] == [
        "job", "who", "name", "gpus", "limit", "start",
    ]  # fmt: skip


async def test_columns_are_chosen_in_the_settings_and_kept(source, tmp_path, monkeypatch) -> None:
    """Leaving one out, and moving one, holds at once and after the next start."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with opened(source) as pilot:
        await pilot.press("3")
        assert "LIMIT" in await settled(pilot)
        await pilot.press("comma", "down", "down", "down", "enter")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "ColumnsScreen")
        rows = pilot.app.screen.query_one("RowList")
        rows.move_to(next(n for n, row in enumerate(rows.rows) if row.name == "limit"))
        await pilot.press("space", "g", "shift+down", "enter", "escape")
        text = await settled(pilot)
        assert "LIMIT" not in text
        assert text.index("WHO") < text.index(" JOB NAME")
    kept = tomllib.loads((tmp_path / "gpuboard/app.toml").read_text())["columns"]
    assert kept == {"queue": ["who", "job", "name", "gpus", "start", "why"]}
    assert load_settings().columns_of("queue") == tuple(kept["queue"])


async def test_every_column_of_every_table_can_be_shown(source) -> None:
    everything = {table: tuple(names) for table, names in TABLES.items()}
    async with opened(source, (240, 30), settings=Settings(columns=everything)) as pilot:
        for key, table in (("3", "queue"), ("4", "jobs"), ("5", "people")):
            await pilot.press(key)
            if table == "jobs":
                await pilot.press("u")
            text = await settled(pilot)
            assert all(each.head in text for each in TABLES[table].values())


def test_unknown_columns_are_told_and_the_others_are_kept(tmp_path) -> None:
    path = tmp_path / "app.toml"
    path.write_text('[columns]\nqueue = ["job", "colour"]\nboard = ["x"]\n')
    settings = load_settings(path)
    assert settings.columns_of("queue") == ("job",)
    assert settings.columns_of("jobs") == usual("jobs")
    assert "no column 'colour'" in settings.faults[0]
    assert "'board' is none of queue, jobs, people" in settings.faults[1]


async def test_a_filter_is_told_above_the_heads(source) -> None:
    """The heads stay whole."""
    async with opened(source) as pilot:
        await pilot.press("3", "slash", *"llm")
        await until(pilot, lambda: "with 'llm'" in screen_text(pilot.app))
        lines = (await settled(pilot)).splitlines()
        assert "with 'llm'" in lines[2]
        assert "START" in lines[3]
