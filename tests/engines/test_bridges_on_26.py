"""Ports and people's networks on Docker 26.1, which words its errors and filters its packets otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes.test_bridges import (  # noqa: F401
    bench,
    engine,
    test_a_port_that_is_taken_is_told_apart_from_other_failures,
    test_a_published_port_answers_on_loopback_and_nowhere_else,
    test_jobs_of_two_people_do_not_reach_each_other,
)
from tests.support import trixie_root
from tests.support.bridged import BridgedEngine, missing_bridge_parts
from tests.support.dockerd import running_engine
from tests.support.trixie import TrixieEngine, missing_parts


class BridgedTrixieEngine(BridgedEngine, TrixieEngine):
    """Docker 26.1, alone in its network namespace."""

    def __init__(self, directory: Path) -> None:
        TrixieEngine.__init__(self, directory, trixie_root.made_root())

    def launcher(self) -> list[str]:
        return [*BridgedEngine.launcher(self), *TrixieEngine.launcher(self)]


@pytest.fixture(scope="module")
def bridged_engine() -> Iterator[BridgedTrixieEngine]:
    """Take the place of the box's own engine."""
    if reason := missing_bridge_parts() or missing_parts():
        if os.environ.get("GPUBOARD_REQUIRE_ENGINE") == "1":
            pytest.fail(f"GPUBOARD_REQUIRE_ENGINE=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    with running_engine(BridgedTrixieEngine) as found:
        yield found
