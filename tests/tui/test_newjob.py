"""The form for a new job: what it begins with, what its fields say, and what it completes."""

import msgspec
import pytest
from textual.widgets import Input

from gpuboard.errors import InvalidRequest
from gpuboard.model.job import Mount
from gpuboard.model.requests import SubmitRequest
from gpuboard.tui.commandlines import submit_line
from gpuboard.tui.folders import completed, reach_of
from gpuboard.tui.jobfields import filled, mount_sources, request_of
from tests.support.screens import opened, screen_text, until

WHOLE = SubmitRequest(
    image="pytorch:2.4", command=["sh", "-c", "cd /w && python a.py"], gpus=1, gpu_type="h100",
    gpu_memory="10G", time_limit="2h30m", env={"A": "x y"}, mounts=[Mount("/d d", "/d", True)],
    name="n", depends_on=["afterok:12"], array="0-3", begin="tomorrow 09:00", preemptible=True,
    nvlink=True, class_name="urgent", account="vision", workdir="/w", shm_size="8G", cpus=4.0,
    memory="64G", grace="30s",
)  # fmt: skip


def form_of(pilot):
    return {field.id.removeprefix("field-"): field.value for field in pilot.app.screen.query(Input)}


def test_what_a_job_asked_for_comes_back_from_the_fields_whole():
    """Also what has no field: working directory, shared memory, processors, memory, grace."""
    values = filled(WHOLE) | {"command": "sh -c 'cd /w && python a.py'"}
    assert request_of(values, WHOLE) == WHOLE


def test_command_line_says_all_that_the_form_asks_for():
    line = submit_line(WHOLE)
    for words in (
        "--gpu-mem 10G", "--class urgent", "--account vision", "--nvlink", "--shm-size 8G",
        "--cpus 4", "--memory 64G", "--gpu-type h100",
    ):  # fmt: skip
        assert words in line


@pytest.mark.parametrize(
    ("options", "words"),
    [("fast", "'fast' is none of"), ("class=", "'class=' is none of"), ("hold=1", "is none of")],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(InvalidRequest, match=words) as caught:
        request_of(filled(WHOLE) | {"options": options}, WHOLE)
    assert caught.value.field == "options"


def test_folders_are_completed_where_a_source_is_typed(tmp_path):
    for name in ("data-one", "data-two", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "data-file").touch()
    assert completed(f"{tmp_path}/da") == f"{tmp_path}/data-one"
    assert completed(f"/x:/y  {tmp_path}/data-t") == f"/x:/y  {tmp_path}/data-two"
    assert completed(f"{tmp_path}/.h") == f"{tmp_path}/.hidden"
    for nothing in (f"{tmp_path}/zzz", "/x:/da", "relative/da", "", "/nowhere/at/all"):
        assert completed(nothing) is None


def test_reach_is_told_in_words(tmp_path):
    assert reach_of(str(tmp_path)) == ""
    assert reach_of(f"{tmp_path}/none") == "is not there"
    assert mount_sources("/a:/b ~/c:/d:ro named:/x /typing") == ["/a", "~/c"]


async def test_form_begins_with_a_template_of_the_lab_and_keeps_what_has_no_field(source):
    async with opened(source) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "NewJobScreen")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "two GPUs, nightly" in screen_text(pilot.app))
        await until(pilot, lambda: pilot.app.errands.is_idle)
        await pilot.press("enter")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "NewJobScreen")
        assert form_of(pilot)["gpus"] == "2"
        assert form_of(pilot)["options"] == "preemptible"
        await until(pilot, lambda: "about 16:00" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: source.called("submit"))
        request = source.called("submit")[0]
        assert (request.command, request.shm_size, request.time_limit) == (
            ["python", "train.py"],
            "32G",
            "8h",
        )


async def test_mounts_are_completed_and_checked_as_the_person(source, tmp_path):
    (tmp_path / "data").mkdir()
    async with opened(source) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "NewJobScreen")
        field = pilot.app.screen.query_one("#field-mounts", Input)
        field.focus()
        field.insert_text_at_cursor(f"{tmp_path}/da")
        await until(pilot, lambda: field._suggestion == f"{tmp_path}/data")
        await pilot.press("right")
        await until(pilot, lambda: field.value == f"{tmp_path}/data")
        field.insert_text_at_cursor(":/data /nowhere/here:/x")
        await until(pilot, lambda: "/nowhere/here is not there" in screen_text(pilot.app))


async def test_paths_of_another_box_are_left_alone(source):
    source.is_here = False
    async with opened(source) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "NewJobScreen")
        assert pilot.app.screen.query_one("#field-mounts", Input).suggester is None


@pytest.mark.parametrize(
    ("runtimes", "opening", "words"),
    [
        (["process"], ["p", "y"], "no containers on this box: leave this empty"),
        (["docker"], ["tab", "l", "s"], "this box runs containers only: name an image"),
    ],
    ids=["no containers", "no processes"],
)
async def test_what_the_box_cannot_run_is_said_in_the_forms_words(runtimes, opening, words, source):
    """At the image's field, without an option of the command line, and without asking the daemon."""
    host = msgspec.structs.replace(source.board.host, runtimes=runtimes)
    source.board = msgspec.structs.replace(source.board, host=host)
    async with opened(source) as pilot:
        await pilot.press("n", *opening)
        await until(pilot, lambda: words in screen_text(pilot.app))
        lines = screen_text(pilot.app).splitlines()
        place = next(n for n, line in enumerate(lines) if words in line)
        assert " image " in lines[place - 1]
        assert not any("--" in line for line in (lines[place], *lines[-6:-3]))
        assert source.called("dry_run") == []


async def test_error_at_its_field_does_not_name_the_option_again(source):
    source.refusal = InvalidRequest("--time 9d: at most 7d here", field="time")
    async with opened(source) as pilot:
        await pilot.press("n", "tab", "l", "s")
        await until(pilot, lambda: " 9d: at most 7d here" in screen_text(pilot.app))
        assert "--time 9d" not in screen_text(pilot.app)


@pytest.mark.parametrize("key", ["n", "b", "L"], ids=["job", "booking", "limit"])
async def test_esc_drops_what_was_typed_only_when_it_is_pressed_again(source, key):
    """Every form alike: an untouched one closes at once, and so does one that is as it was."""
    async with opened(source) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "415 carl" in screen_text(pilot.app))
        for typed in ([], ["7", "backspace"]):
            await pilot.press(key)
            await until(pilot, lambda: len(pilot.app.screen_stack) == 2 and form_of(pilot))
            await pilot.press(*typed, "escape")
            await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        await pilot.press(key)
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2 and form_of(pilot))
        await pilot.press("7", "escape")
        await until(pilot, lambda: "esc again drops what you typed" in screen_text(pilot.app))
        await pilot.press("7", "escape")
        await until(pilot, lambda: "esc again drops what you typed" in screen_text(pilot.app))
        assert any("77" in value for value in form_of(pilot).values())
        await pilot.press("escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
