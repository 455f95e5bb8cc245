"""Ports and networks on a real engine with bridges: who reaches what, and what is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.errors import PortTaken
from gpuboard.model.job import PublishedPort
from gpuboard.runtimes.sandbox import SandboxSettings
from tests.runtimes.conftest import docker_bench_on
from tests.support.bridged import BridgedEngine
from tests.support.runtimes import PERSON, RuntimeBench
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root]

OTHER = PERSON + 1
SERVE = "while :; do echo hello from $(id -u) | busybox nc -l -p 8888; done"


@pytest.fixture
def engine(bridged_engine: BridgedEngine) -> BridgedEngine:
    return bridged_engine


@pytest.fixture
def bench(bridged_engine: BridgedEngine, tmp_path: Path, home: Path) -> Iterator[RuntimeBench]:
    bench = docker_bench_on(
        bridged_engine,
        tmp_path,
        home,
        SandboxSettings(max_memory_bytes=2**30, default_shm_bytes=2**20),
    )
    yield bench
    bench.clear()


def serving(bench: RuntimeBench, host_port: int, uid: int = PERSON) -> str:
    """Begin a job that answers on its port 8888, published; return its handle."""
    request = bench.shell(SERVE, uid=uid, gid=uid, ports=(PublishedPort(8888, host_port),))
    return bench.begin(request)


def asked(engine: BridgedEngine, address: str, port: int) -> str:
    """Return what answers there, seen from the box."""
    return engine.inside("busybox", "nc", "-w", "5", address, str(port)).stdout.strip()


def address_of(engine: BridgedEngine, handle: str) -> str:
    with engine.client() as client:
        [network] = client.inspect_container(handle)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def test_a_published_port_answers_on_loopback_and_nowhere_else(
    engine: BridgedEngine, bench: RuntimeBench
) -> None:
    """Not on the bridge's address of the box, and no wildcard listens."""
    handle = serving(bench, 20017)
    wait_until(lambda: asked(engine, "127.0.0.1", 20017) == f"hello from {PERSON}")
    assert engine.listeners() == {20017: "127.0.0.1"}
    gateway = ".".join([*address_of(engine, handle).split(".")[:3], "1"])
    assert asked(engine, gateway, 20017) == ""


def test_jobs_of_two_people_do_not_reach_each_other(
    engine: BridgedEngine, bench: RuntimeBench
) -> None:
    """Neither at the container's address nor through the box's; those of one person do."""
    handle = serving(bench, 20018)
    wait_until(lambda: asked(engine, "127.0.0.1", 20018) == f"hello from {PERSON}")
    address = address_of(engine, handle)
    gateway = ".".join([*address.split(".")[:3], "1"])
    # between two answers nobody listens for a moment
    ask = f"until busybox nc -w 2 {address} 8888 2>/dev/null; do sleep 0.1; done"
    _, own = bench.run(ask)
    assert own == f"hello from {PERSON}\n".encode()
    ask = f"busybox nc -w 2 {address} 8888; busybox nc -w 2 {gateway} 20018; echo done"
    _, others = bench.run(ask, uid=OTHER, gid=OTHER)
    assert b"hello" not in others
    assert b"done" in others


def test_networks_come_with_the_first_job_and_go_with_the_last(
    engine: BridgedEngine, bench: RuntimeBench
) -> None:
    """One a person; engines have addresses for about thirty, so none is left behind."""
    handles = [
        bench.begin(bench.shell("sleep 60", uid=uid, gid=uid)) for uid in (PERSON, PERSON, OTHER)
    ]
    assert engine.person_networks() == {
        f"gb-net-{PERSON}": str(PERSON),
        f"gb-net-{OTHER}": str(OTHER),
    }
    for handle, left in zip(handles, (2, 1, 0), strict=True):
        bench.runtime.kill(handle)
        wait_until(lambda handle=handle: bench.runtime.is_gone(handle))
        bench.runtime.remove(handle)
        assert len(engine.person_networks()) == left


def test_a_network_left_by_a_crash_goes_at_the_next_start(
    engine: BridgedEngine, bench: RuntimeBench
) -> None:
    """And one that an attempt still needs, created but not started yet, stays."""
    handle = bench.runtime.create(bench.shell("echo ran"))
    with bench.runtime._networks.lent(OTHER):
        assert set(engine.person_networks()) == {f"gb-net-{PERSON}", f"gb-net-{OTHER}"}
        bench.runtime._networks.tidy()
        assert len(engine.person_networks()) == 2
    bench.reborn()
    assert set(engine.person_networks()) == {f"gb-net-{PERSON}"}
    bench.runtime.start(handle)
    bench.ended(handle)
    assert bench.log(handle) == b"ran\n"


def test_many_first_jobs_at_once_share_one_network(
    engine: BridgedEngine, bench: RuntimeBench
) -> None:
    """Four hands create at the same time; the engine itself would make four of one name."""
    requests = [bench.shell("true") for _ in range(4)]
    hands = [threading.Thread(target=bench.runtime.create, args=(one,)) for one in requests]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert len(bench.runtime.observe()) == 4
    assert list(engine.person_networks()) == [f"gb-net-{PERSON}"]


def test_a_foreign_network_of_the_name_is_not_joined(
    engine: BridgedEngine, bench: RuntimeBench
) -> None:
    """Somebody else's bridge may lead anywhere: ours then bears the box's name too."""
    with engine.client() as client:
        made = client.create_network(f"gb-net-{PERSON}", driver="bridge")["Id"]
        handle = bench.runtime.create(bench.shell("true"))
        used = client.inspect_container(handle)["HostConfig"]["NetworkMode"]
        [name] = engine.person_networks()
        assert name.startswith(f"gb-net-{PERSON}-")
        assert client.inspect_network(name)["Id"] == used
        client.remove_network(made)


def test_a_port_that_is_taken_is_told_apart_from_other_failures(
    engine: BridgedEngine, bench: RuntimeBench
) -> None:
    """By another container or by a program of the box, in the engine's own two ways of saying so."""
    serving(bench, 20019)
    with pytest.raises(PortTaken):
        serving(bench, 20019, OTHER)
    with engine.listening(20020), pytest.raises(PortTaken):
        serving(bench, 20020)
