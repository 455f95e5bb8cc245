"""Directories as the person sees them: completion of a path, and whether it can be read. No widget.

The app runs as the person, so what it may look into is what the job may mount. A directory on a
file system that hangs must not hold a key: the looks are made on threads of their own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from textual.suggester import Suggester

_T = TypeVar("_T")
_LOOKED_THROUGH = 2_000
"""Entries of one directory that are looked through at most."""


def completed(value: str) -> str | None:
    """Return a list of mounts with the path at its end completed; None where nothing fits.

    Only the source of the last mount is completed (`/data:/data  /scr`): what stands behind a
    colon is a path of the container.
    """
    head, space, word = value.rpartition(" ")
    if ":" in word or not word.startswith(("/", "~/")):
        return None
    folder, slash, start = word.rpartition("/")
    found = _first_folder(str(Path(f"{folder}/").expanduser()), start)
    return None if found is None else f"{head}{space}{folder}{slash}{found}"


def reach_of(path: str) -> str:
    """Return why the person cannot mount a path; empty when they can."""
    whole = Path(path).expanduser()
    try:
        if not whole.exists():
            return "is not there"
    except OSError as error:
        return str(error.strerror or error)
    if not os.access(whole, os.R_OK | (os.X_OK if whole.is_dir() else 0)):
        return "is not yours to read"
    return ""


def _first_folder(folder: str, start: str) -> str | None:
    names = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _LOOKED_THROUGH:
                    break
                hidden = entry.name.startswith(".") and not start.startswith(".")
                if entry.name.startswith(start) and not hidden and entry.name.isprintable():
                    with suppress(OSError):
                        if entry.is_dir():
                            names.append(entry.name)
    except OSError:
        return None
    return min(names, default=None)


class FolderSuggester(Suggester):
    """Completes the last mount of a field, by what the person's own eyes see."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """Return the field's value with its last path completed."""
        return await apart(lambda: completed(value))


async def apart(call: Callable[[], _T]) -> _T:
    """Return what a call gives that may hang, made on a daemon thread: the app can end without it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def give(result: _T) -> None:
        if not future.done():
            future.set_result(result)

    def body() -> None:
        result = call()
        with suppress(RuntimeError):  # the app has ended
            loop.call_soon_threadsafe(give, result)

    threading.Thread(target=body, name="gpuboard-folders", daemon=True).start()
    return await future
