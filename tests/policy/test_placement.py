"""Placement: which devices are the best to give."""

from __future__ import annotations

from gpuboard.model.world import DeviceFact
from gpuboard.policy.placement import DeviceBox


def fact(number: int, kind: str = "A100", memory: int = 80, node: int | None = None) -> DeviceFact:
    return DeviceFact(f"GPU-{number}", number, kind, memory_bytes=memory, numa_node=node)


def chosen(box: DeviceBox, count: int, usable: int | None = None, preferred: int | None = None):
    usable = box.everything if usable is None else usable
    mask = box.choose(usable, count, usable if preferred is None else preferred)
    return [one.index for one in box.facts_of(mask)]


def test_equal_devices_are_given_by_index_whatever_the_row_order():
    assert chosen(DeviceBox([fact(2), fact(0), fact(1)]), 2) == [0, 1]


def test_a_gang_stays_on_one_numa_node():
    box = DeviceBox([fact(n, node=n % 2) for n in range(8)])
    assert chosen(box, 3) == [0, 2, 4]


def test_the_node_with_the_fewest_left_over_is_taken():
    box = DeviceBox([fact(n, node=0 if n < 3 else 1) for n in range(5)])
    assert chosen(box, 2) == [3, 4]
    assert chosen(box, 3) == [0, 1, 2]


def test_a_gang_wider_than_a_node_takes_the_fullest_first():
    box = DeviceBox([fact(n, node=0 if n < 3 else 1) for n in range(5)])
    assert chosen(box, 4) == [0, 1, 2, 3]


def test_who_names_no_type_gets_the_plainest_and_a_gang_is_of_one_type():
    box = DeviceBox([fact(0, "H100", 80), fact(1, "T4", 16), fact(2, "H100", 80)])
    assert chosen(box, 1) == [1]
    assert chosen(box, 2) == [0, 2]
    assert chosen(box, 3) == [0, 1, 2]


def test_preferred_devices_are_taken_where_they_suffice():
    box = DeviceBox([fact(n) for n in range(4)])
    assert chosen(box, 2, preferred=0b1100) == [2, 3]
    assert chosen(box, 3, preferred=0b1100) == [0, 1, 2]


def test_a_type_is_part_of_the_name_in_any_case_and_unknown_ids_are_nothing():
    box = DeviceBox([fact(0, "NVIDIA H100 80GB"), fact(1, "Tesla T4")])
    assert box.candidates((), "h100") == 0b01
    assert box.candidates((), "B200") == 0
    assert box.candidates(("GPU-1", "GPU-x"), "") == 0b10
    assert box.candidates((), "") == 0b11
