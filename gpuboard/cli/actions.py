"""What is done to jobs: `cancel`, `hold`, `release`, `update`. One answer a job, exit 1 when one failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from gpuboard.cli import words
from gpuboard.cli.completion import complete_jobs
from gpuboard.cli.options import refuse_empty
from gpuboard.cli.request import client_zone
from gpuboard.cli.session import Session, json_option, pass_session, quiet_option
from gpuboard.errors import InvalidRequest
from gpuboard.model.text import plain

_PERMISSION = 5

_some_jobs = click.argument(
    "jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_jobs
)


@click.command("cancel", short_help="Cancel jobs.")
@_some_jobs
@click.option("-f", "--force", is_flag=True, help="SIGKILL at once, no grace.")
@json_option
@quiet_option("Say only what failed.")
@pass_session
def cancel(session: Session, *, jobs: Sequence[str], force: bool) -> int:
    """Cancel jobs: queued ones end at once, running ones get their stop signal and a grace.

    Jobs are named by number, range (4-7), `@` for my last submission, or name, in which a * stands
    for anything. The number of an array, which is that of its first job, means all of it, and 24_3
    one of it.
    """
    return _act(session, "/jobs/cancel", {"jobs": list(jobs), "force": force})


@click.command("hold", short_help="Hold queued jobs back.")
@_some_jobs
@json_option
@quiet_option("Say only what failed.")
@pass_session
def hold(session: Session, jobs: Sequence[str]) -> int:
    """Hold queued jobs back until they are released."""
    return _act(session, "/jobs/hold", {"jobs": list(jobs)})


@click.command("release", short_help="End a hold.")
@_some_jobs
@json_option
@quiet_option("Say only what failed.")
@pass_session
def release(session: Session, jobs: Sequence[str]) -> int:
    """End the hold of jobs."""
    return _act(session, "/jobs/release", {"jobs": list(jobs)})


@click.command("update", short_help="Change jobs that have not ended.")
@_some_jobs
@click.option(
    "-t",
    "--time",
    "time_limit",
    metavar="SPAN",
    help="New limit: 2h, or +30m, -30m from the present one.",
)
@click.option("-J", "--name", help="New name.")
@click.option(
    "-g", "--gpus", type=click.IntRange(0), metavar="N", help="How many GPUs (queued jobs)."
)
@click.option(
    "--begin", "--at", "begin", metavar="TIME", help="Not before (queued jobs); 'now' clears it."
)
@click.option("--note", metavar="TEXT", help="A note to yourself.")
@click.option(
    "--preemptible/--no-preemptible", default=None, help="Whether it may be stopped for others."
)
@click.option("-A", "--account", metavar="GROUP", help="Group to charge (queued jobs).")
@click.option("--class", "--qos", "class_name", metavar="NAME", help="Class (queued jobs).")
@json_option
@quiet_option("Say only what failed.")
@pass_session
def update(session: Session, /, *, jobs: Sequence[str], **changes: Any) -> int:
    """Change jobs that have not ended; what is not named stays as it is."""
    named = {key: value for key, value in changes.items() if value is not None}
    if not named:
        raise InvalidRequest("there is nothing to change", hint="gpuboard update --help")
    refuse_empty(named)
    if "class_name" in named:
        named["class"] = named.pop("class_name")
    if "begin" in named and client_zone():
        from gpuboard.cli.times import instant

        named["begin"] = instant(named["begin"], "--begin")
    return _act(session, "/jobs/update", {"jobs": list(jobs), **named})


def _say_arrays(
    session: Session, selectors: Sequence[str], results: Sequence[dict[str, Any]]
) -> None:
    """Say of each word that stood for a whole array that it did."""
    arrays = {result["job"].get("array_id") for result in results if result.get("job")}
    for word in (part for text in selectors for part in text.replace(",", " ").split()):
        if word == "@" and len(arrays) == 1:
            word = str(*arrays)  # noqa: PLW2901 (what is said below is said of the array)
        members = [
            result["job"]["array_index"]
            for result in results
            if result.get("job") and str(result["job"].get("array_id")) == word
        ]
        if len(members) > 1:
            session.note(
                f"{word} is an array: all {len(members)} of it are meant"
                f" ({word}_{members[0]} would be one of them)"
            )


def _act(session: Session, path: str, body: dict[str, Any]) -> int:
    answer = session.client.post(path, body)
    results = answer["results"]
    failed = [result for result in results if not result["ok"]]
    if session.as_json:
        session.answer(answer)
    else:
        _say_arrays(session, body["jobs"], results)
        for result in results:
            line = plain(result["words"])
            if not line.startswith("job "):
                line = f"job {words.job_id_words(result.get('job') or result)}: {line}"
            if not result["ok"]:
                print(f"error: {line}", file=sys.stderr)
            elif not session.quiet:
                print(line)
    if not failed:
        return 0
    return _PERMISSION if all(result["code"] == "permission" for result in results) else 1
