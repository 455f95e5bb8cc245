"""Do anything by name: the dialog in which what is offered is found by typing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip
from textual.widgets import Input

from gpuboard.model.views.jobs import JobList
from gpuboard.model.views.shares import UsageView
from gpuboard.tui.dialogs.finder import Finder
from gpuboard.tui.ink import Ink
from gpuboard.tui.offers import Offer, actions, devices, jobs, people
from gpuboard.tui.queuewindow import QueueWish

if TYPE_CHECKING:
    from collections.abc import Iterable

FOUND = 50
"""Jobs of the whole queue that are offered for what is typed."""


class PaletteScreen(Finder[Offer, None]):
    """The palette; the actions of the tab `where` are offered first."""

    DEFAULT_CSS = """
    PaletteScreen { align: center top; }
    PaletteScreen > .box { width: 72; height: 18; margin-top: 2; }
    """

    def __init__(self, where: str) -> None:
        super().__init__(
            "Do anything",
            asks="an action, a job's number or name, a person, a GPU",
            empty="nothing is called so",
            does="do it",
        )
        self._where = where
        self._offers: list[Offer] = []
        self._words = ""
        self._asked: str | None = None
        """Words for which other people's jobs are being looked for; None while nobody is asked."""

    def on_mount(self) -> None:
        """Offer everything that is known, and ask who else there is."""
        super().on_mount()
        app, snapshot = self.gpuboard, self.gpuboard.snapshot
        self._offers = actions(app, self._where)
        self._offer(devices(app, snapshot.board.devices if snapshot.board else ()))
        self._offer(people(app, app.known_people()))
        self._offer(jobs(app, snapshot.queue.jobs if snapshot.queue else ()))
        self.show_found(self._offers)
        app.errands.run(app.source.usage, self._take_usage, lambda _error: None)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Offer what has these words, and look for such jobs in the whole queue."""
        self._words = event.value.lower()
        self._show()
        self._search()

    def _offer(self, offers: Iterable[Offer]) -> bool:
        """Offer more; return whether any of it is new."""
        known = {offer.words for offer in self._offers}
        fresh = [offer for offer in offers if offer.words not in known]
        self._offers += fresh
        return bool(fresh)

    def _take_usage(self, view: UsageView) -> None:
        names = {row.user for row in view.people}
        if self.is_open and self._offer(people(self.gpuboard, names)):
            self._show(is_kept=True)

    def _show(self, *, is_kept: bool = False) -> None:
        """Show what has the words; `is_kept`: the choice stays."""
        words = self._words.split()
        found = [offer for offer in self._offers if all(w in offer.words.lower() for w in words)]
        typed = self._words.strip()
        found.sort(key=lambda offer: not offer.words.lower().startswith(typed))
        self.show_found(found, is_kept=is_kept)

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
        if page is not None and self._offer(jobs(self.gpuboard, page.jobs)):
            self._show(is_kept=True)
        if asked != self._words:
            self._search()

    def key_of(self, row: Offer) -> str:
        """Return what it is called."""
        return row.words

    def take(self, row: Offer) -> None:
        """Do it, once the palette is gone."""
        self.dismiss(None)
        self.app.call_later(row.act)

    def paint(self, ink: Ink, row: Offer, width: int, ground: str) -> Strip:
        """Return what is offered, and its keys."""
        return ink.spread([(" " + row.words, "text")], [(f" {row.keys} ", "key")], width, ground)
