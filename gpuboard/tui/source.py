"""The real `Source`: the daemon over its Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from gpuboard.api.client import Client
from gpuboard.model.requests import (
    BackupRequest,
    BlackoutRequest,
    CancelRequest,
    DrainRequest,
    JobSelection,
    NoticeRequest,
    ReservationUpdate,
    ReserveRequest,
    SubmitRequest,
    UpdateRequest,
)
from gpuboard.model.views.admin import AdminResult, AdminState
from gpuboard.model.views.board import BoardView
from gpuboard.model.views.bookings import ReservationList, ReservationView, ReserveResult
from gpuboard.model.views.catalog import ImageList, TemplateList
from gpuboard.model.views.devices import DeviceHistory
from gpuboard.model.views.doctor import DoctorView
from gpuboard.model.views.events import EventList, EventView
from gpuboard.model.views.jobs import ActionResults, JobDetail, JobList, SubmitResult
from gpuboard.model.views.shares import UsageView
from gpuboard.model.views.timeline import TimelineView
from gpuboard.model.views.usage import UsageReport
from gpuboard.model.views.waits import DryRunView, WhyView
from gpuboard.tui.feed import FeedItem
from gpuboard.tui.queuewindow import QueueWish

HISTORY_S = 320
"""Of the devices' past so much is asked for: two samples a column of the widest card."""
_View = TypeVar("_View")
_FEED_TYPES: dict[str, msgspec.json.Decoder[Any]] = {
    "board": msgspec.json.Decoder(BoardView),
    "queue": msgspec.json.Decoder(JobList),
    "reservations": msgspec.json.Decoder(ReservationList),
    "event": msgspec.json.Decoder(EventView),
}


class ClientLog:
    """A followed log on a client of its own, so that hanging up ends this conversation only."""

    def __init__(self, socket_path: str, selector: str, tail: int, attempt: int | None) -> None:
        self._client = Client(socket_path)
        self._path = f"/jobs/{selector}/log"
        self._query: dict[str, object] = {"tail": tail, "follow": 1}
        if attempt is not None:
            self._query["attempt"] = attempt

    def __iter__(self) -> Iterator[bytes]:
        """Yield the log's bytes until the job ends."""
        yield from self._client.stream(self._path, **self._query)

    def hang_up(self) -> None:
        """End the stream, from any thread."""
        self._client.close()


class ClientSource:
    """Asks the daemon; an answer is decoded into the views of the model, or refused."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def is_here(self) -> bool:
        """Whether the daemon is behind a socket of this box, and not behind ssh."""
        return not self._client.socket_path.startswith("ssh://")

    def feed(self, after: int | None) -> Iterator[FeedItem]:
        """Yield what changes, from now on; events after the id `after` first."""
        for event, _id, data in self._client.feed(after):
            decoder = _FEED_TYPES.get(event)
            if decoder is not None:
                yield decoder.decode(data)

    def queue_page(self, wish: QueueWish, offset: int, limit: int) -> JobList:
        """Return a part of the live jobs that are wished for."""
        query = {"mine": int(wish.mine), "user": wish.user, "state": wish.state, "text": wish.text}
        given = {name: value for name, value in query.items() if value}
        answer = self._client.get("/queue", offset=offset, limit=limit, **given)
        return _view(answer, JobList)

    def history(self) -> DeviceHistory:
        """Return the last minutes of every device."""
        return _view(self._client.get("/devices/history", seconds=HISTORY_S), DeviceHistory)

    def job(self, selector: str) -> JobDetail:
        """Return one job in full."""
        return _view(self._client.get(f"/jobs/{selector}"), JobDetail)

    def why(self, selector: str) -> WhyView:
        """Return why a job waits."""
        return _view(self._client.get(f"/jobs/{selector}/why"), WhyView)

    def log(self, selector: str, tail: int, attempt: int | None = None) -> ClientLog:
        """Return the last `tail` lines of the log (of an attempt) and what follows."""
        return ClientLog(self._client.socket_path, selector, tail, attempt)

    def ended(self, user: str, limit: int) -> JobList:
        """Return ended jobs of a person, the latest first."""
        return _view(self._client.get("/history", user=user, limit=limit), JobList)

    def dry_run(self, request: SubmitRequest) -> DryRunView:
        """Return what a submission would do."""
        return _view(self._client.post("/jobs", _body(request), dry_run=1), DryRunView)

    def submit(self, request: SubmitRequest) -> SubmitResult:
        """Submit a job."""
        return _view(self._client.post("/jobs", _body(request)), SubmitResult)

    def cancel(self, request: CancelRequest) -> ActionResults:
        """Cancel jobs."""
        return _view(self._client.post("/jobs/cancel", _body(request)), ActionResults)

    def update(self, request: UpdateRequest) -> ActionResults:
        """Change jobs that have not ended."""
        return _view(self._client.post("/jobs/update", _body(request)), ActionResults)

    def hold(self, jobs: list[str], *, held: bool) -> ActionResults:
        """Hold jobs back, or release them."""
        path = "/jobs/hold" if held else "/jobs/release"
        return _view(self._client.post(path, _body(JobSelection(jobs=jobs))), ActionResults)

    def reserve(self, request: ReserveRequest) -> ReserveResult:
        """Book devices, or (`dry_run`) say what a booking would get."""
        return _view(self._client.post("/reservations", _body(request)), ReserveResult)

    def change_booking(self, reservation_id: int, request: ReservationUpdate) -> ReserveResult:
        """Give a booking another window, or (`dry_run`) say whether it could be had."""
        path = f"/reservations/{reservation_id}"
        return _view(self._client.patch(path, _body(request)), ReserveResult)

    def unreserve(self, reservation_id: int, *, series: bool = False) -> ReservationView:
        """Cancel a booking, and with `series` the later ones like it."""
        query = {"series": 1} if series else {}
        path = f"/reservations/{reservation_id}"
        return _view(self._client.delete(path, **query), ReservationView)

    def timeline(self, since: str, until: str) -> TimelineView:
        """Return bookings and runs between two ISO instants."""
        return _view(self._client.get("/timeline", since=since, until=until), TimelineView)

    def usage(self) -> UsageView:
        """Return everybody's usage."""
        return _view(self._client.get("/usage"), UsageView)

    def usage_over(self, over: str) -> UsageReport:
        """Return the report on the last `day`, `week` or `month`."""
        return _view(self._client.get("/usage", over=over), UsageReport)

    def last_events(self, last: int) -> EventList:
        """Return the newest events, oldest first."""
        return _view(self._client.get("/events", last=last), EventList)

    def templates(self) -> TemplateList:
        """Return the lab's templates."""
        return _view(self._client.get("/templates"), TemplateList)

    def images(self) -> ImageList:
        """Return the local images."""
        return _view(self._client.get("/images"), ImageList)

    def drain(self, request: DrainRequest) -> AdminResult:
        """Take devices out of service."""
        return _view(self._client.post("/admin/drain", _body(request)), AdminResult)

    def resume(self, request: DrainRequest) -> AdminResult:
        """Put devices back into service."""
        return _view(self._client.post("/admin/resume", _body(request)), AdminResult)

    def notice(self, request: NoticeRequest) -> AdminResult:
        """Publish a notice to everybody; empty words take all back."""
        return _view(self._client.post("/admin/notice", _body(request)), AdminResult)

    def reload(self) -> AdminResult:
        """Read the daemon's configuration again."""
        return _view(self._client.post("/admin/reload", {}), AdminResult)

    def blackout(self, request: BlackoutRequest) -> AdminResult:
        """Announce a maintenance window, or take one back."""
        return _view(self._client.post("/admin/blackout", _body(request)), AdminResult)

    def backup(self, path: str) -> AdminResult:
        """Write a copy of the database."""
        body = _body(BackupRequest(path=path))
        return _view(self._client.post("/admin/backup", body), AdminResult)

    def check_database(self) -> AdminResult:
        """Run the database's integrity check."""
        return _view(self._client.post("/admin/check", {}), AdminResult)

    def admin_state(self) -> AdminState:
        """Return how the daemon itself is."""
        return _view(self._client.get("/admin/state"), AdminState)

    def doctor(self) -> DoctorView:
        """Return what is wrong with the box."""
        return _view(self._client.get("/doctor"), DoctorView)


def _view(answer: dict[str, Any], kind: type[_View]) -> _View:
    return msgspec.convert(answer, kind)


def _body(request: msgspec.Struct) -> object:
    return msgspec.to_builtins(request)
