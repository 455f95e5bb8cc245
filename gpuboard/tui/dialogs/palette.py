"""Do anything by name: actions, jobs, and people's rows, found by typing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from gpuboard.model.views import JobList, JobView
from gpuboard.tui.bindings import EVERYWHERE, key_words, keys_of
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.ink import Ink, clean
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.jobwords import job_name, owner_words
from gpuboard.tui.keybar import GROUPS
from gpuboard.tui.queuewindow import QueueWish
from gpuboard.tui.widgets.rows import RowList

FOUND = 50
"""Jobs of the whole queue that are offered for what is typed."""
Act = Callable[[], Awaitable[object] | object]


@dataclass(frozen=True)
class Offer:
    """One thing that can be done."""

    words: str
    keys: str
    act: Act


class PaletteScreen(Dialog[None]):
    """The palette; `where` is the tab whose actions are offered too."""

    DEFAULT_CSS = """
    PaletteScreen { align: center top; }
    PaletteScreen > .box { width: 72; height: 18; margin-top: 2; }
    PaletteScreen Input { background: $panel; margin-bottom: 1; }
    """
    BINDINGS = [
        Binding("down,ctrl+n", "step(1)", "down", show=False),
        Binding("up,ctrl+p", "step(-1)", "up", show=False),
    ]

    def __init__(self, focused: Widget | None, where: str) -> None:
        super().__init__("Do anything")
        self._focused = focused
        self._where = where
        self._offers: list[Offer] = []
        self._words = ""
        self._asked: str | None = None
        """Words for which other people's jobs are being looked for; None while nobody is asked."""

    def content(self) -> ComposeResult:
        """Return the input and what it finds."""
        yield Input(compact=True, placeholder="an action, a job's number or name, a person")
        yield RowList[Offer](_paint, lambda offer: offer.words, empty="nothing is called so")

    def on_mount(self) -> None:
        """Offer everything."""
        super().on_mount()
        self._offers = [*self._actions(), *self._jobs()]
        self.query_one(RowList).can_focus = False
        self.query_one(RowList).set_rows(self._offers)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Offer what has these words, and look for such jobs in the whole queue."""
        self._words = event.value.lower()
        self._show()
        self._search()

    def _show(self) -> None:
        words = self._words.split()
        found = [offer for offer in self._offers if all(w in offer.words.lower() for w in words)]
        rows = self.query_one(RowList)
        rows.set_rows(found)
        rows.move_to(0)

    def _search(self) -> None:
        words = self._words
        if self._asked is not None or not words.strip():
            return
        self._asked = words
        self.gpuboard.errands.run(
            lambda: self.gpuboard.source.queue_page(QueueWish(text=words), 0, FOUND),
            self._take_found,
            lambda _error: self._take_found(None),
        )

    def _take_found(self, page: JobList | None) -> None:
        asked, self._asked = self._asked, None
        if not self.is_open:
            return
        if page is not None:
            known = {offer.words for offer in self._offers}
            fresh = [offer for offer in self._offers_of(page.jobs) if offer.words not in known]
            if fresh:
                self._offers += fresh
                self._show()
        if asked != self._words:
            self._search()

    async def on_input_submitted(self) -> None:
        """Do what is chosen."""
        offer: Offer | None = self.query_one(RowList).current
        if offer is not None:
            await self._do(offer)

    async def on_row_list_chosen(self, message: RowList.Chosen[Offer]) -> None:
        """Do what was clicked."""
        await self._do(message.row)

    def action_step(self, by: int) -> None:
        """Move the choice."""
        rows = self.query_one(RowList)
        rows.move_to(rows.cursor + by)

    async def _do(self, offer: Offer) -> None:
        self.dismiss(None)
        self.app.call_later(offer.act)

    def _actions(self) -> list[Offer]:
        app, keymap = self.gpuboard, self.gpuboard.settings.keys
        offers = []
        for group, is_pane in ((EVERYWHERE, False), (GROUPS[self._where], True)):
            for key in group:
                if not key.palette:
                    continue
                action = f"on_pane('{key.id}')" if is_pane else key.action
                offers.append(
                    Offer(
                        key.words,
                        key_words(keys_of(key, keymap), is_ascii=app.ink.glyphs.is_ascii),
                        lambda action=action: app.run_action(action, app),  # type: ignore[misc]
                    )
                )
        return offers

    def _jobs(self) -> list[Offer]:
        queue = self.gpuboard.snapshot.queue
        return self._offers_of(queue.jobs if queue else ())

    def _offers_of(self, jobs: Iterable[JobView]) -> list[Offer]:
        offers = []
        for job in jobs:
            target = JobTarget.of(job)
            offers.append(
                Offer(
                    f"job {job.id} {job_name(job)}, {owner_words(job)}, {clean(job.state)}",
                    "",
                    lambda target=target: self.gpuboard.jobs.open_detail(target),  # type: ignore[misc]
                )
            )
        return offers


def _paint(ink: Ink, offer: Offer, width: int, ground: str) -> Strip:
    # The input has the keyboard, so the chosen row is shown as if it had.
    ground = "selected" if ground != "base" else ground
    return ink.spread([(" " + offer.words, "text")], [(f" {offer.keys} ", "key")], width, ground)
