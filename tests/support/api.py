"""A scripted set of services and a real server around it, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gpuboard.api.dispatch import EngineDispatch
from gpuboard.api.feed import Marks
from gpuboard.api.peer import Peer
from gpuboard.api.server import ApiServer
from gpuboard.config import ApiConfig
from gpuboard.errors import NotFound, PermissionDenied, StateError
from gpuboard.model.ids import Uid
from gpuboard.model.person import Caller, Person
from gpuboard.model.views.admin import AdminResult, AdminState, DatabaseView
from gpuboard.model.views.board import BoardView, HostView
from gpuboard.model.views.bookings import ReservationList, ReservationView, ReserveResult
from gpuboard.model.views.catalog import ImageList, TemplateList
from gpuboard.model.views.devices import DeviceHistory, TopologyView
from gpuboard.model.views.doctor import DoctorView
from gpuboard.model.views.events import EventList, EventView
from gpuboard.model.views.jobs import (
    ActionResult,
    ActionResults,
    JobDetail,
    JobList,
    JobView,
    SubmitResult,
)
from gpuboard.model.views.shares import UsageView
from gpuboard.model.views.timeline import TimelineView
from gpuboard.model.views.usage import UsageReport, UsedRow
from gpuboard.model.views.waits import DryRunView, WhyView
from gpuboard.service.services import Services

AT = "2026-11-22T20:01:00Z"
ENGINE_TIMEOUT_S = 5.0


def person(uid: int) -> Person:
    return Person(uid=Uid(uid), gid=uid, name=f"user{uid}")


def job_view(job_id: int = 1, **fields: Any) -> JobView:
    defaults: dict[str, Any] = {
        "id": job_id, "name": "train", "user": "user0", "uid": 0, "mine": True, "state": "queued",
        "runtime": "process", "gpus": 1, "limit_s": 60, "submitted_at": AT,
    }  # fmt: skip
    return JobView(**{**defaults, **fields})


def reservation_view(reservation_id: int = 1, gpus: int = 1) -> ReservationView:
    return ReservationView(
        id=reservation_id, user="user0", uid=0, mine=True, state="booked", gpus=gpus,
        from_at=AT, until_at=AT,
    )  # fmt: skip


class ScriptedBox:
    """What the scripted services answer, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Caller, Any]] = []
        self.callers: list[Caller] = []
        self.revision = 1
        self.events: list[EventView] = []
        self.log: Callable[[Callable[[], bool]], Iterator[bytes]] = lambda _c: iter([b"hello\n"])
        self.reservations: list[ReservationView] = []
        self.boards = 0
        self.threads: set[str] = set()

    def note(self, name: str, caller: Caller, content: Any = None) -> None:
        self.asked.append((name, caller, content))
        self.threads.add(threading.current_thread().name)

    def last(self, name: str) -> Any:
        return next(content for asked, _, content in reversed(self.asked) if asked == name)

    def add_event(self, words: str = "submitted") -> None:
        number = len(self.events) + 1
        self.events.append(EventView(id=number, at=AT, kind="job.submitted", words=words))

    def marks(self) -> Marks:
        return Marks(self.revision, len(self.events))

    def services(self) -> Services:
        return cast(
            "Services",
            SimpleNamespace(
                jobs=ScriptedJobs(self),
                queue=ScriptedQueue(self),
                templates=SimpleNamespace(list=lambda caller: TemplateList()),
                bookings=ScriptedBookings(self),
                board=ScriptedBoard(self),
                admin=ScriptedAdmin(self),
                usage=ScriptedUsage(self),
            ),
        )


class ScriptedJobs:
    def __init__(self, box: ScriptedBox) -> None:
        self.box = box

    def submit(self, caller: Caller, request: Any) -> SubmitResult:
        self.box.note("submit", caller, request)
        return SubmitResult(ids=[1], jobs=[job_view()])

    def dry_run(self, caller: Caller, request: Any) -> DryRunView:
        self.box.note("dry_run", caller, request)
        return DryRunView(would_start_now=True)

    def live(self, caller: Caller, **query: Any) -> JobList:
        self.box.note("live", caller, query)
        return JobList(at=AT, jobs=[job_view()], total=1)

    def history(self, caller: Caller, **query: Any) -> JobList:
        self.box.note("history", caller, query)
        return JobList(at=AT, jobs=[job_view(state="succeeded", exit_code=0)], total=1)

    def show(self, caller: Caller, selector: str) -> JobDetail:
        self.box.note("show", caller, selector)
        if selector == "404":
            raise NotFound("there is no job 404", hint="`gpuboard ps` lists yours", field="job")
        if selector == "crash":
            raise ZeroDivisionError("secret detail")
        if selector == "broken":
            raise StateError("a lease without a job")
        return JobDetail(job=job_view())

    def why(self, caller: Caller, selector: str) -> WhyView:
        self.box.note("why", caller, selector)
        return WhyView(id=1, state="queued", words="GPU 0 is held")

    def resolve(self, caller: Caller, selectors: Any) -> list[int]:
        self.box.note("resolve", caller, selectors)
        return [1]

    def _act(self, name: str, caller: Caller, request: Any) -> ActionResults:
        self.box.note(name, caller, request)
        return ActionResults(results=[ActionResult(id=1, ok=True, words=name)])

    def cancel(self, caller: Caller, request: Any) -> ActionResults:
        return self._act("cancel", caller, request)

    def hold(self, caller: Caller, request: Any) -> ActionResults:
        return self._act("hold", caller, request)

    def release(self, caller: Caller, request: Any) -> ActionResults:
        return self._act("release", caller, request)

    def update(self, caller: Caller, request: Any) -> ActionResults:
        return self._act("update", caller, request)

    def log(self, caller: Caller, selector: str, **query: Any) -> Any:
        self.box.note("log", caller, query)
        if selector == "404":
            raise NotFound("there is no job 404")
        return self.box.log


class ScriptedQueue:
    def __init__(self, box: ScriptedBox) -> None:
        self.box = box

    def own(self, caller: Caller, limit: int) -> JobList:
        self.box.note("own", caller, limit)
        return JobList(at=AT, jobs=[job_view()], total=1, revision=self.box.revision)

    def page(self, caller: Caller, **query: Any) -> Any:
        self.box.note("page", caller, query)
        found = JobList(at=AT, jobs=[job_view()], total=1, offset=query["offset"])
        return (lambda: lambda: found) if query["text"] else found


class ScriptedUsage:
    def __init__(self, box: ScriptedBox) -> None:
        self.box = box

    def report(self, caller: Caller, over: str) -> Callable[[], UsageReport]:
        self.box.note("report", caller, over)
        total = UsedRow(name="total", held_s=3600)
        return lambda: UsageReport(at=AT, over=over, from_at=AT, until_at=AT, total=total)


class ScriptedBookings:
    def __init__(self, box: ScriptedBox) -> None:
        self.box = box

    def reserve(self, caller: Caller, request: Any) -> ReserveResult:
        self.box.note("reserve", caller, request)
        return ReserveResult(reservation=reservation_view(gpus=request.gpus))

    def change(self, caller: Caller, number: int, request: Any) -> ReserveResult:
        self.box.note("change", caller, (number, request))
        return ReserveResult(reservation=reservation_view(number))

    def cancel(self, caller: Caller, number: int, *, series: bool = False) -> ReservationView:
        self.box.note("unreserve", caller, number, *(["series"] if series else []))
        return reservation_view(number)

    def list(self, caller: Caller, **query: Any) -> ReservationList:
        self.box.note("reservations", caller, query)
        return ReservationList(at=AT, reservations=list(self.box.reservations))

    def timeline(self, caller: Caller, **query: Any) -> TimelineView:
        self.box.note("timeline", caller, query)
        return TimelineView(at=AT, from_at=AT, until_at=AT)


class ScriptedBoard:
    def __init__(self, box: ScriptedBox) -> None:
        self.box = box

    def board(self, caller: Caller) -> BoardView:
        self.box.note("board", caller)
        self.box.boards += 1
        return BoardView(
            at=AT, user=caller.person.name, uid=caller.uid, is_admin=caller.is_admin,
            host=HostView(hostname="box", version="0"),
        )  # fmt: skip

    def topology(self, caller: Caller) -> TopologyView:
        self.box.note("topology", caller)
        return TopologyView(at=AT)

    def history(self, caller: Caller, seconds: int = 120) -> DeviceHistory:
        self.box.note("device_history", caller, seconds)
        return DeviceHistory(at=AT)

    def usage(self, caller: Caller) -> UsageView:
        self.box.note("usage", caller)
        return UsageView(at=AT)

    def images(self, caller: Caller) -> Callable[[], ImageList]:
        def work() -> ImageList:
            self.box.note("images", caller)
            return ImageList()

        return work

    def events(
        self, caller: Caller, after_id: int, limit: int = 1000, job: str | None = None
    ) -> EventList:
        self.box.note("events", caller, (after_id, limit, job))
        return EventList(events=[e for e in self.box.events if e.id > after_id][:limit])

    def doctor(self, caller: Caller) -> Callable[[], DoctorView]:
        self.box.note("doctor", caller)
        return DoctorView


class ScriptedAdmin:
    def __init__(self, box: ScriptedBox) -> None:
        self.box = box

    def state(self, caller: Caller) -> Callable[[], AdminState]:
        self.box.note("state", caller)
        if not caller.is_admin:
            raise PermissionDenied("only administrators may do this")
        database = DatabaseView(
            path="/x", version=3, sqlite="3", size_bytes=1, wal_bytes=0, free_bytes=1
        )
        return lambda: AdminState(at=AT, version="1", started_at=AT, database=database)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def act(caller: Caller, request: Any = None) -> Any:
            self.box.note(name, caller, request)
            if not caller.is_admin:
                raise PermissionDenied("only administrators may do this")
            result = AdminResult(words=name)
            return (lambda: result) if name in ("backup", "check_database") else result

        return act


class EngineThread:
    """A thread that takes functions, as the engine's does."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1, thread_name_prefix="engine")

    def post(self, work: Callable[[], Any]) -> Future[Any]:
        return self._pool.submit(work)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class RunningServer:
    """The real server around scripted services."""

    def __init__(self, box: ScriptedBox, path: Path, server: ApiServer, loop: Any) -> None:
        self.box = box
        self.path = str(path)
        self.server = server
        self.loop = loop

    def raw(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(self.path)
        return connection

    def ask_raw(self, content: bytes) -> bytes:
        """Send bytes and return all that comes back until the server hangs up."""
        with self.raw() as connection:
            connection.sendall(content)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


def caller_by_uid(peer: Peer) -> Caller:
    if peer.uid == 4242:
        raise PermissionDenied("uid 4242 has no account on this box")
    return Caller(person=person(peer.uid), is_admin=peer.uid == 0 and not peer.is_contained)


@contextlib.contextmanager
def serving(
    folder: Path,
    box: ScriptedBox | None = None,
    *,
    limits: ApiConfig | None = None,
    is_contained: Callable[[int], bool] = lambda _pid: False,
) -> Iterator[RunningServer]:
    """Run the real server on a socket in `folder` while the block runs."""
    box = box or ScriptedBox()
    path = folder / "gpuboard.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    os.chmod(path, 0o666)
    listening.listen(256)
    engine = EngineThread()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="api-loop")
    thread.start()

    async def begin() -> ApiServer:
        server = ApiServer(
            box.services(),
            EngineDispatch(engine.post, ENGINE_TIMEOUT_S),
            caller_of=caller_by_uid,
            marks=box.marks,
            revision=lambda: box.revision,
            limits=limits or ApiConfig(read_timeout_s=2.0),
            metrics=lambda: lambda: b"gpuboard_up 1\n",
            is_contained=is_contained,
        )
        await server.start(listening)
        return server

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield RunningServer(box, path, server, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        engine.close()
        listening.close()
        loop.close()
