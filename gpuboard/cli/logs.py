"""`logs`: a job's output byte for byte, harmless on a terminal where it is somebody else's, or as one JSON value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from gpuboard.cli import follow
from gpuboard.cli.completion import complete_jobs
from gpuboard.cli.jobs import segment
from gpuboard.cli.session import Session, json_option, pass_session
from gpuboard.model.text import plain

MOST_JSON_BYTES = 16 * 2**20
"""Of an output that is one JSON value; the end of a longer one."""


@click.command("logs", short_help="Print a job's output, or follow it.")
@click.argument("job", metavar="JOB", shell_complete=complete_jobs)
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on until the job has ended.")
@click.option("-n", "--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@click.option("--since", default="", metavar="TIME", help="Only output since: 10m ago, 14:30, ISO.")
@click.option(
    "--attempt", type=click.IntRange(1), metavar="N", help="Output of an earlier attempt."
)
@json_option
@pass_session
def logs(
    session: Session, *, job: str, follows: bool, tail: int | None, since: str, attempt: int | None
) -> None:
    """Print a job's output, byte for byte; stderr is in it.

    On a terminal, escape codes in the output of somebody else's job are made harmless. With --json
    it is text in one value, of which only the end is kept beyond 16 MiB (`truncated`); what is no
    UTF-8 is replaced there.
    """
    view: dict[str, Any] | None = None
    if follows or session.as_json or sys.stdout.isatty():
        view = session.client.get(f"/jobs/{segment(job)}")["job"]
        job = str(view["id"])  # `@` may mean another job by the time the stream is taken up again
    output = _Output(session, job, view, attempt)
    if follows and tail is None and not since:
        follow.LogTail(session, int(job), attempt).copy(output.write)
    else:
        from gpuboard.cli.times import instant

        query = {
            "follow": follows,
            "tail": tail,
            "since": instant(since, "--since"),
            "attempt": attempt,
        }
        for piece in session.client.stream(f"/jobs/{segment(job)}/log", **query):
            output.write(piece)
    output.finish()


class _Output:
    """Where the pieces of a log go."""

    def __init__(
        self, session: Session, job: str, view: dict[str, Any] | None, attempt: int | None
    ) -> None:
        self._session = session
        self._job = job
        self._view = view
        self._attempt = attempt
        self._has_written = False
        self._kept = bytearray()
        self._is_cut = False
        self._lines: HarmlessLines | None = None
        if view is not None and not view["mine"] and sys.stdout.isatty():
            self._lines = HarmlessLines(follow.write_stdout)

    def write(self, piece: bytes) -> None:
        """Take a piece."""
        self._has_written = True
        if self._session.as_json:
            self._kept += piece
            if len(self._kept) > MOST_JSON_BYTES:
                del self._kept[:-MOST_JSON_BYTES]
                self._is_cut = True
        elif self._lines is not None:
            self._lines.write(piece)
        else:
            follow.write_stdout(piece)

    def finish(self) -> None:
        """That was all."""
        if self._session.as_json and self._view is not None:
            self._session.answer(
                {
                    "schema": 1,
                    "id": self._view["id"],
                    "attempt": self._attempt or _shown_attempt(self._view),
                    "text": self._kept.decode(errors="replace"),
                    "truncated": self._is_cut,
                }
            )
        elif self._lines is not None:
            self._lines.finish()
        elif not self._has_written:
            self._say_why_empty()

    def _say_why_empty(self) -> None:
        """Tell one whose job has not started from one that is silent."""
        view = self._session.client.get(f"/jobs/{segment(self._job)}")["job"]
        if view["state"] == "queued" and view["attempt"] == 1:
            self._session.note(f"job {view['id']} has not started: {view['reason'] or 'it waits'}")


def _shown_attempt(view: dict[str, Any]) -> int:
    """Return the attempt that is meant where none is named: of a job queued again, the last that ran."""
    attempt: int = view["attempt"]
    return attempt - 1 if view["state"] == "queued" and attempt > 1 else attempt


class HarmlessLines:
    """Passes bytes on as lines without control codes; a line beyond 64 KiB is broken."""

    LONGEST = 64 * 1024

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._pending = b""

    def write(self, piece: bytes) -> None:
        """Take some bytes; write the lines that are whole."""
        *lines, self._pending = (self._pending + piece).split(b"\n")
        if len(self._pending) > self.LONGEST:
            lines, self._pending = [*lines, self._pending], b""
        if lines:
            self._write(b"".join(map(_harmless, lines)))

    def finish(self) -> None:
        """Write what has no line break behind it."""
        if self._pending:
            self._write(_harmless(self._pending))


def _harmless(line: bytes) -> bytes:
    return plain(line.decode(errors="replace")).encode() + b"\n"
