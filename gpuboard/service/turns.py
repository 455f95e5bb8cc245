"""Long work on the engine's thread, done some at a time, so that others have their turn in between.

Each change of a job is a transaction of its own: ten thousand of them in one piece would keep
everybody waiting for most of a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

A_TURN = 50
"""Changes made in one turn."""


@dataclass(frozen=True)
class Rest(Generic[T]):
    """What is left to do; to be called on the engine's thread, after whatever else waits there."""

    go_on: Callable[[], T | Rest[T]]


Turns: TypeAlias = T | Rest[T]


def in_turns(
    things: Sequence[U], do: Callable[[U], T], together: Callable[[list[T]], V]
) -> Turns[V]:
    """Do something to each, and return what `together` makes of the results, or the rest of it."""
    done: list[T] = []

    def turn() -> Turns[V]:
        done.extend(do(thing) for thing in things[len(done) : len(done) + A_TURN])
        return Rest(turn) if len(done) < len(things) else together(done)

    return turn()
