"""The HTTP server on the Unix socket: routes from the table, errors mapped in one place.

It knows no rule of the house: who may do what is `service`'s, what is served is `routes`'. Every
failure answers with the same JSON; what nobody foresaw answers 500 with a reference into the
daemon's log, never with a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from aiohttp import web

from gpuboard.api import messages, openapi
from gpuboard.api.connections import GuardedProtocol, Listener
from gpuboard.api.dispatch import Dispatch
from gpuboard.api.feed import Feed, Marks
from gpuboard.api.logstream import LogStream, LogStreams
from gpuboard.api.peer import Identities, Peer, is_in_foreign_container
from gpuboard.api.queries import LogQuery
from gpuboard.api.routes import ROUTES, Ask, Body, Route, ping
from gpuboard.api.shared import SharedAnswers
from gpuboard.api.throttle import Throttle
from gpuboard.config import ApiConfig
from gpuboard.errors import (
    GpuboardError,
    InvalidRequest,
    NotFound,
    StateError,
    TimedOut,
    Unavailable,
)
from gpuboard.model.instants import parse_instant
from gpuboard.model.person import Caller
from gpuboard.service.services import Services
from gpuboard.service.turns import Rest

_LOG = logging.getLogger(__name__)
_JSON = {"Content-Type": "application/json"}
_WRITE_TIMEOUT_S = 30.0
"""A reader that takes nothing for so long is hung up on."""
_FIRST_PIECE_S = 0.5
_WORKERS = 4

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """Serves one listening Unix socket."""

    def __init__(
        self,
        services: Services,
        dispatch: Dispatch,
        *,
        caller_of: Callable[[Peer], Caller],
        marks: Callable[[], Marks],
        revision: Callable[[], int],
        limits: ApiConfig,
        metrics: Callable[[], Callable[[], bytes]] | None = None,
        is_contained: Callable[[int], bool] = is_in_foreign_container,
    ) -> None:
        """`caller_of` runs on a worker; `marks` and `metrics` run on the engine's thread, `revision` on any.

        `metrics` only collects there: what it returns writes them down, on a worker.
        """
        self._services = services
        self._dispatch = dispatch
        self._limits = limits
        self._marks = marks
        self._metrics = metrics
        self._is_contained = is_contained
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="gb-api")
        self._who = ThreadPoolExecutor(_WORKERS, thread_name_prefix="gb-who")
        """For identities alone: a newcomer waits for no engine that hangs."""
        self._identities = Identities(caller_of, self._who)
        self._shared = SharedAnswers()
        self._throttle = Throttle(limits)
        self._feed = Feed(services, dispatch, marks, revision)
        self._logs = LogStreams()
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self._streams: set[asyncio.Task[Any]] = set()
        self._document: bytes = b""
        self.last_request_at = time.monotonic()
        """When a request last came (monotonic seconds); for a personal daemon's idle exit."""

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return self._listener.connections if self._listener is not None else 0

    async def start(self, listening: socket.socket) -> None:
        """Begin to serve a bound and listening socket."""
        app = web.Application(
            client_max_size=self._limits.max_request_bytes, middlewares=[self._map_errors]
        )
        for route in ROUTES:
            app.router.add_route(route.method, "/v1" + route.path, self._handler(route))
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=self._limits.read_timeout_s,
            lingering_time=1.0,
            shutdown_timeout=2.0,
        )
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._listener = Listener(
            listening,
            self._limits,
            self._is_contained,
            cast("Callable[[], asyncio.Protocol]", server),
        )
        self._listener.start()

    async def stop(self) -> None:
        """Accept no more, let requests finish for a moment, hang up on streams."""
        if self._listener is not None:
            await self._listener.stop()
        for stream in self._streams:
            stream.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        self._shared.stop()
        for workers in (self._workers, self._who):
            workers.shutdown(wait=False, cancel_futures=True)

    def configure(self, limits: ApiConfig) -> None:
        """Take over a reloaded configuration: limits of new connections, and who is an admin."""
        self._limits = limits
        self._throttle.configure(limits)
        self._identities.forget()
        if self._listener is not None:
            self._listener.set_limits(limits)

    @web.middleware
    async def _map_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer every failure with the same JSON."""
        self.last_request_at = time.monotonic()
        try:
            return await handler(request)
        except GpuboardError as error:
            if isinstance(error, StateError):
                _LOG.exception("%s %s: an invariant does not hold", request.method, request.path)
            return _failure(messages.status_of(error), error)
        except web.HTTPException as error:
            return _failure(error.status, _http_error(error, request))
        except Exception:  # noqa: BLE001 - the border: nothing unforeseen reaches the client
            reference = secrets.token_hex(4)
            _LOG.exception("[%s] %s %s failed", reference, request.method, request.path)
            return _failure(
                500,
                StateError(
                    f"gpuboard has a fault (reference {reference})",
                    hint="the daemon's log has the details under this reference",
                ),
            )

    def _handler(self, route: Route) -> Handler:
        """Return the handler of one row of the table."""
        special: dict[Body, Callable[[web.Request, Caller, Ask], Awaitable[web.StreamResponse]]] = {
            Body.LOG: self._send_log,
            Body.FEED: self._send_feed,
            Body.METRICS: self._send_metrics,
            Body.DOCUMENT: self._send_document,
        }

        async def handle(request: web.Request) -> web.StreamResponse:
            peer = _peer(request)
            await self._throttle.admit(peer, is_submission=route.name == "submitJob")
            caller = await self._identities.caller(peer)
            ask = await self._ask(route, request)
            if route.kind in special:
                with self._counted_stream():
                    return await special[route.kind](request, caller, ask)
            make = partial(self._answer, route, caller, ask)
            async with self._throttle.turn(peer):
                answer = await (
                    self._shared.answer(route.name, route.shared_s, make)
                    if route.shared_s
                    else make()
                )
            return web.Response(body=messages.encode(answer), headers=_JSON)

        return handle

    @contextlib.contextmanager
    def _counted_stream(self) -> Iterator[None]:
        """Remember the request's task, which may last for days, so that `stop` can end it."""
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)

    async def _ask(self, route: Route, request: web.Request) -> Ask:
        pairs: dict[str, list[str]] = {}
        for key, value in request.query.items():
            pairs.setdefault(key, []).append(value)
        query = messages.decode_query(pairs, route.query)
        body = None
        if route.body is not None:
            body = messages.decode(await self._read(request), route.body)
        return Ask(path=request.match_info, query=query, body=body)

    async def _read(self, request: web.Request) -> bytes:
        """Return the body; a client that dawdles or sends too much is not waited for."""
        try:
            async with asyncio.timeout(self._limits.read_timeout_s):
                return await request.read()
        except TimeoutError:
            raise TimedOut(
                f"the request was not complete after {self._limits.read_timeout_s:g} s"
            ) from None

    async def _answer(self, route: Route, caller: Caller, ask: Ask) -> Any:
        if route.call is None:
            return ping(caller)
        call = partial(route.call, self._services, caller, ask)
        answer = await self._dispatch(call)
        while isinstance(answer, Rest):
            answer = await self._dispatch(answer.go_on)
        if route.works and callable(answer):
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._workers, answer)
            if callable(answer):
                answer = await self._dispatch(answer)
        return answer

    async def _send_log(self, request: web.Request, caller: Caller, ask: Ask) -> web.StreamResponse:
        query: LogQuery = ask.query
        now_ms = time.time_ns() // 1_000_000
        since_at = parse_instant(query.since, now_ms=now_ms, field="since") if query.since else None
        if query.tail is not None and query.tail < 0:
            raise InvalidRequest(f"tail: {query.tail} is less than 0", field="tail")
        reader = await self._dispatch(
            lambda: self._services.jobs.log(
                caller,
                ask.path["selector"],
                attempt=query.attempt,
                tail=query.tail,
                since_at=since_at,
                follow=query.follow,
            )
        )
        log = self._logs.open(reader)
        first = asyncio.ensure_future(log.next())
        try:
            # an error that comes at once can still be a proper answer
            await asyncio.wait({first}, timeout=_FIRST_PIECE_S)
            if first.done():
                first.result()
            response = await _begin(request, Body.LOG.value)
            await _write_log(request, response, first, log)
            return response
        finally:
            first.cancel()
            log.close()

    async def _send_feed(
        self, request: web.Request, caller: Caller, _ask: Ask
    ) -> web.StreamResponse:
        text = request.headers.get("Last-Event-ID", "")
        if text and (not text.isascii() or not text.isdigit() or len(text) > 18):
            raise InvalidRequest("Last-Event-ID is not a number", field="Last-Event-ID")
        response = await _begin(request, Body.FEED.value)
        try:
            await self._feed.watch(
                caller, int(text) if text else None, partial(_write, request, response)
            )
        except (ConnectionError, TimeoutError) as error:
            _LOG.debug("a watcher is gone: %s", error)
        except Exception:  # noqa: BLE001 - a border: the answer has begun, only hanging up is left
            _LOG.exception("the feed of %s broke", caller.person.name)
            _hang_up(request)
        return response

    async def _send_metrics(
        self, _request: web.Request, _caller: Caller, _ask: Ask
    ) -> web.Response:
        if self._metrics is None:
            raise NotFound("this daemon keeps no metrics")
        write = await self._dispatch(self._metrics)
        content = await asyncio.get_running_loop().run_in_executor(self._workers, write)
        return web.Response(body=content, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _send_document(
        self, _request: web.Request, _caller: Caller, _ask: Ask
    ) -> web.Response:
        if not self._document:
            self._document = messages.encode(openapi.document())
        return web.Response(body=self._document, headers=_JSON)


def _peer(request: web.Request) -> Peer:
    """Return who is at the other end. Raises Unavailable when nobody is any more."""
    transport = request.transport
    protocol = transport.get_protocol() if transport is not None else None
    if not isinstance(protocol, GuardedProtocol):
        raise Unavailable("the connection is gone")
    return protocol.peer


def _failure(status: int, error: GpuboardError) -> web.Response:
    return web.Response(status=status, body=messages.encode_error(error), headers=_JSON)


def _http_error(error: web.HTTPException, request: web.Request) -> GpuboardError:
    """Return aiohttp's own refusals in our tree."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return InvalidRequest("the request is too large", hint="see [api] max_request_bytes")
    if isinstance(error, web.HTTPNotFound):
        return NotFound(
            f"there is no {request.path[:200]}", hint="GET /v1/openapi.json lists what there is"
        )
    if isinstance(error, web.HTTPMethodNotAllowed):
        return InvalidRequest(f"{request.method} is not possible on {request.path[:200]}")
    return InvalidRequest(error.reason)


async def _begin(request: web.Request, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": content_type, "Cache-Control": "no-store"}
    )
    await response.prepare(request)
    return response


async def _write(request: web.Request, response: web.StreamResponse, content: bytes) -> None:
    """Send, but not for ever: whoever takes nothing is hung up on. Raises TimeoutError then."""
    try:
        async with asyncio.timeout(_WRITE_TIMEOUT_S):
            await response.write(content)
    except TimeoutError:
        _hang_up(request)
        raise


async def _write_log(
    request: web.Request,
    response: web.StreamResponse,
    first: asyncio.Future[bytes | None],
    log: LogStream,
) -> None:
    """Send a log to its end; when the reader breaks off, so does the connection: no false end."""
    try:
        piece = await first
        while piece is not None:
            await _write(request, response, piece)
            piece = await log.next()
    except (ConnectionError, TimeoutError):
        _hang_up(request)
    except Exception:  # noqa: BLE001 - a border: the answer has begun, only hanging up is left
        _LOG.exception("the log of %s broke off", request.path)
        _hang_up(request)


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
