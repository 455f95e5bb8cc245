"""Who a uid is: the host's passwd and group database, or a scripted one for the demo and tests."""

from __future__ import annotations

import ctypes
import grp
import pwd
import re
from pathlib import Path
from typing import Protocol

from gpuboard.config import Config
from gpuboard.errors import PermissionDenied
from gpuboard.model.ids import Uid
from gpuboard.model.person import Caller, Person
from gpuboard.service.charging import Charging

_NSSWITCH = Path("/etc/nsswitch.conf")
_SOURCES = re.compile(r"^\s*(?:passwd|group|initgroups):([^#\n]*)", re.MULTILINE)
_ACTION = re.compile(r"\[[^\]]*\]")
_LOCAL_SOURCES = {"files", "compat", "systemd", "altfiles"}


class UnknownPerson(PermissionDenied):
    """There is no account of this uid, as far as the box's directory says."""

    def __init__(self, uid: int, *, is_certain: bool) -> None:
        super().__init__(
            f"uid {uid} has no account on this box", hint="ask the administrator for an account"
        )
        self.is_certain = is_certain
        """False: a directory that cannot be reached just now would say the same."""


class Directory(Protocol):
    """Names people by uid. Every question may take as long as LDAP likes: for workers alone."""

    def person(self, uid: int) -> Person:
        """Return the person behind a uid. Raises UnknownPerson for one that is nobody here."""

    def is_local(self) -> bool:
        """Whether the box's own files are all of it, so that what they do not say is not so."""

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
        except KeyError:
            is_certain = self.is_local() and _is_surely_absent(uid)
            raise UnknownPerson(uid, is_certain=is_certain) from None
        return _person_of(entry)

    def is_local(self) -> bool:
        """Whether nsswitch.conf names nothing but files for people and groups."""
        try:
            text = _NSSWITCH.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return True  # the default is files
        except OSError:
            return False
        found = _SOURCES.findall(text)
        words = {word for sources in found for word in _ACTION.sub(" ", sources).split()}
        return words <= _LOCAL_SOURCES

    def gid_of_group(self, name: str) -> int | None:
        """Return the gid of a group, if there is one."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            return None


def _is_surely_absent(uid: int) -> bool:
    """Whether the C library looked and found nobody: Python's KeyError may as well be a failed look."""
    entry, buffer = ctypes.create_string_buffer(256), ctypes.create_string_buffer(1 << 16)
    found = ctypes.c_void_p()
    failed = ctypes.CDLL(None).getpwuid_r(
        ctypes.c_uint(uid), entry, buffer, ctypes.c_size_t(len(buffer)), ctypes.byref(found)
    )
    return not failed and not found.value


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
