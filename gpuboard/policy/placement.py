"""Placement: which devices may serve a request, and which of them are the best to give.

Whole devices. In this order: devices that nobody will want soon, then the plainest type (so that
big and rare devices stay free for those who name them), then one NUMA node, and of the nodes that
suffice the one with the fewest left over, then the lowest index. The same input gives the same set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpuboard.model.ids import DeviceUuid
from gpuboard.model.world import DeviceFact, Holder


class DeviceBox:
    """The devices of a box in a fixed order; sets of them as integers, bit i = device i."""

    def __init__(self, devices: Iterable[DeviceFact]) -> None:
        self.facts = tuple(sorted(devices, key=lambda fact: (fact.index, fact.uuid)))
        self.bits = {fact.uuid: 1 << number for number, fact in enumerate(self.facts)}
        self.everything = (1 << len(self.facts)) - 1
        self.available = self.mask_of(fact.uuid for fact in self.facts if fact.available)
        self._held: dict[tuple[DeviceUuid, ...], int] = {}
        self._candidates: dict[tuple[tuple[DeviceUuid, ...], str], int] = {}
        kinds = {(fact.type_name, fact.memory_bytes, fact.numa_node) for fact in self.facts}
        self._is_uniform = len(kinds) <= 1

    def held_by(self, holder: Holder) -> int:
        """Return the devices that a job holds, as a set."""
        known = self._held.get(holder.devices)
        if known is None:
            known = self._held[holder.devices] = self.mask_of(holder.devices)
        return known

    def mask_of(self, uuids: Iterable[DeviceUuid]) -> int:
        """Return the set of these devices; unknown ones are left out."""
        bits = self.bits
        mask = 0
        for uuid in uuids:
            mask |= bits.get(uuid, 0)
        return mask

    def uuids_of(self, mask: int) -> tuple[DeviceUuid, ...]:
        """Return the devices of a set, by index."""
        return tuple(self.facts[number].uuid for number in _numbers(mask))

    def facts_of(self, mask: int) -> list[DeviceFact]:
        """Return the facts of the devices of a set, by index."""
        return [self.facts[number] for number in _numbers(mask)]

    def candidates(self, gpu_uuids: tuple[DeviceUuid, ...], gpu_type: str) -> int:
        """Return the devices, available or not, that a request names: exactly these, a type, or any."""
        if not gpu_uuids and not gpu_type:
            return self.everything
        key = (gpu_uuids, gpu_type)
        known = self._candidates.get(key)
        if known is None:
            known = self.mask_of(gpu_uuids) if gpu_uuids else self.everything
            if gpu_type:
                wanted = gpu_type.casefold()
                known &= self.mask_of(
                    fact.uuid for fact in self.facts if wanted in fact.type_name.casefold()
                )
            self._candidates[key] = known
        return known

    def choose(self, usable: int, count: int, preferred: int) -> int:
        """Return `count` devices of `usable`, from `preferred` ones where those suffice.

        `usable` must hold at least `count`.
        """
        pool = usable & preferred
        if pool.bit_count() < count:
            pool = usable
        if self._is_uniform or pool.bit_count() == count:
            return take_lowest(pool, count)
        return self._best_group(pool, count)

    def _best_group(self, pool: int, count: int) -> int:
        groups: dict[tuple[int, str, int], int] = {}
        types: dict[tuple[int, str], int] = {}
        for number in _numbers(pool):
            fact = self.facts[number]
            kind = (fact.memory_bytes, fact.type_name)
            node = -1 if fact.numa_node is None else fact.numa_node
            groups[(*kind, node)] = groups.get((*kind, node), 0) | 1 << number
            types[kind] = types.get(kind, 0) | 1 << number
        for kind in sorted(types):
            if types[kind].bit_count() < count:
                continue
            nodes = [mask for key, mask in groups.items() if key[:2] == kind]
            enough = [mask for mask in nodes if mask.bit_count() >= count]
            if enough:
                tightest = min(enough, key=lambda mask: (mask.bit_count(), mask & -mask))
                return take_lowest(tightest, count)
            # No node suffices: the fewest nodes, the fullest first.
            nodes.sort(key=lambda mask: (-mask.bit_count(), mask & -mask))
            return _take(nodes, count)
        return _take((groups[key] for key in sorted(groups)), count)


def take_lowest(mask: int, count: int) -> int:
    """Return the `count` devices of lowest index of a set (all, if it has fewer)."""
    if mask.bit_count() <= count:
        return mask
    taken = 0
    for _ in range(count):
        bit = mask & -mask
        taken |= bit
        mask ^= bit
    return taken


def _take(masks: Iterable[int], count: int) -> int:
    taken = 0
    for mask in masks:
        taken |= take_lowest(mask & ~taken, count - taken.bit_count())
        if taken.bit_count() == count:
            break
    return taken


def _numbers(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit.bit_length() - 1
        mask ^= bit
