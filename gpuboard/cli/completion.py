"""`gpuboard completion SHELL`, and what is completed from the live box: job ids, images, GPUs.

A completion never starts a daemon, never waits long and never fails: without an answer there is
nothing to complete.
"""

from __future__ import annotations

from typing import Any

import click

from gpuboard.errors import GpuboardError

COMPLETE_VARIABLE = "_GPUBOARD_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PATIENCE_S = 1.0


@click.command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  gpuboard completion bash > ~/.local/share/bash-completion/completions/gpuboard
    zsh:   gpuboard completion zsh > "${fpath[1]}/_gpuboard"
    fish:  gpuboard completion fish > ~/.config/fish/completions/gpuboard.fish
    """
    print(completion_script(shell), end="")


def completion_script(shell: str) -> str:
    """Return the script that packaging/completions holds for this shell."""
    from click.shell_completion import ShellComplete, get_completion_class

    from gpuboard.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    # ShellComplete.source, not the shell's own: bash's runs `bash` to look at its version.
    text = ShellComplete.source(kind(cli, {}, "gpuboard", COMPLETE_VARIABLE))
    return text.strip() + "\n"


def _ask(path: str, **query: object) -> dict[str, Any]:
    from gpuboard.api.client import connect

    try:
        return connect(autostart=False, timeout_s=_PATIENCE_S).get(path, **query)
    except GpuboardError:
        return {}


def complete_jobs(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Complete the ids of the caller's live jobs."""
    from click.shell_completion import CompletionItem

    from gpuboard.model.text import plain

    jobs = _ask("/jobs", mine=True, limit=200).get("jobs", [])
    return [
        CompletionItem(str(job["id"]), help=plain(f"{job['name']} {job['state']}", 60))
        for job in jobs
        if str(job["id"]).startswith(incomplete)
    ]


def complete_images(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete local images."""
    from gpuboard.model.text import plain

    references = [image["reference"] for image in _ask("/images").get("images", [])]
    return [
        name
        for name in references
        if name.startswith(incomplete) and plain(name) == name and " " not in name
    ]


def complete_gpus(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Complete the last number of a list `2,3`."""
    from click.shell_completion import CompletionItem

    before, comma, last = incomplete.rpartition(",")
    taken = set(before.split(","))
    return [
        CompletionItem(before + comma + device["label"], help=device["state"])
        for device in _ask("/board").get("devices", [])
        if device["label"].startswith(last) and device["label"] not in taken
    ]


def complete_reservations(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the numbers of the caller's bookings."""
    bookings = _ask("/reservations", mine=True).get("reservations", [])
    return [str(one["id"]) for one in bookings if str(one["id"]).startswith(incomplete)]
