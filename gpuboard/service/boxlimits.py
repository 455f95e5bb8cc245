"""What one job may have of the box at most: what the configuration says, and never more than there is.

Without a word in the configuration that is the box's memory less a reserve for the system, the
daemon and the container engine, so that a single job's hunger ends in its own control group and not
in the kernel choosing among everybody's processes.
"""

from __future__ import annotations

import os

from gpuboard.config import Config

LEAST_RESERVE_BYTES = 2**28
MOST_RESERVE_BYTES = 8 * 2**30
_WHOLE_BYTES = 2**26
"""The bound is a multiple of this, so that it reads well and can be asked for as it reads."""


def box_memory_bytes() -> int:
    """Return the memory of the box (MemTotal)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_bound(box_bytes: int) -> int:
    """Return what a job may have of so much memory: a sixteenth is kept, 256 MiB to 8 GiB."""
    reserve = min(MOST_RESERVE_BYTES, max(LEAST_RESERVE_BYTES, box_bytes // 16))
    left = max(box_bytes // 2, box_bytes - reserve)
    whole = 2**30 if left >= 8 * 2**30 else _WHOLE_BYTES
    return left // whole * whole or left


def most_memory_bytes(config: Config) -> int:
    """Return the most memory that one job may ask for."""
    box_bytes = box_memory_bytes()
    named = config.jobs.max_memory_bytes
    return memory_bound(box_bytes) if named is None else min(named, box_bytes)


def most_cpus(config: Config) -> float:
    """Return the most CPUs that one job may ask for, and has when it names none."""
    return config.jobs.max_cpus or os.cpu_count() or 1
