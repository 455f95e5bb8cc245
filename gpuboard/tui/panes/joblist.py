"""Tabs 2 and 3: the queue in serving order, and my jobs with how they ended."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.model.views import JobList, JobView
from gpuboard.tui import jobwords
from gpuboard.tui.bindings import FILTERING, QUEUED, bindings
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Ink, Part
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.filterline import FilterLine
from gpuboard.tui.widgets.painted import Bar
from gpuboard.tui.widgets.rows import RowList

ENDED_SHOWN = 200


class JobListPane(Pane):
    """A filtered list of jobs with column heads."""

    BINDINGS = bindings(FILTERING)
    EMPTY = ""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._jobs: list[JobView] = []
        self._total = 0
        self._now_s = 0
        self._words = ""
        self._only_mine = False

    def compose(self) -> ComposeResult:
        """Return heads, rows and the filter."""
        yield Bar(classes="heads", ground="panel")
        yield RowList[JobView](self._paint_row, lambda job: job.id, empty=self.EMPTY)
        yield Bar(id="under-cursor", ground="panel")
        yield FilterLine()

    def focus_first(self) -> None:
        """Put the keyboard on the rows."""
        self.query_one(RowList).focus()

    def repaint(self) -> None:
        """Draw again in another theme."""
        self.query_one(RowList).repaint()

    def target(self) -> JobTarget | None:
        """Return the job under the cursor."""
        job: JobView | None = self.query_one(RowList).current
        return JobTarget.of(job) if job else None

    def on_resize(self) -> None:
        """Fit the heads to the new width."""
        self._show()

    def on_row_list_chosen(self, message: RowList.Chosen[JobView]) -> None:
        """Open a job's page."""
        self.gpuboard.jobs.open_detail(JobTarget.of(message.row))

    def on_row_list_moved(self) -> None:
        """Say in full what the row has no room for."""
        self._tell()

    def on_filter_line_changed(self, message: FilterLine.Changed) -> None:
        """Show only what has these words."""
        self._words = message.words
        self._show()

    def on_filter_line_left(self) -> None:
        """Give the keyboard back to the rows."""
        self.focus_first()

    def action_filter(self) -> None:
        """Type words to filter by."""
        self.query_one(FilterLine).open()

    def action_mine(self) -> None:
        """Show only mine, or everybody's."""
        self._only_mine = not self._only_mine
        self._show()

    def heads(self, width: int) -> str:
        """Return the column heads."""
        raise NotImplementedError

    def paint_row(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        """Return one row."""
        raise NotImplementedError

    def _paint_row(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        return self.paint_row(ink, job, width, ground)

    def _show(self) -> None:
        rows = [
            job
            for job in self._jobs
            if (job.mine or not self._only_mine) and jobwords.matches(job, self._words)
        ]
        notes = []
        if self._only_mine:
            notes.append("only mine")
        if self._words:
            notes.append(f"with '{self._words}'")
        if notes or self._total > len(self._jobs):
            notes.append(f"{len(rows)} of {max(self._total, len(self._jobs))} shown")
        self.query_one(".heads", Bar).show(
            [(self.heads(self.size.width), "dim")],
            [(f" {', '.join(notes)} ", "accent")] if notes else None,
        )
        empty = "no job matches" if self._words or self._only_mine else self.EMPTY
        self.query_one(RowList).set_rows(rows, empty)
        self._tell()

    def _tell(self) -> None:
        job: JobView | None = self.query_one(RowList).current
        parts: list[Part] = []
        if job is not None:
            why = jobwords.end_words(job) or jobwords.job_name(job)
            parts = [(f" {job.id} ", "accent!"), (why, "text")]
        self.query_one("#under-cursor", Bar).show(parts)


class QueuePane(JobListPane):
    """Everybody's jobs: running first, then in serving order."""

    BINDINGS = bindings(QUEUED)
    EMPTY = "the queue is empty: n starts a job"

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:  # noqa: ARG002
        """Show a snapshot's queue."""
        now = epoch_s(snapshot.board.at) // 60 * 60 if snapshot.board else self._now_s
        jobs = snapshot.queue.jobs if snapshot.queue else []
        if jobs is self._jobs and now == self._now_s:
            return
        self._jobs, self._now_s = jobs, now
        self._total = snapshot.queue.total if snapshot.queue else 0
        self._show()

    def heads(self, width: int) -> str:
        """Return the column heads."""
        return jobwords.queue_heads(width)

    def paint_row(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        """Return one row."""
        return jobwords.queue_row(ink, job, width, ground, self._now_s)

    def action_hold(self) -> None:
        """Hold or release the job under the cursor, after a dialog."""
        if target := self.target():
            self.gpuboard.jobs.ask_hold(target)


class JobsPane(JobListPane):
    """My jobs: what lives from the feed, what ended from the history."""

    EMPTY = "you have no jobs yet: n starts one"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._live: list[JobView] = []
        self._ended: list[JobView] = []
        self._asked_for: object = None

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:  # noqa: ARG002
        """Show my jobs of a snapshot, and ask for the ended ones when something ended."""
        if snapshot.board is None or snapshot.queue is None:
            return
        now = epoch_s(snapshot.board.at) // 60 * 60
        live = [job for job in snapshot.queue.jobs if job.mine]
        ids = frozenset(job.id for job in live)
        if ids != self._asked_for:
            self._asked_for = ids
            user = snapshot.board.user
            self.gpuboard.errands.run(
                lambda: self.gpuboard.source.ended(user, ENDED_SHOWN),
                self._take_ended,
                self.gpuboard.say_error,
            )
        if live != self._live or now != self._now_s:
            self._live, self._now_s = live, now
            self._merge()

    def _take_ended(self, answer: JobList) -> None:
        self._ended = answer.jobs
        self._merge()

    def _merge(self) -> None:
        living = {job.id for job in self._live}
        self._jobs = [*self._live, *(job for job in self._ended if job.id not in living)]
        self._total = len(self._jobs)
        if self.is_mounted:
            self._show()

    def heads(self, width: int) -> str:
        """Return the column heads."""
        return jobwords.job_heads(width)

    def paint_row(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        """Return one row."""
        return jobwords.job_row(ink, job, width, ground, self._now_s)
