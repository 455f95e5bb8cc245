"""Who asks: a person as the kernel names them (SO_PEERCRED), never as they name themselves."""

from __future__ import annotations

import msgspec

from gpuboard.model.ids import Uid


class Person(msgspec.Struct, frozen=True):
    """A member of the lab."""

    uid: Uid
    gid: int
    name: str
    home: str = ""
    groups: tuple[int, ...] = ()
    """Numeric supplementary groups of the host, primary group included."""


class Caller(msgspec.Struct, frozen=True):
    """The person behind one request, with what they may be."""

    person: Person
    is_admin: bool = False
    accounts: frozenset[str] = frozenset()
    """Groups of the configuration that they are a member of."""
    managed: frozenset[str] = frozenset()
    """Groups that they manage, with all groups below."""

    @property
    def uid(self) -> Uid:
        """Return the caller's uid."""
        return self.person.uid
