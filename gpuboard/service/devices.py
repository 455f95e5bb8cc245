"""Names of devices: from the numbers and UUIDs that people write to UUIDs, and back to labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpuboard.errors import InvalidRequest
from gpuboard.model.device import Device, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.text import plain
from gpuboard.model.views.devices import DeviceRef
from gpuboard.model.world import DeviceFact
from gpuboard.policy.placement import DeviceBox


class DeviceNames:
    """The devices of one sweep by all their names."""

    def __init__(self, snapshot: ProbeSnapshot) -> None:
        self.devices: list[Device] = [reading.device for reading in snapshot.readings]
        self._by_uuid = {device.uuid: device for device in self.devices}
        self._by_label = {device.label: device for device in self.devices}
        self.links = snapshot.links
        """How they are linked; empty where that is not known."""
        self.is_known = bool(self.devices) and not snapshot.fault
        """Whether the driver said what is there."""

    def resolve(
        self, words: Sequence[str], field: str, *, with_parts: bool = False
    ) -> tuple[DeviceUuid, ...]:
        """Return the UUIDs of display numbers, `3:1` or UUIDs (a unique beginning will do).

        `with_parts`: a GPU that is split into MIG instances stands for all of them.
        """
        found: dict[DeviceUuid, None] = {}
        for word in (part.strip() for text in words for part in text.split(",")):
            parts = self._parts_of(word) if with_parts else []
            for uuid in parts or ([self._one(word, field)] if word else []):
                found[uuid] = None
        return tuple(found)

    def _parts_of(self, word: str) -> list[DeviceUuid]:
        """Return the MIG instances of the GPU that a word names; none when it names no split GPU."""
        return [
            device.uuid
            for device in self.devices
            if device.parent is not None and word in (str(device.index), device.parent)
        ]

    def _one(self, word: str, field: str) -> DeviceUuid:
        device = self._by_label.get(word) or self._by_uuid.get(DeviceUuid(word))
        if device is None and len(word) >= 8:
            fitting = [d for d in self.devices if d.uuid.startswith(word)]
            device = fitting[0] if len(fitting) == 1 else None
        if device is None:
            raise InvalidRequest(
                f"there is no device {plain(word, 60)!r}",
                field=field,
                hint="one of " + ", ".join(self._by_label) if self._by_label else "",
            )
        return device.uuid

    def count(self, type_part: str, *, whole: bool = False) -> int:
        """Return how many devices have this in their product name; `whole`: MIG instances aside."""
        wanted = type_part.strip().lower()
        return sum(
            1
            for device in self.devices
            if wanted in device.name.lower() and not (whole and device.parent is not None)
        )

    def types_hint(self) -> str:
        """Return which types there are: `this box has: NVIDIA A100-SXM4-80GB, NVIDIA H100`."""
        names = dict.fromkeys(plain(device.name, 60) for device in self.devices)
        return f"this box has: {', '.join(names)}" if names else ""

    def largest_bytes(self, type_part: str, uuids: Sequence[DeviceUuid]) -> int:
        """Return the most memory that one of the devices has that such a request names."""
        return max((d.memory_bytes or 0 for d in self._named(type_part, uuids)), default=0)

    def most_linked(self, type_part: str, uuids: Sequence[DeviceUuid]) -> int:
        """Return how many of the devices that such a request names are all linked by NVLink."""
        facts = [
            DeviceFact(device.uuid, device.index, device.name)
            for device in self._named(type_part, uuids)
        ]
        return DeviceBox(facts, self.links).most_linked((), "")

    def _named(self, type_part: str, uuids: Sequence[DeviceUuid]) -> list[Device]:
        wanted = type_part.strip().lower()
        return [
            device
            for device in self.devices
            if wanted in device.name.lower() and (not uuids or device.uuid in uuids)
        ]

    def ref(self, uuid: DeviceUuid) -> DeviceRef:
        """Return a device in passing; one that is gone is called by its UUID."""
        device = self._by_uuid.get(uuid)
        return DeviceRef(label=device.label if device else uuid, uuid=uuid)

    def refs(self, uuids: Iterable[DeviceUuid]) -> list[DeviceRef]:
        """Return devices in passing, by number."""
        place = {device.uuid: number for number, device in enumerate(self.devices)}
        return [self.ref(u) for u in sorted(uuids, key=lambda u: (place.get(u, 10**6), u))]

    def index_of(self, uuid: DeviceUuid) -> int | None:
        """Return the display number of a device."""
        device = self._by_uuid.get(uuid)
        return device.index if device else None
