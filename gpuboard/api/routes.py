"""The route table: from it come both the server's routes and the OpenAPI document.

A row says what a route takes, what it answers and which service call gives the answer. The call
runs on the engine's thread; with `works` it may return a function that then runs on a worker, and
that one may return a function that runs on the engine's thread again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from gpuboard import __version__
from gpuboard.api import queries
from gpuboard.errors import InvalidRequest
from gpuboard.model import requests
from gpuboard.model.person import Caller
from gpuboard.model.views import SCHEMA
from gpuboard.model.views.admin import AdminResult, AdminState
from gpuboard.model.views.board import BoardView
from gpuboard.model.views.bookings import ReservationList, ReservationView, ReserveResult
from gpuboard.model.views.catalog import ImageList, TemplateList
from gpuboard.model.views.devices import DeviceHistory, TopologyView
from gpuboard.model.views.doctor import DoctorView
from gpuboard.model.views.events import EventList
from gpuboard.model.views.jobs import ActionResults, JobDetail, JobIds, JobList, SubmitResult
from gpuboard.model.views.shares import UsageView
from gpuboard.model.views.timeline import TimelineView
from gpuboard.model.views.usage import UsageReport
from gpuboard.model.views.waits import DryRunView, WhyView
from gpuboard.service.services import Services

_LONGEST_LIST = 100_000
_LONGEST_PAGE = 1000
_LARGEST_ID = 2**62
"""What the database still takes: a larger number would look like a bug of ours to it."""
_LONGEST_HISTORY_S = 86_400


class PingView(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, and whom it takes the caller for."""

    schema: int = SCHEMA
    version: str
    user: str
    uid: int
    is_admin: bool


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong, for scripts (`code`) and for people."""

    code: str
    message: str
    hint: str = ""
    field: str = ""


class ErrorView(msgspec.Struct, frozen=True):
    """The body of every failed answer."""

    error: ErrorBody


class Body(Enum):
    """How an answer's body comes."""

    JSON = "application/json"
    LOG = "application/octet-stream"
    FEED = "text/event-stream"
    METRICS = "text/plain"
    DOCUMENT = "application/json; openapi"


@dataclass(frozen=True)
class Ask:
    """One decoded request."""

    path: Mapping[str, str]
    query: Any
    body: Any

    def number(self, name: str) -> int:
        """Return a number of the path. Raises InvalidRequest."""
        text = self.path[name]
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise InvalidRequest(f"{name}: '{text[:40]}' is not a number", field=name)
        return int(text)


Call = Callable[[Services, Caller, Ask], Any]


@dataclass(frozen=True)
class Route:
    """One row."""

    method: str
    path: str
    """Below /v1."""
    name: str
    """OpenAPI operation id."""
    summary: str
    call: Call | None = None
    """None: the server answers by itself."""
    answers: tuple[type[msgspec.Struct], ...] = ()
    """What a good answer's JSON may be."""
    query: type[msgspec.Struct] = queries.NoQuery
    body: type[msgspec.Struct] | None = None
    works: bool = False
    shared_s: float = 0
    """The answer is the same for everybody: it is made once for all who ask, and stays fresh so long (s)."""
    kind: Body = Body.JSON


def _within(value: int, lowest: int, highest: int, field: str) -> int:
    if not lowest <= value <= highest:
        raise InvalidRequest(f"{field}: {value} is not within {lowest}..{highest}", field=field)
    return value


def _live_jobs(services: Services, caller: Caller, ask: Ask) -> JobList:
    query: queries.JobsQuery = ask.query
    return services.jobs.live(
        caller,
        mine=query.mine,
        user=query.user,
        states=tuple(query.state),
        limit=_within(query.limit, 1, _LONGEST_LIST, "limit"),
    )


def _queue(services: Services, caller: Caller, ask: Ask) -> Any:
    query: queries.QueueQuery = ask.query
    return services.queue.page(
        caller,
        mine=query.mine,
        user=query.user,
        states=query.state,
        text=query.text,
        offset=_within(query.offset, 0, 10**9, "offset"),
        limit=_within(query.limit, 1, _LONGEST_PAGE, "limit"),
    )


def _history(services: Services, caller: Caller, ask: Ask) -> JobList:
    query: queries.HistoryQuery = ask.query
    return services.jobs.history(
        caller,
        user=query.user,
        states=tuple(query.state),
        name=query.name,
        since=query.since,
        until=query.until,
        limit=_within(query.limit, 1, _LONGEST_LIST, "limit"),
        before_id=None if query.before is None else _within(query.before, 0, _LARGEST_ID, "before"),
    )


def _submit(services: Services, caller: Caller, ask: Ask) -> Any:
    if ask.query.dry_run:
        return services.jobs.dry_run(caller, ask.body)
    return services.jobs.submit(caller, ask.body)


def _events(services: Services, caller: Caller, ask: Ask) -> EventList:
    query: queries.EventsQuery = ask.query
    limit = _within(query.limit, 1, 10_000, "limit")
    after = _within(query.after, 0, _LARGEST_ID, "after")
    if query.last:
        last = _within(query.last, 1, 10_000, "last")
        after = max(after, services.board.last_event_id() - last)
    return services.board.events(caller, after, limit, query.job or None)


def _usage(services: Services, caller: Caller, ask: Ask) -> Any:
    over: str = ask.query.over
    return services.usage.report(caller, over) if over else services.board.usage(caller)


def _device_history(services: Services, caller: Caller, ask: Ask) -> DeviceHistory:
    seconds = _within(ask.query.seconds, 1, _LONGEST_HISTORY_S, "seconds")
    return services.board.history(caller, seconds)


def ping(caller: Caller) -> PingView:
    """Return the answer to /ping; it needs no engine."""
    return PingView(
        version=__version__,
        user=caller.person.name,
        uid=caller.uid,
        is_admin=caller.is_admin,
    )


JOBS: tuple[Route, ...] = (
    Route(
        "GET", "/jobs", "listJobs", "Live jobs: running first, then the queue in serving order",
        call=_live_jobs, query=queries.JobsQuery, answers=(JobList,),
    ),
    Route(
        "GET", "/queue", "pageQueue", "A page of the live jobs: running first, then the queue in serving order",
        call=_queue, query=queries.QueueQuery, answers=(JobList,), works=True,
    ),
    Route(
        "POST", "/jobs", "submitJob", "Put a job or an array into the queue, or only say when it would run",
        call=_submit, query=queries.SubmitQuery, body=requests.SubmitRequest,
        answers=(SubmitResult, DryRunView), works=True,
    ),
    Route(
        "GET", "/history", "listHistory", "Jobs of the record, newest first",
        call=_history, query=queries.HistoryQuery, answers=(JobList,),
    ),
    Route(
        "GET", "/resolve", "resolveJobs", "The numbers of the jobs that are meant, for a client that waits for them",
        call=lambda s, c, a: JobIds(ids=s.jobs.resolve(c, a.query.job)),
        query=queries.ResolveQuery, answers=(JobIds,),
    ),
    Route(
        "POST", "/jobs/cancel", "cancelJobs", "Cancel jobs: queued ones end at once, running ones are stopped",
        call=lambda s, c, a: s.jobs.cancel(c, a.body), body=requests.CancelRequest, answers=(ActionResults,),
    ),
    Route(
        "POST", "/jobs/hold", "holdJobs", "Hold queued jobs back",
        call=lambda s, c, a: s.jobs.hold(c, a.body), body=requests.JobSelection, answers=(ActionResults,),
    ),
    Route(
        "POST", "/jobs/release", "releaseJobs", "End holds",
        call=lambda s, c, a: s.jobs.release(c, a.body), body=requests.JobSelection, answers=(ActionResults,),
    ),
    Route(
        "POST", "/jobs/update", "updateJobs", "Change jobs that have not ended",
        call=lambda s, c, a: s.jobs.update(c, a.body), body=requests.UpdateRequest, answers=(ActionResults,),
    ),
    Route(
        "GET", "/jobs/{selector}", "showJob", "Everything of one job that the caller may know",
        call=lambda s, c, a: s.jobs.show(c, a.path["selector"]), answers=(JobDetail,),
    ),
    Route(
        "GET", "/jobs/{selector}/why", "explainJob", "Why a job waits, when it starts, what would start it now",
        call=lambda s, c, a: s.jobs.why(c, a.path["selector"]), answers=(WhyView,),
    ),
    Route(
        "GET", "/jobs/{selector}/log", "readLog", "The job's output, byte for byte (owner and admins)",
        query=queries.LogQuery, kind=Body.LOG,
    ),
)  # fmt: skip

BOOKINGS: tuple[Route, ...] = (
    Route(
        "GET", "/reservations", "listReservations", "Bookings by start",
        call=lambda s, c, a: s.bookings.list(c, mine=a.query.mine, past=a.query.past),
        query=queries.ReservationsQuery, answers=(ReservationList,),
    ),
    Route(
        "POST", "/reservations", "reserve", "Book devices for a window, or only say whether it could be had",
        call=lambda s, c, a: s.bookings.reserve(c, a.body),
        body=requests.ReserveRequest, answers=(ReserveResult,),
    ),
    Route(
        "PATCH", "/reservations/{id}", "changeReservation", "Move, lengthen, shorten or rename a booking",
        call=lambda s, c, a: s.bookings.change(c, a.number("id"), a.body),
        body=requests.ReservationUpdate, answers=(ReserveResult,),
    ),
    Route(
        "DELETE", "/reservations/{id}", "cancelReservation", "Cancel a booking, or end an active one now",
        call=lambda s, c, a: s.bookings.cancel(c, a.number("id"), series=a.query.series),
        query=queries.UnreserveQuery, answers=(ReservationView,),
    ),
    Route(
        "GET", "/timeline", "showTimeline", "What ran, runs, is booked and is forecast in a window",
        call=lambda s, c, a: s.bookings.timeline(c, since=a.query.since, until=a.query.until),
        query=queries.TimelineQuery, answers=(TimelineView,), works=True,
    ),
)  # fmt: skip

BOARD: tuple[Route, ...] = (
    Route(
        "GET", "/board", "showBoard", "One second of the box",
        call=lambda s, c, _a: s.board.board(c), answers=(BoardView,),
    ),
    Route(
        "GET", "/topology", "showTopology", "How the devices are linked with each other and with CPUs",
        call=lambda s, c, _a: s.board.topology(c), answers=(TopologyView,),
    ),
    Route(
        "GET", "/devices/history", "showDeviceHistory", "Recent samples of the devices, one a second",
        call=_device_history, query=queries.DeviceHistoryQuery, answers=(DeviceHistory,),
    ),
    Route(
        "GET", "/usage", "showUsage", "Usage and fair share of everybody, or a report on a past window",
        call=_usage, query=queries.UsageQuery, answers=(UsageView, UsageReport), works=True,
    ),
    Route(
        "GET", "/images", "listImages", "Local images that jobs may use",
        call=lambda s, c, _a: s.board.images(c), answers=(ImageList,), works=True, shared_s=1,
    ),
    Route(
        "GET", "/templates", "listTemplates", "The lab's jobs as a beginning for new ones",
        call=lambda s, c, _a: s.templates.list(c), answers=(TemplateList,),
    ),
    Route(
        "GET", "/events", "listEvents", "Events after an id, oldest first",
        call=_events, query=queries.EventsQuery, answers=(EventList,),
    ),
    Route(
        "GET", "/doctor", "examine", "What is wrong with the box, and the command that mends it",
        call=lambda s, c, _a: s.board.doctor(c), answers=(DoctorView,), works=True, shared_s=3,
    ),
    Route(
        "GET", "/feed", "watch",
        "Server-sent events: `board` each second, `queue` and `reservations` when they changed, `event` "
        "as it happens; Last-Event-ID resumes the events",
        kind=Body.FEED,
    ),
    Route("GET", "/metrics", "showMetrics", "Prometheus metrics", kind=Body.METRICS),
    Route("GET", "/openapi.json", "describe", "This document", kind=Body.DOCUMENT),
    Route("GET", "/ping", "ping", "Who answers, and whom it takes you for", answers=(PingView,)),
)  # fmt: skip

ADMIN: tuple[Route, ...] = (
    Route(
        "POST", "/admin/drain", "drain", "Take devices out of service; what runs on them goes on",
        call=lambda s, c, a: s.admin.drain(c, a.body), body=requests.DrainRequest, answers=(AdminResult,),
    ),
    Route(
        "POST", "/admin/resume", "resume", "Put devices back into service",
        call=lambda s, c, a: s.admin.resume(c, a.body), body=requests.DrainRequest, answers=(AdminResult,),
    ),
    Route(
        "POST", "/admin/notice", "notice", "Publish a notice to everybody; empty text clears",
        call=lambda s, c, a: s.admin.notice(c, a.body), body=requests.NoticeRequest, answers=(AdminResult,),
    ),
    Route(
        "POST", "/admin/blackout", "blackout", "Announce a maintenance window, or take one back",
        call=lambda s, c, a: s.admin.blackout(c, a.body), body=requests.BlackoutRequest, answers=(AdminResult,),
    ),
    Route(
        "POST", "/admin/backup", "backup", "Write a consistent copy of the database",
        call=lambda s, c, a: s.admin.backup(c, a.body.path), body=requests.BackupRequest, answers=(AdminResult,),
        works=True,
    ),
    Route(
        "POST", "/admin/check", "checkDatabase", "Run the database's integrity check",
        call=lambda s, c, _a: s.admin.check_database(c), body=requests.Empty, answers=(AdminResult,),
        works=True,
    ),
    Route(
        "GET", "/admin/state", "showAdminState", "Configuration as loaded, database, runtimes, drains, blackouts",
        call=lambda s, c, _a: s.admin.state(c), answers=(AdminState,), works=True,
    ),
    Route(
        "POST", "/admin/reload", "reload", "Read the configuration again; a wrong one changes nothing",
        call=lambda s, c, _a: s.admin.reload(c), body=requests.Empty, answers=(AdminResult,),
    ),
)  # fmt: skip

ROUTES: tuple[Route, ...] = JOBS + BOOKINGS + BOARD + ADMIN
"""Fixed paths stand before `{selector}` ones of the same method."""
