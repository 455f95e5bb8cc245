"""Use cases on jobs: submit, look, explain, cancel, hold, release, update, logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gpuboard.model.person import Caller
from gpuboard.model.requests import CancelRequest, JobSelection, SubmitRequest, UpdateRequest
from gpuboard.model.views import (
    ActionResults,
    DryRunView,
    JobDetail,
    JobList,
    SubmitResult,
    WhyView,
)
from gpuboard.service.context import ServiceContext

LogReader = Callable[[Callable[[], bool]], Iterator[bytes]]
"""Called on a worker thread with an `is_cancelled`; yields the log's bytes."""


class JobService:
    """What people do with jobs."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def submit(self, caller: Caller, request: SubmitRequest) -> SubmitResult:
        """Put a job, or an array, into the queue."""
        raise NotImplementedError

    def dry_run(self, caller: Caller, request: SubmitRequest) -> DryRunView:
        """Say which devices the job would get and when; nothing is stored."""
        raise NotImplementedError

    def live(
        self,
        caller: Caller,
        *,
        mine: bool = False,
        user: str = "",
        states: Sequence[str] = (),
        limit: int = 500,
    ) -> JobList:
        """Return jobs that have not ended: running first, then the queue in serving order."""
        raise NotImplementedError

    def history(
        self,
        caller: Caller,
        *,
        user: str = "",
        states: Sequence[str] = (),
        name: str = "",
        since: str = "",
        until: str = "",
        limit: int = 100,
        before_id: int | None = None,
    ) -> JobList:
        """Return jobs of the record, newest first."""
        raise NotImplementedError

    def show(self, caller: Caller, selector: str) -> JobDetail:
        """Return everything of one job that the caller may know."""
        raise NotImplementedError

    def why(self, caller: Caller, selector: str) -> WhyView:
        """Say why a job waits, when it starts, what would start it now."""
        raise NotImplementedError

    def resolve(self, caller: Caller, selectors: Sequence[str]) -> list[int]:
        """Return the job numbers behind numbers, ranges `4-7`, `@`, names and array ids."""
        raise NotImplementedError

    def cancel(self, caller: Caller, request: CancelRequest) -> ActionResults:
        """Cancel jobs: queued ones end at once, running ones are stopped."""
        raise NotImplementedError

    def hold(self, caller: Caller, request: JobSelection) -> ActionResults:
        """Hold queued jobs back."""
        raise NotImplementedError

    def release(self, caller: Caller, request: JobSelection) -> ActionResults:
        """End holds."""
        raise NotImplementedError

    def update(self, caller: Caller, request: UpdateRequest) -> ActionResults:
        """Change jobs that have not ended."""
        raise NotImplementedError

    def log(
        self,
        caller: Caller,
        selector: str,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        since_at: int | None = None,
        follow: bool = False,
    ) -> LogReader:
        """Return a function that yields the log on a worker thread. Owner and admins only."""
        raise NotImplementedError
