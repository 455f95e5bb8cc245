"""`daemon` and `demo`: commands that hand over to a part which is imported only then."""

from __future__ import annotations

from collections.abc import Sequence

import click

from gpuboard.cli.session import ascii_option


@click.command(
    "daemon",
    short_help="Run the daemon in the foreground.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def daemon(arguments: Sequence[str]) -> int:
    """Run the daemon in the foreground (as systemd does); `gpuboard daemon --help` lists its options."""
    from gpuboard.daemon.__main__ import main

    try:
        return main(list(arguments))
    except SystemExit as end:  # argparse: --help, or a wrong option
        return end.code if isinstance(end.code, int) else 1


@click.command("demo", short_help="Show it all on a simulated box.")
@ascii_option
def demo() -> int:
    """Show it all on a simulated box with a scripted lab: as the app, or in a pipe as a story in text."""
    from gpuboard.cli.demo import main

    return main()


@click.command("dial", short_help="Pass this box's daemon through: what --host calls over ssh.")
def dial() -> None:
    """Pass this box's daemon through on stdin and stdout: `gpuboard --host BOX` calls it over ssh."""
    import signal

    from gpuboard.api.client import connect, find_socket

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever called has gone: so do we
    connect(address=find_socket()).pass_through()
