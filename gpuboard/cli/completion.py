"""`gpuboard completion SHELL`, and what is completed from the live box: job ids, images, GPUs.

A completion never starts a daemon, never waits long and never fails: without an answer there is
nothing to complete.
"""

from __future__ import annotations

from typing import Any

import click

from gpuboard.errors import GpuboardError

_PATIENCE_S = 1.0

_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_REFERENCE_CHARACTERS = _NAME_CHARACTERS | frozenset("/:@")
"""Of image references: a shell puts what is completed on the command line as it comes."""

# What the command answers to _GPUBOARD_COMPLETE is click's protocol ("Shell Completion" in its
# manual). bash splits words at `:`, which image names have: so it is given whole words, and the
# part before the last `:` is taken off again.
_BASH = r"""# bash completion for gpuboard: the command itself knows what can come next
_gpuboard() {
    local line=${COMP_LINE:0:COMP_POINT} prefix="" kind value
    local -a typed
    read -ra typed <<<"$line"
    [[ $line == *[[:space:]] ]] && typed+=("")
    local last=$((${#typed[@]} - 1))
    [[ ${typed[last]} == *:* ]] && prefix=${typed[last]%"${typed[last]##*:}"}
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("${value#"$prefix"}") ;;
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_CWORD=$last _GPUBOARD_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _gpuboard gpuboard
"""

_ZSH = r"""#compdef gpuboard
# zsh completion for gpuboard: the command itself knows what can come next
_gpuboard() {
    local -a answer bare described
    local kind value about
    local -x COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) _GPUBOARD_COMPLETE=zsh_complete
    answer=("${(@f)$(gpuboard 2>/dev/null)}")
    for kind value about in "${answer[@]}"; do
        case $kind in
            plain) if [[ $about == _ ]]; then bare+=("$value"); else described+=("$value:$about"); fi ;;
            dir) _path_files -/ ;;
            file) _path_files -f ;;
        esac
    done
    (( $#described )) && _describe -V gpuboard described -U
    (( $#bare )) && compadd -U -V gpuboard -a bare
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _gpuboard "$@"
else
    compdef _gpuboard gpuboard
fi
"""

_FISH = r"""# fish completion for gpuboard: the command itself knows what can come next
function __gpuboard_complete
    set -lx _GPUBOARD_COMPLETE fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD (commandline -t)
    for line in (gpuboard 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case plain
                echo $parts[2]
            case dir
                __fish_complete_directories (commandline -t)
            case file
                __fish_complete_path (commandline -t)
        end
    end
end
complete --no-files --command gpuboard --arguments "(__gpuboard_complete)"
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(list(_SCRIPTS)))
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
    return _SCRIPTS[shell]


def _ask(path: str, **query: object) -> dict[str, Any]:
    from gpuboard.api.client import connect

    try:
        return connect(autostart=False, timeout_s=_PATIENCE_S).get(path, **query)
    except GpuboardError:
        return {}


def complete_jobs(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Complete the numbers of the caller's live jobs, then their names."""
    from click.shell_completion import CompletionItem

    from gpuboard.cli.words import job_id_words
    from gpuboard.model.text import plain

    jobs = _ask("/jobs", mine=True, limit=200).get("jobs", [])
    found = {job_id_words(job): plain(f"{job['name']} {job['state']}", 60) for job in jobs}
    for job in jobs:
        if incomplete and _NAME_CHARACTERS.issuperset(job["name"]):
            found.setdefault(job["name"], "job of this name")
    return [
        CompletionItem(word, help=about)
        for word, about in found.items()
        if word.startswith(incomplete)
    ]


def complete_runtimes(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete what runs jobs on this box."""
    runtimes = _ask("/board").get("host", {}).get("runtimes", {})
    return [name for name in runtimes if name.startswith(incomplete)]


def complete_gpu_types(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete a word of the product names of this box's GPUs, such as `a100`."""
    wanted = incomplete.lower()
    names = [device["name"] for device in _ask("/board").get("devices", [])]
    types = dict.fromkeys(_type_word(name).lower() for name in names)
    return [word for word in types if word.startswith(wanted) and _NAME_CHARACTERS.issuperset(word)]


def _type_word(name: str) -> str:
    """Return the word of a product name that tells it apart: the first with a digit in it."""
    words = [part for word in name.split() for part in word.split("-")]
    return next((word for word in words if any(map(str.isdigit, word))), words[-1] if words else "")


def complete_images(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Complete local images."""
    from click.shell_completion import CompletionItem

    references = [image["reference"] for image in _ask("/images").get("images", [])]
    return [
        CompletionItem(name)
        for name in references
        if name.startswith(incomplete) and _REFERENCE_CHARACTERS.issuperset(name)
    ]


def complete_templates(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[Any]:
    """Complete one of the lab's templates."""
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(template["name"], help=template["about"])
        for template in _ask("/templates").get("templates", [])
        if template["name"].startswith(incomplete)
    ]


def complete_words(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Complete IMAGE or SCRIPT, then the files that a command names."""
    from click.shell_completion import CompletionItem

    files = CompletionItem(incomplete, type="file")
    has_image = any(ctx.params.get(name) for name in ("argv", "image", "process", "runtime"))
    return [files] if has_image else [*complete_images(ctx, parameter, incomplete), files]


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
