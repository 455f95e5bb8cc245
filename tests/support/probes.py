"""A scripted source of devices, and waiting on what a probe publishes."""

from __future__ import annotations

import threading

from gpuboard.errors import HostError
from gpuboard.model.device import Device, DeviceProcess, DeviceReading, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid

WAIT_S = 20.0


class ScriptedSource:
    """A `DeviceSource` that reads one busy device, hangs on demand, and counts its callers."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.fault: Exception | None = None
        self.sweeps = 0
        self.is_closed = False
        self.threads: set[int] = set()
        self.inside = 0
        self.most_inside = 0

    def sweep(self) -> ProbeSnapshot:
        """Answer as the script says."""
        self.threads.add(threading.get_ident())
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.sweeps += 1
        self.may_answer.wait()
        self.inside -= 1
        if self.fault is not None:
            raise self.fault
        return ProbeSnapshot(
            at=self.sweeps,
            readings=(
                DeviceReading(
                    device=Device(uuid=DeviceUuid("GPU-a"), index=0, name="x"),
                    utilization=50,
                    processes=(DeviceProcess(pid=1),),
                ),
            ),
        )

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True


def host_error() -> HostError:
    """A driver's fault."""
    return HostError("the driver is gone", hint="bring it back")
