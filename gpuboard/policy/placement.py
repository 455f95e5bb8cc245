"""Placement: which devices may serve a request, and which of them are the best to give.

The plainest type first, so that big and rare devices stay free for those who name them; within it,
`topology` says which set is linked best and leaves the best. Where nothing is known of links: the
devices that nobody will want soon, then one NUMA node, and of the nodes that suffice the one with
the fewest left over, then the lowest index. The same input gives the same set.

Placement only chooses among devices that may be given: it never costs anybody a promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from gpuboard.model.device import DeviceLink
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.world import DeviceFact, Holder
from gpuboard.policy.topology import take_lowest, topology_of


class Asks(Protocol):
    """What a request says of the devices that would do: a waiting job, or its lane."""

    @property
    def gpus(self) -> int:
        """How many."""

    @property
    def gpu_uuids(self) -> tuple[DeviceUuid, ...]:
        """Exactly these; empty: any."""

    @property
    def gpu_type(self) -> str:
        """Part of the product's name; empty: any."""

    @property
    def gpu_memory_bytes(self) -> int:
        """A budget that the device must have; 0: none."""

    @property
    def nvlink(self) -> bool:
        """Whether only a set linked by NVLink will do."""


class DeviceBox:
    """The devices of a box in a fixed order; sets of them as integers, bit i = device i."""

    def __init__(
        self,
        devices: Iterable[DeviceFact],
        links: tuple[DeviceLink, ...] = (),
        mix: tuple[tuple[int, float], ...] = (),
    ) -> None:
        """Order the devices. `links`: how they are linked; `mix`: what the box is asked for."""
        self.facts = tuple(sorted(devices, key=lambda fact: (fact.index, fact.label, fact.uuid)))
        self.bits = {fact.uuid: 1 << number for number, fact in enumerate(self.facts)}
        self.everything = (1 << len(self.facts)) - 1
        self.available = self.mask_of(fact.uuid for fact in self.facts if fact.available)
        self.instances = self.mask_of(fact.uuid for fact in self.facts if fact.is_mig)
        """MIG instances."""
        self._held: dict[tuple[DeviceUuid, ...], int] = {}
        self._candidates: dict[tuple[tuple[DeviceUuid, ...], str], int] = {}
        kinds = {(fact.type_name, fact.memory_bytes, fact.numa_node) for fact in self.facts}
        self._is_uniform = len(kinds) <= 1
        places = tuple((fact.uuid, fact.numa_node) for fact in self.facts)
        self.topology = topology_of(places, links, mix) if links else None
        self._options: dict[tuple[object, ...], tuple[int, ...]] = {}

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
        uuids, facts = [], self.facts
        while mask:
            bit = mask & -mask
            uuids.append(facts[bit.bit_length() - 1].uuid)
            mask ^= bit
        return tuple(uuids)

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

    def options(self, asks: Asks, reserve_bytes: int = 0) -> tuple[int, ...]:
        """Return sets of devices, available or not, any `asks.gpus` of one of which would do.

        One set as a rule; several where devices must be linked; none where the box has no such set.
        MIG instances are for jobs of one device, since a program sees only one of them, and for who
        names them.
        `reserve_bytes` of a device are given to no budget.
        """
        budget = asks.gpu_memory_bytes
        is_gang = asks.gpus > 1 and not (asks.gpu_uuids or asks.gpu_type)
        if not (asks.nvlink or budget):
            named = self.candidates(asks.gpu_uuids, asks.gpu_type)
            return (named & ~self.instances if is_gang else named,)
        key = (asks.gpus, asks.gpu_uuids, asks.gpu_type, budget, asks.nvlink, reserve_bytes)
        known = self._options.get(key)
        if known is None:
            named = self.candidates(asks.gpu_uuids, asks.gpu_type)
            if is_gang:
                named &= ~self.instances
            if budget:
                fits = (f.uuid for f in self.facts if f.memory_bytes - reserve_bytes >= budget)
                named &= self.mask_of(fits)
            sets: tuple[int, ...] = (named,)
            if asks.nvlink and asks.gpus > 1:
                sets = self.topology.nvlinked if self.topology else ()
            known = tuple(
                sorted({each & named for each in sets if (each & named).bit_count() >= asks.gpus})
            )
            self._options[key] = known
        return known

    def most_of(self, asks: Asks) -> int:
        """Return how many devices of the box a request could be given, were links and memory no matter."""
        named = self.candidates(asks.gpu_uuids, asks.gpu_type)
        is_gang = asks.gpus > 1 and not (asks.gpu_uuids or asks.gpu_type)
        return (named & ~self.instances if is_gang else named).bit_count()

    def most_linked(self, gpu_uuids: tuple[DeviceUuid, ...], gpu_type: str) -> int:
        """Return how many of the devices that a request names are linked with each other by NVLink."""
        named = self.candidates(gpu_uuids, gpu_type)
        sets = self.topology.nvlinked if self.topology else ()
        return max(((each & named).bit_count() for each in sets), default=0)

    def choose(self, usable: int, count: int, preferred: int, free: int = 0) -> int:
        """Return `count` devices of `usable`, from `preferred` ones where those suffice.

        `usable` must hold at least `count`. `free`: all that are free now, for what will be left.
        """
        if self.topology is not None:
            return self.topology.choose(self._plainest(usable, count), count, preferred, free)
        pool = usable & preferred
        if pool.bit_count() < count:
            pool = usable
        if self._is_uniform or pool.bit_count() == count:
            return take_lowest(pool, count)
        return self._best_group(pool, count)

    def best_of(self, sets: Sequence[int], free: int) -> int:
        """Return the best of sets of devices of the same size, or the empty set (0) when there is none."""
        if len(sets) <= 1 or self.topology is None:
            return sets[0] if sets else 0
        return self.topology.best_of(sets, free)

    def _plainest(self, usable: int, count: int) -> int:
        """Return the devices of the plainest type of which there are enough; all, where none has."""
        if self._is_uniform or usable.bit_count() == count:
            return usable
        types: dict[tuple[int, str], int] = {}
        for number in _numbers(usable):
            fact = self.facts[number]
            kind = (fact.memory_bytes, fact.type_name)
            types[kind] = types.get(kind, 0) | 1 << number
        enough = (types[kind] for kind in sorted(types) if types[kind].bit_count() >= count)
        return next(enough, usable)

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
