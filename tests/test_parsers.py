"""Whatever people write, a parser gives what it means or refuses by the field's name: no third way.

`GPUBOARD_FUZZ_EXAMPLES` says how many texts each parser is given.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Callable
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuboard.cli import script
from gpuboard.cli.request import parse_volume
from gpuboard.engine.protocol import Engine
from gpuboard.errors import GpuboardError, NotFound, PermissionDenied, RequestError
from gpuboard.model.arrays import parse_array
from gpuboard.model.device import Device, DeviceReading, ProbeSnapshot
from gpuboard.model.durations import format_duration, parse_duration
from gpuboard.model.ids import Uid
from gpuboard.model.instants import from_iso, iso, parse_instant
from gpuboard.model.job import Mount
from gpuboard.model.person import Caller, Person
from gpuboard.model.ports import parse_port, parse_range
from gpuboard.model.recurrence import read_rule
from gpuboard.model.scripts import interpreter
from gpuboard.model.sizes import format_size, parse_size
from gpuboard.runtimes.sandbox import (
    SandboxSettings,
    canonical_reference,
    check_environment,
    check_image,
    check_mounts,
    check_workdir,
    mount_roots,
)
from gpuboard.service.devices import DeviceNames
from gpuboard.service.selectors import JobSelectors
from tests.support.engine import uuid

FUZZ = settings(max_examples=int(os.environ.get("GPUBOARD_FUZZ_EXAMPLES", "100")))
NOW_MS = 1_795_000_000_000
PIECES = st.sampled_from(
    ["1", "0", "-1", "9" * 30, "1e9", "0x1", "1_0", "\uff11", "٣", "½", "∞", "NaN", "inf", "h", "m", "s", "d", "w",
     "G", "GiB", "K", "%", ":", "-", "+", ".", ",", "/", "..", "~", " ", "\t", "\n", "\0", "\x1b[1m", "\u202e",
     "\u200f", "now", "mon", "tomorrow", "T", "Z", "UTC", "2026-11-22", "24:00", "FREQ=DAILY", ";", "COUNT=2",
     "sha256:", "a" * 64, "@", "ro", "rw", "/home/ann", "/etc", "\udcff", "İ", "ß", "{", "}", "[", "]", "="],
)  # fmt: skip
TEXT = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join))
BOX = ProbeSnapshot(
    at=0, readings=tuple(DeviceReading(device=Device(uuid(n), n, "GPU", 1)) for n in range(3))
)


class EmptyRecord:
    """An engine without a job: whatever is meant is not there."""

    def job(self, job_id: int) -> object:
        raise NotFound(f"there is no job {job_id}")

    def last_job(self, _uid: int) -> None:
        return None

    def find_jobs(self, **wanted: object) -> list[object]:
        numbers = [
            wanted.get(key) or 0 for key in ("array_id", "array_index", "from_id", "before_id")
        ]
        assert all(0 <= number < 2**63 for number in numbers), "more than the database takes"
        return []


ANN = Person(Uid(1001), 1001, "ann", "/home/ann", (1001,))

JOBS = JobSelectors(cast("Engine", EmptyRecord()))

PARSERS: dict[str, Callable[[str], object]] = {
    "duration": lambda text: parse_duration(text, field="time_limit"),
    "size": lambda text: parse_size(text, field="memory"),
    "array": parse_array,
    "instant": lambda text: parse_instant(text, now_ms=NOW_MS, field="at"),
    "iso": from_iso,
    "recurrence": read_rule,
    "volume": lambda text: parse_volume(text, lambda path, _field: posixpath.join("/w", path)),
    "image": lambda text: check_image(text, ("*",)),
    "workdir": check_workdir,
    "device": lambda text: DeviceNames(BOX).resolve([text], "gpu_ids", with_parts=True),
    "job": lambda text: JOBS.one(Caller(ANN), text),
    "jobs": lambda text: JOBS.many(Caller(ANN), [text]),
    "mount": lambda text: check_mounts(
        (Mount(source=f"/home/ann/{text}", target=f"/work/{text}"),),
        mount_roots(SandboxSettings(), ANN.name, ANN.home),
    ),
    "port": parse_port,
    "port range": lambda text: parse_range(text, field="port_range"),
    "environment": lambda text: check_environment({text: text}, 65_536, has_devices=True),
}


@pytest.mark.parametrize("name", PARSERS)
def test_any_text_is_read_or_refused(name: str):
    """Nothing but a value or an error of ours, which names a field and can be shown to anybody."""

    @given(TEXT)
    @FUZZ
    def send(text: str) -> None:
        refused: list[GpuboardError] = []
        try:
            PARSERS[name](text)
        except GpuboardError as error:
            refused.append(error)
        for error in refused:
            assert isinstance(error, RequestError | PermissionDenied)
            assert 0 < len(error.message) < 2000

    send()


@FUZZ
@given(TEXT)
def test_a_span_that_is_read_is_written_and_read_as_the_same(text: str):
    with contextlib.suppress(RequestError):
        seconds = parse_duration(text, field="x")
        assert seconds > 0
        assert parse_duration(format_duration(seconds), field="x") == seconds


@FUZZ
@given(TEXT)
def test_a_size_that_is_read_stays_near_when_written(text: str):
    with contextlib.suppress(RequestError):
        size = parse_size(text, field="x")
        assert parse_size(format_size(size), field="x") == pytest.approx(size, rel=0.051)


@FUZZ
@given(TEXT)
def test_an_instant_that_is_read_is_written_and_read_as_the_same(text: str):
    with contextlib.suppress(RequestError):
        ms = parse_instant(text, now_ms=NOW_MS, field="x")
        assert from_iso(iso(ms) or "", field="x") == ms


@FUZZ
@given(TEXT)
def test_an_image_that_is_taken_has_one_canonical_spelling(text: str):
    """Its canonical spelling is taken too, and is its own."""
    with contextlib.suppress(GpuboardError):
        check_image(text, ("*",))
        whole = canonical_reference(text)
        check_image(whole, ("*",))
        assert canonical_reference(whole) == whole


@FUZZ
@given(TEXT)
def test_a_mount_that_is_taken_lies_within_its_roots(text: str):
    """However it is spelled."""
    roots = mount_roots(SandboxSettings(), ANN.name, ANN.home)
    mount = Mount(source=f"/home/ann/{text}", target="/work")
    with contextlib.suppress(GpuboardError):
        check_mounts((mount,), roots)
        whole = posixpath.normpath(mount.source)
        assert whole == "/home/ann" or whole.startswith("/home/ann/")


@FUZZ
@given(st.lists(st.tuples(st.sampled_from(["#SBATCH ", "#GPUBOARD ", "# ", ""]), TEXT), max_size=8))
def test_a_script_of_any_directives_is_read_or_refused(lines: list[tuple[str, str]]):
    """Its directives are words for the command line; an unknown one is told, never guessed."""
    text = "#!/bin/sh\n" + "\n".join(mark + words for mark, words in lines)
    content = text.encode(errors="surrogateescape")
    with (
        patch.object(script, "_content", lambda _path: content),
        contextlib.suppress(GpuboardError),
    ):
        found = script.read("job.sh")
        assert found is not None
        for directive in found.directives():
            assert all(isinstance(word, str) for word in directive.arguments)
        assert interpreter(found.content)
