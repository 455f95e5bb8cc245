"""A real terminal for end-to-end tests: a tmux server of the test's own, keys in, screens out."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.waiting import wait_until


def why_no_tmux() -> str:
    """Return why there can be no terminal here, or nothing."""
    return "" if shutil.which("tmux") else "no tmux on this machine (apt install tmux)"


class Terminal:
    """One window of a private tmux server; the program in it sees only the environment given."""

    def __init__(
        self,
        folder: Path,
        command: list[str],
        environment: Mapping[str, str],
        size: tuple[int, int],
    ) -> None:
        self._socket = str(folder / "tmux.sock")
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}
        width, height = size
        given = [f"{key}={value}" for key, value in self._environment.items()]
        program = shlex.join(["env", "-i", "TERM=tmux-256color", *given, *command])
        self._tmux("-f", os.devnull, "new-session", "-d", "-x", f"{width}", "-y", f"{height}", program,
                   ";", "set-option", "-g", "remain-on-exit", "on")  # fmt: skip

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", self._socket, *words],
            env=self._environment,
            check=True,
            text=True,
            capture_output=True,
            timeout=30,
        ).stdout

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: `n`, `Enter`, `Escape`, `C-s`, `S-Right`."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type text as it is."""
        self._tmux("send-keys", "-l", text)

    def screen(self) -> str:
        """Return what the terminal shows."""
        return self._tmux("capture-pane", "-p")

    def wait(self, *texts: str, timeout_s: float = 30, without: str = "") -> str:
        """Wait until the screen shows all the texts (and no longer that one); return it."""
        last = [""]

        def is_shown() -> bool:
            last[0] = self.screen()
            is_there = all(text in last[0] for text in texts)
            return (is_there and not (without and without in last[0])) or self.is_over()

        with contextlib.suppress(AssertionError):
            wait_until(is_shown, timeout_s)
            if not self.is_over():
                return last[0]
        wanted = ", ".join(map(repr, texts)) + (f" without {without!r}" if without else "")
        said = self._tmux("capture-pane", "-p", "-S", "-") if self.is_over() else last[0]
        raise AssertionError(f"the screen never showed {wanted}:\n{said}")

    def press_until(self, key: str, is_done: Callable[[str], bool], most: int = 40) -> str:
        """Press a key until the screen is as wanted, looking after each; return it."""
        for _ in range(most):
            before = self.screen()
            if is_done(before):
                return before
            self.press(key)
            with contextlib.suppress(AssertionError):
                wait_until(lambda before=before: self.screen() != before, 2)
        raise AssertionError(f"{key} did not lead there:\n{self.screen()}")

    def is_over(self) -> bool:
        """Whether the program has ended."""
        return self._tmux("display-message", "-p", "#{pane_dead}").strip() == "1"

    def close(self) -> None:
        """End the server and what runs in it."""
        with contextlib.suppress(subprocess.SubprocessError):
            self._tmux("kill-server")


@contextlib.contextmanager
def terminal(
    folder: Path,
    command: list[str],
    environment: Mapping[str, str],
    size: tuple[int, int] = (80, 24),
) -> Iterator[Terminal]:
    """Run a command in a terminal for the block; it is ended with the block."""
    found = Terminal(folder, command, environment, size)
    try:
        yield found
    finally:
        found.close()
