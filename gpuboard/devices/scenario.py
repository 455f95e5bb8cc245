"""What a simulated box is like: its devices, and what goes wrong on it, as plain data.

`lab8` is built in: eight GPUs of two types, one of them sick, a stranger's process on another.
A file says the same in TOML, with these field names (`load_scenario`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from gpuboard.errors import HostError
from gpuboard.model.ids import DeviceUuid

GIB = 2**30


class SimulatedDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of GPU, and how many of it are there."""

    name: str
    memory_bytes: int
    count: int = 1
    power_limit_w: float = 300.0
    idle_power_w: float = 30.0
    fan: bool = True
    """False: the board has none (a server's)."""


class Sickness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device that is faulty for a while."""

    device: int
    """Its index."""
    words: str = "2 new uncorrectable memory errors (ECC)"
    from_s: float = 0.0
    """Seconds after the probe's start."""
    until_s: float | None = None
    """None = for good."""
    lost: bool = False
    """It fell off the bus, instead of being only faulty."""


class Rogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process that somebody started on a device without asking."""

    device: int
    user: str = "mallory"
    uid: int = 70099
    command: str = "python"
    pid: int = 4194401
    """Above the highest that the kernel gives out, so that it can never be a real process."""
    memory_bytes: int = 9 * GIB
    utilization: int = 40
    from_s: float = 0.0
    until_s: float | None = None


class SimulatedLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Devices that are all linked with each other by NVLink."""

    devices: tuple[int, ...]
    """Their indices."""
    nvlinks: int = 4


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A simulated box."""

    name: str
    devices: tuple[SimulatedDevice, ...]
    seed: int = 7
    sicknesses: tuple[Sickness, ...] = ()
    rogues: tuple[Rogue, ...] = ()
    nvlink: tuple[SimulatedLink, ...] = ()
    """Other pairs meet in their NUMA node, or across nodes."""
    idle_commands: tuple[str, ...] = ()
    """Processes whose command contains one of these hold their device and do nothing."""
    driver: str = "575.57.08"
    cuda: str = "12.9"

    def uuid(self, index: int) -> DeviceUuid:
        """Return the UUID of a device: the same in each run."""
        return DeviceUuid(f"GPU-{self.seed:08x}-0000-4000-8000-{index:012x}")

    def boards(self) -> list[SimulatedDevice]:
        """Return the devices one by one."""
        return [kind for kind in self.devices for _ in range(kind.count)]


LAB8 = Scenario(
    name="lab8",
    devices=(
        SimulatedDevice(
            "NVIDIA H100 80GB HBM3", 80 * GIB, 4, power_limit_w=700, idle_power_w=70, fan=False
        ),
        SimulatedDevice("NVIDIA RTX A6000", 48 * GIB, 4, power_limit_w=300, idle_power_w=22),
    ),
    sicknesses=(Sickness(device=6),),
    rogues=(Rogue(device=7),),
    nvlink=(
        SimulatedLink((0, 1, 2, 3), nvlinks=18),
        SimulatedLink((4, 5)),
        SimulatedLink((6, 7)),
    ),
    idle_commands=("notebook", "jupyter", "idle"),
)
BUILT_IN = {LAB8.name: LAB8}


def load_scenario(name: str) -> Scenario:
    """Return a built-in scenario by its name (`lab8`; also for an empty one), or one from a file.

    Raises:
        HostError: there is no such scenario, or the file is wrong; names the place.
    """
    if not name:
        return LAB8
    if name in BUILT_IN:
        return BUILT_IN[name]
    try:
        with Path(name).open("rb") as file:
            scenario = msgspec.convert(tomllib.load(file), Scenario)
    except OSError as error:
        raise HostError(
            f"no scenario {name!r}: {error.strerror}",
            hint=f"[devices] scenario is a TOML file or one of: {', '.join(BUILT_IN)}",
            field="devices.scenario",
        ) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise HostError(f"scenario {name}: {error}", field="devices.scenario") from error
    count = len(scenario.boards())
    named = [
        *(each.device for each in scenario.sicknesses),
        *(each.device for each in scenario.rogues),
        *(device for each in scenario.nvlink for device in each.devices),
    ]
    for index in named:
        if not 0 <= index < count:
            raise HostError(
                f"scenario {name}: there is no device {index}, they are 0 to {count - 1}",
                field="devices.scenario",
            )
    return scenario
