"""Which set of linked devices is given: the stated order, held against brute force and by hand."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.world import DeviceFact
from gpuboard.policy.placement import DeviceBox
from gpuboard.policy.topology import DEFAULT_MIX, Topology, topology_of

NV = LinkKind.NVLINK
KINDS = (LinkKind.PIX, LinkKind.PXB, LinkKind.PHB, LinkKind.NODE, LinkKind.SYS)
MIX = ((1, 0.4), (2, 0.3), (4, 0.2), (8, 0.1))


def name(number: int) -> str:
    return f"GPU-{number}"


def link(a: int, b: int, kind: LinkKind, count: int = 0) -> DeviceLink:
    return DeviceLink(name(a), name(b), kind, count)


def workstation(count: int = 8) -> tuple[DeviceLink, ...]:
    """Bridged pairs on two sockets."""
    found = []
    for a, b in combinations(range(count), 2):
        is_near = 2 * a // count == 2 * b // count
        kind = NV if a // 2 == b // 2 else LinkKind.NODE if is_near else LinkKind.SYS
        found.append(link(a, b, kind, 4 if kind is NV else 0))
    return tuple(found)


def switched(count: int = 8) -> tuple[DeviceLink, ...]:
    """All on NVSwitches."""
    return tuple(link(a, b, NV, 18) for a, b in combinations(range(count), 2))


def cube_mesh() -> tuple[DeviceLink, ...]:
    """A DGX-1: two quads, some of whose links are double, and one link from each GPU to the other quad."""
    double = {(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)}
    single = {(0, 1), (0, 2), (1, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7)}
    pairs = [link(*pair, NV, 2) for pair in double] + [link(*pair, NV, 1) for pair in single]
    rest = {*combinations(range(8), 2)} - double - single
    return (*pairs, *(link(*pair, LinkKind.SYS) for pair in sorted(rest)))


def box(links: tuple[DeviceLink, ...], count: int = 8, nodes: bool = True) -> DeviceBox:
    facts = [
        DeviceFact(name(n), n, "H100", numa_node=2 * n // count if nodes else None)
        for n in range(count)
    ]
    return DeviceBox(reversed(facts), links)


def given_to(some: DeviceBox, count: int, free: str | None = None) -> list[int]:
    """The devices for a gang when those named are free (`0123`)."""
    usable = some.everything if free is None else sum(1 << int(n, 16) for n in free)
    return [fact.index for fact in some.facts_of(some.choose(usable, count, usable, usable))]


@pytest.mark.parametrize(
    ("count", "free", "expected"),
    [
        (2, None, [0, 1]),
        (2, "024567", [4, 5]),
        (2, "0246", [0, 2]),
        (3, "024567", [4, 5, 6]),
        (4, None, [0, 1, 2, 3]),
        (4, "0134567", [4, 5, 6, 7]),
        (1, "1234567", [1]),
        (1, "0124567", [2]),
        (1, "024567", [0]),
    ],
)
def test_on_bridged_pairs_a_gang_stays_together_and_one_alone_takes_a_broken_pair(
    count: int, free: str | None, expected: list[int]
) -> None:
    """Pairs for two, a socket for more; a single job breaks no pair that is whole."""
    assert given_to(box(workstation()), count, free) == expected


def test_behind_switches_all_are_alike_but_a_gang_stays_on_its_socket() -> None:
    """The links are the same; the CPUs are not."""
    some = box(switched())
    assert given_to(some, 3) == [0, 1, 2]
    assert given_to(some, 3, "0134567") == [0, 1, 3]
    assert given_to(some, 3, "034567") == [4, 5, 6]
    assert given_to(box(switched(), nodes=False), 3, "034567") == [0, 3, 4]


def test_a_cube_mesh_gives_double_links_to_two_and_a_quad_to_four() -> None:
    """More lanes are better links, and a quad is all linked."""
    some = box(cube_mesh())
    assert given_to(some, 2) == [0, 3]
    assert given_to(some, 4) == [0, 1, 2, 3]
    assert given_to(some, 4, "0145267") == [4, 5, 6, 7]


def test_whoever_looked_at_nothing_of_links_sees_what_was_before() -> None:
    """Without links known the fullest-fitting node and the lowest index decide."""
    some = box(())
    assert some.topology is None
    assert given_to(some, 2) == [0, 1]
    assert given_to(some, 2, "034567") == [0, 3]
    assert given_to(some, 3, "034567") == [4, 5, 6]


def test_devices_that_nobody_wants_soon_come_before_others_that_are_linked_as_well() -> None:
    """But not before better linked ones."""
    some = box(workstation())
    assert some.choose(0b11111111, 2, 0b00110100, 0b11111111) == 0b00110000
    assert some.choose(0b11111111, 2, 0b01010100, 0b11111111) == 0b00000011


def test_a_set_of_16_is_chosen_exactly_on_hardware_as_it_is_sold() -> None:
    """Pairs and switches of 16: the sums that brute force over 12,870 sets finds."""
    for links in (workstation(16), switched(16)):
        some = box(links, 16)
        for count in (2, 4, 8):
            for usable in (0xFFFF, 0xF7FE, 0x5F7D):
                best = some.choose(usable, count, usable, usable)
                topology = some.topology
                found = [
                    sum(1 << n for n in numbers)
                    for numbers in combinations([n for n in range(16) if usable >> n & 1], count)
                ]
                top = max((topology.worst_link(m), topology.all_links(m)) for m in found)
                assert (topology.worst_link(best), topology.all_links(best)) == top


# against brute force


def linked_sets(topology_weights: list[list[int]], numbers: list[int], least) -> list[set[int]]:
    """All sets of these devices every pair of which passes `least`, by trying them all."""
    return [
        set(some)
        for size in range(1, len(numbers) + 1)
        for some in combinations(numbers, size)
        if all(least(topology_weights[a][b]) for a, b in combinations(some, 2))
    ]


def fragmentation(weights, tiers, left: list[int]) -> float:
    """FGD's expectation, from its definition."""
    everyone = list(range(len(weights)))
    expected = 0.0
    for count, part in MIX:
        if count > len(weights):
            continue
        tier = next(
            (t for t in tiers if any(len(s) >= count for s in linked_sets(weights, everyone, t))),
            lambda _weight: True,
        )
        useful = set().union(*(s for s in linked_sets(weights, left, tier) if len(s) == count))
        expected += part * len(set(left) - useful)
    return round(expected, 9)


def is_nvlink(weight: int) -> bool:
    return weight >= 600


def is_in_node(weight: int) -> bool:
    return weight % 2 == 1 or 200 <= weight < 600


@st.composite
def weights(draw) -> list[list[int]]:
    """Links of up to six devices: by chance, or of a few kinds so that many are alike."""
    count = draw(st.integers(2, 6))
    kinds = draw(st.sampled_from([(0, 1), (608, 200), (602, 604, 100), (0, 1, 100, 201, 604, 637)]))
    rows = [[0] * count for _ in range(count)]
    for a, b in combinations(range(count), 2):
        rows[a][b] = rows[b][a] = draw(st.sampled_from(kinds))
    return rows


@settings(max_examples=150, deadline=None)
@given(weights(), st.data())
def test_the_chosen_set_is_the_best_by_the_stated_order(rows, data) -> None:
    """Worst link, all links, not wanted soon, largest connected set left, fragmentation, index."""
    everything = (1 << len(rows)) - 1
    usable = data.draw(st.integers(1, everything))
    free = usable | data.draw(st.integers(0, everything))
    preferred = data.draw(st.integers(0, everything))
    numbers = [n for n in range(len(rows)) if usable >> n & 1]
    count = data.draw(st.integers(1, len(numbers)))
    tiers = (is_nvlink, is_in_node)

    def order(some: tuple[int, ...]) -> tuple:
        pairs = [rows[a][b] for a, b in combinations(some, 2)]
        left = [n for n in range(len(rows)) if free >> n & 1 and n not in some]
        largest = [
            max((len(s) for s in linked_sets(rows, left, tier)), default=0) for tier in tiers
        ]
        return (
            -min(pairs, default=0),
            -sum(pairs),
            not all(preferred >> n & 1 for n in some),
            *(-size for size in largest),
            fragmentation(rows, tiers, left),
            some,
        )

    best = min(combinations(numbers, count), key=order)
    chosen = Topology(rows, MIX).choose(usable, count, preferred, free)
    assert tuple(n for n in range(len(rows)) if chosen >> n & 1) == best


@given(st.permutations(range(6)), st.data())
def test_the_order_of_rows_and_of_a_links_ends_is_irrelevant(order, data) -> None:
    """P2 for links: what is chosen is a function of the box."""
    links = [
        link(a, b, data.draw(st.sampled_from((NV, *KINDS))), data.draw(st.integers(0, 3)))
        for a, b in combinations(range(6), 2)
    ]
    facts = [DeviceFact(name(n), n, "H100", numa_node=n // 3) for n in range(6)]
    turned = [DeviceLink(x.b, x.a, x.kind, x.nvlinks) for x in reversed(links)]
    one = DeviceBox(facts, tuple(links))
    other = DeviceBox([facts[n] for n in order], tuple(turned))
    for count in (1, 2, 3, 5):
        first = one.uuids_of(one.choose(one.everything, count, 0, 0))
        assert first == other.uuids_of(other.choose(other.everything, count, 0, 0))


def test_one_topology_serves_all_rounds_in_which_it_stays_so() -> None:
    """What it has learnt is kept; other links or another mix make another one."""
    places = tuple((name(n), n // 4) for n in range(8))
    first = topology_of(places, workstation(), DEFAULT_MIX)
    assert topology_of(places, workstation(), DEFAULT_MIX) is first
    assert topology_of(places, switched(), DEFAULT_MIX) is not first
    assert topology_of(places, workstation(), MIX) is not first
