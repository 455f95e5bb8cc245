"""Fair Tree: everybody's rank where groups of people have shares of their own.

Slurm's algorithm ("Fair Tree Fairshare Algorithm", slurm.schedmd.com/fair_tree.html, by R. Cox and
L. Morrison): at each level `LF = S / U`, a part's shares and usage each as a portion of its
siblings'; the tree is walked depth first, the largest LF first, and people are ranked as they are
met. So all of a group that had less than its share come before all of one that had more. Ties:
siblings of the same LF share a rank, groups of the same LF are walked as one, and a person shares
the rank of the first in a group of the same LF.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gpuboard.model.ids import Uid
from gpuboard.model.world import Group, Usage


class Rank(NamedTuple):
    """A person's place among all, 1 = served first."""

    place: int
    of: int

    @property
    def factor(self) -> float:
        """Return Slurm's factor in (0, 1]: the rank from the end, by how many there are."""
        return (self.of + 1 - self.place) / self.of if self.of else 1.0


class _Part(NamedTuple):
    """A person in a group, or a group: something that has shares and usage."""

    shares: float
    used: float
    group: str
    """Empty for a person."""
    leaf: tuple[Uid, str]
    """A person and the group that is charged."""


class FairTree:
    """The ranks of people (each in each of their groups) at one instant."""

    def __init__(self, usage: Iterable[Usage], groups: Sequence[Group]) -> None:
        """Rank the people of `usage`. A row of an unknown group counts as a person without one."""
        self._parts: dict[str, list[_Part]] = {group.name: [] for group in groups}
        self._parts[""] = []
        self._used = dict.fromkeys(self._parts, 0.0)
        self._parents = {group.name: group.parent for group in groups}
        self._places: dict[tuple[Uid, str], int] = {}
        self._firsts: dict[str, int] = {}
        # in one order, or sums in floating point, and so ties, would hang on that of the rows
        for row in sorted(usage, key=lambda row: (row.uid, row.account)):
            self._add_person(row)
        for group in sorted(groups, key=lambda group: group.name):
            part = _Part(group.shares, self._used[group.name], group.name, (Uid(-1), ""))
            self._parts[group.parent if group.parent in self._parts else ""].append(part)
        self._number = 0
        self._walk(self._level([""]), 1, 0)

    def rank(self, uid: Uid, account: str) -> Rank:
        """Return a person's rank in one of their groups; somebody new is as the first of the group."""
        of = max(1, self._number)
        place = self._places.get((uid, account))
        if place is None:
            place = self._firsts.get(account, 1)
        return Rank(min(place, of), of)

    def lineage(self, account: str) -> list[str]:
        """Return the group and those that it is part of, the innermost first."""
        return lineage(self._parents, account)

    def _add_person(self, row: Usage) -> None:
        account = row.account if row.account in self._parts else ""
        leaf = (row.uid, row.account)
        self._parts[account].append(_Part(row.shares, row.device_seconds, "", leaf))
        for group in self.lineage(account):
            self._used[group] += row.device_seconds

    def _level(self, groups: Iterable[str]) -> list[tuple[float, _Part]]:
        """Return the parts of some groups with their LF, the largest first."""
        rated: list[tuple[float, _Part]] = []
        for group in groups:
            parts = self._parts[group]
            shares = sum(part.shares for part in parts)
            used = sum(part.used for part in parts)
            rated += [(_level_fair_share(part, shares, used), part) for part in parts]
        rated.sort(key=lambda pair: -pair[0])
        return rated

    def _walk(self, rated: Sequence[tuple[float, _Part]], place: int, tied: int) -> tuple[int, int]:
        """Rank people from `place` on; `tied` of them have that place already, and the first share it."""
        start = 0
        while start < len(rated):
            end = start
            while end < len(rated) and rated[end][0] == rated[start][0]:
                end += 1
            people = [part for _, part in rated[start:end] if not part.group]
            groups = [part.group for _, part in rated[start:end] if part.group]
            for part in people:
                self._places[part.leaf] = place
            self._number += len(people)
            tied += len(people)
            for group in groups:
                self._firsts[group] = place
            if groups:
                place, tied = self._walk(self._level(groups), place, tied)
            place, tied = place + tied, 0
            start = end
        return place, tied


def lineage(parents: dict[str, str], account: str) -> list[str]:
    """Return a group and those that it is part of, the innermost first; none for an unknown one."""
    found: list[str] = []
    while account in parents and account not in found:
        found.append(account)
        account = parents[account]
    return found


def _level_fair_share(part: _Part, shares: float, used: float) -> float:
    if part.shares <= 0 or shares <= 0:
        return 0.0
    if part.used <= 0 or used <= 0:
        return math.inf
    return (part.shares / shares) / (part.used / used)
