"""Topology: how well devices are linked, and which set of them a gang had best be given.

Of the sets that would do, in this order:

1. the one whose worst link is the best: collectives (NCCL's rings and trees) go at the pace of the
   slowest hop, and jobs packed by such levels run fastest (Gandiva, OSDI'18; HiveD's cells,
   OSDI'20; Slurm packs by switch level in topology/tree likewise);
2. then the one whose links are the best in all, the sum that Amaral et al. minimise as the cost of
   communication ("Topology-aware GPU scheduling for learning workloads", SC'17);
3. then one of devices that nobody will want soon;
4. then the one that leaves the largest connected set free, by NVLink first, then in one NUMA node;
5. then the one that leaves the least fragmentation: the devices left that are of no use to a job,
   expected over what the box is usually asked for (FGD: Weng et al., "Beware of fragmentation",
   ATC'23; here a device is of no use to a job of k when it is in no free set of k that is linked
   as well as the box can link k);
6. then the one of lowest indices.

Sets of devices are integers, bit i = device i of a `DeviceBox`. Devices that are linked alike to all
others (the GPUs of one NVSwitch, say) are interchangeable, so that of each kind only how many are
taken is tried: few sets, although 16 devices have 12,870 subsets of 8. Answers are remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.ids import DeviceUuid

DEFAULT_MIX = ((1, 0.6), (2, 0.2), (4, 0.15), (8, 0.05))
"""What a box is asked for (devices, weight) before it knows better."""
MAX_SETS = 20_000
"""Where more sets would have to be tried, a good one is taken instead of the best; C(16, 8) is fewer."""
REMEMBERED = 4096
"""Answers kept of a topology."""

_KINDS = {
    LinkKind.NVLINK: 600,
    LinkKind.PIX: 500,
    LinkKind.PXB: 400,
    LinkKind.PHB: 300,
    LinkKind.NODE: 200,
    LinkKind.SYS: 100,
}
"""How good a link is. Each NVLink adds 2, and NUMA nodes known to be the same add 1."""
_NVLINK = _KINDS[LinkKind.NVLINK]
_SAME_NODE = 1


class Topology:
    """What is known of the links of a box. One object serves every round in which that stays so."""

    def __init__(self, weights: Sequence[Sequence[int]], mix: Sequence[tuple[int, float]]) -> None:
        """`weights[i][j]`: how well i and j are linked; 0 where nothing is known."""
        self._weights = weights
        self._count = len(weights)
        self._levels = sorted({w for i, row in enumerate(weights) for w in row[:i]}, reverse=True)
        self._cliques: dict[int, tuple[int, ...]] = {}
        self._classes = _interchangeable(weights)
        self._chosen: dict[tuple[int, int, int, int], int] = {}
        self._left: dict[int, tuple[float, ...]] = {}
        self.nvlinked = self._sets_where(lambda weight: weight >= _NVLINK)
        """The largest sets of devices that are all linked with each other by NVLink."""
        self._tiers = (self.nvlinked, self._sets_where(_is_in_one_node))
        self._mix = [
            (k, part, self._homes(k)) for k, part in mix if 0 < k <= self._count and part > 0
        ]

    def choose(self, usable: int, count: int, preferred: int, free: int) -> int:
        """Return the best `count` devices of `usable`, which must hold at least as many.

        `preferred`: those that nobody will want soon; `free`: all that are free now, for what is left.
        """
        key = (usable, count, preferred & usable, free | usable)
        known = self._chosen.get(key)
        if known is None:
            if len(self._chosen) >= REMEMBERED:
                self._chosen.clear()
            known = self._chosen[key] = self._choose(*key)
        return known

    def best_of(self, sets: Iterable[int], free: int) -> int:
        """Return the best of some sets, by the same order."""
        return min(
            sets,
            key=lambda devices: (
                -self.worst_link(devices),
                -self.all_links(devices),
                *self.rank_left(free & ~devices),
                _by_index(devices),
            ),
        )

    def worst_link(self, devices: int) -> int:
        """Return how good the worst link in a set is; the best there can be for a single device."""
        numbers = list(_numbers(devices))
        pairs = (self._weights[i][j] for i in numbers for j in numbers if j < i)
        return min(pairs, default=1 << 30)

    def all_links(self, devices: int) -> int:
        """Return how good the links in a set are together."""
        numbers = list(_numbers(devices))
        return sum(self._weights[i][j] for i in numbers for j in numbers if j < i)

    def rank_left(self, left: int) -> tuple[float, ...]:
        """Return what speaks against leaving these devices free, smallest first.

        The size of the largest connected set (negative), by NVLink and in one node; fragmentation.
        """
        known = self._left.get(left)
        if known is None:
            if len(self._left) >= REMEMBERED * 4:
                self._left.clear()
            largest = [-max((s & left).bit_count() for s in sets) for sets in self._tiers]
            known = self._left[left] = (*largest, self.fragmentation(left))
        return known

    def fragmentation(self, left: int) -> float:
        """Return how many of these free devices are of no use to a job, expected over the mix."""
        expected = 0.0
        for count, part, homes in self._mix:
            useful = 0
            for home in homes:
                if (home & left).bit_count() >= count:
                    useful |= home & left
            expected += part * (left & ~useful).bit_count()
        return round(expected, 9)

    def _homes(self, count: int) -> tuple[int, ...]:
        """Return the connected sets in which the box links `count` devices as well as it can."""
        for sets in self._tiers:
            homes = tuple(each for each in sets if each.bit_count() >= count)
            if homes:
                return homes
        return ((1 << self._count) - 1,)

    def _choose(self, usable: int, count: int, preferred: int, free: int) -> int:
        best: list[int] = []
        best_sum = -1
        for pool in self._best_pools(usable, count):
            for devices, links in self._sets_of(pool, count, preferred):
                if links > best_sum:
                    best, best_sum = [devices], links
                elif links == best_sum:
                    best.append(devices)
            if len(best) > MAX_SETS:
                break
        quiet = [devices for devices in best if not devices & ~preferred] or best
        return min(
            quiet, key=lambda devices: (*self.rank_left(free & ~devices), _by_index(devices))
        )

    def _best_pools(self, usable: int, count: int) -> list[int]:
        """Return what is usable of the connected sets of the best level at which they suffice."""
        if count == 1:
            return [usable]
        for level in self._levels:
            pools = {each & usable for each in self._cliques_at(level)}
            enough = sorted(pool for pool in pools if pool.bit_count() >= count)
            if enough:
                return enough
        return [usable]

    def _cliques_at(self, level: int) -> tuple[int, ...]:
        known = self._cliques.get(level)
        if known is None:
            known = self._cliques[level] = self._sets_where(lambda weight: weight >= level)
        return known

    def _sets_where(self, is_link: Callable[[int], bool]) -> tuple[int, ...]:
        near = [
            sum(1 << j for j, weight in enumerate(row) if j != i and is_link(weight))
            for i, row in enumerate(self._weights)
        ]
        return tuple(sorted(_maximal_cliques(near)))

    def _sets_of(self, pool: int, count: int, preferred: int) -> Iterator[tuple[int, int]]:
        """Yield sets of `count` of a pool with the sum of their links: of equals, the first only.

        Devices are equals when they are linked alike and either all preferred or none is.
        """
        kinds = [
            part
            for members in self._classes
            for part in (members & pool & preferred, members & pool & ~preferred)
            if part
        ]
        firsts = [(kind & -kind).bit_length() - 1 for kind in kinds]
        across = [[self._weights[i][j] for j in firsts] for i in firsts]
        within = [self._within(kind) for kind in kinds]
        rest = [0] * (len(kinds) + 1)
        for place in range(len(kinds) - 1, -1, -1):
            rest[place] = rest[place + 1] + kinds[place].bit_count()
        tried = 0
        stack: list[tuple[int, int, int, tuple[int, ...]]] = [(0, 0, 0, ())]
        while stack and tried < MAX_SETS:
            place, devices, links, taken = stack.pop()
            missing = count - sum(taken)
            if not missing:
                tried += 1
                yield devices, links
                continue
            if rest[place] < missing:
                continue
            kind = kinds[place]
            reach = sum(n * across[place][other] for other, n in enumerate(taken))
            for some in range(min(missing, kind.bit_count()) + 1):
                pairs = some * (some - 1) // 2 * within[place]
                more = links + some * reach + pairs
                stack.append((place + 1, devices | take_lowest(kind, some), more, (*taken, some)))

    def _within(self, kind: int) -> int:
        """Return how well the interchangeable devices of a set are linked with each other."""
        numbers = list(_numbers(kind))
        return self._weights[numbers[0]][numbers[1]] if len(numbers) > 1 else 0


@lru_cache(maxsize=16)
def topology_of(
    places: tuple[tuple[DeviceUuid, int | None], ...],
    links: tuple[DeviceLink, ...],
    mix: tuple[tuple[int, float], ...],
) -> Topology:
    """Return the topology of devices (UUID and NUMA node, in the box's order) with these links."""
    known = {(link.a, link.b): link for link in links}
    rows: list[list[int]] = []
    for uuid, node in places:
        row = []
        for other, other_node in places:
            link = known.get((uuid, other)) or known.get((other, uuid))
            is_near = node is not None and node == other_node
            weight = 0 if link is None else _KINDS[link.kind] + 2 * min(link.nvlinks, 49)
            row.append(weight + (_SAME_NODE if is_near else 0))
        rows.append(row)
    return Topology(rows, mix or DEFAULT_MIX)


def take_lowest(mask: int, count: int) -> int:
    """Return the `count` devices of lowest index of a set (all, if it has fewer)."""
    if mask.bit_count() <= count:
        return mask
    left = mask
    for _ in range(count):
        left &= left - 1
    return mask ^ left


def _interchangeable(weights: Sequence[Sequence[int]]) -> list[int]:
    """Return the devices in sets of those that are linked alike to every other one."""
    sets: list[int] = []
    for i, row in enumerate(weights):
        for place, members in enumerate(sets):
            first = (members & -members).bit_length() - 1
            if _are_alike(i, first, row, weights[first]):
                sets[place] = members | 1 << i
                break
        else:
            sets.append(1 << i)
    return sets


def _is_in_one_node(weight: int) -> bool:
    """Whether a link is within a NUMA node, by the nodes themselves or by its kind."""
    return bool(weight & _SAME_NODE) or _KINDS[LinkKind.NODE] <= weight < _NVLINK


def _are_alike(i: int, j: int, one: Sequence[int], other: Sequence[int]) -> bool:
    return all(a == b for k, (a, b) in enumerate(zip(one, other, strict=True)) if k not in (i, j))


def _maximal_cliques(near: Sequence[int]) -> Iterable[int]:
    """Yield the maximal cliques of a graph given as each device's neighbours (Bron and Kerbosch, 1973)."""
    found: list[int] = []
    stack = [(0, (1 << len(near)) - 1, 0)]
    while stack:
        clique, open_, seen = stack.pop()
        if not open_ and not seen:
            found.append(clique)
            continue
        pivot = max(_numbers(open_ | seen), key=lambda n: (near[n] & open_).bit_count())
        for number in _numbers(open_ & ~near[pivot]):
            bit = 1 << number
            stack.append((clique | bit, open_ & near[number], seen & near[number]))
            open_ &= ~bit
            seen |= bit
    return found


def _by_index(mask: int) -> tuple[int, ...]:
    return tuple(_numbers(mask))


def _numbers(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit.bit_length() - 1
        mask ^= bit
