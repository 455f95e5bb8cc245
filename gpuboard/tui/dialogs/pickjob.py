"""One of my last jobs, as the beginning of a new one."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.strip import Strip

from gpuboard.errors import GpuboardError
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.views import JobDetail, JobList, JobView
from gpuboard.tui import jobwords
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.dialogs.job import request_like
from gpuboard.tui.ink import Ink, clean, fit
from gpuboard.tui.instants import brief, clock_of, epoch_s
from gpuboard.tui.widgets.rows import RowList

OFFERED = 100


class PickJobScreen(Dialog[SubmitRequest]):
    """My jobs, the latest first; enter gives what the chosen one asked for."""

    DEFAULT_CSS = "PickJobScreen > .box { width: 78; height: 18; }"
    BINDINGS = [Binding("q", "close", "back", show=False)]

    def __init__(self) -> None:
        super().__init__("Like one of my jobs")

    def content(self) -> ComposeResult:
        """Return the list."""
        yield RowList[JobView](self._paint, lambda job: job.id, empty="asking...")

    def on_mount(self) -> None:
        """Show what lives, and ask for what ended."""
        super().on_mount()
        snapshot = self.gpuboard.snapshot
        user = snapshot.board.user if snapshot.board else ""
        self._live = [job for job in (snapshot.queue.jobs if snapshot.queue else ()) if job.mine]
        self._show([])
        self.query_one(RowList).focus()
        self.gpuboard.errands.run(
            lambda: self.gpuboard.source.ended(user, OFFERED), self._take, self._fail
        )

    def on_row_list_chosen(self, message: RowList.Chosen[JobView]) -> None:
        """Ask for all that the job asked for."""
        number = str(message.row.id)
        self.gpuboard.errands.run(lambda: self.gpuboard.source.job(number), self._give, self._fail)

    def _take(self, answer: JobList) -> None:
        if self.is_open:
            self._show(answer.jobs)

    def _give(self, detail: JobDetail) -> None:
        if self.is_open:
            self.dismiss(request_like(detail))

    def _fail(self, error: GpuboardError) -> None:
        self.gpuboard.say_error(error)

    def _show(self, ended: list[JobView]) -> None:
        jobs = {job.id: job for job in [*self._live, *ended]}
        rows = sorted(jobs.values(), key=lambda job: -job.id)
        self.query_one(RowList).set_rows(rows, "you have no jobs yet")

    def _paint(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        words, role = jobwords.state_parts(ink, job)
        now = self.gpuboard.now_iso
        when = clock_of(job.submitted_at, epoch_s(now) if now else 0)
        return ink.line(
            [
                (f" {job.id:>5} ", "strong!"),
                (fit(jobwords.job_name(job), 20) + " ", "text"),
                (fit(words, 12) + " ", role),
                (f"{job.gpus} GPU, {brief(job.limit_s):<6}", "dim"),
                (fit(when, 13), "dim"),
                (clean(job.image), "dim"),
            ],
            width,
            ground,
        )
