"""One box that the app watches: its source, its feed, and what it has said so far.

The app shows one of them at a time; the others go on being followed, so that notices of every box
come, and changing over shows at once what is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

from gpuboard.model.views.devices import DeviceHistory
from gpuboard.model.views.events import EventView
from gpuboard.tui.feed import FeedThread, Snapshot, Source
from gpuboard.tui.histories import Histories
from gpuboard.tui.notices import Notices

EVENTS_KEPT = 1000


class Watched:
    """A box and all that is known of it."""

    def __init__(self, source: Source, name: str = "") -> None:
        self.source = source
        self.name = name
        """What its tab says; empty where there is only one box."""
        self.snapshot = Snapshot()
        self.histories = Histories()
        self.notices = Notices()
        self.events: deque[EventView] = deque(maxlen=EVENTS_KEPT)
        """What happened since the app began, the latest first."""
        self._feed: FeedThread | None = None

    @property
    def age_s(self) -> float:
        """Seconds since the last item of the feed."""
        return time.monotonic() - self.snapshot.heard

    @property
    def labels(self) -> dict[str, str]:
        """The devices' labels by UUID."""
        board = self.snapshot.board
        return {device.uuid: device.label for device in board.devices} if board else {}

    def follow(
        self,
        hand_over: Callable[[Callable[[], object]], object],
        on_snapshot: Callable[[Watched, Snapshot], object],
        on_event: Callable[[Watched, EventView], object],
    ) -> None:
        """Begin to listen; `hand_over` brings a call to the app's own thread."""
        self._feed = FeedThread(
            self.source,
            lambda snapshot: hand_over(partial(self._take, snapshot, on_snapshot)),
            lambda event: hand_over(partial(self._take_event, event, on_event)),
            lambda view: hand_over(partial(self._take_history, view)),
        )
        self._feed.start()

    def stop(self) -> None:
        """Stop listening."""
        if self._feed is not None:
            self._feed.stop()

    def _take(self, snapshot: Snapshot, on_snapshot: Callable[[Watched, Snapshot], object]) -> None:
        if snapshot.board is not None and snapshot.board is not self.snapshot.board:
            self.histories.add(snapshot.board)
        self.snapshot = snapshot
        on_snapshot(self, snapshot)

    def _take_event(
        self, event: EventView, on_event: Callable[[Watched, EventView], object]
    ) -> None:
        self.events.appendleft(event)
        on_event(self, event)

    def _take_history(self, view: DeviceHistory) -> None:
        self.histories.begin(view)
