"""What a person is told in passing, and giving a job more time."""

import msgspec
import pytest

from gpuboard.model.requests import UpdateRequest
from gpuboard.model.views.bookings import ReservationList
from gpuboard.model.views.events import EventView
from gpuboard.model.views.jobs import JobList
from gpuboard.tui.eventwords import event_words
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.notices import Notices
from tests.support.screens import opened, screen_text, until
from tests.support.tui_source import NOW, at, board, job, notice


def seen(jobs=(), **changes):
    return Snapshot(board=board(**changes), queue=JobList(at=NOW, jobs=list(jobs)))


def near(**changes):
    values = {"limit_s": 4 * 3600, "started_at": at("09:45"), "ends_at": at("13:45")}
    return job(412, "ann", "train", "running", **(values | changes))


class TestNotices:
    def test_a_limit_that_comes_near_is_told_once(self):
        notices = Notices()
        [(words, severity)] = notices.of(seen([near()]), "e")
        assert words.startswith("job 412 (train) reaches its limit at 13:45, in 5m: e gives")
        assert severity == "warning"
        assert notices.near_limit.id == 412
        assert notices.of(seen([near()]), "e") == []

    def test_an_extended_job_is_told_of_again(self):
        notices = Notices()
        notices.of(seen([near()]), "e")
        assert len(notices.of(seen([near(ends_at=at("13:46"))]), "e")) == 1

    def test_other_peoples_limits_far_limits_and_short_jobs_are_not_told(self):
        jobs = [
            near(mine=False),
            near(ends_at=at("14:30")),
            near(limit_s=600),
            msgspec.structs.replace(near(), state="queued", ends_at=None),
        ]
        assert Notices().of(seen(jobs), "e") == []

    def test_my_idle_gpu_is_told_once(self):
        notices = Notices()
        devices = board().devices
        devices[0] = msgspec.structs.replace(devices[0], mine=True, idle_s=2000, job_id=412)
        [(words, _)] = notices.of(seen(devices=devices), "e")
        assert words == "GPU 0, held by job 412, has done nothing for 33m"
        assert notices.of(seen(devices=devices), "e") == []

    def test_words_of_the_admin_are_told_and_cannot_do_anything(self):
        [(words, _)] = Notices().of(seen(notices=[notice("[bold]down\x1b[2J")]), "e")
        assert "\x1b" not in words


class TestExtending:
    async def test_e_gives_the_job_under_the_cursor_half_an_hour(self, source):
        async with opened(source) as pilot:
            await pilot.press("4", "e")
            await until(pilot, lambda: source.called("update"))
            assert source.called("update") == [UpdateRequest(jobs=["412"], time_limit="+30m")]
            await until(pilot, lambda: "its limit is 5h30m now" in screen_text(pilot.app))

    async def test_e_takes_the_job_that_was_told_of_where_none_of_mine_is_under_the_cursor(
        self, source
    ):
        source.jobs = [near(id=77), *source.jobs[1:]]
        async with opened(source) as pilot:
            await until(pilot, lambda: "job 77" in screen_text(pilot.app))
            await pilot.press("5", "3", "j", "e")
            await until(pilot, lambda: source.called("update"))
            assert source.called("update")[0].jobs == ["77"]

    async def test_somebody_elses_job_is_not_extended(self, source):
        async with opened(source) as pilot:
            await pilot.press("3", "j", "e")
            await until(pilot, lambda: "not yours" in screen_text(pilot.app))
            assert not source.called("update")


class TestBeginningFromAJob:
    async def test_ctrl_r_fills_the_form_from_one_of_my_jobs(self, source):
        async with opened(source) as pilot:
            await pilot.press("n", "ctrl+r")
            await until(pilot, lambda: "prep-data" in screen_text(pilot.app))
            await pilot.press("j", "j", "j", "enter")
            await until(pilot, lambda: "train-llm.py" in screen_text(pilot.app))
            assert "WANDB_MODE=offline" in screen_text(pilot.app)

    async def test_all_that_the_form_knows_is_submitted(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            form = pilot.app.screen
            for name, value in {
                "command": "python a.py",
                "type": "a100",
                "after": "12, afterany:13",
                "array": "0-9%2",
                "begin": "tomorrow 09:00",
                "options": "preemptible hold",
            }.items():
                form.query_one(f"#field-{name}").value = value
            await until(pilot, lambda: "--preemptible" in form.line)
            await pilot.press("enter")
            await until(pilot, lambda: source.called("submit"))
            [sent] = source.called("submit")
            assert (sent.depends_on, sent.array) == (["12", "afterany:13"], "0-9%2")
            assert (sent.preemptible, sent.requeue, sent.hold) == (True, False, True)
            assert (sent.gpu_type, sent.begin) == ("a100", "tomorrow 09:00")
            assert "--depends-on 12 --depends-on afterany:13 --array" in form.line

    async def test_unknown_option_is_named_at_its_field(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            pilot.app.screen.query_one("#field-command").value = "true"
            pilot.app.screen.query_one("#field-options").value = "fast"
            await pilot.press("enter")
            await until(pilot, lambda: "'fast' is none of" in screen_text(pilot.app))
            assert not source.called("submit")

    async def test_age_and_digest_of_the_tag_are_told(self, source):
        async with opened(source) as pilot:
            await pilot.press("n", *"ubuntu:24.04")
            await until(pilot, lambda: "4a8f, 5h40 old, 7.0G" in screen_text(pilot.app))


async def test_end_of_my_job_is_told_with_its_number(source):
    async with opened(source) as pilot:
        source.push(EventView(9, NOW, "job.failed", "failed", job_id=412, user="ann"))
        await until(pilot, lambda: "job 412: failed" in screen_text(pilot.app))


@pytest.mark.parametrize(
    ("kind", "job_id", "booking", "user", "severity"),
    [
        ("job.running", 412, None, "ann", "information"),
        ("job.failed", 412, None, "", "error"),
        ("job.over_budget", 412, None, "", "warning"),
        ("job.cancelled", 412, None, "root", "warning"),
        ("job.cancelled", 412, None, "ann", None),
        ("job.held", 416, None, "root", "warning"),
        ("job.held", 416, None, "ann", None),
        ("job.cancelled", 398, None, "root", None),
        ("job.failed", 398, None, "bea", None),
        ("reservation.no_show", None, 9, "", "warning"),
        ("reservation.no_show", None, 7, "carl", None),
    ],
)
def test_what_befell_ones_own_is_told_and_what_one_did_is_not(
    kind, job_id, booking, user, severity, source
):
    notices = Notices()
    queue = JobList(at=NOW, jobs=source.jobs, total=len(source.jobs))
    booked = ReservationList(at=NOW, reservations=source.reservations)
    notices.of(Snapshot(source.board, queue, booked), "e")
    event = EventView(9, NOW, kind, "x", job_id=job_id, reservation_id=booking, user=user)
    assert notices.severity_of(event, "ann") == severity


def test_event_of_a_device_names_it_by_its_label():
    labels = {"GPU-abc": "3"}
    assert (
        event_words(EventView(1, NOW, "x", "too hot", device="GPU-abc"), labels) == "GPU 3: too hot"
    )
    assert event_words(EventView(1, NOW, "x", "GPU 3 is drained", device="GPU-abc"), labels) == (
        "GPU 3 is drained"
    )
    assert event_words(EventView(1, NOW, "x", "reloaded"), labels) == "reloaded"
