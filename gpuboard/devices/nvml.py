"""The probe of NVIDIA devices: a sweep over NVML on threads of its own.

`nvml_calls` speaks to the library, `nvml_sweep` makes one sweep of it, `sweeping` keeps the time.
Nothing is loaded before the first sweep, and that on the reader's thread: a box without a driver,
or with one that hangs at its first call, starts as fast as any.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from gpuboard.devices.nvml_sweep import NvmlSource
from gpuboard.devices.processes import ProcessTable
from gpuboard.devices.sweeping import SweepingProbe, wall_ms


class NvmlProbe(SweepingProbe):
    """A `Probe` over NVML."""

    def __init__(
        self,
        interval_s: float = 1.0,
        slow_interval_s: float = 5.0,
        timeout_s: float = 5.0,
        *,
        clock: Callable[[], int] = wall_ms,
        ignore: Collection[str] = (),
        processes: ProcessTable | None = None,
    ) -> None:
        """Prepare a probe; nothing is read before `start`.

        `ignore` names UUIDs, indices or labels of devices that gpuboard leaves alone. `processes`
        may be shared with whoever learns the engine's cgroup parent (`ProcessTable.cgroup_parents`).
        """
        super().__init__(
            "nvml",
            NvmlSource(
                processes=processes or ProcessTable(),
                slow_interval_s=slow_interval_s,
                ignore=ignore,
                clock=clock,
            ),
            interval_s=interval_s,
            timeout_s=timeout_s,
            clock=clock,
            driver_words="the NVIDIA driver",
            hang_hint="`dmesg | grep -i -e xid -e nvrm` says why; as a rule only a reboot mends it",
        )
