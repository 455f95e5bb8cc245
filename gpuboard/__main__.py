"""`python -m gpuboard` is `gpuboard`."""

from __future__ import annotations

import sys

from gpuboard.cli.main import main

sys.exit(main())
