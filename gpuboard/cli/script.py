"""Job scripts: their `#GPUBOARD` lines, the common `#SBATCH` ones, and how they reach the job.

Directives stand in the comments before the first command, as in Slurm. Where both kinds say
something, #GPUBOARD wins. The content is captured at submission and handed to the interpreter of
the script's first line (`bash -c CONTENT train.sh ARGS...`), so the job needs no file of ours,
neither on the box nor in an image. In it `$0` is the script's name and `$@` its arguments.
"""

# pathlib costs every command an import
# ruff: noqa: PTH113, PTH119, PTH123

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from gpuboard.errors import InvalidRequest
from gpuboard.model.scripts import MAX_BYTES, check_script


class Directive(NamedTuple):
    """One directive line, as our own flags."""

    number: int
    arguments: tuple[str, ...] = ()
    warning: str = ""


class Script(NamedTuple):
    """A script as it was when it was submitted."""

    path: str
    content: str

    @property
    def name(self) -> str:
        """Return the file's name: the job's name unless another is given."""
        return "script" if self.path == "-" else os.path.basename(self.path)

    @property
    def word(self) -> str:
        """Return what stands for it in the command: the path as it was given, which is the script's `$0`."""
        return self.name if self.path == "-" else self.path

    def directives(self) -> Iterator[Directive]:
        """Yield the directive lines, #SBATCH before #GPUBOARD, each with its line number."""
        from gpuboard.cli.sbatch import translated

        ours: list[Directive] = []
        for number, line in enumerate(self.content.split("\n"), start=1):
            text = line.strip()
            if text and not text.startswith("#"):
                break
            kind, _, rest = text.partition(" ")
            if kind == "#GPUBOARD":
                ours.append(Directive(number, tuple(self._words(number, rest))))
            elif kind == "#SBATCH":
                yield from (
                    Directive(number, *line) for line in translated(self._words(number, rest))
                )
        yield from ours

    def _words(self, number: int, text: str) -> list[str]:
        try:
            return shlex.split(without_comment(text))
        except ValueError as error:
            raise InvalidRequest(
                f"{self.path}:{number}: {error}", hint="close the quotation marks"
            ) from error


def read(path: str) -> Script | None:
    """Return the script that `path` names (`-`: stdin), None when that is not a file with `#!`.

    Raises InvalidRequest for a script that cannot be captured: too long, or not text.
    """
    content = _content(path)
    if content is None or not content.startswith(b"#!"):
        if path == "-":
            raise InvalidRequest(
                "what came on stdin does not begin with #!", hint="begin the script with #!/bin/sh"
            )
        return None
    if len(content) > MAX_BYTES:
        raise InvalidRequest(
            f"{path}: a script may have at most {MAX_BYTES // 1024} KiB, this one has {len(content) // 1024}",
            hint=f"run it from its file: gpuboard submit [OPTIONS] -- sh {path}",
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: the script is not UTF-8 text") from error
    found = Script(path, text.replace("\r\n", "\n"))
    try:
        check_script(found.content, (found.name,))
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.message}", hint=error.hint) from None
    return found


def _content(path: str) -> bytes | None:
    if path == "-":
        import sys

        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        return None


def without_comment(text: str) -> str:
    """Return a directive without the comment at its end: a `#` after a space, outside quotation marks."""
    quote = ""
    for n, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (n == 0 or text[n - 1].isspace()):
            return text[:n]
    return text
