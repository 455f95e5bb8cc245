"""`python -m gpuboard.daemon`: what `gpuboard daemon`, systemd and the first command start."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gpuboard.errors import GpuboardError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code (75: another daemon holds the lock)."""
    options = parser().parse_args(arguments)
    from gpuboard.daemon.logs import log_to_stderr

    log_to_stderr(logging.DEBUG if options.verbose else logging.INFO)
    try:
        if options.check_config:
            return _check_config(options)
        from gpuboard.daemon.run import serve

        serve(config_path=options.config, personal=_is_personal(options), ready_fd=options.ready_fd)
    except GpuboardError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201 - a command's own words
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what reads the daemon's options."""
    made = argparse.ArgumentParser(prog="gpuboard daemon", description="Serve the box.")
    made.add_argument("--config", type=Path, help="configuration file [/etc/gpuboard/config.toml]")
    made.add_argument(
        "--personal",
        action="store_true",
        help="serve only you, with your own database (what an ordinary user gets without --config)",
    )
    made.add_argument(
        "--check-config",
        action="store_true",
        help="say whether the configuration is right, and end",
    )
    made.add_argument("--verbose", action="store_true", help="log every step")
    made.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    return made


def _is_personal(options: argparse.Namespace) -> bool:
    """Whether it is a person's own daemon: an ordinary user cannot have the box's without a file."""
    return bool(options.personal) or (options.config is None and os.geteuid() != 0)


def _check_config(options: argparse.Namespace) -> int:
    from gpuboard.config import load_config

    path = str(options.config) if options.config is not None else None
    load_config(path, personal=_is_personal(options))
    print(f"{path or 'the configuration'}: ok")  # noqa: T201 - the answer of the command
    return 0


if __name__ == "__main__":
    sys.exit(main())
