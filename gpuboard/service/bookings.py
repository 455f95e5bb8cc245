"""Use cases on bookings: reserve, change, cancel, list, and the timeline."""

from __future__ import annotations

from gpuboard.model.person import Caller
from gpuboard.model.requests import ReservationUpdate, ReserveRequest
from gpuboard.model.views import ReservationList, ReservationView, ReserveResult, TimelineView
from gpuboard.service.context import ServiceContext


class BookingService:
    """What people do with bookings."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def reserve(self, caller: Caller, request: ReserveRequest) -> ReserveResult:
        """Book devices, or (dry run) say whether they could be booked. Raises Refused with windows."""
        raise NotImplementedError

    def change(
        self, caller: Caller, reservation_id: int, request: ReservationUpdate
    ) -> ReserveResult:
        """Move, lengthen, shorten or rename a booking that has not ended."""
        raise NotImplementedError

    def cancel(self, caller: Caller, reservation_id: int) -> ReservationView:
        """Cancel a booking, or end an active one now."""
        raise NotImplementedError

    def list(self, caller: Caller, *, mine: bool = False, past: bool = False) -> ReservationList:
        """Return bookings by start; `past` includes those that ended in the last 30 days."""
        raise NotImplementedError

    def timeline(self, caller: Caller, *, since: str = "", until: str = "") -> TimelineView:
        """Return what ran, runs, is booked and is forecast between two instants (default: 24 h on)."""
        raise NotImplementedError
