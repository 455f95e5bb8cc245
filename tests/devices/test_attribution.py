"""Whose process is it: the table of cases, and what holds for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.devices.attribution import Belongs, DeviceUse, attribute
from gpuboard.model.device import Device, DeviceProcess, DeviceReading
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.text import plain

OURS, THEIRS = "ab" * 32, "cd" * 32
A, B = DeviceUuid("GPU-a"), DeviceUuid("GPU-b")
CONTAINERS = {OURS: "gb-7-1"}


def process(pid: int = 10, **fields: object) -> DeviceProcess:
    """A living process of alice, outside every container."""
    known = {"started_at": 1, "uid": 1001, "user": "alice", "command": "python"}
    return DeviceProcess(pid=pid, **{**known, **fields})  # type: ignore[arg-type]


def use(
    *processes: DeviceProcess, leased: tuple[str, ...] = (), owner: str | None = None
) -> DeviceUse:
    """Attribute the processes of one device."""
    reading = DeviceReading(device=Device(uuid=A, index=0, name="x"), processes=processes)
    uses = attribute(
        [reading], leased={A: leased}, containers=CONTAINERS, owner_of=lambda _process: owner
    )
    return uses[A]


TABLE = {
    "our container on its device": (process(container_id=OURS), ("gb-7-1",), None, Belongs.JOB),
    "our container without a lease": (process(container_id=OURS), (), None, Belongs.VIOLATION),
    "our container on another's device": (
        process(container_id=OURS), ("gb-8-1",), None, Belongs.VIOLATION,
    ),
    "our process job": (process(), ("gb-9-1",), "gb-9-1", Belongs.JOB),
    "our process job astray": (process(), (), "gb-9-1", Belongs.VIOLATION),
    "ssh session": (process(), ("gb-7-1",), None, Belongs.FOREIGN),
    "a container by hand": (process(container_id=THEIRS), ("gb-7-1",), None, Belongs.FOREIGN),
    "a container by hand with our session's name": (
        process(container_id=THEIRS), ("gb-9-1",), "gb-9-1", Belongs.FOREIGN,
    ),
    "a process job that bears its marks": (
        process(job_name="gb-7-1"), ("gb-7-1",), None, Belongs.JOB,
    ),
    "a strange container with a job's marks": (
        process(job_name="gb-7-1", container_id=THEIRS), ("gb-7-1",), None, Belongs.FOREIGN,
    ),
    "hidden": (
        process(uid=None, user="", started_at=None, command=""), (), None, Belongs.UNKNOWN,
    ),
    "a desktop": (process(kind="G", command="gnome-shell"), (), None, Belongs.SYSTEM),
    "the MPS server": (
        process(uid=0, user="root", command="nvidia-cuda-mps-server"), (), None, Belongs.SYSTEM,
    ),
    "alice calls hers like the MPS server": (
        process(command="nvidia-cuda-mps-server"), (), None, Belongs.FOREIGN,
    ),
    "an MPS server in a strange container": (
        process(uid=0, command="nvidia-cuda-mps-server", container_id=THEIRS), (), None,
        Belongs.FOREIGN,
    ),
    "root at work": (process(uid=0, user="root"), (), None, Belongs.FOREIGN),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_each_process_belongs_where_it_does(case: str) -> None:
    """By container and session, never by a name that a person may choose."""
    one, leased, owner, belongs = TABLE[case]
    seen = use(one, leased=leased, owner=owner)
    assert seen.processes[0].belongs is belongs
    assert seen.is_clear == (belongs is Belongs.SYSTEM)


def test_foreign_use_is_told_in_words() -> None:
    """Who it is, with what, under which pid; several are counted."""
    one = use(process(123))
    assert one.foreign_words == "used outside gpuboard by alice: python (pid 123)"
    several = use(
        *(process(pid) for pid in range(1, 6)), process(9, user="bob", command="\x1b[2Jx")
    )
    assert several.foreign_words == (
        "used outside gpuboard by alice: python (pid 1), python (pid 2), python (pid 3) and 2 more;"
        " bob: x (pid 9)"
    )
    boxed = use(process(5, container_id=THEIRS))
    assert boxed.foreign_words == (
        "used outside gpuboard by container cdcdcdcdcdcd of alice: python (pid 5)"
    )
    nobody = use(process(4, user="", uid=1234, command=""))
    assert nobody.foreign_words == "used outside gpuboard by uid 1234: a process (pid 4)"


def test_a_violation_names_the_job() -> None:
    """A job on a device that it has no lease of is told apart from foreign use."""
    seen = use(process(5, container_id=OURS))
    assert seen.violation_words == "here without a lease: job gb-7-1: python (pid 5)"
    assert seen.foreign_words == ""
    assert seen.job_names == ("gb-7-1",)


def test_nobody_is_blamed_for_what_cannot_be_looked_up() -> None:
    """A hidden process keeps the device from being free, and has no name to blame."""
    seen = use(process(5, uid=None, user="", started_at=None))
    assert seen.foreign_words == seen.violation_words == ""
    assert seen.unknown_words == "used by a process that cannot be looked up (pid 5)"
    assert not seen.is_clear


def test_a_list_that_could_not_be_read_is_not_an_empty_one() -> None:
    """Of a device whose list failed nothing is known: it is not clear."""
    reading = DeviceReading(device=Device(uuid=A, index=0, name="x"), processes=None)
    seen = attribute([reading], leased={}, containers={})[A]
    assert not seen.is_known
    assert not seen.is_clear
    assert use().is_clear


processes = st.builds(
    process,
    pid=st.integers(1, 99),
    container_id=st.sampled_from(["", OURS, THEIRS]),
    uid=st.sampled_from([None, 0, 1001]),
    started_at=st.sampled_from([None, 5]),
    user=st.text(max_size=40),
    command=st.text(max_size=40),
    kind=st.sampled_from("CGM"),
)


@given(
    st.lists(processes),
    st.sampled_from([(), ("gb-7-1",), ("gb-9-1",)]),
    st.none() | st.just("gb-9-1"),
)
def test_every_process_is_accounted_for(
    listed: list[DeviceProcess], leased: tuple[str, ...], owner: str | None
) -> None:
    """None is dropped, only leased jobs count as rightly there, and words are one harmless line."""
    seen = use(*listed, leased=leased, owner=owner)
    assert [each.process.pid for each in seen.processes] == [each.pid for each in listed]
    assert {each.job_name for each in seen.of(Belongs.JOB)} <= set(leased)
    assert not {each.job_name for each in seen.of(Belongs.VIOLATION)} & set(leased)
    assert all(not each.job_name for each in seen.of(Belongs.FOREIGN, Belongs.SYSTEM))
    words = seen.foreign_words + seen.violation_words + seen.unknown_words
    assert plain(words) == words
