"""A configuration read again reaches the runtimes too: what containers get is what it says now."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gpuboard.runtimes.sandbox import SandboxSettings
from tests.support.served_box import served_box


class Told:
    """Takes settings as a runtime does."""

    name = "told"

    def __init__(self) -> None:
        self.settings: list[SandboxSettings] = []

    def take_settings(self, settings: SandboxSettings) -> None:
        self.settings.append(settings)

    def close(self) -> None: ...


def test_runtimes_take_the_new_settings(tmp_path: Path):
    """Of memory, disk, environment and containers alike."""
    told, replace = Told(), msgspec.structs.replace
    with served_box(tmp_path) as served:
        served.box.context.runtimes["told"] = told
        old = served.box.config
        jobs = replace(old.jobs, default_memory_bytes=3 << 30, max_disk_bytes=5 << 30)
        new = replace(old, jobs=jobs, docker=replace(old.docker, mount_home=True))
        served.box.thread.call(lambda: served.box.take_config(lambda: new)).result(20)
    (settings,) = told.settings
    assert settings.default_memory_bytes == 3 << 30
    assert settings.max_disk_bytes == 5 << 30
    assert settings.mount_home
