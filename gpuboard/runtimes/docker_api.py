"""The border to the docker SDK: one client a thread, and every vendor error turned into one of ours.

The SDK's client is not to be shared between threads. What decides the class of an error is
whether the call may have taken effect: a refused connection means that nothing happened, a
connection that broke after the request was sent means that nobody knows.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import docker
import docker.errors
import requests
import urllib3.exceptions

from gpuboard.errors import GpuboardError, HostError, OutcomeUnknown, Unavailable
from gpuboard.runtimes.docker_words import refusal

READ_TIMEOUT_S = 30.0
ACT_TIMEOUT_S = 900.0
"""Create and start may wait for an image's layers or a slow hook; far above the worst start measured."""
FRESH_S = 0.1
"""So long after an answer the connection that it came by is taken to live."""
VENDOR_ERRORS = (
    docker.errors.DockerException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)
_NEVER_SENT = (ConnectionRefusedError, FileNotFoundError, PermissionError)


class DockerConnection:
    """Gives each thread its own client of one engine."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._local = threading.local()
        self._version: str | None = None
        self._clients: list[docker.APIClient] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(
        self, what: str, timeout_s: float | None = READ_TIMEOUT_S
    ) -> Iterator[docker.APIClient]:
        """Lend the thread's client for calls that change nothing, or may be repeated."""
        try:
            yield self._client(timeout_s)
        except VENDOR_ERRORS as error:
            self._local.answered_s = -math.inf
            raise translate(error, what, acting=False) from error
        self._local.answered_s = time.monotonic()

    @contextlib.contextmanager
    def acting(
        self, what: str, timeout_s: float = ACT_TIMEOUT_S, *, persons: Iterable[str] = ()
    ) -> Iterator[docker.APIClient]:
        """Lend the client for a call that must not be repeated: a lost answer is OutcomeUnknown.

        `persons`: what the call carries of a person's own words, which an answer may quote.
        A ping goes first, so that a connection which an engine's restart left stale is renewed
        before it can lose the answer of the call itself. One that answered just now needs none.
        """
        if time.monotonic() - getattr(self._local, "answered_s", -math.inf) > FRESH_S:
            with self.reading(what) as client:
                try:
                    client.ping()
                except requests.ConnectionError:
                    client.ping()
        try:
            yield self._client(timeout_s)
        except VENDOR_ERRORS as error:
            self._local.answered_s = -math.inf
            raise translate(error, what, acting=True, persons=persons) from error
        self._local.answered_s = time.monotonic()

    def fresh(self, timeout_s: float | None) -> docker.APIClient:
        """Return a client of one's own, for a stream; the caller closes it."""
        if self._version is None:
            self._client(READ_TIMEOUT_S)
        return _new_client(self.host, self._version, timeout_s)

    def _client(self, timeout_s: float | None) -> docker.APIClient:
        client: docker.APIClient | None = getattr(self._local, "client", None)
        if client is None:
            client = _new_client(self.host, self._version or "auto", timeout_s)
            self._version = client.api_version
            self._local.client = client
            with self._lock:
                self._clients.append(client)
        client.timeout = timeout_s  # type: ignore[assignment] # the stubs know whole seconds only
        return client

    def leave(self) -> None:
        """Close the calling thread's client: of a thread that ends, nobody else would."""
        client: docker.APIClient | None = getattr(self._local, "client", None)
        if client is None:
            return
        del self._local.client
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)
        client.close()

    def close(self) -> None:
        """Close all clients."""
        with self._lock:
            clients, self._clients = self._clients, []
        self._local = threading.local()
        for client in clients:
            client.close()


class _Client(docker.APIClient):
    """The SDK's, but that its time-out holds for pulls too: there the SDK waits for ever."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeout
        return super().request(*args, **kwargs)


def _new_client(host: str, version: str | None, timeout_s: float | None) -> docker.APIClient:
    # the stubs know whole seconds only; None is "no limit", for streams
    timeout: Any = timeout_s
    return _Client(base_url=host, version=version, timeout=timeout)


def translate(
    error: BaseException, what: str, *, acting: bool, persons: Iterable[str] = ()
) -> GpuboardError:
    """Return our error for the SDK's; `acting` when the lost answer of the call matters.

    `persons`: what the call carries of a person's own words.
    """
    if isinstance(error, docker.errors.APIError):
        words = str(error.explanation or error)
        return refusal(what, error.status_code or 0, words, persons)
    causes = tuple(chain(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return HostError(
            f"{what}: the engine's socket may not be opened",
            hint="run the daemon as root, or as a member of the docker group",
        )
    if any(isinstance(cause, _NEVER_SENT) for cause in causes):
        return Unavailable(
            f"{what}: the container engine does not answer", hint="systemctl status docker"
        )
    if acting:
        return OutcomeUnknown(f"{what}: the engine's answer was lost ({type(error).__name__})")
    return Unavailable(f"{what}: the container engine did not answer ({type(error).__name__})")


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and everything wrapped in it: requests hides the OSError in `args`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        item = waiting.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        waiting += [*item.args, item.__cause__, item.__context__, getattr(item, "reason", None)]


def instant_ms(text: str) -> int | None:
    """Return an engine's RFC 3339 instant in ms since the epoch; None for `0001-...` (never)."""
    if not text or text.startswith("0001-"):
        return None
    head, _, rest = text.partition(".")
    fraction = rest.rstrip("Z").split("+")[0][:6] if rest else ""
    try:
        at = dt.datetime.fromisoformat(head.rstrip("Z")).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return int(at.timestamp() * 1000) + (int(fraction.ljust(6, "0")) // 1000 if fraction else 0)
