"""Captured scripts: which interpreter the first line names, and what may be captured.

A job that is a script has the content, as it was when it was submitted, beside a command of its
name and arguments: `train.py --lr 3`. How it reaches the job is the runtimes' (`runtimes.scripts`).
"""

from __future__ import annotations

import re

from gpuboard.errors import InvalidRequest

MAX_BYTES = 120 * 1024
"""Linux takes no argument or variable beyond 128 KiB (execve(2), MAX_ARG_STRLEN)."""

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"})
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")


def interpreter(script: str) -> tuple[str, ...]:
    """Return the words of the first line; what `env` would look for is looked for by whoever starts it.

    Raises InvalidRequest when there is none.
    """
    first = script.split("\n", 1)[0].rstrip("\r")
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    if words and base_name(words[0]) == "env":
        rest = words[2:] if words[1:2] == ["-S"] else words[1:]
        if rest and not rest[0].startswith("-") and "=" not in rest[0]:
            words = rest
        elif not rest:
            words = []
    if not words:
        raise InvalidRequest(
            "the script's first line names no interpreter",
            hint="begin it with #!/bin/sh or #!/usr/bin/env python3",
            field="script",
        )
    return tuple(words)


def is_shell(script: str) -> bool:
    """Whether a shell interprets it: one takes a script as an argument, and can call it as one likes."""
    return base_name(interpreter(script)[0]) in _SHELLS


def is_python(script: str) -> bool:
    """Whether Python interprets it."""
    return base_name(interpreter(script)[0]).startswith("python")


def has_sbatch_lines(script: str) -> bool:
    """Whether it was written for Slurm."""
    return any(line.startswith("#SBATCH") for line in script.splitlines())


def check_script(script: str, command: tuple[str, ...]) -> None:
    """Refuse what cannot be captured. Raises InvalidRequest."""
    if not script:
        return
    interpreter(script)
    if len(script.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        raise InvalidRequest(
            f"a script may have at most {MAX_BYTES // 1024} KiB", field="script",
            hint="name its file in the command instead",
        )  # fmt: skip
    if "\0" in script:
        raise InvalidRequest("the script has a NUL in it", field="script")
    if not command:
        raise InvalidRequest("a script's command begins with its name", field="command")


def file_name(command: tuple[str, ...]) -> str:
    """Return the name of a script as that of a file in a folder of its own."""
    return _UNSAFE.sub("_", base_name(command[0]))[:100].lstrip(".") or "script"


def base_name(path: str) -> str:
    """Return the last part of a path."""
    return path.rsplit("/", 1)[-1]
