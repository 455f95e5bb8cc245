"""`gpuboard demo`: a simulated box with a scripted lab, as the app or, in a pipe, as a story in text.

The box is served by a child process (`gpuboard.daemon.demo`) in a temporary folder; it ends itself
when this process does, whatever ends this one, and leaves nothing running and nothing on disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpuboard.api.autostart import package_environment
from gpuboard.errors import HostError

READY_LINE = "ready"
STOP_TIMEOUT_S = 30


@contextlib.contextmanager
def served_box() -> Iterator[str]:
    """Serve the demo's box while the block runs; give its socket. Raises HostError when it does not start."""
    folder = tempfile.mkdtemp(prefix="gpuboard-demo-")
    child = subprocess.Popen(
        [sys.executable, "-m", "gpuboard.daemon.demo", folder],
        stdin=subprocess.PIPE,  # its end of file tells the child that we are gone
        stdout=subprocess.PIPE,
        stderr=(Path(folder) / "demo.log").open("wb"),
        text=True,
        start_new_session=True,  # a terminal that is closed must not end it before it cleaned up
    )
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == READY_LINE:
                break
            print(line, end="", file=sys.stderr)
        else:
            log = (Path(folder) / "demo.log").read_text(errors="replace").strip()
            raise HostError(
                f"the demo's box did not start: {log.splitlines()[-1] if log else 'no reason given'}"
            )
        yield str(Path(folder) / "gpuboard.sock")
    finally:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Open the app on the simulated box, or tell the story when stdout is not a terminal."""
    os.environ.update(package_environment())
    with served_box() as socket_path:
        os.environ["GPUBOARD_SOCKET"] = socket_path
        if sys.stdout.isatty() and sys.stdin.isatty():
            from gpuboard.tui.app import run_app

            return run_app([socket_path])
        from gpuboard.cli.story import tell

        return tell()
