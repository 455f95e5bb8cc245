"""What is asked once more before each start: is this still that person, with those groups?"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gpuboard.service import people
from gpuboard.service.services import Services
from tests.support.engine import ANN, Box
from tests.support.services import ScriptedDirectory


@pytest.mark.parametrize(
    ("folk", "words"),
    [
        ((), "uid 1001 has no account on this box"),
        ((msgspec.structs.replace(ANN, name="zoe"),), "uid 1001 is zoe now, not ann"),
        ((msgspec.structs.replace(ANN, groups=(1001,)),), "ann is not in group 4000 any more"),
        ((msgspec.structs.replace(ANN, groups=(1001, 4000, 5000)),), ""),
    ],
)
def test_job_of_somebody_who_is_not_who_they_were_is_held(
    box: Box, services: Services, monkeypatch: pytest.MonkeyPatch, folk, words
) -> None:
    """An account that went or passed to another, a group left: an admin has to look first."""
    assert services
    monkeypatch.setattr(ScriptedDirectory, "people", folk)
    owner = msgspec.structs.replace(ANN, groups=(1001, 4000))
    job_id = box.submit(owner=owner, image="", command=("true",))
    box.settle()
    job = box.job(job_id)
    assert job.reason == words
    assert (job.held_by, str(job.state)) == (("admin", "queued") if words else ("", "running"))


@pytest.mark.parametrize("folk", [(), (msgspec.structs.replace(ANN, groups=(1001,)),)])
def test_what_a_directory_that_is_away_would_say_too_holds_nothing(
    box: Box, services: Services, monkeypatch: pytest.MonkeyPatch, folk
) -> None:
    """No account and no groups are then no news: the job waits and is looked at again."""
    assert services
    monkeypatch.setattr(ScriptedDirectory, "people", folk)
    monkeypatch.setattr(ScriptedDirectory, "is_whole", False)
    owner = msgspec.structs.replace(ANN, groups=(1001, 4000))
    job_id = box.submit(owner=owner, image="", command=("true",))
    box.settle()
    assert (str(box.job(job_id).state), box.job(job_id).held_by) == ("queued", "")
    monkeypatch.setattr(ScriptedDirectory, "people", (owner,))
    box.advance(60)
    assert str(box.job(job_id).state) == "running"


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\nhosts: files dns\n", True),
        ("passwd: files sss\ngroup: files\n", False),
        ("passwd: compat\ngroup: compat ldap # old\n", False),
        ("passwd: files # ldap\ninitgroups: files sss\n", False),
        ("", True),
    ],
)
def test_where_people_come_from_is_read_of_the_c_library_s_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_local: bool
) -> None:
    """Only what is all files can say for certain that somebody is not there."""
    switch = tmp_path / "nsswitch.conf"
    monkeypatch.setattr(people, "_NSSWITCH", switch)
    directory = people.HostDirectory()
    assert directory.is_local()
    switch.write_text(text)
    assert directory.is_local() is is_local
    with pytest.raises(people.UnknownPerson) as nobody:
        directory.person(3_999_999_999)
    assert nobody.value.is_certain is is_local
