"""Do anything by name: actions, jobs, and people's rows, found by typing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from gpuboard.tui.bindings import EVERYWHERE, key_words, keys_of
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.ink import Ink, clean
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.jobwords import job_name, owner_words
from gpuboard.tui.keybar import GROUPS
from gpuboard.tui.widgets.rows import RowList

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
        """Offer what has these words."""
        words = event.value.lower().split()
        found = [offer for offer in self._offers if all(w in offer.words.lower() for w in words)]
        rows = self.query_one(RowList)
        rows.set_rows(found)
        rows.move_to(0)

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
        offers = []
        for job in queue.jobs if queue else ():
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
