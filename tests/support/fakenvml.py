"""A fake GPU box: our libnvidia-ml.so.1 (tests/fakenvml), and the state file that its GPUs come from.

`box = FakeBox(folder); box.gpus = [...]; box.write()` changes the GPUs by rename, as the library
wants it. In this process the real pynvml runs on it (`use_library`); other processes get it by
`box.environment()`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parent.parent / "fakenvml"


@dataclass
class FakeGpu:
    """One `[gpu]` section; `keys` are the README's, as they are."""

    uuid: str
    keys: dict[str, object] = field(default_factory=dict)
    processes: list[str] = field(default_factory=list)
    """`PID MIB [SM% [C|G|M [GI CI]]]`."""
    instances: list[str] = field(default_factory=list)
    """`GI CI SLICES MIB UUID`; set mig_mode=1 too."""

    def text(self) -> str:
        """Return the section."""
        lines = ["[gpu]", f"uuid = {self.uuid}"]
        lines += [f"{key} = {value}" for key, value in self.keys.items()]
        lines += [f"mig = {line}" for line in self.instances]
        lines += [f"proc = {line}" for line in self.processes]
        return "\n".join(lines) + "\n"


def gpu_uuid(number: int) -> str:
    """Return a well-formed UUID."""
    return f"GPU-{number:08x}-0000-4000-8000-{number:012x}"


def gpus(count: int, **keys: object) -> list[FakeGpu]:
    """Return idle H100s."""
    return [
        FakeGpu(gpu_uuid(number), {"bus_id": f"00000000:{0x17 + number:02X}:00.0", **keys})
        for number in range(count)
    ]


class FakeBox:
    """A state file and who reads it."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.state = folder / "gpus.state"
        self.system: dict[str, object] = {}
        self.gpus = gpus(count)
        self.write()

    def write(self, **system: object) -> None:
        """Put the present state in place, at once and whole; `system` adds `[system]` keys."""
        self.system.update(system)
        text = "[system]\n" + "".join(f"{key} = {value}\n" for key, value in self.system.items())
        text += "".join(gpu.text() for gpu in self.gpus)
        fresh = self.state.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.state)

    def clear(self, *keys: str) -> None:
        """Take `[system]` keys out again."""
        for key in keys:
            self.system.pop(key, None)
        self.write()

    def environment(self, *, old: bool = False) -> dict[str, str]:
        """Return what a subprocess needs to see these GPUs."""
        return {
            "LD_LIBRARY_PATH": str(library(old=old).parent),
            "FAKENVML_STATE": str(self.state),
            "FAKENVML_RELOAD_MS": "0",
        }


def built() -> Path:
    """Return the folder with lib/, old/ and bin/, built once; skip the test without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or shutil.which("make") is None:
        pytest.skip("the fake NVML needs a C compiler and make")
    with (SOURCES / "Makefile").open() as lock:  # several test processes may come here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        make = subprocess.run(
            ["make", "-C", str(SOURCES), f"CC={compiler}"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert make.returncode == 0, make.stderr
    return SOURCES


def library(*, old: bool = False) -> Path:
    """Return the built library: a current driver's, or one of the 470 age."""
    return built() / ("old" if old else "lib") / "libnvidia-ml.so.1"


@cache
def _loaded(path: Path) -> ctypes.CDLL:
    os.environ["FAKENVML_RELOAD_MS"] = "0"  # read once, when the library is loaded
    return ctypes.CDLL(str(path))


def use_library(monkeypatch: pytest.MonkeyPatch, box: FakeBox, *, old: bool = False) -> None:
    """Have this process's pynvml talk to the fake library, for one test."""
    import pynvml

    monkeypatch.setenv("FAKENVML_STATE", str(box.state))
    monkeypatch.setattr(pynvml, "nvmlLib", _loaded(library(old=old)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})


def process_line(pid: int, mib: int = 1000, busy: int = 50, kind: str = "C", **place: Any) -> str:
    """Return a `proc` line."""
    line = f"{pid} {mib} {busy} {kind}"
    return f"{line} {place['gi']} {place['ci']}" if place else line
