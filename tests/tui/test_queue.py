"""The queue on the screen: only what is seen is asked for, filters are the daemon's, tags act on several."""

import msgspec
import pytest
from textual.events import Resize

from gpuboard.errors import Unavailable
from gpuboard.model.requests import CancelRequest, UpdateRequest
from gpuboard.model.views.jobs import JobList
from gpuboard.tui.jobactions import JobTarget, selectors
from gpuboard.tui.queuewindow import QueueWindow, QueueWish, run_around
from gpuboard.tui.widgets.rows import RowList
from tests.support.screens import opened, screen_text, settled, until
from tests.support.tui_source import job


def current(pilot):
    return type(pilot.app.screen).__name__


async def on_the_queue(pilot):
    await pilot.press("3")
    await until(pilot, lambda: pilot.app.query_one("#pane-queue")._known)
    await until(pilot, lambda: pilot.app.errands.is_idle)


def head(pilot):
    return pilot.app.query_one("#pane-queue #notes").text


class TestPages:
    async def test_of_100_000_jobs_only_those_near_the_seen_ones_are_asked_for(self, source):
        """Also after a jump to the end, and while the queue changes."""
        source.jobs = [job(i, "bea", f"sweep-{i}", "queued", place=i) for i in range(100_000)]
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            assert "sweep-0 " in screen_text(pilot.app)
            await pilot.press("G")
            await until(pilot, lambda: "sweep-99999" in screen_text(pilot.app))
            await pilot.press("g")
            await until(pilot, lambda: "sweep-0 " in screen_text(pilot.app))
            asked = list(source.called("queue_page"))
            assert all(limit <= 1000 for _, _, limit in asked)
            assert len(asked) < 12
            assert len(pilot.app.query_one("#pane-queue")._window.page.jobs) <= 1000

    async def test_a_change_of_the_queue_is_asked_for_once(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            before = len(source.called("queue_page"))
            source.jobs = [job(900, "carl", "newest", "queued", place=0), *source.jobs]
            source.push(source.queue_view())
            await until(pilot, lambda: "newest" in screen_text(pilot.app))
            await settled(pilot)
            assert len(source.called("queue_page")) == before + 1
            source.push_board(at="2026-11-23T13:40:01Z")
            await until(pilot, lambda: pilot.app.now_iso.endswith("01Z"))
            await settled(pilot)
            assert len(source.called("queue_page")) == before + 1

    async def test_an_error_is_told_once_and_the_list_stays(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            source.fault = Unavailable("the engine is busy")
            source.push(source.queue_view())
            await until(pilot, lambda: "the engine is busy" in screen_text(pilot.app))
            await settled(pilot)
            assert "diffusion-xl" in screen_text(pilot.app)
            source.fault = None
            source.jobs = source.jobs[:3]
            source.push(source.queue_view())
            await until(pilot, lambda: "big-batch" not in screen_text(pilot.app))

    def test_window_knows_its_rows_and_no_other(self):
        page = JobList(at="", jobs=[job(7, "ann", "a", "queued")], total=50, offset=20)
        window = QueueWindow(page)
        assert len(window) == 50
        assert window[20].id == 7
        assert window[19] is window[21] is None
        assert window.place_of(7) == 20
        assert window.place_of(8) is None
        assert window.covers(20, 1)
        assert not window.covers(20, 2)
        assert len(QueueWindow(JobList(at="", total=3, offset=90))) == 3

    def test_run_asked_for_holds_the_seen_rows(self):
        for top, height in ((0, 20), (500, 20), (99_000, 60)):
            offset, limit = run_around(top, height)
            assert offset <= top
            assert offset + limit >= top + height


class TestFilters:
    async def test_state_person_mine_and_words_are_looked_for_by_the_daemon(self, source):
        async with opened(source, (120, 30)) as pilot:
            await on_the_queue(pilot)
            await pilot.press("f")
            await until(pilot, lambda: "only running, 2 of 7 shown" in head(pilot))
            await pilot.press("f", "f")
            await until(pilot, lambda: "only held, 1 of 7 shown" in head(pilot))
            await pilot.press("f")
            await until(pilot, lambda: "diffusion-xl" in screen_text(pilot.app))
            await pilot.press("g", "j", "p")
            await until(pilot, lambda: "only bea's" in head(pilot))
            await settled(pilot)
            assert "diffusion-xl" not in screen_text(pilot.app)
            await pilot.press("u")
            await until(pilot, lambda: "only mine, 3 of 7" in head(pilot))
            await pilot.press("slash", "x", "y", "z")
            await until(pilot, lambda: "no job matches" in screen_text(pilot.app))
            await pilot.press("escape", "u")
            await until(pilot, lambda: "big-batch" in screen_text(pilot.app))
            wishes = [wish for wish, _, _ in source.called("queue_page")]
            assert QueueWish(mine=True, text="xyz") in wishes
            assert QueueWish(user="bea") in wishes

    async def test_row_under_the_cursor_says_who_comes_first_and_where_its_place_comes_from(
        self, source
    ):
        async with opened(source, (120, 30)) as pilot:
            await on_the_queue(pilot)
            await pilot.press("j", "j", "j")
            await until(pilot, lambda: "1 ahead: carl's 415, 4 GPUs" in screen_text(pilot.app))
            text = screen_text(pilot.app)
            assert "you have 31% of all recent use: it counts as submitted 3d02h earlier" in text
            await pilot.press("k")
            await until(
                pilot, lambda: "likely by 16:40, at the latest 17:10" in screen_text(pilot.app)
            )


class TestTags:
    async def test_tagged_jobs_are_cancelled_together_and_others_are_left_alone(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("space", "space", "j", "space")
            await until(pilot, lambda: "3 tagged" in head(pilot))
            await pilot.press("K")
            await until(pilot, lambda: current(pilot) == "ConfirmScreen")
            text = " ".join(screen_text(pilot.app).replace("│", " ").split())
            assert "gpuboard cancel 412 416" in text
            assert "398" not in text
            await pilot.press("y")
            await until(
                pilot, lambda: source.called("cancel") == [CancelRequest(jobs=["412", "416"])]
            )

    async def test_tagged_jobs_that_are_filtered_out_are_left_alone(self, source):
        """They stay tagged, and it is said; with the filter gone they are acted on again."""
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("asterisk", "slash", *"eval-llm", "enter")
            await until(pilot, lambda: "3 tagged, 2 of them not shown" in head(pilot))
            await pilot.press("K")
            await until(pilot, lambda: "gpuboard cancel 416 " in screen_text(pilot.app))
            await pilot.press("n", "slash", "escape")
            await until(pilot, lambda: "3 tagged" in head(pilot) and "not" not in head(pilot))
            await pilot.press("K")
            await until(pilot, lambda: "gpuboard cancel 412 416 420" in screen_text(pilot.app))

    async def test_star_tags_all_of_mine_and_drops_them_again(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("asterisk")
            await until(pilot, lambda: "3 tagged" in head(pilot))
            await pilot.press("asterisk")
            await until(pilot, lambda: "tagged" not in head(pilot))

    async def test_several_are_held_together(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("asterisk", "H")
            await until(pilot, lambda: current(pilot) == "ConfirmScreen")
            assert "gpuboard hold 416 420" in screen_text(pilot.app)
            await pilot.press("y")
            await until(pilot, lambda: source.called("hold") == [["416", "420"]])

    async def test_limit_of_several_is_changed_in_a_form(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("asterisk", "L", "plus", "3", "0", "m")
            await until(pilot, lambda: "longer by 30m" in screen_text(pilot.app))
            assert "gpuboard update 412 416 420 --time=+30m" in screen_text(pilot.app)
            await pilot.press("enter")
            await until(
                pilot,
                lambda: (
                    source.called("update")
                    == [UpdateRequest(jobs=["412", "416", "420"], time_limit="+30m")]
                ),
            )

    async def test_wrong_limit_is_told_without_asking(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("L", "x")
            await pilot.press("enter")
            await until(pilot, lambda: "x" in screen_text(pilot.app) and current(pilot) != "Screen")
            await settled(pilot)
            assert source.called("update") == []

    async def test_admin_tags_everybodys_only_in_a_filtered_list(self, source):
        source.board = msgspec.structs.replace(source.board, is_admin=True)
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("asterisk")
            await until(pilot, lambda: "3 tagged" in head(pilot))
            await pilot.press("asterisk", "slash", "b", "e", "a", "enter")
            await until(pilot, lambda: "2 of 7" in head(pilot))
            await pilot.press("asterisk")
            await until(pilot, lambda: "2 tagged" in head(pilot))

    @pytest.mark.parametrize(
        ("numbers", "words"),
        [([5], "5"), ([7, 5, 6], "5-7"), ([1, 2, 9], "1 2 9"), ([4, 3, 2, 10], "2-4 10")],
    )
    def test_command_line_names_runs_as_ranges(self, numbers, words):
        assert selectors(JobTarget(number) for number in numbers) == words


class TestJobs:
    async def test_everybodys_jobs_are_shown_when_asked(self, source):
        async with opened(source, (120, 30)) as pilot:
            await pilot.press("4")
            await until(pilot, lambda: "prep-data" in screen_text(pilot.app))
            assert "notebook" not in screen_text(pilot.app)
            await pilot.press("u")
            await until(pilot, lambda: "notebook" in screen_text(pilot.app))
            assert source.called("ended")[-1] == ""
            await pilot.press("u")
            await until(pilot, lambda: "notebook" not in screen_text(pilot.app))

    async def test_page_names_variables_and_never_says_their_values(self, source):
        async with opened(source, (120, 50)) as pilot:
            await pilot.press("4", "enter")
            text = await settled(pilot)
            assert "WANDB_MODE, EPOCHS" in text
            assert "offline" not in text

    async def test_exit_code_is_said_in_words(self, source):
        async with opened(source, (120, 50)) as pilot:
            await pilot.press("4")
            await until(pilot, lambda: "prep-data" in screen_text(pilot.app))
            await pilot.press("G", "k", "enter")
            await until(
                pilot, lambda: "137: killed by SIGKILL, out of memory" in screen_text(pilot.app)
            )

    async def test_log_of_an_earlier_attempt(self, source):
        source.jobs[0] = msgspec.structs.replace(source.jobs[0], attempt=3)
        async with opened(source) as pilot:
            await pilot.press("4", "l")
            await until(pilot, lambda: "Log of attempt 3 of job 412" in screen_text(pilot.app))
            await pilot.press("a")
            await until(pilot, lambda: "Log of attempt 2 of" in screen_text(pilot.app))
            await until(pilot, lambda: ("412", 2) in source.called("log"))


@pytest.mark.parametrize("tab", ["3", "4"])
async def test_row_is_drawn_anew_also_when_the_size_was_told_after_the_paint(tab, source):
    """Else what changes is held against nothing, and the old row stays on the terminal."""
    async with opened(source) as pilot:
        await pilot.press(tab)
        await settled(pilot)
        rows = pilot.app.pane.query_one(RowList)
        rows.on_resize(Resize(rows.size, rows.virtual_size))
        await until(pilot, lambda: set(range(rows.size.height)) <= rows._shown.keys())


def test_attempts_are_read_from_events():
    from gpuboard.model.views.events import EventView
    from gpuboard.tui.jobpage import attempts_of

    kinds = ("submitted", "starting", "running", "preempted", "starting", "running")
    events = [
        EventView(i, f"2026-11-23T1{i}:00:00Z", f"job.{kind}", kind) for i, kind in enumerate(kinds)
    ]
    first, second = attempts_of(events)
    assert (first.started_at[11:13], first.ended_at[11:13], first.how) == ("11", "13", "preempted")
    assert (second.number, second.ended_at) == (2, "")
