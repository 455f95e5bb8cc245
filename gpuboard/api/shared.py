"""Answers that are the same for everybody: made once for all who ask at the same time, and a little after.

What they cost is more than a look at memory (`doctor` asks the engine to make a container), and while
the engine hangs everybody who asked would keep a worker from the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


class SharedAnswers:
    """One answer by name, while it is made and for as long as it is fresh. On the server's loop."""

    def __init__(self) -> None:
        self._making: dict[str, asyncio.Task[Any]] = {}
        self._made: dict[str, tuple[float, Any]] = {}

    async def answer(self, name: str, fresh_s: float, make: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer of that name; `make` makes it unless one is fresh or under way.

        Whoever goes away leaves it to the others; an error is everybody's who waited, and not kept.
        """
        made_at, made = self._made.get(name, (float("-inf"), None))
        if time.monotonic() - made_at < fresh_s:
            return made
        task = self._making.get(name)
        if task is None:
            task = asyncio.ensure_future(self._make(name, make))
            self._making[name] = task
        return await asyncio.shield(task)

    async def _make(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        try:
            made = await make()
            self._made[name] = (time.monotonic(), made)
            return made
        finally:
            del self._making[name]

    def stop(self) -> None:
        """Wait for none of them any more."""
        for task in tuple(self._making.values()):
            task.cancel()
