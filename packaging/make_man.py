"""Write the man pages of every command, by click-man: `python packaging/make_man.py FOLDER`.

The pages are made from the commands themselves, so they say what the program does. gpuboard(1) gets
what belongs to all commands: exit codes, variables, files.
"""

from __future__ import annotations

import argparse
import sys
from inspect import cleandoc
from pathlib import Path

import click
from click_man.core import write_man_pages

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpuboard import __version__
from gpuboard.cli.main import cli
from gpuboard.daemon.__main__ import parser as daemon_parser

COMMON = r"""
.SH EXIT STATUS
.TP
\fB0\fP
done
.TP
\fB1\fP
failed or refused
.TP
\fB2\fP
the command line is wrong
.TP
\fB3\fP
the daemon cannot be reached
.TP
\fB4\fP
timed out while waiting
.TP
\fB5\fP
not permitted
.TP
\fB6\fP
asked too fast: try again in a moment
.TP
\fB130\fP
interrupted
.PP
\fBgpuboard run\fP and \fBgpuboard wait\fP end with the job's own exit code (of several jobs the
highest), which is never 0 for a job that did not succeed.
.SH ENVIRONMENT
.TP
\fBGPUBOARD_SOCKET\fP
The daemon's socket. Without it: /run/gpuboard/gpuboard.sock where gpuboard is installed for the box
(/run/gpuboard or /etc/gpuboard/config.toml is there), else your own daemon, which is started in the
background when it is first needed.
.TP
\fBNO_COLOR\fP
No colours when set.
.TP
\fBTZ\fP
The zone in which times are read and shown.
.PP
In a job: \fBCUDA_VISIBLE_DEVICES\fP, \fBCUDA_DEVICE_ORDER\fP, \fBGPUBOARD_JOB_ID\fP,
\fBGPUBOARD_ATTEMPT\fP, \fBGPUBOARD_ARRAY_INDEX\fP.
.SH FILES
.TP
\fI/etc/gpuboard/config.toml\fP
The box's configuration; every key is explained there.
"""


def main(folder: Path) -> None:
    """Write all pages into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _load(cli)
    write_man_pages("gpuboard", cli, version=__version__, target_dir=str(folder))
    with (folder / "gpuboard.1").open("a") as page:
        page.write(COMMON)
    with (folder / "gpuboard-daemon.1").open("a") as page:
        page.write(_daemon_options())


def _daemon_options() -> str:
    """Return the options of the daemon, which click passes through unread."""
    found = [".SH OPTIONS\n"]
    for option in daemon_parser()._actions:  # noqa: SLF001 - argparse has no other list of them
        if option.help is argparse.SUPPRESS or not option.option_strings:
            continue
        names = ", ".join(f"\\fB{name}\\fP" for name in option.option_strings)
        takes = "" if option.nargs == 0 else f" \\fI{option.dest.upper()}\\fP"
        found.append(f".TP\n{names}{takes}\n{option.help}\n".replace("-", "\\-"))
    return "".join(found)


def _load(group: click.Group) -> None:
    """Put the group's lazy commands where click-man looks, their help without click's marks."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        group.commands[name] = command
        if isinstance(command, click.Group):
            _load(command)
    for command in (group, *group.commands.values()):
        command.help = _without_marks(command.help or "")


def _without_marks(help: str) -> str:
    """Return the help with each line of an example (a paragraph that begins with \\b) as a paragraph."""
    paragraphs = [
        part.removeprefix("\b\n").replace("\n", "\n\n") if part.startswith("\b") else part
        for part in cleandoc(help).split("\n\n")
    ]
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
