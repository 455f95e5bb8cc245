"""What all tabs share: showing a snapshot when visible, and the actions on the job under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.containers import Vertical

from gpuboard.model.requests import ReserveRequest
from gpuboard.tui.bindings import ON_A_JOB, bindings
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.jobactions import JobTarget

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp


class Pane(Vertical):
    """One tab. It is told of a snapshot only while it is shown, and once when it comes to be."""

    DEFAULT_CSS = """
    Pane { height: 1fr; width: 1fr; }
    Pane.-stale RowList, Pane.-stale TimelineGrid { text-opacity: 55%; }
    """
    BINDINGS = bindings(ON_A_JOB)

    @property
    def gpuboard(self) -> GpuboardApp:
        """The app, by its type."""
        return cast("GpuboardApp", self.app)

    @property
    def key_group(self) -> str:
        """Return whose keys the key bar shows."""
        return (self.id or "").removeprefix("pane-")

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:
        """Show a snapshot."""
        raise NotImplementedError

    def repaint(self) -> None:
        """Draw again in another theme."""
        self.refresh(layout=True)

    def focus_first(self) -> None:
        """Put the keyboard where it is wanted."""
        raise NotImplementedError

    def target(self) -> JobTarget | None:
        """Return the job under the cursor."""
        return None

    def show_person(self, name: str) -> None:
        """Show what this tab knows of a person; most know nothing."""

    def booking_like(self) -> ReserveRequest | None:
        """Return the booking that this tab suggests."""
        return None

    def action_logs(self) -> None:
        """Follow the log of the job under the cursor."""
        if target := self.target():
            self.gpuboard.jobs.open_log(target)
        else:
            self.gpuboard.say("there is no job under the cursor")

    def action_why(self) -> None:
        """Say why the job under the cursor waits."""
        if target := self.target():
            self.gpuboard.jobs.open_why(target)
        else:
            self.gpuboard.say("there is no job under the cursor")

    def action_extend(self) -> None:
        """Give my job under the cursor, or the one whose limit was told last, more time."""
        target, near = self.target(), self.gpuboard.watched.notices.near_limit
        if near is not None and (target is None or not target.mine):
            target = JobTarget.of(near)
        if target:
            self.gpuboard.jobs.extend(target)
        else:
            self.gpuboard.say("there is no job under the cursor")

    def action_stop(self) -> None:
        """Cancel the job under the cursor, after a dialog."""
        if target := self.target():
            self.gpuboard.jobs.ask_cancel(target)
        else:
            self.gpuboard.say("there is no job under the cursor")
