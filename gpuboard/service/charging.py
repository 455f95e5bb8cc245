"""Which group a person's work is charged to, and which class of jobs they may use."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping

from gpuboard.config import ClassConfig, Config, GroupConfig
from gpuboard.errors import InvalidRequest, PermissionDenied
from gpuboard.model.durations import format_duration
from gpuboard.model.job import JobSpec
from gpuboard.model.person import Person
from gpuboard.model.text import plain


class Charging:
    """Knows the groups and classes of the configuration in force."""

    def __init__(self, config: Config, gid_of: Callable[[str], int | None]) -> None:
        """`gid_of` names a Unix group's gid, if there is one, at once."""
        self._config = config
        self._gid_of = gid_of

    def groups_of(self, person: Person) -> list[str]:
        """Return the groups that a person is a member of, in the order of the configuration."""
        groups = self._config.groups.items()
        return [name for name, group in groups if self._is_among(person, group.members)]

    def managed_by(self, person: Person) -> frozenset[str]:
        """Return the groups whose jobs a person may stop: those they manage, and all below."""
        groups = self._config.groups
        own = {name for name, group in groups.items() if self._is_among(person, group.managers)}
        return frozenset(name for name in groups if own.intersection(_chain(groups, name)))

    def account(self, person: Person, wanted: str) -> str:
        """Return the group that work is charged to: the one wanted, else the person's first.

        Raises InvalidRequest when there is no such group, PermissionDenied for somebody else's.
        """
        own = self.groups_of(person)
        if not wanted:
            return own[0] if own else ""
        words = plain(wanted, 40)
        if wanted not in self._config.groups:
            hint = _near(wanted, own) or "gpuboard usage lists the groups"
            if not self._config.groups:
                hint = "leave out --account: people alone have shares here"
            raise InvalidRequest(f"there is no group {words!r} here", field="account", hint=hint)
        if wanted not in own:
            raise PermissionDenied(
                f"you are not in group {words}",
                hint=f"yours: {', '.join(own)}" if own else "ask an administrator to add you",
                field="account",
            )
        return wanted

    def class_name(self, person: Person, wanted: str) -> str:
        """Return the class of a job: the one wanted, else the default where the person may use it.

        Raises InvalidRequest when there is no such class, PermissionDenied for one of others.
        """
        classes = self._config.classes
        may_use = [name for name, one in classes.items() if self._may_use(person, one)]
        if not wanted:
            default = self._config.policy.default_class
            return default if default in may_use else ""
        words = plain(wanted, 40)
        if wanted not in classes:
            hint = _near(wanted, may_use) or (f"yours: {', '.join(may_use)}" if may_use else "")
            raise InvalidRequest(
                f"there is no class {words!r} here", field="class", hint=hint or "leave it out"
            )
        if wanted not in may_use:
            raise PermissionDenied(
                f"you may not use class {words}",
                hint=f"yours: {', '.join(may_use)}" if may_use else "leave it out",
                field="class",
            )
        return wanted

    def most_time_s(self, class_name: str) -> int:
        """Return the longest limit of a class's jobs (s)."""
        longest_s = self._config.jobs.max_time_s
        one = self._config.classes.get(class_name)
        return (
            longest_s if one is None or one.max_time_s is None else min(longest_s, one.max_time_s)
        )

    def check(self, spec: JobSpec) -> None:
        """Raise InvalidRequest for more than the job's class allows."""
        one = self._config.classes.get(spec.class_name)
        if one is None:
            return
        if spec.limit_s > self.most_time_s(spec.class_name):
            raise InvalidRequest(
                f"--time {format_duration(spec.limit_s)}: at most"
                f" {format_duration(self.most_time_s(spec.class_name))} in class {spec.class_name}",
                field="time_limit",
            )
        if one.max_gpus is not None and spec.gpus > one.max_gpus:
            raise InvalidRequest(
                f"--gpus {spec.gpus}: at most {one.max_gpus} in class {spec.class_name}",
                field="gpus",
            )

    def _may_use(self, person: Person, one: ClassConfig) -> bool:
        return not one.members or self._is_among(person, one.members)

    def _is_among(self, person: Person, members: Iterable[str]) -> bool:
        for member in members:
            if not member.startswith("@"):
                if member == person.name:
                    return True
                continue
            gid = self._gid_of(member[1:])
            if gid is not None and gid in (person.gid, *person.groups):
                return True
        return False


def _chain(groups: Mapping[str, GroupConfig], name: str) -> Iterator[str]:
    """Yield a group and those above it. The configuration's reader refused rings."""
    while name:
        yield name
        name = groups[name].parent


def _near(wanted: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else ""
