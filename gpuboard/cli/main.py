"""The entry of `gpuboard`: a table of commands that are loaded only when asked for, and one border
where every error becomes `error: ...`, `hint: ...` and an exit code.
"""

from __future__ import annotations

import errno
import os
import sys
from _thread import get_ident
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from gpuboard.cli.session import Session, ascii_option, is_for_ascii, json_text, speak_ascii
from gpuboard.errors import GpuboardError, InvalidRequest
from gpuboard.model.text import plain

INTERRUPTED = 130
BROKEN_PIPE = 141

COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("Jobs", "submit:run", "Run a job, follow its output, give its exit code."),
    "submit": ("Jobs", "submit:submit", "Put a job into the queue and return."),
    "ps": ("Jobs", "lists:ps", "List jobs that have not ended."),
    "show": ("Jobs", "jobs:show", "Show everything of a job."),
    "why": ("Jobs", "jobs:why", "Say why a job waits and when it starts."),
    "logs": ("Jobs", "logs:logs", "Print a job's output, or follow it."),
    "wait": ("Jobs", "jobs:wait", "Wait until jobs have ended; give their exit code."),
    "cancel": ("Jobs", "actions:cancel", "Cancel jobs."),
    "hold": ("Jobs", "actions:hold", "Hold queued jobs back."),
    "release": ("Jobs", "actions:release", "End a hold."),
    "update": ("Jobs", "actions:update", "Change jobs that have not ended."),
    "history": ("Jobs", "lists:history", "List jobs of the record, newest first."),
    "gpus": ("Box", "board:gpus", "Show every GPU: who has it, until when."),
    "board": ("Box", "board:board", "Open the app, or print the board as text."),
    "top": ("Box", "board:top", "Watch the GPUs: the app, or a few lines under the prompt."),
    "timeline": ("Box", "timeline:timeline", "Print bookings and runs as bars, a row a GPU."),
    "usage": ("Box", "usage:usage", "Show who used how much, and fair share."),
    "images": ("Box", "board:images", "List the images that jobs may use."),
    "doctor": ("Box", "board:doctor", "Say what is wrong with the box and what mends it."),
    "reserve": ("Bookings", "bookings:reserve", "Book GPUs: gpuboard reserve 2 1h30m."),
    "reservations": ("Bookings", "bookings:reservations", "List bookings."),
    "unreserve": ("Bookings", "unreserve:unreserve", "Cancel bookings."),
    "simulate": (
        "Box",
        "simulate:simulate",
        "Compare policies on a trace, or on the box's own past.",
    ),
    "admin": ("Box", "admin:admin", "Drain, notices, maintenance, configuration, database."),
    "daemon": ("Box", "starters:daemon", "Run the daemon in the foreground."),
    "demo": ("Box", "starters:demo", "Show it all on a simulated box."),
    "dial": ("Box", "starters:dial", "Pass this box's daemon through: what --host calls over ssh."),
    "completion": ("Box", "completion:completion", "Print the completion script of a shell."),
}
"""Name -> section of the help, `module:attribute` below gpuboard.cli, short help."""
LOCAL = frozenset({"daemon", "demo", "dial", "completion"})
"""Commands that another box has no part in."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their help lines are in the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        from importlib import import_module

        module, _, attribute = row[1].partition(":")
        command: click.Command = getattr(import_module(f"gpuboard.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, or fail with the nearest name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise _unknown_command(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table by section, without importing a command."""
        for section in ("Jobs", "Bookings", "Box"):
            rows = [(name, row[2]) for name, row in COMMANDS.items() if row[0] == section]
            with formatter.section(section):
                formatter.write_dl(rows)


def _unknown_command(name: str) -> InvalidRequest:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    return InvalidRequest(
        f"there is no command '{plain(name, 60)}'",
        hint=f"did you mean 'gpuboard {near[0]}'?"
        if near
        else "gpuboard --help lists the commands",
    )


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from gpuboard import __version__

        print(f"gpuboard {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.option(
    "-H",
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Another box, over ssh: box2, user@box2. Several in the app: a tab each.",
)
@ascii_option
@click.pass_context
def cli(ctx: click.Context, hosts: tuple[str, ...]) -> int:
    """Book a GPU, run a container on it, watch it.

    Without a command: the terminal app, or, when the output is not a terminal, the board as text.

    Jobs are named by number (12), range (4-7), @ (my last), name (train, sweep*), or, of an array,
    24 for all of it and 24_3 for one.
    """
    session: Session = ctx.obj
    session.hosts = hosts
    if ctx.invoked_subcommand is not None:
        if hosts and ctx.invoked_subcommand in LOCAL:
            raise InvalidRequest(
                f"'gpuboard {ctx.invoked_subcommand}' is about this box",
                hint="leave out --host",
                field="host",
            )
        return 0
    from gpuboard.cli.board import open_board

    return open_board(session)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (STYLE.md lists them)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if is_for_ascii() and sys.stdout.isatty():  # in a pipe names go through as they are
        speak_ascii()
    session = Session()
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _call(session, args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout at exit: let that go nowhere (docs: signal, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: cannot write the answer: {error.strerror}", file=sys.stderr)
        return 1
    return code


def run() -> NoReturn:
    """Be the whole process: run the command line and end with its exit code.

    A command that started no thread and no event loop ends at once: Python would spend as long on
    taking its modules apart as on all that the command did.
    """
    code = main()
    if "asyncio" in sys.modules or sys._current_frames().keys() != {get_ident()}:  # noqa: SLF001
        sys.exit(code)
    sys.stderr.flush()
    os._exit(code)


def _call(session: Session, args: list[str]) -> int:
    try:
        result = cli.main(args=args, prog_name="gpuboard", standalone_mode=False, obj=session)
    except (KeyboardInterrupt, click.Abort):
        _report(session, {"code": "interrupted", "message": "interrupted", "hint": ""})
        return INTERRUPTED
    except GpuboardError as error:
        _report(session, error.to_json())
        return error.exit_code
    except click.ClickException as error:
        if not session.as_json and "--json" in _own_part(args):
            session.as_json = True  # the parser gave up before it came to --json
        _report(session, _usage_error(error))
        return error.exit_code
    return result if isinstance(result, int) else 0


def _own_part(args: list[str]) -> list[str]:
    return args[: args.index("--")] if "--" in args else args


def _usage_error(error: click.ClickException) -> dict[str, str]:
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"{error.ctx.command_path} --help"
    return {"code": "invalid", "message": error.format_message(), "hint": hint}


def _report(session: Session, error: dict[str, Any]) -> None:
    """Say what went wrong on stderr, and with `--json` also as the one value on stdout."""
    print(f"error: {_for_a_person(error['message'])}", file=sys.stderr)
    if error["hint"]:
        print(f"hint: {_for_a_person(error['hint'])}", file=sys.stderr)
    if session.as_json and not session.has_written:
        print(json_text({"error": error}))


def _for_a_person(text: str) -> str:
    if "Z" in text:  # perhaps an instant
        from gpuboard.cli.words import at_ms, localised

        text = localised(text, at_ms({}))
    return plain(text)


if __name__ == "__main__":
    run()
