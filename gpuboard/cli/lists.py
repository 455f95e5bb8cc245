"""`ps` and `history`: jobs as a table, as numbers, or as the daemon's own bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from gpuboard.cli.session import Session, json_option, pass_session, quiet_option
from gpuboard.errors import InvalidRequest

PS_COLUMNS = "id,name,user,state,gpus,elapsed,limit,when,reason"
HISTORY_COLUMNS = "id,name,user,state,gpus,elapsed,exit,when,reason"
ALL_COLUMNS = (
    "id", "name", "user", "state", "gpus", "elapsed", "limit", "when", "reason", "exit", "attempt",
    "image", "command", "runtime", "submitted", "started", "ended", "note",
)  # fmt: skip


def _complete_states(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[Any]:
    """Complete the last state of a list; here, since `ps` loads no completion."""
    from gpuboard.cli.words import STATES

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + state for state in STATES if state.startswith(last.lower())]


def _listing(default: str) -> Callable[[Any], Any]:
    """Return the options that both lists have."""

    def decorate(command: Any) -> Any:
        for option in reversed(
            (
                click.option("-u", "--user", default="", help="Only this person's."),
                click.option(
                    "-s", "--state", "states", multiple=True, metavar="STATE", shell_complete=_complete_states,
                    help="Only these states (repeat it, or separate by commas).",
                ),
                click.option(
                    "-o", "--columns", default=default, metavar="LIST",
                    help=f"Which columns: {', '.join(ALL_COLUMNS)}.",
                ),
                click.option("--no-header", is_flag=True, help="Leave out the titles."),
                json_option,
                quiet_option("Print only the numbers."),
            )
        ):  # fmt: skip
            command = option(command)
        return command

    return decorate


@click.command("ps", short_help="List jobs that have not ended.")
@click.option(
    "-a/-m", "--all/--mine", "everybody", default=False, help="Everybody's, or only mine (default)."
)
@click.option(
    "-n",
    "--limit",
    default=500,
    type=click.IntRange(1, 100_000),
    help="At most so many (default 500).",
)
@_listing(PS_COLUMNS)
@pass_session
def ps(
    session: Session,
    *,
    everybody: bool,
    limit: int,
    user: str,
    states: Sequence[str],
    columns: str,
    no_header: bool,
) -> None:
    """List jobs that have not ended: running first, then the queue in serving order.

    Mine, or with --all everybody's.
    """
    query: dict[str, Any] = {
        "mine": not everybody and not user,
        "user": user,
        "state": _states(states),
        "limit": limit,
    }
    if session.as_json:
        session.pass_through("/jobs", **query)
        return
    answer = session.client.get("/jobs", **query)
    nobody = "no jobs" if everybody or user else "no jobs of yours (--all: everybody's)"
    _print_jobs(session, answer, columns, header=not no_header, nobody=nobody)


@click.command("history", short_help="List jobs of the record, newest first.")
@click.option("--name", default="", help="Only jobs of this name.")
@click.option(
    "--since",
    default="",
    metavar="TIME",
    help="Submitted at or after: 2026-11-20, '3d ago', 'monday'.",
)
@click.option("--until", default="", metavar="TIME", help="Submitted before.")
@click.option(
    "-n",
    "--limit",
    default=100,
    type=click.IntRange(1, 100_000),
    help="At most so many (default 100).",
)
@click.option("--before", type=int, metavar="ID", help="Only smaller numbers: the next page.")
@_listing(HISTORY_COLUMNS)
@pass_session
def history(
    session: Session,
    *,
    name: str,
    since: str,
    until: str,
    limit: int,
    before: int | None,
    user: str,
    states: Sequence[str],
    columns: str,
    no_header: bool,
) -> None:
    """List jobs of the record, newest first: everybody's, also those that have ended."""
    from gpuboard.cli.times import instant

    query: dict[str, Any] = {
        "user": user,
        "state": _states(states),
        "name": name,
        "since": instant(since, "--since"),
        "until": instant(until, "--until"),
        "limit": limit,
        "before": before,
    }
    if session.as_json:
        session.pass_through("/history", **query)
        return
    answer = session.client.get("/history", **query)
    _print_jobs(session, answer, columns, header=not no_header, nobody="no jobs")


def _states(given: Sequence[str]) -> list[str]:
    if not given:
        return []
    from gpuboard.cli.words import STATES

    states = [part.strip().lower() for text in given for part in text.split(",") if part.strip()]
    for state in states:
        if state not in STATES:
            raise InvalidRequest(
                f"--state: there is no state '{state}'", hint=f"one of {', '.join(STATES)}"
            )
    return states


def _print_jobs(
    session: Session, answer: dict[str, Any], columns: str, *, header: bool, nobody: str
) -> None:
    jobs = answer["jobs"]
    if session.quiet:
        for job in jobs:
            print(job["id"])
        return
    from gpuboard.cli.jobtable import print_jobs

    if not jobs:
        session.note(nobody)
        return
    print_jobs(answer, columns, header=header)
    if answer["total"] > len(jobs):
        session.note(f"{len(jobs)} of {answer['total']} shown (--limit)")
