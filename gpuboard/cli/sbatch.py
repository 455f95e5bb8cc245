"""The `#SBATCH` options that scripts in the wild have, in gpuboard's flags (sbatch(1), Slurm 25.05).

What has no meaning on one box is left out with a warning that names it, and so is what is unknown:
a script never fails for a line that only a cluster needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Translation = tuple[tuple[str, ...], str]
"""Our flags, and a warning."""

_SHORT = {
    "J": "job-name", "t": "time", "c": "cpus-per-task", "a": "array", "d": "dependency",
    "b": "begin", "G": "gpus", "H": "hold", "D": "chdir", "o": "output", "e": "error",
    "p": "partition", "A": "account", "q": "qos", "N": "nodes", "n": "ntasks", "x": "exclude",
    "w": "nodelist", "C": "constraint", "i": "input", "k": "no-kill", "s": "oversubscribe",
    "L": "licenses", "M": "clusters", "Q": "quiet", "v": "verbose", "W": "wait",
}  # fmt: skip
_FLAGS = frozenset(
    {
        "hold",
        "requeue",
        "no-requeue",
        "exclusive",
        "oversubscribe",
        "no-kill",
        "quiet",
        "verbose",
        "wait",
        "parsable",
    }
)
"""Options without a value (or with one only after `=`)."""

_LOGS = frozenset({"output", "error", "open-mode"})
_CLUSTER = frozenset(
    {
        "partition", "account", "qos", "exclude", "nodelist", "constraint", "licenses", "clusters",
        "mail-type", "mail-user", "export", "nice", "ntasks-per-node", "ntasks-per-socket",
        "gpu-bind", "gpu-freq", "gpus-per-socket", "mem-bind", "mem-per-cpu",
        "mem-per-gpu", "switches", "exclusive", "oversubscribe", "no-kill", "quiet", "verbose",
        "wait", "parsable", "signal", "threads-per-core", "hint", "distribution", "get-user-env",
        "input", "kill-on-invalid-dep", "reservation", "tmp", "priority", "propagate",
    }
)  # fmt: skip
_GPU_COUNT = re.compile(
    r"(?:gpu:)?(?:([A-Za-z][^:()]*):)?([0-9]+)(?:\(.*\))?|gpu(?::([A-Za-z][^:()]*))?"
)


def translated(words: list[str]) -> Iterator[Translation]:
    """Yield the translation of each option on one `#SBATCH` line."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, value, shown = _split(word, rest)
        yield _translate(name, value, shown)


def _split(word: str, rest: list[str]) -> tuple[str, str, str]:
    """Return name, value, and the option as it was written; takes a value from `rest` when needed."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        shown = f"--{name}"
    elif len(word) > 1 and word.startswith("-"):
        shown, name, value = word[:2], _SHORT.get(word[1], word[1]), word[2:].removeprefix("=")
        equals = value
    else:
        return "", word, word
    if not equals and name not in _FLAGS and rest and not rest[0].startswith("-"):
        value = rest.pop(0)
    return name, value, shown


def _translate(name: str, value: str, shown: str) -> Translation:
    if name in _VALUES:
        return _VALUES[name](value)
    if name in _LOGS:
        return (), f"{shown} is left out: gpuboard keeps the output itself (`gpuboard logs`)"
    if name in _CLUSTER:
        return (), f"{shown} is left out: it has no meaning on one box"
    return (), f"{shown} is left out: gpuboard does not know it"


def _plain(flag: str) -> Callable[[str], Translation]:
    return lambda value: ((flag, value), "")


def _gpus(value: str) -> Translation:
    """Return the flags for `2`, `a100:2`, `gpu:2`, `gpu:a100:2` and `gpu`."""
    match = _GPU_COUNT.fullmatch(value)
    if match is None:
        return (), f"'{value}' is left out: only GPUs of one type can be asked for"
    kind, count = match[1] or match[3], match[2] or "1"
    return ("--gpus", count, *(("--gpu-type", kind) if kind else ())), ""


def _memory(value: str) -> Translation:
    """Slurm's bare number is megabytes, ours bytes; its 0 means all there is."""
    if value == "0":
        return (), ""
    return ("--memory", f"{value}m" if value.isdigit() else value), ""


def _begin(value: str) -> Translation:
    """`now+60` is seconds in Slurm."""
    bare = re.fullmatch(r"now\+([0-9]+)", value)
    return ("--begin", f"now+{bare[1]}s" if bare else value), ""


def _dependency(value: str) -> Translation:
    """`afterok:1:2,afterany:3,singleton` is what our flag takes too, one of them at a time."""
    flags: list[str] = []
    left: list[str] = []
    for part in value.split(","):
        kind, *jobs = part.split(":")
        if (kind in ("afterok", "afterany", "afternotok") and jobs) or part == "singleton":
            flags += ["--depends-on", part]
        else:
            left.append(part)
    return tuple(
        flags
    ), f"--dependency={','.join(left)} is left out: gpuboard does not know it" if left else ""


def _only_one(name: str) -> Callable[[str], Translation]:
    return lambda value: (
        (),
        "" if value in ("1", "1-1") else f"--{name}={value} is left out: a job is one task here",
    )


_VALUES: dict[str, Callable[[str], Translation]] = {
    "job-name": _plain("--name"),
    "time": _plain("--time"),
    "cpus-per-task": _plain("--cpus"),
    "cpus-per-gpu": _plain("--cpus-per-gpu"),
    "mem": _memory,
    "array": _plain("--array"),
    "dependency": _dependency,
    "begin": _begin,
    "gpus": _gpus,
    "gres": _gpus,
    "gpus-per-node": _gpus,
    "gpus-per-task": _gpus,
    "chdir": _plain("--workdir"),
    "comment": _plain("--note"),
    "requeue": lambda _value: (("--requeue",), ""),
    "no-requeue": lambda _value: (("--no-requeue",), ""),
    "hold": lambda _value: (("--hold",), ""),
    "nodes": _only_one("nodes"),
    "ntasks": _only_one("ntasks"),
}
