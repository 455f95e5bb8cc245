"""Pin directories for a container: look each up as the person, then bind mount what was found.

Run as a script of its own (`python -I -S mount_pin.py`, JSON in and out), never imported by the
daemon: it changes its effective user and its mount namespace, which a thread of the daemon must
not. Being one thread, it may. The bind is made from the *descriptor*, so nothing that the person
swaps after the look-up can lead elsewhere (SAFETY.md B2: 0 leaks of 40, where checked path
strings leaked 15 to 22).
"""
# a script that starts without pathlib is twice as fast
# ruff: noqa: PTH103, PTH106, PTH108, PTH112, PTH115, PTH118, PTH120, PTH208

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import struct
import sys

CLONE_NEWNS = 0x00020000
SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
AT_FDCWD = -100
MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 2, 4, 32, 4096
MNT_DETACH = 2
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


def open_as(uid: int, gid: int, groups: list[int], path: str) -> int:
    """Return an O_PATH descriptor of a path, looked up with the person's rights."""
    own_groups = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS)
        found: int = checked(
            libc.syscall(SYS_OPENAT2, AT_FDCWD, os.fsencode(path), how, len(how)), path
        )
        status = os.fstat(found)
        needed = os.R_OK | os.X_OK if stat.S_ISDIR(status.st_mode) else os.R_OK
        if not os.access(f"/proc/self/fd/{found}", needed, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return found
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(own_groups)


def check_found(found: int, roots: list[str], asked: str) -> None:
    """Refuse what is not a directory or plain file below a root, by what was really opened."""
    real = os.readlink(f"/proc/self/fd/{found}")
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
    bounds = [os.path.realpath(root).rstrip("/") for root in roots]
    if not any(real == bound or real.startswith(bound + "/") for bound in bounds):
        raise Refusal("outside", f"{asked} leads to {real}, which may not be mounted")


def pin(found: int, target: str) -> None:
    """Bind mount what a descriptor holds on a path of our own, without setuid files and device nodes."""
    if stat.S_ISDIR(os.fstat(found).st_mode):
        os.makedirs(target, mode=0o700, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
    source = f"/proc/self/fd/{found}".encode()
    checked(libc.mount(source, target.encode(), None, MS_BIND, None), target)
    flags = MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV
    checked(libc.mount(None, target.encode(), None, flags, None), target)


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
    os.rmdir(directory)


def serve(order: dict[str, object]) -> dict[str, str]:
    """Carry out one order: `{"do": "pin"|"unpin", ...}`."""
    enter_namespace(int(str(order["engine_pid"])))
    directory = str(order["directory"])
    unpin(directory)
    if order["do"] == "unpin":
        return {}
    person = order["person"]
    roots = order["roots"]
    sources = order["sources"]
    assert isinstance(person, dict)
    assert isinstance(roots, list)
    assert isinstance(sources, list)
    os.makedirs(directory, mode=0o700)
    for number, source in enumerate(sources):
        found = open_as(person["uid"], person["gid"], person["groups"], source)
        try:
            check_found(found, roots, source)
            pin(found, f"{directory}/{number}")
        finally:
            os.close(found)
    return {}


def main() -> int:
    """Read the order, obey, answer."""
    order = json.load(sys.stdin)
    answer: dict[str, str]
    try:
        answer = serve(order)
    except Refusal as refusal:
        answer = {"kind": refusal.kind, "words": str(refusal)}
    except (FileNotFoundError, NotADirectoryError) as error:
        answer = {"kind": "missing", "words": f"{error.filename} does not exist"}
    except OSError as error:
        sources = order.get("sources") or ()
        kind = "access" if error.filename in sources else "host"
        answer = {"kind": kind, "words": f"{error.filename}: {error.strerror}"}
    if answer and order["do"] == "pin":
        try:
            unpin(order["directory"])
        except OSError as error:
            answer["words"] += f" (and its pins remain: {error.strerror})"
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
