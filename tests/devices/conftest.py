"""A fake box under the real pynvml, and sweeps of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gpuboard.devices.nvml_sweep import NvmlSource
from gpuboard.devices.processes import ProcessTable
from tests.support.fakenvml import FakeBox, use_library


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBox:
    """Two idle H100s, which the real pynvml of this process sees."""
    box = FakeBox(tmp_path)
    use_library(monkeypatch, box)
    return box


@pytest.fixture
def make_source() -> Callable[..., NvmlSource]:
    """Make sources that read everything at each sweep and are closed at the end."""
    made: list[NvmlSource] = []

    def make(slow_interval_s: float = 0.0, ignore: tuple[str, ...] = ()) -> NvmlSource:
        source = NvmlSource(
            processes=ProcessTable(sees_every_pid=True),
            slow_interval_s=slow_interval_s,
            ignore=ignore,
            clock=lambda: 1_000,
        )
        made.append(source)
        return source

    yield make
    for source in made:
        source.close()


@pytest.fixture
def source(make_source: Callable[..., NvmlSource]) -> NvmlSource:
    """A source over the fake box."""
    return make_source()
