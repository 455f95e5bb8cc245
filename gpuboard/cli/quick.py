"""The process's entry: questions that scripts poll are answered before the command line is built.

Building it costs three bare starts of Python, most of it click's own imports. `ps --json` and
`gpus --json` in exactly these words need none of that: the daemon's bytes go straight through.
Whatever is not in the table, or goes wrong, goes to `main`, which says it in words.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LIMIT = 500
"""`ps`'s default; a test compares the two."""
QUICK: dict[tuple[str, ...], tuple[str, dict[str, object]]] = {
    ("ps", "--json"): ("/jobs", {"mine": True, "limit": LIMIT}),
    ("ps", "-a", "--json"): ("/jobs", {"mine": False, "limit": LIMIT}),
    ("ps", "--all", "--json"): ("/jobs", {"mine": False, "limit": LIMIT}),
    ("gpus", "--json"): ("/board", {}),
}
"""The words -> path and query of the daemon's answer."""


def run() -> NoReturn:
    """Be the `gpuboard` command: answer at once what can be, else load the command line."""
    question = QUICK.get(tuple(sys.argv[1:]))
    content = _answer(*question) if question is not None else b""
    if content:
        _write(content)
        os._exit(0)
    from gpuboard.cli.main import run as run_command_line

    run_command_line()


def _answer(path: str, query: dict[str, object]) -> bytes:
    """Return the daemon's answer, or nothing where there is anything to say about it."""
    from gpuboard.api.client import connect
    from gpuboard.errors import GpuboardError

    try:
        return b"".join(connect(patience_s=0).stream(path, **query))
    except (GpuboardError, OSError):
        return b""


def _write(content: bytes) -> None:
    """Write all of it to stdout; a reader that hung up ends us as `main` would."""
    content = content.rstrip(b"\n") + b"\n"
    try:
        while content:
            content = content[os.write(1, content) :]
    except BrokenPipeError:
        os._exit(141)
    except OSError as error:
        print(f"error: cannot write the answer: {error.strerror}", file=sys.stderr)
        os._exit(1)
