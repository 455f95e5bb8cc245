"""What a person may ask: each line of SAFETY.md's attack list that a spec can carry."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.errors import GpuboardError, InvalidRequest, PermissionDenied, Refused, StateError
from gpuboard.model.ids import DeviceUuid, Uid
from gpuboard.model.job import JobSpec, Mount, RuntimeName
from gpuboard.model.person import Person
from gpuboard.runtimes.profile import ImageDefaults, container_profile
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.sandbox import (
    SandboxSettings,
    canonical_reference,
    check_submission,
    full_reference,
    is_below,
    may_pull,
)
from tests.support.runtimes import GPU, GPU_2

MIG = DeviceUuid("MIG-11111111-2222-3333-4444-555555555555")
BOB = Person(uid=Uid(1001), gid=1001, name="bob", home="/home/bob", groups=(1001, 2000))
SETTINGS = SandboxSettings(
    mount_roots=("{home}", "/data/{user}"),
    min_uid=1000,
    max_cpus=8,
    max_memory_bytes=64 * 2**30,
)


def spec(**fields: object) -> JobSpec:
    return JobSpec(**{"image": "python:3.12", "command": ("python", "-V"), **fields})


def request(**fields: object) -> RunRequest:
    base = {
        "name": "gb-7-1",
        "job_id": 7,
        "attempt": 1,
        "uid": 1001,
        "gid": 1001,
        "groups": (1001, 2000),
        "user": "bob",
        "home": "/home/bob",
        "image": "python:3.12",
        "image_id": "sha256:" + "a" * 64,
        "command": ("python", "-V"),
    }
    return RunRequest(**{**base, **fields})


def profile(asked: RunRequest, mounts: tuple[Mount, ...] = (), **how: object) -> dict:
    return container_profile(asked, SETTINGS, box_id="box", mounts=mounts, **how)


def test_plain_job_is_allowed():
    """The gate is open for what people do all day."""
    check_submission(spec(), BOB, SETTINGS)
    check_submission(
        spec(
            env={"WANDB_MODE": "offline", "CUDA_VISIBLE_DEVICES": "0,1,2,3", "X": "a\nb"},
            mounts=(Mount("/home/bob/proj", "/work"), Mount("/data/bob", "/data", read_only=True)),
            workdir="/work",
            cpus=4,
            memory_bytes=2**30,
            shm_bytes=2**29,
        ),
        BOB,
        SETTINGS,
    )


@pytest.mark.parametrize(
    "source",
    [
        "/",
        "/etc",
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/gpuboard",
        "/proc",
        "/proc/self/cwd",
        "/proc/1/root",
        "/dev/fd/3",
        "/sys",
        "/home/alice",
        "/home/bob/../alice",
        "/home/bobby",
        "/home",
        "/home/bob/../../etc",
        "//etc",
        "/data/alice",
        "/data",
    ],
)
def test_source_outside_the_roots_is_not_permitted(source: str):
    """Roots hold by component, after `..` is taken out."""
    with pytest.raises(PermissionDenied) as caught:
        check_submission(spec(mounts=(Mount(source, "/work"),)), BOB, SETTINGS)
    assert caught.value.field == "mounts"


@pytest.mark.parametrize(
    "source", ["/home/bob", "//home/bob/./", "/home/bob/a/../b", "/home/bob/x:y"]
)
def test_source_below_a_root_is_permitted(source: str):
    """Odd spellings of one's own directories are harmless."""
    check_submission(spec(mounts=(Mount(source, "/work"),)), BOB, SETTINGS)


@pytest.mark.parametrize(
    "source",
    [
        "relative",
        "",
        "~bob",
        "/home/bob/\0",
        "/home/bob/a\nb",
        "/home/bob/" + "d/" * 3000,
        "/home/bob/\udcff",
    ],
)
def test_source_that_is_no_path_is_invalid(source: str):
    """NUL, control characters, excess length, bytes that are not UTF-8."""
    with pytest.raises(InvalidRequest):
        check_submission(spec(mounts=(Mount(source, "/work"),)), BOB, SETTINGS)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/etc",
        "/etc/ld.so.conf.d",
        "/usr/bin",
        "/bin",
        "/lib64/x",
        "/proc/self",
        "/sys",
        "/dev/shm",
        "/run/secrets",
        "/var/run/nvidia-container-devices/all",
        "/run/nvidia-container-devices/all",
        "/a/../etc",
        "relative",
        "/work\n",
        "",
    ],
)
def test_target_may_not_replace_the_systems_parts(target: str):
    """Nor ask the toolkit for devices by a mount."""
    with pytest.raises(InvalidRequest) as caught:
        check_submission(spec(mounts=(Mount("/home/bob", target),)), BOB, SETTINGS)
    assert caught.value.field == "mounts"


def test_two_mounts_on_one_target_and_too_many_are_invalid():
    """Even when spelled differently."""
    for mounts in (
        (Mount("/home/bob", "/w"), Mount("/home/bob/x", "/w/")),
        tuple(Mount("/home/bob", f"/m{n}") for n in range(1000)),
    ):
        with pytest.raises(InvalidRequest):
            check_submission(spec(mounts=mounts), BOB, SETTINGS)


@pytest.mark.parametrize(
    "env",
    [
        {"NVIDIA_VISIBLE_DEVICES": "all"},
        {"nvidia_visible_devices": "all"},
        {"NVIDIA_IMEX_CHANNELS": "0"},
        {"NVIDIA_MIG_CONFIG_DEVICES": "all"},
        {"NVIDIA_REQUIRE_CUDA": "cuda>=1"},
        {"NVIDIA_DRIVER_CAPABILITIES": "all"},
        {"NVIDIA_DRIVER_CAPABILITIES": "compute,display"},
        {"GPUBOARD_JOB_ID": "1"},
        {"LD_PRELOAD": "/proc/self/cwd/evil.so"},
        {"LD_LIBRARY_PATH": "/opt/lib:/proc/self/cwd"},
        {"LD_LIBRARY_PATH": "/opt/lib;//proc/./self/cwd"},
        {"LD_LIBRARY_PATH": "/dev/fd/3"},
        {"LD_LIBRARY_PATH": "lib"},
        {"LD_LIBRARY_PATH": "/opt/lib:"},
        {"LD_LIBRARY_PATH": "."},
        {"LD_LIBRARY_PATH": "$ORIGIN/lib"},
        {"LD_LIBRARY_PATH": "/opt/../proc/1/cwd"},
        {"A=B": "x"},
        {"": "x"},
        {"A\nB": "x"},
        {"A B": "x"},
        {"A": "x\0y"},
        {"A": "x" * 3_000_000},
    ],
)
def test_environment_that_opens_devices_or_cannot_be_is_invalid(env: dict[str, str]):
    """Which devices a job sees is not the person's to say."""
    with pytest.raises(InvalidRequest) as caught:
        check_submission(spec(env=env), BOB, SETTINGS)
    assert caught.value.field == "env"
    assert len(caught.value.message) < 300


def test_driver_capabilities_may_be_narrowed():
    """compute and utility are what a job may have."""
    check_submission(spec(env={"NVIDIA_DRIVER_CAPABILITIES": "utility"}), BOB, SETTINGS)


def test_preload_is_fine_without_devices():
    """It bends root's hooks only where they run."""
    check_submission(spec(gpus=0, env={"LD_PRELOAD": "libtcmalloc.so"}), BOB, SETTINGS)


@pytest.mark.parametrize(
    "image",
    [
        "",
        "../x",
        "http://x/y",
        "docker://x",
        "UPPER",
        "a b",
        "-x",
        "a\x1b[31m",
        "repo:tag:tag",
        "x" * 600,
        "$(id)",
        "a@sha256:short",
    ],
)
def test_what_is_no_image_reference_is_invalid(image: str):
    """Before anybody is asked."""
    with pytest.raises(InvalidRequest) as caught:
        check_submission(spec(image=image), BOB, SETTINGS)
    assert caught.value.field == "image"


def test_image_off_the_allow_list_is_refused():
    """Globs name what may run."""
    listed = SandboxSettings(images=("nvcr.io/nvidia/*", "lab/base:*"), min_uid=1000)
    check_submission(spec(image="nvcr.io/nvidia/pytorch:24.05-py3"), BOB, listed)
    check_submission(spec(image="lab/base"), BOB, listed)
    for image in ("lab/other:1", "evil/nvcr.io/nvidia/x:1", "169.254.169.254/x"):
        with pytest.raises(Refused):
            check_submission(spec(image=image), BOB, listed)


def test_bare_address_is_never_pulled_by_a_star():
    """`*` means every local image, not every host."""
    pulling = SandboxSettings(pull="missing")
    assert may_pull("python:3.12", pulling)
    assert may_pull("nvcr.io/nvidia/pytorch:24.05", pulling)
    assert may_pull("2130706433/x", pulling)  # somebody's name on the hub
    for host in ("169.254.169.254", "127.0.0.1:5000", "localhost", "localhost:5000"):
        assert not may_pull(f"{host}/x", pulling)
    for host in ("127.1", "127.1:5000", "2130706433:5000", "0x7f000001:5000", "0x7f.1", "0177.1"):
        assert not may_pull(f"{host}/x", pulling), host
    for host in ("LOCALHOST:5000", "a.localhost", "localhost.localdomain:80", "ip6-localhost:80"):
        assert not may_pull(f"{host}/x", pulling), host
    assert may_pull(
        "localhost:5000/x:1", SandboxSettings(pull="missing", images=("localhost:5000/*",))
    )
    assert not may_pull("python:3.12", SandboxSettings())


def test_references_are_compared_as_docker_lists_them():
    """One image, many spellings."""
    for text in ("python", "docker.io/library/python", "python:latest"):
        assert canonical_reference(text) == "python:latest"
    assert canonical_reference("localhost:5000/x") == "localhost:5000/x:latest"


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("0123456789ab", "docker.io/library/0123456789ab:latest"),
        ("sha256:" + "a" * 64, "docker.io/library/sha256:" + "a" * 64),
        ("bob/x:1", "docker.io/bob/x:1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("nvcr.io/nvidia/x:1", "nvcr.io/nvidia/x:1"),
        ("x@sha256:" + "a" * 64, "docker.io/library/x@sha256:" + "a" * 64),
    ],
)
def test_reference_can_never_be_an_images_id(reference: str, full: str):
    """The engine takes a short id for a name: a glob for names would let any image in by its id."""
    assert full_reference(reference) == full


@pytest.mark.parametrize(
    "fields",
    [
        {"cpus": 0},
        {"cpus": -1},
        {"cpus": 64},
        {"cpus": float("nan")},
        {"cpus": float("inf")},
        {"memory_bytes": 0},
        {"memory_bytes": -1},
        {"memory_bytes": 2**20},
        {"memory_bytes": 2**50},
        {"shm_bytes": 0},
        {"shm_bytes": -5},
        {"shm_bytes": 2**31, "memory_bytes": 2**30},
        {"grace_s": -1},
        {"grace_s": 10**9},
        {"stop_signal": "9999"},
        {"stop_signal": "SIGKILL"},
        {"workdir": "relative"},
        {"workdir": "/work/../etc"},
        {"command": ("",)},
        {"command": ("a\0b",)},
        {"command": ("x" * 200_000,)},
        {"command": ("x",) * 10_000},
    ],
)
def test_sizes_out_of_range_are_invalid(fields: dict[str, object]):
    """0 and negative numbers mean `unlimited` to Docker."""
    with pytest.raises(InvalidRequest) as caught:
        check_submission(spec(**fields), BOB, SETTINGS)
    assert caught.value.field


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"memory_bytes": 1024}, "--memory 1K: between 6M and 64G"),
        ({"memory_bytes": 2**50}, "--memory 1P: between 6M and 64G"),
        ({"shm_bytes": 2**31, "memory_bytes": 2**30}, "--shm-size 2G: between 4K and 1G"),
        ({"grace_s": 356_400}, "--grace 4d3h: between 0s and 5m"),
        ({"cpus": 64}, "--cpus 64: between 0.01 and 8"),
    ],
)
def test_sizes_are_told_as_people_write_them(fields: dict[str, object], words: str):
    """The flag, what was asked, and what may be."""
    with pytest.raises(InvalidRequest) as caught:
        check_submission(spec(**fields), BOB, SETTINGS)
    assert caught.value.message.startswith(words)


def test_system_accounts_run_no_jobs():
    """uids below the floor are not people."""
    root = Person(uid=Uid(0), gid=0, name="root", home="/root")
    with pytest.raises(PermissionDenied):
        check_submission(spec(), root, SETTINGS)


def test_process_takes_neither_image_nor_mounts_and_needs_a_command():
    """The fields of the other runtime are errors, not ignored."""
    for fields in (
        {"image": "x"},
        {"image": "", "mounts": (Mount("/home/bob", "/w"),)},
        {"image": "", "command": ()},
    ):
        with pytest.raises(InvalidRequest):
            check_submission(spec(runtime=RuntimeName.PROCESS, **fields), BOB, SETTINGS)
    check_submission(spec(runtime=RuntimeName.PROCESS, image=""), BOB, SETTINGS)


def test_disk_is_bounded_as_the_engine_can():
    """By the storage driver, or by a read-only root; a person's own mount of /tmp stays."""
    sized = msgspec.structs.replace(SETTINGS, max_disk_bytes=2**30)

    def host(settings: SandboxSettings, *mounts: Mount, can_size_disk: bool = False) -> dict:
        body = container_profile(
            request(), settings, box_id="box", mounts=mounts, can_size_disk=can_size_disk
        )
        return body["HostConfig"]

    assert "StorageOpt" not in host(sized)
    assert host(sized, can_size_disk=True)["StorageOpt"] == {"size": str(2**30)}
    closed = msgspec.structs.replace(sized, read_only_root=True, tmp_bytes=2**20)
    found = host(closed, Mount("/pins/0", "/var/tmp"), can_size_disk=True)
    assert found["ReadonlyRootfs"] is True
    assert found["Tmpfs"] == {"/tmp": "rw,nosuid,nodev,mode=1777,size=1048576"}
    assert "StorageOpt" not in found


def test_volume_of_an_image_in_a_mount_is_refused():
    """The engine would make it there as root on the host, or follow a link to any place inside."""
    image = ImageDefaults(volumes=("/work/cache",))
    with pytest.raises(InvalidRequest, match="/work/cache") as caught:
        profile(request(), (Mount("/pins/0", "/work"),), image=image)
    assert caught.value.field == "mounts"
    assert "/work/cache" in profile(request(), image=image)["HostConfig"]["Tmpfs"]


def test_temporary_directories_in_a_mount_are_the_mounts():
    """For the same reason nothing of ours is put there."""
    settings = SandboxSettings(read_only_root=True)
    mounts = (Mount("/pins/0", "/var"),)
    found = container_profile(request(), settings, box_id="box", mounts=mounts)["HostConfig"]
    assert [*found["Tmpfs"]] == ["/tmp"]


def test_volumes_of_an_image_are_bounded():
    """Else each is a directory of the engine's without a bound; a mount of the person's stays."""
    image = ImageDefaults(volumes=("/data/", "/work", "/cache"))
    tmpfs = profile(request(), (Mount("/pins/0", "/work"),), image=image)["HostConfig"]["Tmpfs"]
    assert set(tmpfs) == {"/data", "/cache"}
    assert f"size={SETTINGS.tmp_bytes}" in tmpfs["/data"]
    for path in ("/etc", "/", "relative", "/proc/x", "/a/../etc"):
        with pytest.raises(Refused, match="volume") as caught:
            profile(request(), image=ImageDefaults(volumes=(path,)))
        assert caught.value.field == "image"


def test_profile_is_closed():
    """The whole create call, field by field: what is not here is not in the container."""
    body = profile(request(), (Mount("/pins/0", "/work"),))
    host = body.pop("HostConfig")
    assert body["User"] == "1001:1001"
    assert body["Image"] == "sha256:" + "a" * 64
    assert set(body) == {
        *("Image", "User", "Env", "Labels", "StopSignal", "StopTimeout", "Tty", "OpenStdin", "Cmd"),
        "Healthcheck",
    }
    assert body["Healthcheck"] == {"Test": ["NONE"]}
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Privileged"] is False
    assert host["Init"] is True
    assert host["IpcMode"] == "private"
    assert host["GroupAdd"] == ["2000"]
    assert host["PidsLimit"] == 4096
    assert host["Memory"] == host["MemorySwap"] == 64 * 2**30
    assert host["ShmSize"] == 16 * 2**30
    assert host["RestartPolicy"] == {"Name": "no"}
    assert host["LogConfig"]["Type"] == "local"
    assert host["Runtime"] == "runc"
    assert "DeviceRequests" not in host
    assert host["Mounts"] == [
        {
            "Type": "bind",
            "Source": "/pins/0",
            "Target": "/work",
            "ReadOnly": False,
            "BindOptions": {"Propagation": "rprivate"},
        }
    ]
    for field in ("Binds", "Devices", "CapAdd", "PidMode", "UsernsMode", "CgroupParent", "Sysctls"):
        assert field not in host


@pytest.mark.parametrize(
    ("devices", "env", "told"),
    [
        ((GPU, GPU_2), {}, "0,1"),
        ((), {}, "-1"),
        ((MIG,), {}, MIG),
        ((GPU, GPU_2), {"CUDA_VISIBLE_DEVICES": "1"}, "1"),
    ],
)
def test_cuda_is_told_what_is_inside(
    devices: tuple[DeviceUuid, ...], env: dict[str, str], told: str
):
    """Only the leased devices are there, numbered from 0; whoever says otherwise can only have fewer."""
    made = profile(request(devices=devices, env=env))["Env"]
    assert f"CUDA_VISIBLE_DEVICES={told}" in made
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in made


def test_shared_memory_never_exceeds_the_memory():
    """It counts as memory: more of it would only be a trap."""
    host = profile(request(memory_bytes=2**30))["HostConfig"]
    assert host["ShmSize"] == host["Memory"] == 2**30


def test_devices_are_one_request_with_the_leases_uuids():
    """Of two requests the engine keeps only the last."""
    body = profile(request(devices=(GPU, GPU_2)))
    assert body["HostConfig"]["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": [GPU, GPU_2], "Capabilities": [["gpu"]]}
    ]
    assert f"NVIDIA_VISIBLE_DEVICES={GPU},{GPU_2}" in body["Env"]


def test_cdi_devices_are_named_and_nothing_else_opens_one():
    """With CDI the environment is closed."""
    body = profile(request(devices=(GPU,)), injection="cdi")
    assert body["HostConfig"]["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={GPU}"]}
    ]
    assert "NVIDIA_VISIBLE_DEVICES=void" in body["Env"]
    assert body["HostConfig"]["Runtime"] == "runc"


@pytest.mark.parametrize(
    "device", ["all", "0,1", "0", "GPU-xyz", "void", "none", "", f"{GPU},{GPU}"]
)
def test_what_is_no_uuid_never_reaches_the_engine(device: str):
    """The engine would take it without a word."""
    with pytest.raises(StateError):
        profile(request(devices=(DeviceUuid(device),)))


def test_mig_instances_are_devices():
    """By both spellings of their UUIDs."""
    bare = GPU.removeprefix("GPU-")
    for uuid in (f"MIG-{bare}", f"MIG-GPU-{bare}/1/0"):
        assert profile(request(devices=(DeviceUuid(uuid),)))["HostConfig"]["DeviceRequests"]


def test_a_cpuset_is_set_only_where_the_box_says_one():
    """Nothing that a person sends gets there; without it the engine decides."""
    assert profile(request(cpuset="0-31,64-95"))["HostConfig"]["CpusetCpus"] == "0-31,64-95"
    assert "CpusetCpus" not in profile(request())["HostConfig"]


def test_images_switches_of_the_toolkit_are_emptied():
    """An image asks for nothing beyond the lease."""
    image = ImageDefaults(env={"NVIDIA_IMEX_CHANNELS": "0", "NVIDIA_VISIBLE_DEVICES": "all"})
    env = profile(request(devices=(GPU,)), image=image)["Env"]
    assert "NVIDIA_IMEX_CHANNELS=" in env
    assert f"NVIDIA_VISIBLE_DEVICES={GPU}" in env


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LD_PRELOAD", "/proc/self/cwd/evil.so"),
        ("LD_AUDIT", "/evil.so"),
        ("LD_LIBRARY_PATH", "/proc/self/cwd/evil.so"),
        ("LD_LIBRARY_PATH", "/usr/lib:.:/opt/lib"),
        ("LD_LIBRARY_PATH", "lib"),
    ],
)
def test_image_that_bends_root_hooks_gets_no_devices(name: str, value: str):
    """CVE-2025-23266; without devices no hook runs, and the person can take the variable away."""
    image = ImageDefaults(env={name: value})
    with pytest.raises(Refused, match=name):
        profile(request(devices=(GPU,)), image=image)
    profile(request(), image=image)
    cleared = profile(request(devices=(GPU,), env={name: ""}), image=image)
    assert f"{name}=" in cleared["Env"]


def test_empty_part_of_an_images_library_path_is_dropped():
    """Many images have one by a slip; the loader takes it for the working directory."""
    image = ImageDefaults(env={"LD_LIBRARY_PATH": ":/usr/local/nvidia/lib::/opt/lib:"})
    env = profile(request(devices=(GPU,)), image=image)["Env"]
    assert "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/opt/lib" in env


def test_plain_library_path_is_fine():
    """As people with conda have it."""
    env = {"LD_LIBRARY_PATH": "/opt/conda/lib:/usr/lib"}
    check_submission(spec(env=env), BOB, SETTINGS)
    check_submission(spec(env={"LD_LIBRARY_PATH": "."}, gpus=0), BOB, SETTINGS)


def test_forbidden_environment_in_a_stored_spec_is_refused_at_start():
    """A spec of an older version is checked again."""
    with pytest.raises(InvalidRequest):
        profile(request(env={"NVIDIA_VISIBLE_DEVICES": "all"}))


def test_working_directory_below_a_mount_is_entered_inside():
    """The engine would make a missing one as root, on the host."""
    mounts = (Mount("/pins/0", "/work"),)
    body = profile(request(workdir="/work/a b"), mounts, image=ImageDefaults(entrypoint=("/e",)))
    assert body["WorkingDir"] == "/"  # not the image's own, which may lie there too
    assert body["Entrypoint"][:2] == ["sh", "-c"]
    assert body["Entrypoint"][-1] == "/work/a b"
    assert body["Cmd"] == ["/e", "python", "-V"]
    assert profile(request(workdir="/work"), mounts)["WorkingDir"] == "/work"
    assert profile(request(workdir="/opt"), mounts)["WorkingDir"] == "/opt"
    image = ImageDefaults(entrypoint=("/e",), workdir="/work/deep")
    assert profile(request(), mounts, image=image)["Entrypoint"][-1] == "/work/deep"
    assert "WorkingDir" not in profile(request(), mounts, image=ImageDefaults(workdir="/work"))


@pytest.mark.parametrize("path", ["/proc/self/root/work", "//proc/self/fd/7", "/dev/fd/7", "/sys"])
def test_working_directory_by_the_kernels_links_is_refused_in_a_container(path: str):
    """A plain process goes there with its person's rights, and may."""
    with pytest.raises(InvalidRequest) as caught:
        check_submission(spec(workdir=path), BOB, SETTINGS)
    assert caught.value.field == "workdir"
    with pytest.raises(InvalidRequest):
        profile(request(workdir=path))
    plain = {"runtime": RuntimeName.PROCESS, "image": "", "workdir": path}
    check_submission(spec(**plain), BOB, SETTINGS)
    check_submission(spec(workdir="/dev/shm"), BOB, SETTINGS)


def test_simulated_devices_open_nothing():
    """They are a label, so that a demo needs no toolkit."""
    body = profile(request(devices=(GPU,)), injection="label")
    assert "DeviceRequests" not in body["HostConfig"]
    assert body["Labels"]["gpuboard.devices"] == GPU
    assert "NVIDIA_VISIBLE_DEVICES=void" in body["Env"]


@given(st.text(), st.text())
def test_no_text_breaks_the_checks(source: str, target: str):
    """Whatever a mount says, the answer is ours: allowed or an error with a field."""
    seen: list[GpuboardError] = []
    try:
        check_submission(spec(mounts=(Mount(source, target),)), BOB, SETTINGS)
    except GpuboardError as error:
        seen.append(error)
    assert all(error.field == "mounts" and error.message.isprintable() for error in seen)


@given(st.text(alphabet="abc/."), st.text(alphabet="abc/"))
def test_below_means_by_component(path: str, root: str):
    """What lies below a root begins with it and a slash."""
    if is_below(path, root):
        assert path == root or path[len(root.rstrip("/"))] == "/"
