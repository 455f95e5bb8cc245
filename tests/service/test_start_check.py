"""What is asked once more before each start: is this still that person, with those groups?"""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.service.services import Services
from tests.support.engine import ANN, Box
from tests.support.services import ScriptedDirectory


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ((), "uid 1001 has no account on this box"),
        ((msgspec.structs.replace(ANN, name="zoe"),), "uid 1001 is zoe now, not ann"),
        ((msgspec.structs.replace(ANN, groups=(1001,)),), "ann is not in group 4000 any more"),
        ((msgspec.structs.replace(ANN, groups=(1001, 4000, 5000)),), ""),
    ],
)
def test_job_of_somebody_who_is_not_who_they_were_is_held(
    box: Box, services: Services, monkeypatch: pytest.MonkeyPatch, people, words
) -> None:
    """An account that went or passed to another, a group left: an admin has to look first."""
    assert services
    monkeypatch.setattr(ScriptedDirectory, "people", people)
    owner = msgspec.structs.replace(ANN, groups=(1001, 4000))
    job_id = box.submit(owner=owner, image="", command=("true",))
    box.settle()
    job = box.job(job_id)
    assert job.reason == words
    assert (job.held_by, str(job.state)) == (("admin", "queued") if words else ("", "running"))
