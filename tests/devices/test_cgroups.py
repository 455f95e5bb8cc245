"""Container ids come from anchored cgroup paths only: SAFETY's attack strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.devices.cgroups import CgroupKind, container_parent, parse_cgroup

X, Y = "ab" * 32, "cd" * 32
USER = "/user.slice/user-1001.slice"

TABLE = {
    "v1 cgroupfs": (
        f"12:devices:/docker/{X}\n4:memory:/docker/{X}\n0::/",
        CgroupKind.CONTAINER,
        X,
    ),
    "v2 systemd": (f"0::/system.slice/docker-{X}.scope\n", CgroupKind.CONTAINER, X),
    "v2 cgroupfs": (f"0::/docker/{X}", CgroupKind.CONTAINER, X),
    "child of a container's cgroup": (
        f"0::/system.slice/docker-{X}.scope/init.scope",
        CgroupKind.CONTAINER,
        X,
    ),
    "ending, its directory already gone": (
        f"0::/docker/{X} (deleted)",
        CgroupKind.CONTAINER,
        X,
    ),
    "hybrid": (f"1:name=systemd:/docker/{X}\n0::/", CgroupKind.CONTAINER, X),
    "docker in docker: the outer id": (f"0::/docker/{X}/docker/{Y}", CgroupKind.CONTAINER, X),
    "ATTACK own scope": (
        f"0::{USER}/user@1001.service/app.slice/docker-{X}.scope",
        CgroupKind.USER,
        "1001",
    ),
    "ATTACK own directory": (f"0::{USER}/session-3.scope/docker/{X}", CgroupKind.USER, "1001"),
    "ATTACK escaped line feed": (f"0::{USER}/x\\012 0::/docker/{X}", CgroupKind.USER, "1001"),
    "ATTACK carriage return": (f"0::{USER}/x\r0::/docker/{X}", CgroupKind.USER, "1001"),
    "ATTACK vertical tab": (f"0::{USER}/x\x0b0::/docker/{X}", CgroupKind.USER, "1001"),
    "ATTACK line separator": (f"0::{USER}/x\u20280::/docker/{X}", CgroupKind.USER, "1001"),
    "ATTACK colons": (f"0::{USER}/0::/docker/{X}", CgroupKind.USER, "1001"),
    "rootless podman": (
        f"0::{USER}/user@1001.service/user.slice/libpod-{Y}.scope/container",
        CgroupKind.OTHER_CONTAINER,
        Y,
    ),
    "podman": (f"0::/machine.slice/libpod-{Y}.scope/container", CgroupKind.OTHER_CONTAINER, Y),
    "kubernetes": (
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{Y}.scope",
        CgroupKind.OTHER_CONTAINER,
        Y,
    ),
    "ssh session": ("0::/user.slice/user-1000.slice/session-5.scope", CgroupKind.USER, "1000"),
    "slurm": (
        "0::/system.slice/slurmstepd.scope/job_42/step_0/user/task_0",
        CgroupKind.SLURM,
        "42",
    ),
    "service": ("0::/system.slice/xrdp.service", CgroupKind.SERVICE, "xrdp.service"),
    "reader in its own namespace": (
        f"0::/../docker-{X}.scope",
        CgroupKind.OUTSIDE,
        f"/../docker-{X}.scope",
    ),
    "short id": ("0::/docker/abcdef", CgroupKind.HOST, "/docker/abcdef"),
    "upper case": (f"0::/docker/{X.upper()}", CgroupKind.HOST, f"/docker/{X.upper()}"),
    "longer than an id": (f"0::/docker/{X}a", CgroupKind.HOST, f"/docker/{X}a"),
    "empty": ("", CgroupKind.HOST, "/"),
    "garbage": ("not a cgroup file", CgroupKind.HOST, "/"),
    "two containers at once": (
        f"4:memory:/docker/{X}\n5:devices:/docker/{Y}",
        CgroupKind.CONFLICT,
        f"{X} {Y}",
    ),
    "root": ("0::/", CgroupKind.HOST, "/"),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_container_is_known_only_by_its_anchored_path(case: str) -> None:
    """Each cgroup file is read as what it is; a name that a person chose proves nothing."""
    text, kind, name = TABLE[case]
    identity = parse_cgroup(text)
    assert (identity.kind, identity.name) == (kind, name)


@given(st.text().map(lambda name: name.replace("\n", "\\012")))
def test_no_name_below_a_user_slice_passes_for_a_container(name: str) -> None:
    """Whatever a person calls a cgroup of their own, it is theirs (the kernel escapes line feeds)."""
    tails = (name, f"{name}/docker-{X}.scope", f"docker/{X}{name}", f"{name}0::/docker/{X}")
    for tail in tails:
        identity = parse_cgroup(f"0::{USER}/{tail}")
        assert identity.kind is not CgroupKind.CONTAINER
        assert identity.kind is not CgroupKind.CONFLICT


PIECES = (
    "0::",
    "4:memory:",
    "\n",
    "/",
    "/..",
    "/docker/",
    "/gpu.slice/docker-",
    ".scope",
    X,
    Y,
    USER,
)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=12).map("".join))
def test_nobody_is_named_whom_the_text_does_not_name(text: str) -> None:
    """A cgroup file of any content gives an answer, and that is made of what it says."""
    identity = parse_cgroup(text, ("/gpu.slice",))
    is_conflict = identity.kind is CgroupKind.CONFLICT
    names = identity.name.split(" ") if is_conflict else [identity.name]
    assert names == ["/"] or all(name and name in text for name in names)
    assert len(names) > 1 or not is_conflict


@pytest.mark.parametrize(
    ("text", "parent"),
    [
        (f"0::/gpu.slice/docker-{X}.scope", "/gpu.slice"),
        (f"4:memory:/lab/gpu/{X}\n0::/", "/lab/gpu"),
        (f"0::/docker/{X}", "/docker"),
        (f"0::{USER}/docker-{X}.scope", None),
        (f"0::/../docker-{X}.scope", None),
        (f"0::/lab/other-{X}.scope", None),
        (f"0::/docker/{Y}", None),
    ],
)
def test_a_cgroup_parent_is_learnt_from_a_known_container(text: str, parent: str | None) -> None:
    """An engine with another cgroup parent is learnt; never one below a person's slice."""
    assert container_parent(text, X) == parent


def test_a_learnt_parent_is_anchored_too() -> None:
    """Below a learnt parent containers are found; the same name elsewhere is not one."""
    parents = ("/gpu.slice",)
    assert parse_cgroup(f"0::/gpu.slice/docker-{X}.scope", parents).name == X
    assert parse_cgroup(f"0::/gpu.slice/docker-{X}.scope").kind is CgroupKind.HOST
    spoof = f"0::{USER}/gpu.slice/docker-{X}.scope"
    assert parse_cgroup(spoof, parents).kind is CgroupKind.USER
