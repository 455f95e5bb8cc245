"""Accepts connections within limits: so many in all, so many a uid; root always gets in.

Turning one away costs as little as can be, and those who are in are served in between: else somebody
who connects all the time would keep the daemon from everybody.

The accept loop never ends by an error (SAFETY.md fault 36): out of descriptors, it waits for some.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable

from gpuboard.api.messages import encode_error
from gpuboard.api.peer import Peer, credentials_of, peer_of
from gpuboard.config import ApiConfig
from gpuboard.errors import Unavailable

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.2
_IN_A_ROW = 8
"""Connections accepted at most before those that are open are served."""
_TELL_EVERY = 50
"""Failures in a row: one line in ten seconds."""


class GuardedProtocol(asyncio.Protocol):
    """An HTTP protocol with the peer's name on it, that tells when its connection is gone."""

    def __init__(self, inner: asyncio.Protocol, peer: Peer, on_lost: Callable[[], None]) -> None:
        self.peer = peer
        self._inner = inner
        self._on_lost = on_lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on."""
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place free, then pass it on."""
        self._on_lost()
        self._inner.connection_lost(exc)


class Listener:
    """Accepts on one listening socket until it is told to stop."""

    def __init__(
        self,
        listening: socket.socket,
        limits: ApiConfig,
        is_contained: Callable[[int], bool],
        make_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._limits = limits
        self._is_contained = is_contained
        self._make_protocol = make_protocol
        self._by_uid: Counter[int] = Counter()
        self._task: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """Return how many are open."""
        return self._by_uid.total()

    def set_limits(self, limits: ApiConfig) -> None:
        """Hold new connections to other limits."""
        self._limits = limits

    def start(self) -> None:
        """Begin to accept."""
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def stop(self) -> None:
        """Accept no more; open connections stay."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        for number in itertools.count(1):
            if number % _IN_A_ROW == 0:
                await asyncio.sleep(
                    0
                )  # else whoever connects fast enough has the loop to themselves
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                if failures % _TELL_EVERY == 0:
                    _LOG.error("cannot accept a connection: %s", error)
                failures += 1
                await asyncio.sleep(_RETRY_S)
                continue
            failures = 0
            try:
                await self._admit(connection)
            except OSError as error:
                _LOG.debug("a connection was lost before it began: %s", error)
                connection.close()
            except Exception:  # noqa: BLE001 - a border: one connection must not end all
                _LOG.exception("a connection could not be taken")
                connection.close()

    async def _admit(self, connection: socket.socket) -> None:
        who = credentials_of(connection)
        refusal = self._refusal(who.uid)
        if refusal:
            _turn_away(connection, refusal)
            return
        peer = peer_of(who, self._is_contained)
        self._by_uid[peer.uid] += 1
        protocol = GuardedProtocol(self._make_protocol(), peer, lambda: self._leave(peer.uid))
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:
            self._leave(peer.uid)
            raise

    def _refusal(self, uid: int) -> str:
        if uid != 0 and self.connections >= self._limits.max_connections:
            return f"the daemon has {self.connections} connections already"
        if uid != 0 and self._by_uid[uid] >= self._limits.max_connections_per_uid:
            return f"you have {self._by_uid[uid]} connections open already"
        return ""

    def _leave(self, uid: int) -> None:
        self._by_uid[uid] -= 1
        if self._by_uid[uid] <= 0:
            del self._by_uid[uid]


def _turn_away(connection: socket.socket, words: str) -> None:
    """Answer 503 with as little as one send, and close."""
    body = encode_error(Unavailable(words, hint="close some, or try again in a moment"))
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with connection:
        connection.setblocking(False)
        try:
            connection.send(head.encode() + body)
        except OSError:
            pass
