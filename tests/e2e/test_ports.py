"""A notebook's port from the command line to a browser's end: the real daemon, an engine with bridges."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box, people
from tests.support.bridged import BridgedEngine
from tests.support.dockerd import IMAGE
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root]

CONFIG = """
[jobs]
runtimes = ["docker"]
default_shm = "16M"
[docker]
host = "{host}"
port_range = "21000-21019"
max_ports = 4
[devices]
probe = "simulated"
"""
SERVE = "while :; do echo $GPUBOARD_PORT_8888 of $(id -u) | busybox nc -l -p 8888; done"


@pytest.fixture
def box(bridged_engine: BridgedEngine) -> Iterator[Box]:
    folder = Path(tempfile.mkdtemp(prefix="gb-ports-"))
    folder.chmod(0o755)
    box = Box(folder / "box", CONFIG.format(host=bridged_engine.host))
    try:
        box.start()
        yield box
    finally:
        box.stop()
        shutil.rmtree(folder, ignore_errors=True)


def served(engine: BridgedEngine, port: int) -> str:
    """Return what answers on the port of the box's loopback."""
    return engine.inside("busybox", "nc", "-w", "5", "127.0.0.1", str(port)).stdout.strip()


def test_a_published_port_from_submission_to_end(box: Box, bridged_engine: BridgedEngine) -> None:
    """Two people ask for the same container port; each is told their own of the box's, and it answers.

    A port that something else has is passed over by the engine's word, a daemon killed meanwhile
    knows both, and with the jobs' end nothing listens and no network is left.
    """
    with people("gbann", "gbben") as (ann, ben), bridged_engine.listening(21000):
        jobs = {
            uid: box.submit("-g", "0", "-t", "5m", "-p", "8888", IMAGE, "sh", "-c", SERVE, uid=uid)
            for uid in (ann, ben)
        }
        ports = {}
        for uid, job_id in jobs.items():
            box.wait_state(job_id, "running")
            [port] = box.json("show", str(job_id), uid=uid)["job"]["ports"]
            assert port["port"] == 8888
            ports[uid] = port["host_port"]
        assert len(set(ports.values()) - {21000}) == 2
        box.kill()
        box.start()
        for uid, port in ports.items():
            wait_until(
                lambda uid=uid, port=port: served(bridged_engine, port) == f"{port} of {uid}"
            )
            [row] = box.json("ps", uid=uid)["jobs"]
            assert row["ports"] == [{"port": 8888, "host_port": port}]
        assert box.json("show", str(jobs[ann]), uid=ben)["job"]["ports"] == []
        for uid, job_id in jobs.items():
            assert box.run("cancel", "--force", str(job_id), uid=uid).returncode == 0
            box.wait_state(job_id, "cancelled")
        wait_until(lambda: set(bridged_engine.listeners()) == {21000})
        wait_until(lambda: not bridged_engine.person_networks())
