"""Exit codes in words: what a number says about how a job ended, and no more than it says.

137 without the engine's out-of-memory flag has three possible makers (a person on the host, our
own stop, a restart of the engine), told apart only by our records: so it is not blamed on memory.
The flag alone does not mean that the job failed for it: it is also set when only a child was
killed and the job ended well.
"""

from __future__ import annotations

_SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}
"""Linux numbers, the same on every architecture with NVIDIA drivers."""

_LAST_SIGNAL = 64


def exit_words(exit_code: int | None, oom_killed: bool = False) -> str:
    """Return how a process ended: `exit code 3`, `killed by SIGSEGV (139)`, `command not found (127)`.

    `None` (not known) is `exit code unknown`; a code that no process can give (an engine reports
    4294967295 for a job that called ptrace) is shown as it is and called unknown.
    """
    if exit_code is None:
        return "exit code unknown" + _memory_words(oom_killed, None)
    return _code_words(exit_code) + _memory_words(oom_killed, exit_code)


def _code_words(code: int) -> str:
    number = _signal_of(code)
    if number is not None:
        return f"killed by {_SIGNALS.get(number, f'signal {number}')} ({code})"
    if code == 127:
        return "command not found (127)"
    if code == 126:
        return "command not executable (126)"
    if 0 <= code <= 255:
        return f"exit code {code}"
    return f"exit code unknown ({code} was reported)"


def _signal_of(code: int) -> int | None:
    """Return the signal in a shell's 128 + n, or in -n as `subprocess` reports it."""
    number = code - 128 if code > 0 else -code
    return number if 1 <= number <= _LAST_SIGNAL else None


def _memory_words(oom_killed: bool, code: int | None) -> str:
    if not oom_killed:
        return ""
    if code in (137, -9):
        return ", probably out of memory"
    return "; a process in it was killed for want of memory"
