"""What all services share: the engine, the configuration in force, the clock, the people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gpuboard.config import Config
from gpuboard.engine.clock import Clock
from gpuboard.engine.protocol import Engine
from gpuboard.model.views.devices import DeviceHistory
from gpuboard.runtimes.protocol import Runtime
from gpuboard.service.people import Directory, KnownGroups


class HistorySource(Protocol):
    """Recent samples of the devices."""

    def history(self, seconds: int) -> DeviceHistory:
        """Return the last so many seconds, oldest first."""


@dataclass
class ServiceContext:
    """Handed to every service; only `config` is ever replaced (a reload)."""

    engine: Engine
    config: Config
    clock: Clock
    directory: Directory
    """Asked on workers alone: it may take its time."""
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    """By name; for image lists and `doctor`, which run on workers."""
    history: HistorySource | None = None
    personal: bool = False
    """A personal daemon: its owner rules it."""
    simulated: bool = False
    config_file: Callable[[], str] = lambda: ""
    """Names the configuration file in force; empty: there is none."""
    groups: KnownGroups = field(init=False)
    reload_config: Callable[[], Config] | None = None
    """Reads the configuration again (the daemon's); None where there is no file."""

    def __post_init__(self) -> None:
        self.groups = KnownGroups(self.directory)
