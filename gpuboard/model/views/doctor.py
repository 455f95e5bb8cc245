"""What leaves the daemon about its own health: the findings of `doctor`."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA


class CheckView(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of `doctor`."""

    name: str
    """`driver`, `nvml`, `engine`, `container-toolkit`, `permissions`, `disk`, `clock`, ..."""
    status: str
    """`ok`, `warning`, `error`, `skipped`."""
    words: str
    mend: str = ""
    """The command that mends it."""


class DoctorView(msgspec.Struct, frozen=True, kw_only=True):
    """All findings."""

    schema: int = SCHEMA
    checks: list[CheckView] = []
