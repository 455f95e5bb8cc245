"""Who a uid is: the host's passwd and group database, or a scripted one for the demo and tests."""

from __future__ import annotations

import grp
import pwd
from typing import Protocol

from gpuboard.config import Config
from gpuboard.errors import PermissionDenied
from gpuboard.model.ids import Uid
from gpuboard.model.person import Caller, Person
from gpuboard.service.charging import Charging


class Directory(Protocol):
    """Names people by uid. Raises PermissionDenied for a uid that is nobody here."""

    def person(self, uid: int) -> Person:
        """Return the person behind a uid."""

    def by_name(self, name: str) -> Person | None:
        """Return the person of that login name, if there is one."""

    def gid_of_group(self, name: str) -> int | None:
        """Return the gid of a group, if there is one."""


class KnownGroups:
    """The gids of the Unix groups that the configuration names, as they were last looked up.

    A look-up may take as long as the box's directory (LDAP) likes: it is made on workers, whenever
    somebody is identified; asking here is for any thread and takes no time.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._gids: dict[str, int] = {}

    def look_up(self, config: Config) -> None:
        """Ask the directory for all of them. One that it does not know now keeps the gid it had."""
        for name in _groups_named_in(config):
            gid = self._directory.gid_of_group(name)
            if gid is not None:
                self._gids[name] = gid

    def gid_of(self, name: str) -> int | None:
        """Return the gid of a group, if there is one."""
        return self._gids.get(name)


def _groups_named_in(config: Config) -> set[str]:
    lists = [group.members + group.managers for group in config.groups.values()]
    lists += [one.members for one in config.classes.values()]
    named = {word[1:] for words in lists for word in words if word.startswith("@")}
    return named | {config.daemon.admin_group} - {""}


class HostDirectory:
    """The box's own passwd and group database."""

    def person(self, uid: int) -> Person:
        """Return the person behind a uid, groups of the host included."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError as error:
            raise PermissionDenied(
                f"uid {uid} has no account on this box",
                hint="ask the administrator for an account",
            ) from error
        return _person_of(entry)

    def by_name(self, name: str) -> Person | None:
        """Return the person of that login name, if there is one."""
        try:
            return _person_of(pwd.getpwnam(name))
        except (KeyError, ValueError):
            return None

    def gid_of_group(self, name: str) -> int | None:
        """Return the gid of a group, if there is one."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            return None


def _person_of(entry: pwd.struct_passwd) -> Person:
    import os

    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Person(
        uid=Uid(entry.pw_uid),
        gid=entry.pw_gid,
        name=entry.pw_name,
        home=entry.pw_dir,
        groups=tuple(sorted(groups)),
    )


def caller_of(
    directory: Directory,
    config: Config,
    uid: int,
    *,
    groups: KnownGroups | None = None,
    personal: bool = False,
    is_contained: bool = False,
) -> Caller:
    """Return the caller behind a socket's peer uid. On a worker: it looks into the directory.

    `groups` remembers the gids of the configuration's groups for whoever may not wait.
    `is_contained`: the peer's cgroup is a container's; it is never an admin, whatever its uid.
    On a personal daemon its owner is the admin; others are refused by the transport.
    """
    person = directory.person(uid)
    if is_contained:
        return Caller(person=person)  # nobody's superior either
    groups = groups or KnownGroups(directory)
    groups.look_up(config)
    charging = Charging(config, groups.gid_of)
    admin_gid = groups.gid_of(config.daemon.admin_group)
    is_admin = (
        personal
        or uid == 0
        or person.name in config.daemon.admins
        or (admin_gid is not None and admin_gid in person.groups)
    )
    return Caller(
        person=person,
        is_admin=is_admin,
        accounts=frozenset(charging.groups_of(person)),
        managed=charging.managed_by(person),
    )
