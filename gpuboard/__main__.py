"""`python -m gpuboard` is `gpuboard`."""

from __future__ import annotations

from gpuboard.cli.main import run

run()
