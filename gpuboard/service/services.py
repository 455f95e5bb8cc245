"""The use-case objects that transports call, and how they are put together."""

from __future__ import annotations

from dataclasses import dataclass

from gpuboard.service.admin import AdminService
from gpuboard.service.board import BoardService
from gpuboard.service.bookings import BookingService
from gpuboard.service.context import ServiceContext
from gpuboard.service.jobs import JobService
from gpuboard.service.queuepages import QueueService
from gpuboard.service.templates import TemplateService
from gpuboard.service.usage import UsageService
from gpuboard.service.validation import start_check


@dataclass(frozen=True)
class Services:
    """What a transport may ask for; every method runs on the engine's thread and returns at once."""

    jobs: JobService
    queue: QueueService
    templates: TemplateService
    bookings: BookingService
    board: BoardService
    admin: AdminService
    usage: UsageService

    @classmethod
    def over(cls, context: ServiceContext) -> Services:
        """Return the services that speak to the context's engine, which asks them before each start."""
        context.engine.vet_with(start_check(context))
        return cls(
            jobs=JobService(context),
            queue=QueueService(context),
            templates=TemplateService(context),
            bookings=BookingService(context),
            board=BoardService(context),
            admin=AdminService(context),
            usage=UsageService(context),
        )
