"""The queue: everybody's live jobs, running first, then in serving order; only what is seen is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from textual.strip import Strip
from textual.timer import Timer

from gpuboard.errors import GpuboardError
from gpuboard.model.views.jobs import JobList, JobView
from gpuboard.model.views.waits import WhyView
from gpuboard.tui import jobwords
from gpuboard.tui.bindings import QUEUED, bindings
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Ink, Part, clean
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.panes.joblist import DETAIL_LINES, JobListPane
from gpuboard.tui.queuewindow import QueueWindow, QueueWish, run_around
from gpuboard.tui.waitwords import waiting_lines
from gpuboard.tui.widgets.pagedrows import PagedRows
from gpuboard.tui.widgets.painted import Block

STATES = ("", "running", "queued", "held")
REST_S, REST_FACTOR = 0.25, 5
"""A page is asked for again at most so often; one that took t seconds not before 5 t."""
WHY_REST_S = 1.0


class QueuePane(JobListPane):
    """The queue."""

    BINDINGS = bindings(QUEUED)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._wish = QueueWish()
        self._window = QueueWindow()
        self._revision: object = None
        self._known: tuple[QueueWish, object] | None = None
        """Which list, of which revision, the window is a part of."""
        self._is_asking = False
        self._rest_until = 0.0
        self._timer: Timer | None = None
        self._why: WhyView | None = None
        self._why_asked: tuple[int, object] | None = None
        self._is_asking_why = False
        self._why_rest_until = 0.0

    def new_rows(self) -> PagedRows:
        """Return the list."""
        return PagedRows(self.paint_row, empty="asking...")

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:  # noqa: ARG002
        """Ask for what is seen when the queue changed."""
        if snapshot.queue is None:
            self.show_rows()
            return
        now = epoch_s(snapshot.board.at) // 60 * 60 if snapshot.board else self._now_s
        revision = (snapshot.queue.revision, snapshot.queue.at, snapshot.queue.total)
        is_older = now != self._now_s
        if is_older or revision != self._revision:
            self._now_s, self._revision = now, revision
            if is_older and self._known is not None:
                self.show_rows()
        self._want()
        self.tell()

    def filter_by(self, words: str) -> None:
        """Show only what has these words; the daemon looks through the whole queue."""
        self._wish_for(replace(self._wish, text=words))

    def on_paged_rows_scrolled(self) -> None:
        """Ask for the rows that came into view."""
        self._want()

    def action_mine(self) -> None:
        """Show only mine, or everybody's."""
        self._wish_for(replace(self._wish, mine=not self._wish.mine, user=""))

    def action_person(self) -> None:
        """Show only jobs of the person under the cursor, or everybody's."""
        job = self.current
        user = "" if self._wish.user or job is None else job.user
        self._wish_for(replace(self._wish, user=user, mine=False))

    def show_person(self, name: str) -> None:
        """Show only a person's jobs."""
        self._wish_for(QueueWish(user=name))

    def action_state(self) -> None:
        """Show all, or only running, queued or held jobs."""
        place = STATES.index(self._wish.state)
        self._wish_for(replace(self._wish, state=STATES[(place + 1) % len(STATES)]))

    @property
    def is_filtered(self) -> bool:
        """Whether only some of the jobs are shown."""
        return self._wish != QueueWish()

    @property
    def _empty_words(self) -> str:
        return f"the queue is empty: {self.gpuboard.key('app.new')} starts a job"

    def is_shown(self, job: JobView) -> bool:
        """Whether a job is among those that are shown, seen or scrolled off."""
        is_known = self._known is not None and self._known[0] == self._wish
        return (is_known and self._window.place_of(job.id) is not None) or self._wish.takes(job)

    def known_rows(self) -> Sequence[JobView]:
        """Return the rows that are known."""
        return self._window.page.jobs

    def paint_row(self, ink: Ink, job: JobView, width: int, ground: str) -> Strip:
        """Return one row."""
        is_tagged = self.is_tagged(job)
        names = self.gpuboard.settings.columns_of("queue")
        return jobwords.queue_row(
            ink, job, names, width, ground, now_s=self._now_s, is_tagged=is_tagged
        )

    def show_rows(self) -> None:
        """Show what is known."""
        if not (self.is_mounted and self.query("#notes") and self.query("#under-cursor")):
            return  # not there yet, or going: the app ends
        notes = [clean(words) for words in self._wish.words]
        if notes:
            board = self.gpuboard.snapshot.board
            whole = board.queued + board.running if board else 0
            notes.append(f"{len(self._window)} of {max(whole, len(self._window))} shown")
        notes += self.tag_words()
        names = self.gpuboard.settings.columns_of("queue")
        self.show_heads(jobwords.queue_heads(names, self.rows_width), notes)
        is_away = self._known is None and bool(self.gpuboard.snapshot.fault)
        asking = "the daemon does not answer" if is_away else "asking..."
        empty = asking if self._known is None else self._empty_words
        if self._wish != QueueWish():
            empty = "no job matches"
        self.query_one(PagedRows).set_rows(self._window, empty)
        self.tell()

    def tell(self) -> None:
        """Say why the job under the cursor waits, who comes first, and where its place comes from."""
        job = self.current
        lines: list[list[Part]] = []
        if job is not None:
            self._ask_why(job)
            why = self._why if self._why is not None and self._why.id == job.id else None
            board = self.gpuboard.snapshot.board
            me, key = board.user if board else "", self.gpuboard.key("job.why")
            lines = waiting_lines(job, why, self._now_s, self.size.width, me=me, key=key)
        self.query_one(Block).show_lines(lines[:DETAIL_LINES])

    def _wish_for(self, wish: QueueWish) -> None:
        if wish == self._wish:
            return
        self._wish = wish
        self.query_one(PagedRows).move_to(0)
        self.show_rows()
        self._want()

    def _want(self) -> None:
        """Ask for the rows that are seen unless they are known as they are now."""
        if self._is_asking or self._revision is None or not self.is_mounted:
            return
        top, height = self.query_one(PagedRows).seen
        wanted = (self._wish, self._revision)
        is_seen = self._known is not None and self._known[0] == self._wish
        is_seen = is_seen and self._window.covers(top, height)
        if is_seen and self._known == wanted:
            return
        rest = self._rest_until - time.monotonic()
        if is_seen and rest > 0:
            if self._timer is None:
                self._timer = self.set_timer(rest, self._rested)
            return
        self._is_asking = True
        wish, (offset, limit) = self._wish, run_around(top, height)
        began = time.monotonic()
        self.gpuboard.errands.run(
            lambda: self.gpuboard.source.queue_page(wish, offset, limit),
            lambda page: self._take_page(wanted, began, page),
            self._fail,
        )

    def _rested(self) -> None:
        self._timer = None
        self._want()

    def _take_page(self, wanted: tuple[QueueWish, object], began: float, page: JobList) -> None:
        self._is_asking = False
        now = time.monotonic()
        self._rest_until = now + max(REST_S, REST_FACTOR * (now - began))
        if wanted[0] == self._wish:
            self._window, self._known = QueueWindow(page), wanted
            self.renew_tags(page.jobs)
            self.show_rows()
        self._want()

    def _fail(self, error: GpuboardError) -> None:
        """Tell it once; the list is asked for again when the queue changes or is scrolled."""
        self._is_asking = False
        self._known = (self._wish, self._revision)
        self.gpuboard.say_error(error)

    def _ask_why(self, job: JobView) -> None:
        wanted = (job.id, self._revision)
        if job.state != "queued" or self._is_asking_why or wanted == self._why_asked:
            return
        is_other = self._why_asked is None or self._why_asked[0] != job.id
        if not is_other and time.monotonic() < self._why_rest_until:
            return
        self._is_asking_why, self._why_asked = True, wanted
        self._why_rest_until = time.monotonic() + WHY_REST_S
        self.gpuboard.errands.run(
            lambda: self.gpuboard.source.why(str(job.id)), self._take_why, self._no_why
        )

    def _take_why(self, view: WhyView) -> None:
        self._is_asking_why = False
        self._why = view
        if self.is_mounted:
            self.tell()

    def _no_why(self, _error: GpuboardError) -> None:
        """It began or ended in between: the list will say so."""
        self._is_asking_why = False
