"""`run` and `submit`: what they share, a job asked for; how they differ, whether one waits for its end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from gpuboard.cli import follow, words
from gpuboard.cli.completion import complete_words
from gpuboard.cli.foreground import Foreground, follow_to_the_end
from gpuboard.cli.options import JOB_OPTIONS, START_OPTIONS, given
from gpuboard.cli.request import FLAGS, gather
from gpuboard.cli.session import Session, json_option, quiet_option
from gpuboard.cli.template import flags_over, over_template, template_of
from gpuboard.errors import GpuboardError, InvalidRequest, Refused, TimedOut, Unavailable
from gpuboard.model.durations import parse_duration

_NOW_S = 5.0
"""`--nonblock`: the engine decides on a new job at once; past this it did not start."""

_SETTINGS = {"allow_interspersed_args": False}


class JobCommand(click.Command):
    """A command whose words after the options are IMAGE and COMMAND, left as they are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and note whether `--` stood before the words."""
        given_args = list(args)
        rest = super().parse_args(ctx, args)
        count = len(ctx.params.get("argv", ()))
        ctx.meta["after_dashes"] = 0 < count < len(given_args) and given_args[-count - 1] == "--"
        return rest


class Submission(NamedTuple):
    """A request, and how it is meant."""

    body: dict[str, Any]
    dry_run: bool
    nonblock: bool
    patience_s: int | None


_argv_argument = click.argument(
    "argv",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[IMAGE | SCRIPT] [--] [COMMAND]...",
    shell_complete=complete_words,
)


@click.command(
    "submit", cls=JobCommand, params=[*JOB_OPTIONS, *START_OPTIONS], context_settings=_SETTINGS,
    short_help="Put a job into the queue and return.",
)  # fmt: skip
@_argv_argument
@json_option
@quiet_option("Print only the job's number.")
@click.pass_context
def submit(ctx: click.Context, /, argv: Sequence[str], **_flags: Any) -> int:
    """Put a job into the queue and return.

    The first word is the image, the rest the command, as with docker; all after `--`, or with
    --image or --process, is the command. A file that begins with #! is a script: its content is
    taken now, and its #GPUBOARD lines (and the common #SBATCH ones) count as flags.

    \b
    gpuboard submit -g 2 -t 2h pytorch:2 python train.py
    gpuboard submit -g 1 -t 30m -- python train.py
    gpuboard submit train.sh
    """
    session: Session = ctx.obj
    asked = _submission(ctx, argv)
    if asked.dry_run:
        return _say_dry_run(session, asked)
    answer = _submitted(session, asked)
    if asked.nonblock or asked.patience_s is not None:
        _await_start(session, answer["ids"][0], asked)  # of an array: its first element, for all
    _say_submitted(session, answer)
    return 0


@click.command(
    "run", cls=JobCommand, params=[*JOB_OPTIONS, *START_OPTIONS], context_settings=_SETTINGS,
    short_help="Run a job, follow its output, give its exit code.",
)  # fmt: skip
@_argv_argument
@json_option
@quiet_option("Say nothing but what the job says, and how it failed.")
@click.pass_context
def run(ctx: click.Context, /, argv: Sequence[str], **_flags: Any) -> int:
    """Run a job: wait for its turn, show its output, end with its exit code.

    IMAGE, COMMAND and scripts are told apart as by `gpuboard submit`. ^C cancels the job; a second
    ^C leaves at once. When the terminal goes away, the job goes on (gpuboard logs -f @). With
    --json the output goes to stderr, and the job as it ended to stdout.

    \b
    gpuboard run -g 1 pytorch:2 python train.py
    gpuboard run -g 1 -t 10m -- ./bench
    """
    session: Session = ctx.obj
    asked = _submission(ctx, argv)
    if asked.dry_run:
        return _say_dry_run(session, asked)
    if "array" in asked.body:
        raise InvalidRequest(
            "--array: run follows one job",
            hint="gpuboard submit --array ..., then gpuboard wait",
            field="array",
        )
    with Foreground(session) as foreground:
        try:
            job_id = _submitted(session, asked)["ids"][0]
            foreground.adopt(job_id)
            if asked.nonblock or asked.patience_s is not None:
                _await_start(session, job_id, asked)
            job = follow_to_the_end(session, job_id)
        except KeyboardInterrupt:
            session.note("the job is being stopped")
            return 128 + foreground.signal_number
    if session.as_json:
        session.answer({"schema": 1, "job": job})
    if job["state"] != "succeeded":
        session.tell(f"job {job_id} {words.end_words(job)}")
    if foreground.signal_number:
        return 128 + foreground.signal_number
    return follow.exit_code(job)


def _submission(ctx: click.Context, argv: Sequence[str]) -> Submission:
    flags = given(ctx)
    session: Session = ctx.obj
    named = flags.pop("template", None)
    template = template_of(session, named) if named else {}
    flags = flags_over(template, flags)
    after_dashes = ctx.meta["after_dashes"] or bool(template and not template.get("image"))
    body, warnings = gather(flags, argv, after_dashes=after_dashes, is_remote=session.is_remote)
    if template:
        body = over_template(template, body, flags)
    for warning in warnings:
        session.warn(warning)
    if "command" not in body and "image" not in body:
        raise InvalidRequest(
            "there is nothing to run", hint=f"{ctx.command_path} --help", field="command"
        )
    patience = flags.get("patience")
    return Submission(
        body=body,
        dry_run=bool(flags.get("dry_run")),
        nonblock=bool(flags.get("nonblock")),
        patience_s=None if patience is None else parse_duration(patience, field="--wait"),
    )


def _post(session: Session, body: dict[str, Any], **query: object) -> dict[str, Any]:
    """Post the submission; errors name the flag instead of the field."""
    try:
        return session.client.post("/jobs", body, **query)
    except GpuboardError as error:
        flag = FLAGS.get(error.field)
        if flag and error.message.startswith(f"{error.field}:"):
            error.message = flag + error.message.removeprefix(error.field)
        if error.code in ("invalid", "not_found", "refused") and error.field == "image":
            error.hint = error.hint or "for a plain process put -- before the command"
        raise


def _submitted(session: Session, asked: Submission) -> dict[str, Any]:
    """Submit once: a lost answer is asked for again under the same token."""
    if asked.nonblock:
        forecast = _post(session, asked.body, dry_run=True)
        if not forecast["would_start_now"]:
            raise Refused(
                f"it cannot start now: {forecast['words']}", hint="leave out --nonblock to queue it"
            )
    body = asked.body | {"token": os.urandom(16).hex()}
    try:
        return _post(session, body)
    except Unavailable as error:
        if isinstance(error.__cause__, (FileNotFoundError, ConnectionRefusedError)):
            raise  # nobody was there to take it
        return follow.patiently(session, lambda: _post(session, body), patience_s=10.0)


def _await_start(session: Session, job_id: int, asked: Submission) -> None:
    """Wait for the start; cancel and raise when it does not come (TimedOut; Refused for --nonblock)."""
    seconds = _NOW_S if asked.nonblock else float(asked.patience_s or 0)
    try:
        follow.wait_for(
            session, job_id, lambda job: job["state"] != "queued", until=time.monotonic() + seconds
        )
    except TimedOut as error:
        session.client.post("/jobs/cancel", {"jobs": [str(job_id)]})
        if asked.nonblock:
            raise Refused(f"job {job_id} did not start at once and was cancelled") from error
        raise TimedOut(
            f"job {job_id} did not start within {words.span(seconds)} and was cancelled",
            hint="gpuboard submit leaves it in the queue",
        ) from error


def _say_dry_run(session: Session, asked: Submission) -> int:
    answer = _post(session, asked.body, dry_run=True)
    code = 1 if asked.nonblock and not answer["would_start_now"] else 0
    if session.as_json:
        session.answer(answer)
        return code
    from gpuboard.model.text import plain

    on = f" on GPU {words.devices_words(answer['devices'])}" if answer["devices"] else ""
    if answer["would_start_now"]:
        print(f"would start now{plain(on)}")
    else:
        when = words.start_words(answer, words.at_ms({}))
        print(f"would wait{plain(f', start {when}' if when else '')}{plain(on)}")
    paragraph = answer["words"]  # the server's has the causes in it
    causes = [cause["words"] for cause in answer["causes"]]
    more = [line for line in causes if line[1:] not in paragraph]
    for line in (paragraph, *more, *answer.get("notices", ())):
        if line:
            print(f"  {plain(line)}")
    if answer["command_line"]:
        print(f"  {plain(answer['command_line'])}")
    return code


def _say_submitted(session: Session, answer: dict[str, Any]) -> None:
    if session.as_json:
        session.answer(answer)
    elif session.quiet:
        print(*answer["ids"], sep="\n")
    else:
        from gpuboard.model.text import plain

        ids: list[int] = answer["ids"]
        none: dict[str, Any] = {"state": "queued", "reason": ""}
        first = answer["jobs"][0] if answer["jobs"] else none
        reason = f": {plain(first['reason'])}" if first["reason"] not in ("", "waiting") else ""
        kind = "job" if len(ids) == 1 else f"{len(ids)} jobs"
        if first.get("array_id") is not None:
            kind = f"array {first['array_id']} of {kind}"
        print(f"{kind} {words.id_words(ids)} {first['state']}{reason}")
        for port in first.get("ports", ()):
            print(f"  port {words.port_words(port)}")
