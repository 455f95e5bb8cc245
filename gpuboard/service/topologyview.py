"""How the devices are linked, as people read it: each pair once, and which sets NVLink joins."""

from __future__ import annotations

from gpuboard.model.device import ProbeSnapshot
from gpuboard.model.instants import iso
from gpuboard.model.views.devices import TopologyDevice, TopologyLink, TopologyView
from gpuboard.model.world import DeviceFact
from gpuboard.policy.placement import DeviceBox


def topology_view(snapshot: ProbeSnapshot, now: int) -> TopologyView:
    """Return the topology that the last sweep knows of, at an instant (ms)."""
    devices = [reading.device for reading in snapshot.readings]
    label = {device.uuid: device.label for device in devices}
    facts = [DeviceFact(device.uuid, place, device.name) for place, device in enumerate(devices)]
    box = DeviceBox(facts, snapshot.links)
    sets = [box.uuids_of(each) for each in (box.topology.nvlinked if box.topology else ())]
    return TopologyView(
        at=iso(now) or "",
        devices=[
            TopologyDevice(
                uuid=device.uuid,
                label=device.label,
                name=device.name,
                parent=device.parent,
                bus_id=device.bus_id,
                numa_node=device.numa_node,
                cpus=device.cpus,
            )
            for device in devices
        ],
        links=[
            TopologyLink(label[link.a], label[link.b], str(link.kind), link.nvlinks, link.words)
            for link in snapshot.links
            if link.a in label and link.b in label
        ],
        nvlink_sets=sorted([label[uuid] for uuid in each] for each in sets if len(each) > 1),
    )
