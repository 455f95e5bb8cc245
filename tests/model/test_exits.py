"""Exit codes in words: no more than the number says."""

import signal

import pytest

from gpuboard.model.exits import exit_words


@pytest.mark.parametrize(
    ("code", "oom", "words"),
    [
        (0, False, "exit code 0"),
        (3, False, "exit code 3"),
        (126, False, "command not executable (126)"),
        (127, False, "command not found (127)"),
        (128, False, "exit code 128"),
        (137, False, "killed by SIGKILL (137)"),
        (137, True, "killed by SIGKILL (137), probably out of memory"),
        (-9, True, "killed by SIGKILL (-9), probably out of memory"),
        (139, False, "killed by SIGSEGV (139)"),
        (143, False, "killed by SIGTERM (143)"),
        (162, False, "killed by signal 34 (162)"),
        (255, False, "exit code 255"),
        (0, True, "exit code 0; a process in it was killed for want of memory"),
        (None, False, "exit code unknown"),
        (None, True, "exit code unknown; a process in it was killed for want of memory"),
        (4294967295, False, "exit code unknown (4294967295 was reported)"),
        (-200, False, "exit code unknown (-200 was reported)"),
    ],
)
def test_an_exit_code_is_said_in_words(code, oom, words):
    """137 is blamed on memory only when the engine says so."""
    assert exit_words(code, oom) == words


def test_signals_have_the_names_of_this_kernel():
    """The table is Linux's own."""
    for number in range(1, 32):
        words = exit_words(128 + number)
        name = signal.Signals(number).name
        assert name in words or f"signal {number}" in words
