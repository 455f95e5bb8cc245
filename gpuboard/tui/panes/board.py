"""Tab 1: every GPU as a card, sorted and filtered."""

from __future__ import annotations

from textual.app import ComposeResult

from gpuboard.model.views.devices import SharerView
from gpuboard.tui.bindings import CARDS, bindings
from gpuboard.tui.boardorder import ORDERS, chosen
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import clean
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.board import BoardGrid
from gpuboard.tui.widgets.filterline import FilterLine
from gpuboard.tui.widgets.painted import Bar


class BoardPane(Pane):
    """The grid of cards."""

    DEFAULT_CSS = "BoardPane #order { display: none; } BoardPane #order.-open { display: block; }"
    BINDINGS = bindings(CARDS)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._order = ORDERS[0]
        self._words = ""
        self._only_mine = False
        self._is_stale = False
        self._snapshot = Snapshot()
        self._grid = BoardGrid(id="grid")
        self._notes = Bar(id="order", ground="panel")

    def compose(self) -> ComposeResult:
        """Return the grid, and what is said of its order."""
        yield self._notes
        yield self._grid
        yield FilterLine()

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:
        """Show one second."""
        self._snapshot, self._is_stale = snapshot, is_stale
        board = snapshot.board
        if board is None:
            return
        devices = chosen(board.devices, self._order, self._words, only_mine=self._only_mine)
        self._grid.empty = "no GPU matches" if board.devices else "no GPUs to show yet"
        self._grid.show(board, devices, self.gpuboard.histories, is_stale=is_stale)
        self._tell(len(devices), len(board.devices))

    def repaint(self) -> None:
        """Draw again in another theme."""
        self._grid.repaint()

    def focus_first(self) -> None:
        """Put the keyboard on the cards."""
        self._grid.focus()

    def target(self) -> JobTarget | None:
        """Return the job on the device under the cursor; of several that share it, mine."""
        targets = self._targets()
        return next((target for target in targets if target.mine), targets[0] if targets else None)

    def on_board_grid_opened(self, message: BoardGrid.Opened) -> None:
        """Open a device's page."""
        self.gpuboard.show_device(message.device)

    def on_filter_line_changed(self, message: FilterLine.Changed) -> None:
        """Show only cards with these words."""
        self._words = message.words
        self.take(self._snapshot, is_stale=self._is_stale)

    def on_filter_line_left(self) -> None:
        """Give the keyboard back to the cards."""
        self.focus_first()

    def action_filter(self) -> None:
        """Type words to filter by."""
        self.query_one(FilterLine).open()

    def action_mine(self) -> None:
        """Show only GPUs that I hold, or all."""
        self._only_mine = not self._only_mine
        self.take(self._snapshot, is_stale=self._is_stale)

    def action_sort(self) -> None:
        """Sort the cards by the next thing."""
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self.take(self._snapshot, is_stale=self._is_stale)

    def action_stop(self) -> None:
        """Cancel the job on the device, or mine of those that share it, after a dialog."""
        targets = self._targets()
        mine = [target for target in targets if target.mine]
        if mine or targets:
            self.gpuboard.jobs.ask_cancel(*(mine or targets))
        else:
            self.gpuboard.say("there is no job under the cursor")

    def _targets(self) -> list[JobTarget]:
        device = self._grid.current
        if device is None:
            return []
        label = clean(device.label)
        if device.sharers:
            return [_target_of(sharer, label) for sharer in device.sharers]
        if device.job_id is None:
            return []
        name, user = clean(device.job_name), clean(device.user)
        return [JobTarget(device.job_id, name, device.mine, "running", user=user, devices=label)]

    def _tell(self, shown: int, total: int) -> None:
        notes = [f"by {self._order}"] if self._order != ORDERS[0] else []
        notes += ["only mine"] if self._only_mine else []
        notes += [f"with '{clean(self._words)}'"] if self._words else []
        notes += [f"{shown} of {total} GPUs"] if shown != total else []
        self._notes.show([(" " + ", ".join(notes), "accent")])
        self._notes.set_class(bool(notes), "-open")


def _target_of(sharer: SharerView, label: str) -> JobTarget:
    return JobTarget(
        sharer.job_id,
        clean(sharer.job_name),
        sharer.mine,
        "running",
        user=clean(sharer.user),
        devices=label,
    )
