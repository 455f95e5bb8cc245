"""Rates a person: waited for, then refused; root and the personal daemon are not held to them."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuboard import errors
from gpuboard.api.client import Client
from gpuboard.api.peer import Peer
from gpuboard.api.throttle import BURST_S, LONGEST_WAIT_S, TURNS, Allowance, Throttle
from gpuboard.config import ApiConfig, defaults_for
from tests.support.api import ScriptedBox, serving

ALICE, BEN, ROOT = Peer(1, 1000, 1000), Peer(2, 1001, 1001), Peer(3, 0, 0)


def test_steady_asking_never_waits_and_a_burst_is_allowed_once():
    """At the rate nobody waits; five seconds' worth may come at once, then each waits its turn."""
    now = 0.0
    allowance = Allowance(lambda: now)
    for _ in range(100):
        assert allowance.wait_s(1000, 10) == 0
        now += 0.1
    at_once = [allowance.wait_s(1000, 10) for _ in range(60)]
    assert at_once.count(0) == 51
    assert at_once[-1] == pytest.approx(0.9)


def test_what_would_wait_too_long_is_refused_and_not_counted():
    """So that a flood of refused requests does not shut its sender out for ever."""
    now = 0.0
    allowance = Allowance(lambda: now)
    waits = [allowance.wait_s(1000, 1) for _ in range(1000)]
    assert sum(wait <= LONGEST_WAIT_S for wait in waits) == BURST_S + LONGEST_WAIT_S + 1
    now = 1.5
    assert allowance.wait_s(1000, 1) <= LONGEST_WAIT_S
    assert allowance.wait_s(1001, 1) == 0, "another person is not touched"


def test_memory_of_many_people_is_bounded():
    now = 0.0
    allowance = Allowance(lambda: now)
    for uid in range(5000):
        allowance.wait_s(uid, 10)
        now += 0.01
    assert len(allowance._due) < 2000


def test_one_person_has_few_turns_at_a_time_and_others_have_theirs():
    """Of ten calls at once two are let through, and a neighbour's goes at once."""
    throttle = Throttle(ApiConfig())
    inside: list[int] = []

    async def call(peer: Peer, release: asyncio.Event) -> None:
        async with throttle.turn(peer):
            inside.append(peer.uid)
            await release.wait()

    async def story() -> None:
        release = asyncio.Event()
        calls = [asyncio.create_task(call(ALICE, release)) for _ in range(10)]
        calls.append(asyncio.create_task(call(BEN, release)))
        calls += [asyncio.create_task(call(ROOT, release)) for _ in range(10)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert sorted(set(inside), key=inside.index) == [1000, 1001, 0]
        assert inside.count(1000) == TURNS
        assert inside.count(0) == 10
        calls[5].cancel()
        release.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert inside.count(1000) == 9
        assert not throttle._turns

    asyncio.run(story())


def test_a_flood_is_slowed_to_its_rate_and_then_refused_with_its_code(folder: Path):
    """Twelve threads ask without pause at ten a second: they are not served faster than that."""
    limits = ApiConfig(max_requests_per_second=10.0)
    with serving(folder, limits=limits, is_contained=lambda _pid: True) as server:
        stop = time.monotonic() + 1.5

        def ask(_n: int) -> list[str]:
            client, told = Client(server.path, timeout_s=30), []
            while time.monotonic() < stop or not told:
                try:
                    client.get("/ping")
                except errors.TooManyRequests as error:
                    told.append(f"{error.code} {error.exit_code} {error.hint[:9]}")
                else:
                    told.append("served")
            return told

        began = time.monotonic()
        with ThreadPoolExecutor(40) as pool:
            told = [word for words in pool.map(ask, range(40)) for word in words]
        took_s = time.monotonic() - began
    assert told.count("served") <= 10 * (BURST_S + took_s) + 1
    assert set(told) == {"served", "rate 6 try again"}


def test_submissions_have_a_rate_of_their_own_and_looking_goes_on(folder: Path):
    """Whoever submitted too much can still see what became of it."""
    limits = ApiConfig(max_submissions_per_second=0.1)
    box = ScriptedBox()
    with serving(folder, box, limits=limits, is_contained=lambda _pid: True) as server:
        client = Client(server.path)
        client.post("/jobs", {"gpus": 1})
        with pytest.raises(errors.TooManyRequests, match=r"0\.1 submissions a second"):
            client.post("/jobs", {"gpus": 1})
        assert client.get("/jobs")["total"] == 1
    assert [name for name, _, _ in box.asked].count("submit") == 1


def test_a_personal_daemon_has_no_rates():
    """There is nobody else to protect."""
    api = defaults_for(True, {"HOME": "/home/ann"}).api
    assert api.max_requests_per_second is None
    assert api.max_submissions_per_second is None


def test_root_is_never_held_up():
    """Whoever mends the box gets in; in this test the peer is whoever runs it."""
    throttle = Throttle(ApiConfig(max_requests_per_second=1.0))
    done = threading.Event()

    async def ask() -> None:
        for _ in range(500):
            await throttle.admit(ROOT, is_submission=True)
        done.set()

    asyncio.run(asyncio.wait_for(ask(), 5))
    assert done.is_set()
