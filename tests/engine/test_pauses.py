"""Pauses after failed starts: one person's rest takes nothing from others; two people's pause the runtime."""

from __future__ import annotations

import pytest

from gpuboard.errors import CannotStartNow, HostError
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box, person

ZOE = person(1003, "zoe")
BROKEN = [
    Script(create_error=HostError("Cannot mkdir")),
    Script(create_error=CannotStartNow("no space left on device")),
    Script(start_error=CannotStartNow("no space left on device")),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_failing_starts_of_one_person_pause_nobody_else(box: Box, broken: Script):
    """Not even their devices are kept from others meanwhile."""
    for _ in range(4):
        box.submit(owner=ANN, gpus=2, script=broken)
    box.settle()
    other = box.submit(owner=BEN, gpus=4, script=Script(run_s=100))
    box.settle()
    assert box.state(other) == "running"


@pytest.mark.parametrize("broken", BROKEN)
def test_failing_starts_of_two_people_pause_the_runtime(box: Box, broken: Script):
    """Then it is the box; a third person's job waits, and says why."""
    for owner in (ANN, BEN):
        box.submit(owner=owner, script=broken)
        box.settle()
    other = box.submit(owner=ZOE, script=Script(run_s=100))
    box.settle()
    assert box.state(other) == "queued"
    (cause, *_) = box.engine.explain(other).causes
    assert (cause.cause, "could not start" in cause.words) == ("host", True)
    box.advance(10)
    assert box.state(other) == "running"


def test_start_that_works_clears_the_box_but_not_the_person(box: Box):
    """Who keeps failing rests ever longer; between works of others that never pauses the runtime."""
    tries = []
    create = box.runtime.create
    box.runtime.create = lambda request: tries.append(request.user) or create(request)
    full = CannotStartNow("no space left on device")
    failing = box.submit(owner=ANN, script=Script(create_error=full))
    for _ in range(60):
        box.submit(owner=BEN, script=Script(run_s=1))
        box.advance(20, by=2)
    assert box.state(failing) == "queued"
    assert tries.count("ann") < 12
    assert tries.count("ben") == 60


def test_rest_ends_with_the_first_start_that_works(box: Box):
    """Mended, the person's other jobs start at once."""
    broken = box.submit("broken", owner=ANN, script=BROKEN[1])
    box.settle()
    box.scripts["broken"] = Script(run_s=1)
    waiting = [box.submit(owner=ANN, script=Script(run_s=100)) for _ in range(3)]
    box.settle()
    assert box.engine.explain(waiting[0]).causes[0].cause == "host"
    box.advance(9)
    assert box.state(broken) == "succeeded"
    assert [box.state(job) for job in waiting] == ["running"] * 3
