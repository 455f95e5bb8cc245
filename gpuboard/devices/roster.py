"""Which number each GPU has: NVML's index while all is well, and none changes when one is lost.

NVML numbers the GPUs that it finds, so a lost one may move all behind it up by one, under the
fingers of people who know their GPU as "number 3". A GPU that stops to answer keeps its number
and so do the others, until every known GPU is there again; then NVML's order holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gpuboard.model.ids import DeviceUuid

_NAMELESS = "unknown-gpu-"


def nameless_uuid(slot: int) -> DeviceUuid:
    """Return what stands for the UUID of a GPU that never told it; it cannot be given out."""
    return DeviceUuid(f"{_NAMELESS}{slot}")


def is_nameless(uuid: DeviceUuid) -> bool:
    """Whether this only stands for a UUID: who it is shows when the GPU answers."""
    return uuid.startswith(_NAMELESS)


class Roll(NamedTuple):
    """Who is where after one look."""

    numbers: dict[DeviceUuid, int]
    """Of every GPU ever seen, lost ones included."""
    lost: dict[DeviceUuid, int | None]
    """Known GPUs that do not answer: the slot that is probably theirs, None when they are not listed."""
    nameless: dict[int, int]
    """Slots whose GPU never told its UUID: their number."""


class Roster:
    """Remembers the GPUs that were seen. Belongs to one thread."""

    def __init__(self) -> None:
        self._numbers: dict[DeviceUuid, int] = {}

    def call(self, slots: Sequence[DeviceUuid | None]) -> Roll:
        """Place what NVML lists: a UUID a slot, None where the GPU does not answer."""
        seen = {uuid: slot for slot, uuid in enumerate(slots) if uuid is not None}
        silent = [slot for slot, uuid in enumerate(slots) if uuid is None]
        missing = [uuid for uuid in self._numbers if uuid not in seen]
        if not missing and not silent:
            self._numbers = dict(seen)
            return Roll(dict(seen), {}, {})
        for uuid, slot in seen.items():
            if uuid not in self._numbers:
                self._numbers[uuid] = _free_number(slot, self._numbers.values())
        lost = self._matched(missing, silent)
        nameless: dict[int, int] = {}
        for slot in silent:
            if slot not in lost.values():
                taken = (*self._numbers.values(), *nameless.values())
                nameless[slot] = _free_number(slot, taken)
        return Roll(dict(self._numbers), lost, nameless)

    def _matched(
        self, missing: list[DeviceUuid], silent: list[int]
    ) -> dict[DeviceUuid, int | None]:
        """Pair missing GPUs with silent slots: by number first, the rest in order."""
        lost: dict[DeviceUuid, int | None] = {
            uuid: self._numbers[uuid] for uuid in missing if self._numbers[uuid] in silent
        }
        rest = iter([slot for slot in silent if slot not in lost.values()])
        for uuid in sorted(missing, key=lambda uuid: self._numbers[uuid]):
            if uuid not in lost:
                lost[uuid] = next(rest, None)
        return lost


def _free_number(wanted: int, taken: Iterable[int]) -> int:
    """Return the wanted number, or the smallest that nobody has."""
    used = set(taken)
    if wanted not in used:
        return wanted
    return next(number for number in range(len(used) + 1) if number not in used)
