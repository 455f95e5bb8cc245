"""Faults 8 and 9: answers of the real engine that never arrive, on a line that loses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.safety.deaths import CONFIG, COUNT, SCRIPT, CrashBox
from tests.support.dockerd import DockerEngine
from tests.support.engine_line import EngineLine, engine_line
from tests.support.fakenvml import built
from tests.support.faultbox import fault_box

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]


@pytest.fixture(scope="module")
def line(docker_engine: DockerEngine, crash_folder: Path) -> Iterator[EngineLine]:
    """The line between the daemon and its engine."""
    with engine_line(crash_folder / "line.sock", docker_engine.host) as found:
        yield found


@pytest.fixture(scope="module")
def box(docker_engine: DockerEngine, line: EngineLine, crash_folder: Path) -> Iterator[CrashBox]:
    """A box whose daemon knows the engine by the line alone."""
    built()
    with fault_box(crash_folder, CONFIG.format(host=line.host), COUNT, CrashBox) as box:
        assert isinstance(box, CrashBox)
        box.engine = docker_engine
        docker_engine.hook.clear()
        box.start()
        yield box


@pytest.mark.parametrize("effect", ["now", "late", "never"])
def test_fault_08_answer_of_a_real_create_is_lost(
    box: CrashBox, line: EngineLine, effect: str, saw
) -> None:
    """Adopted by its name or created again: one container, one run; nothing is left."""
    line.lose("create", effect)
    job = box.shell(SCRIPT)
    saw(f"{effect}: " + box.check_true_end(job))
    assert line.lost[-1] == ("create", effect)


@pytest.mark.parametrize("effect", ["now", "late"])
def test_fault_09_answer_of_a_real_start_is_lost(
    box: CrashBox, line: EngineLine, effect: str, saw
) -> None:
    """Looked for and taken over, never begun a second time."""
    line.lose("start", effect)
    job = box.shell(SCRIPT)
    saw(f"{effect}: " + box.check_true_end(job))
    assert line.lost[-1] == ("start", effect)


def test_fault_09_real_start_that_never_came(box: CrashBox, line: EngineLine, saw) -> None:
    """Looked for so long as is set (a minute; four seconds here), removed and said so."""
    line.lose("start", "never")
    job = box.shell(SCRIPT)
    view = box.ended(job)
    assert view["state"] == "failed", view
    assert "start unknown" in view["reason"]
    assert box.starts_of(job) in (0, None)
    box.check_clean(job)
    saw(f"never: failed, {view['reason']}; no start")
