"""What the tabs of jobs share: rows under column heads, words to filter by, tags, and acting on the tagged."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.model.views.jobs import JobView
from gpuboard.tui.bindings import FILTERING, LISTED, bindings
from gpuboard.tui.ink import Ink
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.filterline import FilterLine
from gpuboard.tui.widgets.painted import Bar, Block
from gpuboard.tui.widgets.rows import RowList

DETAIL_LINES = 3
"""Below the rows, for what the row under the cursor has no room for."""


class JobListPane(Pane):
    """A list of jobs with a cursor and tags."""

    DEFAULT_CSS = """
    JobListPane #notes { display: none; }
    JobListPane #notes.-open { display: block; }
    """
    BINDINGS = bindings(FILTERING, LISTED)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._now_s = 0
        self._tagged: dict[int, JobView] = {}

    def compose(self) -> ComposeResult:
        """Return heads, rows, what is said of the row under the cursor, and the filter."""
        yield Bar(id="notes", ground="panel")
        yield Bar(classes="heads", ground="panel")
        yield self.new_rows()
        yield Block(id="under-cursor", least=DETAIL_LINES, ground="panel")
        yield FilterLine()

    def new_rows(self) -> RowList[JobView] | RowList[JobView | None]:
        """Return the list."""
        raise NotImplementedError

    def show_rows(self) -> None:
        """Show heads, rows and what is said of the row under the cursor."""
        raise NotImplementedError

    def tell(self) -> None:
        """Say in full what the row under the cursor has no room for."""
        raise NotImplementedError

    def filter_by(self, words: str) -> None:
        """Show only what has these words."""
        raise NotImplementedError

    @property
    def is_filtered(self) -> bool:
        """Whether only some of the jobs are shown."""
        raise NotImplementedError

    def is_shown(self, job: JobView) -> bool:
        """Whether a job is among those that are shown, seen or scrolled off."""
        raise NotImplementedError

    def known_rows(self) -> Sequence[JobView]:
        """Return the rows that may be tagged at once."""
        raise NotImplementedError

    def paint_row(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        """Return one row."""
        raise NotImplementedError

    @property
    def current(self) -> JobView | None:
        """The job under the cursor."""
        found: JobView | None = self.query_one(RowList).current
        return found

    @property
    def rows_width(self) -> int:
        """Columns that a row has: those of the pane less the scroll bar."""
        return self.query_one(RowList).size.width or self.size.width

    def show_heads(self, heads: str, notes: Sequence[str]) -> None:
        """Show the column heads, and above them what is shown of all jobs, where it is not all."""
        self.query_one(".heads", Bar).show([(heads, "dim")])
        bar = self.query_one("#notes", Bar)
        bar.show([(f" {', '.join(notes)}", "accent")])
        bar.set_class(bool(notes), "-open")

    def focus_first(self) -> None:
        """Put the keyboard on the rows."""
        self.query_one(RowList).focus()

    def repaint(self) -> None:
        """Draw again in another theme."""
        self.query_one(RowList).repaint()
        self.query_one(Block).refresh()
        self.show_rows()

    def target(self) -> JobTarget | None:
        """Return the job under the cursor."""
        job = self.current
        return JobTarget.of(job) if job else None

    def targets(self) -> list[JobTarget]:
        """Return the tagged jobs that the filter shows; where there are none, the one under the cursor."""
        if shown := [job for job in self._tagged.values() if self.is_shown(job)]:
            return [JobTarget.of(job) for job in shown]
        target = self.target()
        return [target] if target else []

    def is_tagged(self, job: JobView) -> bool:
        """Whether what is done next is done to this job."""
        return job.id in self._tagged

    def renew_tags(self, jobs: Sequence[JobView]) -> None:
        """Know tagged jobs as they are now."""
        for job in jobs:
            if job.id in self._tagged:
                self._tagged[job.id] = job

    def on_resize(self) -> None:
        """Fit the heads to the new width."""
        self.show_rows()

    def on_row_list_chosen(self, message: RowList.Chosen[JobView]) -> None:
        """Open a job's page."""
        self.gpuboard.jobs.open_detail(JobTarget.of(message.row))

    def on_row_list_moved(self) -> None:
        """Say in full what the row has no room for."""
        self.tell()

    def on_filter_line_changed(self, message: FilterLine.Changed) -> None:
        """Show only what has these words."""
        self.filter_by(message.words)

    def on_filter_line_left(self) -> None:
        """Give the keyboard back to the rows."""
        self.focus_first()

    def action_filter(self) -> None:
        """Type words to filter by."""
        self.query_one(FilterLine).open()

    def action_tag(self) -> None:
        """Tag the job under the cursor, or take its tag, and go on to the next."""
        job = self.current
        if job is None:
            return
        if self._tagged.pop(job.id, None) is None:
            self._tagged[job.id] = job
        rows = self.query_one(RowList)
        rows.move_to(rows.cursor + 1)
        self.show_rows()

    def action_tag_all(self) -> None:
        """Tag all of mine that are known; an admin all of a filtered list; with tags, drop them."""
        if self._tagged:
            self._tagged.clear()
        else:
            may_all = self.gpuboard.is_admin and self.is_filtered
            live = [job for job in self.known_rows() if not job.ended_at]
            self._tagged = {job.id: job for job in live if job.mine or may_all}
            if not self._tagged:
                self.gpuboard.say("none of these jobs is yours")
        self.show_rows()

    def action_stop(self) -> None:
        """Cancel the tagged jobs, or the one under the cursor, after a dialog."""
        if targets := self.targets():
            self.gpuboard.jobs.ask_cancel(*targets)
        else:
            self.gpuboard.say("there is no job under the cursor")

    def action_hold(self) -> None:
        """Hold or release the tagged jobs, or the one under the cursor, after a dialog."""
        if targets := self.targets():
            self.gpuboard.jobs.ask_hold(*targets)

    def action_limit(self) -> None:
        """Give the tagged jobs, or the one under the cursor, another limit."""
        if targets := self.targets():
            self.gpuboard.jobs.ask_limit(*targets)

    def tag_words(self) -> list[str]:
        """Return how many jobs are tagged, for the heads, and how many of them are left alone."""
        hidden = sum(not self.is_shown(job) for job in self._tagged.values())
        words = [f"{len(self._tagged)} tagged"] if self._tagged else []
        return words + ([f"{hidden} of them not shown and left alone"] if hidden else [])
