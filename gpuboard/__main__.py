"""`python -m gpuboard` is `gpuboard`."""

from __future__ import annotations

from gpuboard.cli.quick import run

run()
