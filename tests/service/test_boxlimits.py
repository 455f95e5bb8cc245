"""Without a word in the configuration a job is bounded by the box; with one, by both."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.config import Config
from gpuboard.service.boxlimits import box_memory_bytes, memory_bound
from gpuboard.service.validation import sandbox_settings

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("box", "most"),
    [
        (256 * MIB, 128 * MIB),
        (2 * GIB, 2 * GIB - 256 * MIB),
        (24 * GIB, 22 * GIB),
        (64 * GIB - 300 * MIB, 59 * GIB),
        (2048 * GIB, 2040 * GIB),
    ],
)
def test_a_reserve_is_kept_and_the_bound_reads_well(box: int, most: int) -> None:
    assert memory_bound(box) == most


def test_default_configuration_bounds_memory_and_cpus() -> None:
    """Nothing is unlimited, and nothing is more than the box has."""
    settings = sandbox_settings(Config())
    assert settings.max_memory_bytes == memory_bound(box_memory_bytes())
    assert settings.max_cpus is not None


def test_more_than_the_box_has_is_not_given_whatever_the_file_says() -> None:
    jobs = Config().jobs
    for named, most in ((2**50, box_memory_bytes()), (64 * MIB, 64 * MIB)):
        config = Config(jobs=msgspec.structs.replace(jobs, max_memory_bytes=named))
        assert sandbox_settings(config).max_memory_bytes == most
