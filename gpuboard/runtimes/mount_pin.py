"""Look a job's mounts up, and pin what was found for its container.

Run as a script of its own (`python -I -S mount_pin.py`, JSON in and out), never imported by the
daemon: it changes its effective user and its mount namespace, which a thread of the daemon must
not; being one thread, it may. And every look at a path of a person's is here, since a home on a
dead file server hangs whoever looks, and this process can be left to hang.

The bind is made from the *descriptor*, so nothing that the person swaps after the look-up can lead
elsewhere (SAFETY.md B2: 0 leaks of 40, where checked path strings leaked 15 to 22).

A mount inside another is put there by us, on what is opened in the pin as the person, without links:
the engine would make what is missing as root, in the person's own directory on the host, and would
follow a link there to any place in the container.
"""
# a script that starts without pathlib is twice as fast
# ruff: noqa: PTH103, PTH106, PTH108, PTH112, PTH115, PTH116, PTH118, PTH120, PTH208

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import stat
import struct
import sys

CLONE_NEWNS = 0x00020000
SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_INSIDE = RESOLVE_NO_MAGICLINKS | 0x04 | 0x08
"""No symbolic links, and nothing above where the look begins."""
AT_FDCWD = -100
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 32, 4096, 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
MOUNT_FLAGS = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": 8,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
}
"""Of one mount, by the words of /proc/self/mountinfo: a remount drops those that it does not name."""
SYSTEM = ("/etc", "/proc", "/sys", "/dev", "/run", "/boot")
"""Neither these nor anything in them is ever mounted, nor what holds one of them."""
FORBIDDEN_FS = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x1373: "devfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0xCAFE4A11: "bpf",
    0x73636673: "securityfs",
}
FORBIDDEN_TYPES = {"proc", "sysfs", "devtmpfs", "cgroup", "cgroup2", "debugfs", "tracefs", "bpf"}
libc = ctypes.CDLL(None, use_errno=True)


class Refusal(Exception):
    """The person may not have this mounted; words and kind go back to the daemon."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def checked(result: int, what: str) -> int:
    """Return a C call's result; raise OSError for a negative one."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def enter_namespace(pid: int) -> None:
    """Enter the engine's mount namespace when it is not ours."""
    if not pid or os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
        return
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    checked(libc.setns(namespace, CLONE_NEWNS), "setns")
    os.close(namespace)


def open_as(
    person: dict[str, object],
    path: str,
    begin: int = AT_FDCWD,
    resolve: int = RESOLVE_NO_MAGICLINKS,
) -> int:
    """Return an O_PATH descriptor of a path, looked up with a person's rights, without magic links.

    A relative path begins at the directory `begin`.
    """
    own_groups = os.getgroups()
    os.setgroups(person["groups"])  # type: ignore[arg-type]
    os.setegid(person["gid"])  # type: ignore[arg-type]
    os.seteuid(person["uid"])  # type: ignore[arg-type]
    try:
        how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, resolve)
        found: int = checked(
            libc.syscall(SYS_OPENAT2, begin, os.fsencode(path), how, len(how)), path
        )
        check_access(found, path)
        return found
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(own_groups)


def open_ours(path: str) -> int:
    """Return an O_PATH descriptor of a path that nobody else can swap, or that is our own person's."""
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def check_access(found: int, path: str) -> None:
    """Refuse what may not be entered or read."""
    needed = os.X_OK if stat.S_ISDIR(os.fstat(found).st_mode) else os.R_OK
    if not os.access(f"/proc/self/fd/{found}", needed, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def path_of(found: int) -> str:
    """Return where a descriptor leads."""
    return os.readlink(f"/proc/self/fd/{found}")


def is_below(path: str, root: str) -> bool:
    """Whether a path is a directory or lies in it, by component."""
    return path == root or path.startswith(root.rstrip("/") + "/")


class Bounds:
    """What may be mounted: below a root, and neither in nor around what is the system's or ours."""

    def __init__(self, order: dict[str, object], person: dict[str, object] | None) -> None:
        roots, own = order["roots"], order["closed"]
        assert isinstance(roots, list)
        assert isinstance(own, list)
        self._person = person
        self._closed = [*SYSTEM, *(os.path.realpath(path) for path in own)]
        self._names: list[str] = roots
        self._real: list[str] | None = None

    def fixed(self, source: str) -> str:
        """Return the real path of a source that is a root which only root could swap, else nothing."""
        path = "/" + os.path.normpath(source).lstrip("/")
        if path not in self._names:
            return ""
        real = os.path.realpath(path)
        try:
            is_fixed = stat.S_ISDIR(os.lstat(real).st_mode)
            is_fixed = is_fixed and is_owned_chain(path) and is_owned_chain(real)
        except OSError:
            return ""
        return real if is_fixed else ""

    def check(self, found: int, asked: str) -> str:
        """Return where an opened source lies; refuse by what was really opened."""
        real = path_of(found)
        status = os.fstat(found)
        if status.st_nlink == 0 or real.endswith(" (deleted)"):
            raise Refusal("missing", f"{asked} was deleted")
        if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
            raise Refusal("kind", f"{asked} is neither a directory nor a plain file")
        buffer = ctypes.create_string_buffer(256)
        checked(libc.fstatfs(found, buffer), asked)
        file_system = FORBIDDEN_FS.get(struct.unpack_from("l", buffer.raw)[0])
        if file_system:
            raise Refusal("kind", f"{asked} lies on {file_system}")
        is_closed = any(is_below(real, bad) or is_below(bad, real) for bad in self._closed)
        if is_closed or not any(is_below(real, root) for root in self._roots()):
            raise Refusal("outside", f"{asked} leads to {real}, which may not be mounted")
        return real

    def _roots(self) -> list[str]:
        """Return where the roots lead for the person: one that they replaced gives them no more."""
        if self._real is None:
            found = [self._root(name) for name in self._names]
            self._real = [
                real
                for real in found
                if real not in ("", "/") and not any(is_below(real, f) for f in self._closed)
            ]
        return self._real

    def _root(self, name: str) -> str:
        """Return where a root leads; empty when it is not there for the person."""
        fixed = self.fixed(name)
        if fixed:
            return fixed
        try:
            found = open_as(self._person, name) if self._person else open_ours(name)
        except OSError:
            return ""
        try:
            return path_of(found)
        finally:
            os.close(found)


def is_owned_chain(path: str) -> bool:
    """Whether nobody but root can put something else in the place of a component."""
    while path != "/":
        parent = os.path.dirname(path)
        status = os.stat(parent)
        if status.st_uid != 0:
            return False
        is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if is_open and not (status.st_mode & stat.S_ISVTX and os.lstat(path).st_uid == 0):
            return False
        path = parent
    return True


def check_home(order: dict[str, object], person: dict[str, object] | None) -> None:
    """Refuse a home that is not the person's own, or that everybody may write, if it is asked for."""
    home, sources = os.path.normpath(str(order["home"])), order["sources"]
    assert isinstance(sources, list)
    if not any(is_below("/" + os.path.normpath(s["path"]).lstrip("/"), home) for s in sources):
        return
    try:
        found = open_as(person, home) if person else open_ours(home)
    except OSError:
        return  # the look for the source itself will say what is wrong
    status = os.fstat(found)
    os.close(found)
    if status.st_uid != order["uid"]:
        raise Refusal("home", f"the home {home} belongs to somebody else")
    if status.st_mode & stat.S_IWOTH:
        raise Refusal("home", f"the home {home} may be written by everybody; chmod o-w {home}")


def pin(found: int, target: str, *, read_only: bool) -> None:
    """Bind mount what a descriptor holds on a path of our own, with all that is mounted below.

    Nothing there runs setuid files or opens device nodes, and what was read-only or not to be
    executed stays so.
    """
    if stat.S_ISDIR(os.fstat(found).st_mode):
        os.makedirs(target, mode=0o700, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
    target = os.path.realpath(target)
    source = f"/proc/self/fd/{found}".encode()
    checked(libc.mount(source, target.encode(), None, MS_BIND | MS_REC, None), target)
    # else what is let go of here would be unmounted on the host as well
    make_private(target, MS_REC)
    for path, kind, options in mounts_below(target):
        if kind in FORBIDDEN_TYPES:
            checked(libc.umount2(path, MNT_DETACH), target)
            continue
        flags = MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0)
        for word in options:
            flags |= MOUNT_FLAGS.get(word, 0)
        checked(libc.mount(None, path, None, flags, None), target)


def mounts_below(target: str) -> list[tuple[bytes, str, list[str]]]:
    """Return path, type and options of a mount and of those in it, deepest first (proc_pid_mountinfo(5))."""
    found = []
    with open("/proc/self/mountinfo", "rb") as lines:  # noqa: PTH123
        for line in lines:
            before, _, after = line.partition(b" - ")
            words = before.split()
            path = re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), words[4])
            if is_below(os.fsdecode(path), target):
                options = words[5].decode().split(",")
                found.append((path, after.split()[0].decode(), options))
    return found[::-1]


def make_room(directory: str) -> None:
    """Make the directory of an attempt's pins, from which no pin spreads into other namespaces."""
    os.makedirs(directory, mode=0o700)
    path = directory.encode()
    checked(libc.mount(path, path, None, MS_BIND, None), directory)
    make_private(directory)


def make_private(path: str, how_deep: int = 0) -> None:
    """Cut mounts off from those on the host of which they are copies (mount_namespaces(7))."""
    checked(libc.mount(None, path.encode(), None, MS_PRIVATE | how_deep, None), path)


def unpin(directory: str) -> None:
    """Take all pins below a directory away, and the directory; whatever is gone already is fine."""
    if not os.path.isdir(directory):
        return
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        while libc.umount2(path.encode(), MNT_DETACH) == 0:
            continue
        try:
            os.rmdir(path)
        except NotADirectoryError:
            os.unlink(path)
    while libc.umount2(directory.encode(), MNT_DETACH) == 0:
        continue
    os.rmdir(directory)


def serve(order: dict[str, object]) -> dict[str, object]:
    """Carry out one order: `{"do": "look"|"pin"|"unpin", ...}`; return the sources found."""
    directory = str(order["directory"])
    if order["do"] != "look":
        enter_namespace(int(str(order["engine_pid"])))
        unpin(directory)
    if order["do"] == "unpin":
        return {}
    person = order["person"]
    sources = order["sources"]
    assert person is None or isinstance(person, dict)
    assert isinstance(sources, list)
    check_home(order, person)
    bounds = Bounds(order, person)
    if order["do"] == "look":
        if not order["may_look"] and any(source["inside"] != -1 for source in sources):
            raise Refusal("kind", "a mount may not lie in another here: mount it elsewhere")
        return {"found": [look(bounds, order, source["path"]) for source in sources]}
    try:
        make_room(directory)
    except PermissionError:  # then no pin can be made, as each source says
        pass
    found = [
        pinned(bounds, order, source, f"{directory}/{number}")
        for number, source in enumerate(sources)
    ]
    nest(order, sources, found)
    if not os.listdir(directory):
        unpin(directory)
    return {"found": found}


def look(bounds: Bounds, order: dict[str, object], path: str) -> str:
    """Return the source to give where nothing can be pinned."""
    fixed = bounds.fixed(path)
    if not (fixed or order["may_look"]):
        raise Refusal("unsafe", path)
    found = open_ours(fixed or path)
    try:
        if not fixed:
            check_access(found, path)
        return bounds.check(found, path)
    finally:
        os.close(found)


def pinned(bounds: Bounds, order: dict[str, object], source: dict[str, object], target: str) -> str:
    """Pin a source; return the pin.

    A root that only root could swap may be closed to the person, and is given as it is where it
    cannot be pinned.
    """
    person, path = order["person"], str(source["path"])
    assert isinstance(person, dict)
    fixed = bounds.fixed(path)
    found = open_ours(fixed) if fixed else open_as(person, path)
    try:
        bounds.check(found, path)
        if fixed and not order["can_pin_roots"]:
            return fixed
        pin(found, target, read_only=bool(source["read_only"]))
    except PermissionError:
        if fixed:
            return fixed
        raise
    finally:
        os.close(found)
    return target


def nest(order: dict[str, object], sources: list[dict[str, object]], found: list[str]) -> None:
    """Put pins into those that their targets lie in, the innermost first; what was put has no pin any more.

    `inside` is the number of the source around a source, `at` where in it; -1 when there is none.
    """
    person = order["person"]
    assert isinstance(person, dict)
    for number in sorted(range(len(sources)), key=lambda n: -str(sources[n]["target"]).count("/")):
        outer, at = int(str(sources[number]["inside"])), str(sources[number]["at"])
        if outer < 0:
            continue
        around = str(sources[outer]["path"])
        if not all(is_below(found[one], str(order["directory"])) for one in (outer, number)):
            raise Refusal("kind", f"nothing can be mounted on {at} in {around}: mount it elsewhere")
        begin = os.open(found[outer], os.O_PATH | os.O_CLOEXEC)
        try:
            place = open_as(person, at, begin, RESOLVE_INSIDE)
            where = f"/proc/self/fd/{place}".encode()
            source = found[number].encode()
            checked(libc.mount(source, where, None, MS_BIND | MS_REC, None), at)
            os.close(place)
        except OSError as error:
            raise unplaced(error, at, around) from error
        finally:
            os.close(begin)
        found[number] = ""


def unplaced(error: OSError, at: str, around: str) -> Refusal:
    """Return why a mount cannot be put into another."""
    if error.errno == errno.ENOENT:
        return Refusal("missing", f"there is no {at} in {around} to mount on: make it first")
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return Refusal("kind", f"{at} in {around} is behind a link: mount on a real directory")
    if error.errno == errno.ENOTDIR:
        return Refusal(
            "kind", f"{at} in {around} is no directory, or what is mounted on it is none"
        )
    return Refusal(
        "access", f"{at} in {around} cannot be mounted on: {os.strerror(error.errno or 0)}"
    )


def main() -> int:
    """Read the order, obey, answer."""
    order = json.load(sys.stdin)
    answer: dict[str, object]
    try:
        answer = serve(order)
    except Refusal as refusal:
        answer = {"kind": refusal.kind, "words": str(refusal)}
    except (FileNotFoundError, NotADirectoryError) as error:
        answer = {"kind": "missing", "words": f"{error.filename} does not exist"}
    except OSError as error:
        sources = [source["path"] for source in order.get("sources") or ()]
        kind = "access" if error.filename in sources else "host"
        answer = {"kind": kind, "words": f"{error.filename}: {error.strerror}"}
    if "kind" in answer and order["do"] == "pin":
        try:
            unpin(order["directory"])
        except OSError as error:
            answer["words"] = f"{answer['words']} (and its pins remain: {error.strerror})"
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
