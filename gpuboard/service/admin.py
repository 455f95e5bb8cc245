"""Use cases of administrators: drain, resume, notice, blackout, backup, check, reload."""

from __future__ import annotations

from gpuboard.model.person import Caller
from gpuboard.model.requests import BlackoutRequest, DrainRequest, NoticeRequest
from gpuboard.model.views import AdminResult
from gpuboard.service.context import ServiceContext


class AdminService:
    """What only administrators may do. Every method raises PermissionDenied for others."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def drain(self, caller: Caller, request: DrainRequest) -> AdminResult:
        """Take devices out of service; what runs on them goes on."""
        raise NotImplementedError

    def resume(self, caller: Caller, request: DrainRequest) -> AdminResult:
        """Put devices back into service."""
        raise NotImplementedError

    def notice(self, caller: Caller, request: NoticeRequest) -> AdminResult:
        """Publish a notice to everybody; empty text clears."""
        raise NotImplementedError

    def blackout(self, caller: Caller, request: BlackoutRequest) -> AdminResult:
        """Announce a maintenance window, or take one back."""
        raise NotImplementedError

    def backup(self, caller: Caller, path: str) -> AdminResult:
        """Write a consistent copy of the database."""
        raise NotImplementedError

    def check_database(self, caller: Caller) -> AdminResult:
        """Run the database's integrity check."""
        raise NotImplementedError

    def reload(self, caller: Caller) -> AdminResult:
        """Read the configuration again; a wrong one leaves the old one in force."""
        raise NotImplementedError
