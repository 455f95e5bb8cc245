"""Use cases that only look: the board, device history, usage, images, events, doctor."""

from __future__ import annotations

from collections.abc import Callable

from gpuboard.model.person import Caller
from gpuboard.model.views import (
    BoardView,
    DeviceHistory,
    DoctorView,
    EventList,
    ImageList,
    UsageView,
)
from gpuboard.service.context import ServiceContext


class BoardService:
    """What everybody may see of the box."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def board(self, caller: Caller) -> BoardView:
        """Return one second of the box."""
        raise NotImplementedError

    def history(self, caller: Caller, seconds: int = 120) -> DeviceHistory:
        """Return recent samples of the devices."""
        raise NotImplementedError

    def usage(self, caller: Caller) -> UsageView:
        """Return usage of everybody."""
        raise NotImplementedError

    def images(self, caller: Caller) -> Callable[[], ImageList]:
        """Return a function that lists local images allowed here; it runs on a worker thread."""
        raise NotImplementedError

    def events(
        self, caller: Caller, after_id: int, limit: int = 1000, job: str | None = None
    ) -> EventList:
        """Return events after an id, oldest first."""
        raise NotImplementedError

    def revision(self) -> int:
        """Return a number raised by every change that a list of jobs or bookings could show."""
        raise NotImplementedError

    def doctor(self, caller: Caller) -> Callable[[], DoctorView]:
        """Return a function that checks the box; it runs on a worker thread."""
        raise NotImplementedError
