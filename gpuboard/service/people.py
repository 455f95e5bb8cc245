"""Who a uid is: the host's passwd and group database, or a scripted one for the demo and tests."""

from __future__ import annotations

import grp
import pwd
from typing import Protocol

from gpuboard.config import Config
from gpuboard.errors import PermissionDenied
from gpuboard.model.ids import Uid
from gpuboard.model.person import Caller, Person


class Directory(Protocol):
    """Names people by uid. Raises PermissionDenied for a uid that is nobody here."""

    def person(self, uid: int) -> Person:
        """Return the person behind a uid."""

    def by_name(self, name: str) -> Person | None:
        """Return the person of that login name, if there is one."""

    def gid_of_group(self, name: str) -> int | None:
        """Return the gid of a group, if there is one."""


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
    personal: bool = False,
    is_contained: bool = False,
) -> Caller:
    """Return the caller behind a socket's peer uid.

    `is_contained`: the peer's cgroup is a container's; it is never an admin, whatever its uid.
    On a personal daemon its owner is the admin; others are refused by the transport.
    """
    person = directory.person(uid)
    if is_contained:
        return Caller(person=person)
    admin_gid = directory.gid_of_group(config.daemon.admin_group)
    is_admin = (
        personal
        or uid == 0
        or person.name in config.daemon.admins
        or (admin_gid is not None and admin_gid in person.groups)
    )
    return Caller(person=person, is_admin=is_admin)
