"""My jobs, and everybody's when asked: what lives from the feed, what ended from the record."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip

from gpuboard.errors import GpuboardError
from gpuboard.model.views.jobs import JobList, JobView
from gpuboard.tui import jobwords
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Ink, Part
from gpuboard.tui.instants import epoch_s, localised
from gpuboard.tui.panes.joblist import JobListPane
from gpuboard.tui.queuewindow import QueueWish
from gpuboard.tui.widgets.painted import Block
from gpuboard.tui.widgets.rows import RowList

ENDED_SHOWN = 200
LIVE_SHOWN = 200


class JobsPane(JobListPane):
    """Live jobs, then ended ones, the latest first."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._live: list[JobView] = []
        self._ended: list[JobView] = []
        self._jobs: list[JobView] = []
        self._words = ""
        self._only_mine = True
        self._asked_for: object = None
        self._is_asking = False

    def new_rows(self) -> RowList[JobView]:
        """Return the list."""
        return RowList(self.paint_row, lambda job: job.id, empty=self._empty_words)

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:  # noqa: ARG002
        """Show jobs of a snapshot, and ask for the ended ones when something ended."""
        if snapshot.board is None or snapshot.queue is None:
            return
        now = epoch_s(snapshot.board.at) // 60 * 60
        live = [job for job in snapshot.queue.jobs if job.mine]
        if self._only_mine:
            self._ask(snapshot.board.user, frozenset(job.id for job in live))
        else:
            self._ask("", snapshot.queue.revision)
            live = self._live
        if live != self._live or now != self._now_s:
            self._live, self._now_s = live, now
            self._merge()

    def filter_by(self, words: str) -> None:
        """Show only what has these words."""
        self._words = words
        self.show_rows()

    def action_mine(self) -> None:
        """Show only mine, or everybody's."""
        self._only_mine = not self._only_mine
        self._asked_for = None
        self._ended = []
        snapshot = self.gpuboard.snapshot
        if self._only_mine and snapshot.queue is not None:
            self._live = [job for job in snapshot.queue.jobs if job.mine]
        self._merge()
        self.take(snapshot, is_stale=False)

    @property
    def is_filtered(self) -> bool:
        """Whether only jobs with some words are shown."""
        return bool(self._words)

    @property
    def _empty_words(self) -> str:
        return f"you have no jobs yet: {self.gpuboard.key('app.new')} starts one"

    def is_shown(self, job: JobView) -> bool:
        """Whether a job is among those that are shown, seen or scrolled off."""
        return (job.mine or not self._only_mine) and jobwords.matches(job, self._words)

    def known_rows(self) -> Sequence[JobView]:
        """Return all rows."""
        return [job for job in self._jobs if jobwords.matches(job, self._words)]

    def paint_row(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        """Return one row."""
        is_tagged = self.is_tagged(job)
        return jobwords.job_row(
            ink,
            job,
            self.gpuboard.settings.columns_of("jobs"),
            width,
            ground,
            now_s=self._now_s,
            is_tagged=is_tagged,
            with_owner=not self._only_mine,
        )

    def show_rows(self) -> None:
        """Show what is known."""
        if not self.is_mounted:
            return
        rows = self.known_rows()
        notes = [] if self._only_mine else ["everybody's"]
        if self._words:
            notes += [f"with '{self._words}'", f"{len(rows)} of {len(self._jobs)} shown"]
        notes += self.tag_words()
        names = self.gpuboard.settings.columns_of("jobs")
        with_owner = not self._only_mine
        self.show_heads(jobwords.job_heads(names, self.rows_width, with_owner=with_owner), notes)
        self.query_one(RowList).set_rows(
            rows, "no job matches" if self._words else self._empty_words
        )
        self.tell()

    def tell(self) -> None:
        """Say in full what the row under the cursor has no room for."""
        job = self.current
        lines: list[list[Part]] = []
        if job is not None:
            how = localised(jobwords.end_words(job), self._now_s)
            lines = [[(f" {job.id} ", "accent!"), (jobwords.job_name(job), "text")]]
            lines += [[(" " * (len(str(job.id)) + 2), "text"), (how, "text")]] if how else []
        self.query_one(Block).show_lines(lines)

    def _ask(self, user: str, mark: object) -> None:
        """Ask for the ended jobs (of everybody: for the live ones too) unless that was asked."""
        if self._is_asking or (user, mark) == self._asked_for:
            return
        self._asked_for, self._is_asking = (user, mark), True
        source = self.gpuboard.source

        def ask() -> tuple[str, JobList, JobList | None]:
            live = None if user else source.queue_page(QueueWish(), 0, LIVE_SHOWN)
            return user, source.ended(user, ENDED_SHOWN), live

        self.gpuboard.errands.run(ask, self._take_answer, self._fail)

    def _take_answer(self, answer: tuple[str, JobList, JobList | None]) -> None:
        user, ended, live = answer
        self._is_asking = False
        if bool(user) != self._only_mine:
            self.take(self.gpuboard.snapshot, is_stale=False)
            return
        self._ended = ended.jobs
        if live is not None:
            self._live = live.jobs
        self._merge()

    def _fail(self, error: GpuboardError) -> None:
        self._is_asking = False
        self.gpuboard.say_error(error)

    def _merge(self) -> None:
        living = {job.id for job in self._live}
        self._jobs = [*self._live, *(job for job in self._ended if job.id not in living)]
        self.renew_tags(self._jobs)
        self.show_rows()
