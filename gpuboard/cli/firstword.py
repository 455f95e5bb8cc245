"""The first word of `run` and `submit`: where it can only be a slip, say which, and the way out.

An image reference does not begin with `/`, `.` or `~`, and nobody calls an image `train.sh`: such a
word was meant as a script. Everything else is left to the daemon, which knows the images.
"""

# pathlib costs every command an import
# ruff: noqa: PTH111, PTH112, PTH113, PTH122

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from gpuboard.errors import InvalidRequest

_SCRIPTS = (".sh", ".bash", ".zsh", ".py", ".pl", ".rb", ".slurm", ".sbatch", ".job")
_PROGRAMS = {".py": "python", ".pl": "perl", ".rb": "ruby"}


def insist_on_image(words: Sequence[str]) -> None:
    """Raise InvalidRequest when the first word, which no script stands behind, is no image either."""
    word = words[0]
    is_path = word.startswith(("/", "./", "../", "~")) or word in (".", "..")
    if not is_path and not word.endswith(_SCRIPTS):
        return
    path = os.path.expanduser(word)
    if os.path.isdir(path):
        raise InvalidRequest(
            f"'{word}' is a directory, neither a script nor an image",
            hint="name a script, an image, or put -- before a command",
            field="command",
        )
    if not os.path.isfile(path):
        raise InvalidRequest(
            f"'{word}': no such file",
            hint="for a command put -- before it; an image of this name goes with --image",
            field="command",
        )
    raise InvalidRequest(
        f"'{word}' is no script: a script begins with #!, such as #!/bin/sh",
        hint=f"or put -- before the command: -- {_command(word, path)}",
        field="command",
    )


def _command(word: str, path: str) -> str:
    """Return the command that would run the file."""
    program = _PROGRAMS.get(os.path.splitext(word)[1], "")
    if not program and os.access(path, os.X_OK):
        return word if "/" in word else f"./{word}"
    return f"{program or 'sh'} {shlex.quote(word)}"
