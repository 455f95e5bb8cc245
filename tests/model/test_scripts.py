"""Captured scripts: the interpreter of the first line, and what is refused."""

from __future__ import annotations

import pytest

from gpuboard.errors import InvalidRequest
from gpuboard.model.scripts import (
    MAX_BYTES,
    check_script,
    file_name,
    has_sbatch_lines,
    interpreter,
    is_python,
    is_shell,
)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("#!/bin/sh", ("/bin/sh",)),
        ("#!/bin/bash -l", ("/bin/bash", "-l")),
        ("#!/usr/bin/env bash", ("bash",)),
        ("#!/usr/bin/env -S python3 -u", ("python3", "-u")),
        ("#!/usr/bin/env -S A=1 python3", ("/usr/bin/env", "-S", "A=1", "python3")),
        ("#! /usr/bin/perl\r", ("/usr/bin/perl",)),
        ('#! /bin/sh -"', ("/bin/sh", '-"')),
        ("#!/usr/bin/awk -f", ("/usr/bin/awk", "-f")),
    ],
)
def test_interpreter_is_the_first_lines(first: str, words: tuple[str, ...]) -> None:
    assert interpreter(f"{first}\nrest\n") == words


def test_kinds_are_told_by_the_interpreters_name() -> None:
    assert is_shell("#!/usr/bin/env bash\n")
    assert not is_shell("#!/usr/bin/env python3\n")
    assert is_python("#!/opt/venv/bin/python3.11\n")
    assert has_sbatch_lines("#!/bin/sh\n#SBATCH -n 1\n")
    assert not has_sbatch_lines("#!/bin/sh\necho '#SBATCH'\n")


@pytest.mark.parametrize(
    ("script", "command", "field"),
    [
        ("echo\n", ("x",), "script"),
        ("#!\n", ("x",), "script"),
        ("#!/usr/bin/env\n", ("x",), "script"),
        ("#!/bin/sh\n" + "x" * MAX_BYTES, ("x",), "script"),
        ("#!/bin/sh\n\0", ("x",), "script"),
        ("#!/bin/sh\n", (), "command"),
    ],
)
def test_what_cannot_be_captured_is_refused(
    script: str, command: tuple[str, ...], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_script(script, command)
    assert caught.value.field == field
    check_script("", ())


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("a/b/train.py", "train.py"),
        ("../../etc/passwd", "passwd"),
        ("..", "script"),
        ("x/", "script"),
        (".part", "part"),
        ("a\n$(x) é.py", "a___x___.py"),
    ],
)
def test_file_name_stays_in_its_folder(word: str, name: str) -> None:
    assert file_name((word,)) == name
