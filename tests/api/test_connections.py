"""Whom the daemon lets in: turning people away costs next to nothing, and keeps nobody from those inside."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from gpuboard.api import connections
from gpuboard.api.connections import Listener
from gpuboard.api.peer import Credentials
from gpuboard.config import ApiConfig

MANY = 200


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever connects be an ordinary person: root is never turned away."""
    monkeypatch.setattr(connections, "credentials_of", lambda _: Credentials(1, 4711, 4711))


def flood(folder: Path, *, allowed: int) -> tuple[list[bytes], int, list[int]]:
    """Let many who connected at once be accepted.

    Return what they were told at once, how often the loop came round, and whose files were read.
    """
    asked: list[int] = []

    async def accept(listening: socket.socket, clients: list[socket.socket]) -> int:
        limits = ApiConfig(max_connections_per_uid=allowed)
        listener = Listener(
            listening, limits, lambda pid: bool(asked.append(pid)), asyncio.Protocol
        )
        listener.start()
        rounds = 0
        while not clients[-1].recv(1, socket.MSG_PEEK):
            rounds += 1
            await asyncio.sleep(0)
        await listener.stop()
        return rounds

    with contextlib.ExitStack() as held:
        listening = held.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(folder / "s"))
        listening.listen(MANY)
        clients = [held.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(MANY)]
        for client in clients:
            client.connect(str(folder / "s"))
            client.setblocking(False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "recv", _or_nothing(socket.socket.recv))
            rounds = asyncio.run(accept(listening, clients))
            return [client.recv(64) for client in clients], rounds, asked


def _or_nothing(recv):
    def received(self, *how):
        with contextlib.suppress(BlockingIOError):
            return recv(self, *how)
        return b""

    return received


def test_somebody_who_connects_all_the_time_does_not_have_the_loop_to_themselves(folder: Path):
    """Those who are in are served between a few who are turned away."""
    said, rounds, _ = flood(folder, allowed=1)
    assert sum(b"503" in answer for answer in said) == MANY - 1
    assert rounds >= MANY // connections._IN_A_ROW - 1


def test_nothing_is_read_about_whoever_is_turned_away(folder: Path):
    """Else a flood of them costs the daemon more than its sender."""
    _, _, asked = flood(folder, allowed=3)
    assert len(asked) == 3


async def test_a_fault_with_one_connection_ends_no_other(folder: Path):
    """SAFETY.md fault 36: the accept loop never exits, whatever one connection brings up."""
    asked: list[int] = []

    def is_contained(pid: int) -> bool:
        asked.append(pid)
        if len(asked) == 1:
            raise ValueError("nobody foresaw this")
        return False

    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen()
        listener = Listener(listening, ApiConfig(), is_contained, asyncio.Protocol)
        listener.start()
        reader, writer = await asyncio.open_unix_connection(str(folder / "s"))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        _, writer = await asyncio.open_unix_connection(str(folder / "s"))
        end = loop.time() + 5
        while len(asked) < 2 and loop.time() < end:
            await asyncio.sleep(0.01)
        writer.close()
        await listener.stop()
    assert len(asked) == 2
