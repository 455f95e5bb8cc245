"""Numbers of GPUs: NVML's while all is well, standing still while one is missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuboard.devices.roster import Roster
from gpuboard.model.ids import DeviceUuid

A, B, C, D = (DeviceUuid(f"GPU-{name}") for name in "abcd")


def test_numbers_are_nvmls_while_all_answer() -> None:
    """Order and additions are NVML's as long as nobody is missing."""
    roster = Roster()
    assert roster.call([A, B]).numbers == {A: 0, B: 1}
    assert roster.call([B, A, C]).numbers == {B: 0, A: 1, C: 2}


def test_nobody_moves_up_when_a_gpu_is_missing() -> None:
    """The others keep their number, the missing one its own, a new one gets a free one."""
    roster = Roster()
    roster.call([A, B, C])
    roll = roster.call([A, C])
    assert roll == ({A: 0, B: 1, C: 2}, {B: None}, {})
    assert roster.call([A, C, D]).numbers == {A: 0, B: 1, C: 2, D: 3}
    assert roster.call([A, B, C, D]).numbers == {A: 0, B: 1, C: 2, D: 3}


def test_a_silent_slot_is_the_missing_gpus() -> None:
    """A slot that does not answer is the known GPU of that number, else any that is missing."""
    roster = Roster()
    roster.call([A, B, C])
    assert roster.call([A, None, C]).lost == {B: 1}
    assert roster.call([None, A, C]).lost == {B: 0}


def test_a_gpu_that_never_spoke_is_nameless_and_has_a_number() -> None:
    """A slot that no known GPU explains has the number of its index."""
    assert Roster().call([A, None, C]) == ({A: 0, C: 2}, {}, {1: 1})


slots = st.lists(st.sampled_from([A, B, C, D, None]), max_size=6).filter(
    lambda row: len([x for x in row if x]) == len({x for x in row if x})
)


@given(st.lists(slots, max_size=8))
def test_numbers_are_unique_and_nobody_is_forgotten(rows: list[list[DeviceUuid | None]]) -> None:
    """Whatever falls away and comes back: one number a GPU, and known GPUs stay known."""
    roster = Roster()
    known: set[DeviceUuid] = set()
    for row in rows:
        before = dict(roster._numbers)
        roll = roster.call(row)
        known |= {uuid for uuid in row if uuid}
        assert set(roll.numbers) == known
        taken = [*roll.numbers.values(), *roll.nameless.values()]
        assert len(taken) == len(set(taken))
        assert set(roll.lost) == known - set(row)
        explained = [slot for slot in roll.lost.values() if slot is not None]
        silent = {slot for slot, uuid in enumerate(row) if uuid is None}
        assert sorted([*explained, *roll.nameless]) == sorted(silent)
        if roll.lost:
            assert all(roll.numbers[uuid] == number for uuid, number in before.items())
