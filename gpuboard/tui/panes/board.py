"""Tab 1: every GPU as a card."""

from __future__ import annotations

from textual.app import ComposeResult

from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import clean
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.board import BoardGrid


class BoardPane(Pane):
    """The grid of cards."""

    def compose(self) -> ComposeResult:
        """Return the grid."""
        yield BoardGrid(id="grid")

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:
        """Show one second."""
        if snapshot.board is not None:
            grid = self.query_one(BoardGrid)
            grid.show(snapshot.board, self.gpuboard.histories, is_stale=is_stale)

    def repaint(self) -> None:
        """Draw again in another theme."""
        self.query_one(BoardGrid).repaint()

    def focus_first(self) -> None:
        """Put the keyboard on the cards."""
        self.query_one(BoardGrid).focus()

    def target(self) -> JobTarget | None:
        """Return the job on the device under the cursor."""
        device = self.query_one(BoardGrid).current
        if device is None or device.job_id is None:
            return None
        return JobTarget(
            device.job_id,
            clean(device.job_name),
            device.mine,
            "running",
            user=clean(device.user),
            devices=clean(device.label),
        )

    def on_board_grid_chosen(self, message: BoardGrid.Chosen) -> None:
        """Open a device's page."""
        from gpuboard.tui.dialogs.device import DeviceScreen

        self.app.push_screen(DeviceScreen(message.device))
