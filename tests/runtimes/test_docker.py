"""The docker runtime on a real engine: the attacks of SAFETY.md B7 that are about containers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import msgspec
import pytest
from docker.types import DeviceRequest

from gpuboard.errors import (
    Conflict,
    GpuboardError,
    HostError,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Refused,
    Unavailable,
)
from gpuboard.model.job import Mount
from gpuboard.runtimes import docker_images
from gpuboard.runtimes.cgroups import ContainerCgroups
from gpuboard.runtimes.docker import DockerRuntime
from gpuboard.runtimes.protocol import RunState
from gpuboard.runtimes.sandbox import SandboxSettings
from tests.runtimes.conftest import docker_bench_on
from tests.support.canned_engine import speaking
from tests.support.dockerd import (
    IMAGE,
    IMAGE_ALL_DEVICES,
    IMAGE_PRELOAD,
    IMAGE_SETUID,
    DockerEngine,
    busybox_root,
)
from tests.support.runtimes import GPU, GPU_2, PERSON, RealClock, RuntimeBench
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="a real engine's tests need root"),
]
OTHER = 4343


@pytest.fixture
def bench(docker_bench: RuntimeBench) -> RuntimeBench:
    return docker_bench


@pytest.fixture
def hook(docker_engine: DockerEngine) -> Iterator[DockerEngine]:
    """Give the engine with its stub hook, whose behaviour is put back at the end."""
    if not docker_engine.hook.directory.is_dir():
        pytest.skip("the shared engine has no stub hook")
    docker_engine.hook.clear()
    yield docker_engine
    docker_engine.hook.clear()


def own_dir(path: Path, uid: int = PERSON) -> Path:
    """Make a directory that belongs to somebody."""
    path.mkdir(parents=True)
    os.chown(path, uid, uid)
    return path


# --- who the job is ----------------------------------------------------------------------------


def test_images_own_groups_are_not_the_persons(bench: RuntimeBench):
    """An image that puts the uid into disk and shadow changes nothing."""
    _, log = bench.run("id -G", image=IMAGE_SETUID, groups=(PERSON, 5001))
    assert sorted(log.split()) == sorted([b"%d" % PERSON, b"5001"])


def test_setuid_root_in_the_image_gives_nothing(bench: RuntimeBench):
    """no-new-privileges and no capabilities: the person's own rights, also for a setuid binary."""
    script = "busybox-suid id -u; busybox-suid cat /etc/secret; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"
    _, log = bench.run(script, image=IMAGE_SETUID)
    text = log.decode()
    assert str(PERSON) in text
    assert "only root" not in text
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text
    assert "Seccomp:\t2" in text


def test_device_nodes_cannot_be_made(bench: RuntimeBench):
    """Not even a copy of the GPU's."""
    seen, log = bench.run("mknod /tmp/nv c 195 0")
    assert seen.exit_code != 0, log


def test_limits_are_the_requests(bench: RuntimeBench):
    """Memory, processes, shared memory and log rotation as asked, swap none."""
    handle = bench.runtime.create(
        bench.shell("true", memory_bytes=2**28, pids=64, cpus=0.5, shm_bytes=2**26)
    )
    with contextlib.closing(bench.runtime._connection.fresh(30)) as api:
        host = api.inspect_container(handle)["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 2**28
    assert host["PidsLimit"] == 64
    assert host["NanoCpus"] == 500_000_000
    assert host["ShmSize"] == 2**26
    assert host["LogConfig"] == {
        "Type": "local",
        "Config": {"max-file": "3", "max-size": "10485760"},
    }
    assert host["RestartPolicy"]["Name"] in {"", "no"}


def test_new_settings_hold_for_the_next_container(
    docker_engine: DockerEngine, tmp_path: Path, home: Path
):
    """As after a reload: nothing of the old ones is kept."""
    bench = docker_bench_on(docker_engine, tmp_path, home)
    settings = SandboxSettings(network="none", pids_limit=77, default_memory_bytes=2**26)
    bench.runtime.take_settings(settings)
    handle = bench.runtime.create(bench.shell("true"))
    with contextlib.closing(docker_engine.client()) as client:
        config = client.inspect_container(handle)["HostConfig"]
    bench.clear()
    assert (config["PidsLimit"], config["Memory"]) == (77, 2**26)


def test_memory_hog_is_ended_in_its_own_group(bench: RuntimeBench):
    """And told as such."""
    seen, _ = bench.run("tail /dev/zero", memory_bytes=32 * 2**20)
    assert seen.exit_code == 137
    assert seen.oom_killed


def test_read_only_root_leaves_the_mounts_and_a_small_tmp(
    docker_engine: DockerEngine, tmp_path: Path, home: Path
):
    """The rest of the container cannot be written, and what lies in /tmp is bounded."""
    settings = SandboxSettings(network="none", read_only_root=True, tmp_bytes=8 * 2**20)
    bench = docker_bench_on(docker_engine, tmp_path, home, settings)
    script = "dd if=/dev/zero of=/tmp/x bs=1M count=20; touch /var/tmp/y && echo there; touch /z"
    try:
        _, log = bench.run(script)
    finally:
        bench.clear()
    assert b"No space left" in log
    assert b"there" in log
    assert b"Read-only file system" in log


def test_volume_of_an_image_is_memory_of_a_bounded_size(
    docker_engine: DockerEngine, tmp_path: Path, home: Path
):
    """Nothing is left on the engine's disk, where no bound would know of it; programs run there."""
    reference = "gpuboard-test/volume:1"
    settings = SandboxSettings(network="none", max_memory_bytes=2 * 2**30, tmp_bytes=2**20)
    bench = docker_bench_on(docker_engine, tmp_path, home, settings)
    script = (
        "grep ' /data ' /proc/mounts; printf '#!/bin/sh\\necho it ran' > /data/b; chmod 755 /data/b;"
        " /data/b; dd if=/dev/zero of=/data/big bs=1M count=3"
    )
    with contextlib.closing(docker_engine.client()) as client:
        client.import_image_from_data(
            busybox_root(),
            repository="gpuboard-test/volume",
            tag="1",
            changes=["ENV PATH=/bin", "VOLUME /data"],
        )
        before = client.volumes()["Volumes"] or []
        handle = bench.runtime.create(bench.shell(script, image=reference))
        assert (client.volumes()["Volumes"] or []) == before
        bench.runtime.start(handle)
        bench.ended(handle)
    log = b"".join(bench.runtime.read_log(handle))
    bench.clear()
    assert b"tmpfs /data tmpfs rw,nosuid,nodev," in log  # stdout and stderr come in any order
    assert b"it ran" in log
    assert b"No space left on device" in log


def test_whether_a_container_may_open_its_gpus_is_seen(bench: RuntimeBench):
    """A daemon-reload takes that away. Only control groups v1 show it."""
    devices = Path("/sys/fs/cgroup/devices")
    if not devices.is_dir():
        pytest.skip("control groups v2 do not show device rules")
    handle = bench.begin(bench.shell("sleep 600"))
    assert bench.seen(handle).can_open_devices is False
    group = devices / "docker" / handle
    (group / "devices.allow").write_text("c 195:0 rw")
    assert bench.seen(handle).can_open_devices is True
    (group / "devices.deny").write_text("c 195:0 rw")
    assert bench.seen(handle).can_open_devices is False


def test_what_a_container_wrote_is_measured(bench: RuntimeBench):
    """Its own layer's bytes, by id; an ended one is not asked about."""
    handle = bench.begin(bench.shell("dd if=/dev/zero of=/tmp/x bs=1M count=5; sleep 600"))
    wait_until(lambda: bench.runtime.written_bytes().get(handle, 0) >= 5 * 2**20)
    bench.runtime.kill(handle)
    bench.ended(handle)
    assert handle not in bench.runtime.written_bytes()


# --- which devices it has ----------------------------------------------------------------------


def test_image_that_asks_for_all_devices_gets_none_without_a_lease(
    bench: RuntimeBench, hook: DockerEngine
):
    """No hook runs, and the variable is void."""
    _, log = bench.run("env", image=IMAGE_ALL_DEVICES)
    assert b"NVIDIA_VISIBLE_DEVICES=void" in log
    assert b"NVIDIA_VISIBLE_DEVICES=all" not in log
    assert hook.hook.specs() == []


def test_image_that_asks_for_all_devices_gets_its_lease(bench: RuntimeBench, hook: DockerEngine):
    """What the hook reads is the lease alone, whatever the image says."""
    _, log = bench.run("env", image=IMAGE_ALL_DEVICES, devices=(GPU, GPU_2))
    (seen,) = hook.hook.specs()
    values = {
        entry.partition("=")[2]
        for entry in seen["process"]["env"]
        if entry.startswith("NVIDIA_VISIBLE_DEVICES=")
    }
    assert values == {f"{GPU},{GPU_2}"}
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in seen["process"]["env"]
    assert "NVIDIA_IMEX_CHANNELS=" in seen["process"]["env"]
    assert f"NVIDIA_VISIBLE_DEVICES={GPU},{GPU_2}".encode() in log


def test_image_with_preload_gets_no_devices(bench: RuntimeBench, hook: DockerEngine):
    """CVE-2025-23266 is refused before a container exists."""
    with pytest.raises(Refused):
        bench.runtime.create(bench.shell("true", image=IMAGE_PRELOAD, devices=(GPU,)))
    assert bench.runtime.observe() == {}
    assert hook.hook.specs() == []


def test_failing_hook_fails_the_job_with_its_words(bench: RuntimeBench, hook: DockerEngine):
    """A driver mismatch is the host's fault, told in the hook's words; nothing runs."""
    hook.hook.behave("fail")
    handle = bench.runtime.create(bench.shell("true", devices=(GPU,)))
    with pytest.raises(HostError) as caught:
        bench.runtime.start(handle)
    assert "driver/library version mismatch" in caught.value.message
    seen = bench.seen(handle)
    assert seen.state is RunState.CREATED
    assert "driver/library version mismatch" in seen.error
    assert seen.started_at is None
    assert bench.runtime.is_gone(handle)
    bench.runtime.remove(handle)


def test_start_that_hangs_does_not_blind_the_observer(bench: RuntimeBench, hook: DockerEngine):
    """Others are seen while a hook hangs, and the hanging one is no failure."""
    hook.hook.behave("3")
    handle = bench.runtime.create(bench.shell("exit 0", devices=(GPU,)))
    starter = threading.Thread(target=bench.runtime.start, args=(handle,), daemon=True)
    starter.start()
    wait_until(hook.hook.specs)
    seen = bench.seen(handle)
    assert starter.is_alive()  # looked at before the hook was over
    assert seen.state is RunState.CREATED
    assert seen.error == ""
    starter.join()
    assert bench.ended(handle).exit_code == 0


def test_lost_answer_of_a_start_is_unknown_and_then_found(bench: RuntimeBench, hook: DockerEngine):
    """The call is not repeated: looking finds the job, which ran once."""
    hook.hook.behave("2")
    request = bench.shell("echo ran; exit 8", devices=(GPU,))
    handle = bench.runtime.create(request)
    connection = bench.runtime._connection
    with pytest.raises(OutcomeUnknown), connection.acting("starting", timeout_s=0.5) as api:
        api.start(handle)
    assert bench.ended(handle).exit_code == 8
    assert bench.log(handle) == b"ran\n"
    assert len(hook.hook.specs()) == 1


# --- what it sees of the box --------------------------------------------------------------------


def test_directory_below_the_home_is_mounted_where_asked(bench: RuntimeBench):
    """`-v ~/proj:/work` means what people expect, links of their own included."""
    project = own_dir(bench.home / "real")
    (project / "f").write_text("hello")
    (bench.home / "link").symlink_to("real")
    seen, log = bench.run(
        "cat /work/f; touch /work/new; touch /ro/x || echo read-only",
        mounts=(
            Mount(str(bench.home / "link"), "/work"),
            Mount(str(project), "/ro", read_only=True),
        ),
    )
    assert b"hello" in log
    assert b"read-only" in log
    assert (project / "new").stat().st_uid == PERSON
    assert seen.exit_code == 0


def test_link_that_leaves_the_roots_is_not_permitted(bench: RuntimeBench, tmp_path: Path):
    """Links to /etc, to a neighbour, and through /proc."""
    neighbour = own_dir(tmp_path / "home" / "neighbour", OTHER)
    for target in ("/etc", str(neighbour), "/proc/self/cwd", "/", "/var/run"):
        link = bench.home / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises((PermissionDenied, InvalidRequest)):
            bench.runtime.create(bench.shell("true", mounts=(Mount(str(link), "/work"),)))
    assert bench.runtime.observe() == {}


def test_neighbours_closed_directory_cannot_be_mounted(bench: RuntimeBench, tmp_path: Path):
    """The look-up has the person's rights, not root's."""
    closed = own_dir(bench.home / "closed", OTHER)
    closed.chmod(0o700)
    (closed / "inner").mkdir()
    for source in (closed, closed / "inner"):
        with pytest.raises(PermissionDenied):
            bench.runtime.create(bench.shell("true", mounts=(Mount(str(source), "/work"),)))


def test_what_is_no_directory_or_file_cannot_be_mounted(bench: RuntimeBench):
    """FIFOs and sockets."""
    os.mkfifo(bench.home / "fifo")
    os.chown(bench.home / "fifo", PERSON, PERSON)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.home / "s"))
        for name in ("fifo", "s"):
            with pytest.raises((InvalidRequest, PermissionDenied)):
                bench.runtime.create(
                    bench.shell("true", mounts=(Mount(str(bench.home / name), "/work"),))
                )


def test_missing_source_is_an_error_and_is_never_created(bench: RuntimeBench):
    """Docker's own `-v` would make it, as root."""
    missing = bench.home / "missing" / "deeper"
    with pytest.raises(InvalidRequest) as caught:
        bench.runtime.create(bench.shell("true", mounts=(Mount(str(missing), "/work"),)))
    assert caught.value.field == "mounts"
    assert not missing.parent.exists()


def test_missing_workdir_below_a_mount_is_never_created_on_the_host(bench: RuntimeBench):
    """It is the job's own error."""
    seen, _ = bench.run(
        "true", mounts=(Mount(str(bench.home), "/work"),), workdir="/work/not/there"
    )
    assert seen.exit_code not in {0, None}
    assert not (bench.home / "not").exists()


def test_workdir_below_a_mount_is_entered(bench: RuntimeBench):
    """By a shell inside, as the person; arguments are kept."""
    own_dir(bench.home / "a b")
    request = bench.request(
        *("sh", "-c", 'pwd; echo "$1"', "x", "$(id) *"),
        mounts=(Mount(str(bench.home), "/work"),),
        workdir="/work/a b",
    )
    handle = bench.begin(request)
    assert bench.ended(handle).exit_code == 0
    assert bench.log(handle) == b"/work/a b\n$(id) *\n"


@pytest.mark.parametrize("part", ["d", ""])
def test_setuid_file_on_a_mount_is_worth_nothing(bench: RuntimeBench, part: str):
    """Mounts are nosuid and nodev, the whole home too."""
    own_dir(bench.home / "d")
    _, log = bench.run(
        "grep ' /work ' /proc/mounts", mounts=(Mount(str(bench.home / part), "/work"),)
    )
    assert b"nosuid" in log
    assert b"nodev" in log


def test_swapped_directory_never_shows_the_neighbours(bench: RuntimeBench, tmp_path: Path):
    """Swapping a link while jobs start: 0 leaks (checked path strings leaked 15 to 22 of 40)."""
    neighbour = own_dir(tmp_path / "home" / "alice", OTHER)
    neighbour.chmod(0o700)
    secret = own_dir(neighbour / "pub", OTHER)
    (secret / "f").write_text("ALICE")
    good = own_dir(bench.home / "good")
    (good / "f").write_text("own")
    link, spare = bench.home / "data", bench.home / "spare"
    link.symlink_to(good)
    stop = threading.Event()

    def swap() -> None:
        targets = [secret, good]
        while not stop.wait(0.0005):
            spare.symlink_to(targets[0])
            spare.rename(link)
            targets.reverse()

    swapper = threading.Thread(target=swap, daemon=True)
    swapper.start()
    passed = 0
    try:
        deadline = time.monotonic() + 20
        while passed < 8 and time.monotonic() < deadline:
            request = bench.shell("cat /work/f", mounts=(Mount(str(link), "/work"),))
            try:
                handle = bench.runtime.create(request)
            except (PermissionDenied, InvalidRequest):
                continue
            passed += 1
            bench.runtime.start(handle)
            bench.ended(handle)
            assert bench.log(handle) == b"own"
    finally:
        stop.set()
        swapper.join()
    assert passed


def test_pins_are_let_go_with_the_container(bench: RuntimeBench, tmp_path: Path):
    """No mount of a job that is gone stays on the box."""
    own_dir(bench.home / "d")
    handle = bench.begin(bench.shell("true", mounts=(Mount(str(bench.home / "d"), "/work"),)))
    bench.ended(handle)
    pins = str(tmp_path / "pins")
    assert pins in Path("/proc/mounts").read_text()
    bench.runtime.remove(handle)
    assert pins not in Path("/proc/mounts").read_text()


def test_pins_are_let_go_where_no_container_came_of_them(bench: RuntimeBench, tmp_path: Path):
    """Else each job that fails so would leave a mount until the daemon's end."""
    own_dir(bench.home / "d")
    request = bench.shell(
        "true",
        mounts=(Mount(str(bench.home / "d"), "/work"),),
        env={"NVIDIA_VISIBLE_DEVICES": "all"},
    )
    with pytest.raises(GpuboardError):
        bench.runtime.create(request)
    assert str(tmp_path / "pins") not in Path("/proc/mounts").read_text()


def test_pins_left_by_a_crash_are_swept(bench: RuntimeBench, tmp_path: Path):
    """The next daemon lets go of pins whose container is gone."""
    own_dir(bench.home / "d")
    request = bench.shell("true", mounts=(Mount(str(bench.home / "d"), "/work"),))
    bench.runtime._mounts.resolve(request, bench.runtime._settings)
    pins = str(tmp_path / "pins")
    assert pins in Path("/proc/mounts").read_text()
    bench.reborn()
    assert pins not in Path("/proc/mounts").read_text()


def test_home_is_mounted_when_the_admin_says_so(
    docker_engine: DockerEngine, tmp_path: Path, home: Path
):
    """At its own path, and it is HOME."""
    settings = SandboxSettings(network="none", mount_home=True)
    bench = docker_bench_on(docker_engine, tmp_path, home, settings)
    try:
        _, log = bench.run('echo "$HOME"; touch "$HOME/made"')
        assert log.decode().strip() == str(home)
        assert (home / "made").stat().st_uid == PERSON
    finally:
        bench.clear()


# --- images ------------------------------------------------------------------------------------


def test_absent_image_is_not_found_and_nobody_is_asked(bench: RuntimeBench):
    """Without leave to pull, no registry is dialled."""
    began = time.monotonic()
    for reference in ("no/such:1", "169.254.169.254/x", "127.0.0.1:1/x:1"):
        with pytest.raises(NotFound) as caught:
            bench.runtime.resolve_image(reference, True, lambda words: None)
        assert caught.value.field == "image"
    assert time.monotonic() - began < 5


@contextlib.contextmanager
def registry(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Give a registry on loopback that answers every request with the same bytes."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    client, _ = server.accept()
                    with client:
                        asked.append(client.recv(4096).split(b"\r\n")[0])
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            stop.set()
            thread.join()


def test_failed_pull_is_the_jobs_clear_reason(
    docker_engine: DockerEngine, tmp_path: Path, home: Path
):
    """Pulled only when allowed; a registry's refusal names the image."""
    refusal = (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
        b"Docker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    with registry(refusal) as (host, asked):
        settings = SandboxSettings(network="none", pull="missing", images=("*", f"{host}/*"))
        bench = docker_bench_on(docker_engine, tmp_path, home, settings)
        words: list[str] = []
        try:
            with pytest.raises(GpuboardError) as caught:
                bench.runtime.resolve_image(f"{host}/lab/x:1", True, words.append)
            assert f"{host}/lab/x" in caught.value.message
            assert asked
            assert words[0] == f"pulling {host}/lab/x:1"
            before = len(asked)
            with pytest.raises(NotFound):
                bench.runtime.resolve_image(f"{host}/lab/x:1", False, words.append)
            assert len(asked) == before
        finally:
            bench.clear()


@pytest.mark.parametrize("is_engine_stopped", [False, True])
def test_pull_without_a_word_ends_in_words(
    docker_engine: DockerEngine,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_engine_stopped: bool,
):
    """It is the image's fault (and counts as a try) only while the engine itself answers."""
    monkeypatch.setattr(docker_images, "SILENCE_S", 2.0)
    monkeypatch.setattr(docker_images, "PING_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = SandboxSettings(network="none", pull="missing", images=(f"{host}/*",))
        bench = docker_bench_on(docker_engine, tmp_path, home, settings)

        def stop(words: str) -> None:
            assert words == f"pulling {host}/lab/x:1"
            if is_engine_stopped:
                os.kill(docker_engine.pid, signal.SIGSTOP)

        try:
            with pytest.raises(Unavailable if is_engine_stopped else HostError) as caught:
                bench.runtime.resolve_image(f"{host}/lab/x:1", True, stop)
        finally:
            os.kill(docker_engine.pid, signal.SIGCONT)
            bench.clear()
        assert is_engine_stopped or "the registry said nothing" in caught.value.message


def test_images_lists_what_may_run(docker_engine: DockerEngine, tmp_path: Path, home: Path):
    """With ids, newest first, and only those on the allow-list."""
    settings = SandboxSettings(network="none", images=("gpuboard-test/busybox:*",))
    bench = docker_bench_on(docker_engine, tmp_path, home, settings)
    try:
        found = bench.runtime.images()
        assert [image.reference for image in found] == [IMAGE]
        assert found[0].id.startswith("sha256:")
        with pytest.raises(Refused):
            bench.runtime.resolve_image(IMAGE_SETUID, False, lambda words: None)
    finally:
        bench.clear()


def test_admitted_image_runs_though_its_tag_was_moved(
    bench: RuntimeBench, docker_engine: DockerEngine
):
    """A job runs the id that was admitted."""
    with contextlib.closing(docker_engine.client()) as api:
        api.tag(IMAGE, "gpuboard-test/moving", "1")
        admitted = bench.runtime.resolve_image("gpuboard-test/moving:1", False, lambda words: None)
        api.tag(IMAGE_SETUID, "gpuboard-test/moving", "1")
        request = bench.shell(
            "ls /bin/busybox-suid", image="gpuboard-test/moving:1", image_id=admitted
        )
        handle = bench.begin(request)
        assert bench.ended(handle).exit_code != 0
        api.remove_image("gpuboard-test/moving:1")


def test_removed_image_is_the_reason(bench: RuntimeBench, docker_engine: DockerEngine):
    """Not a stack trace; also of an image that was there a moment ago."""
    known = "gpuboard-test/passing:1"
    with contextlib.closing(docker_engine.client()) as api:
        api.import_image_from_data(b"\0" * 1024, repository="gpuboard-test/passing", tag="1")
        passing = bench.runtime.resolve_image(known, False, lambda words: None)
        api.remove_image(known)
    for gone in ("sha256:" + "0" * 64, passing):
        with pytest.raises(NotFound) as caught:
            bench.runtime.create(bench.shell("true", image=known, image_id=gone))
        assert caught.value.field == "image"
        assert known in caught.value.message


def test_new_attempt_costs_three_round_trips(
    bench: RuntimeBench, docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
):
    """Image, create, start: the person waits for each; a second try looks for the first one's container."""
    asked: list[str] = []
    send = docker.APIClient.send

    def recorded(client, request, **how):
        asked.append(f"{request.method} {request.path_url.split('?')[0].split('/', 2)[-1]}")
        return send(client, request, **how)

    monkeypatch.setattr(docker.APIClient, "send", recorded)
    image_id = bench.runtime.resolve_image(IMAGE, False, lambda words: None)
    request = bench.shell("true", image_id=image_id, granted_at=RealClock().now_ms())
    handle = bench.begin(request)
    assert asked == [
        f"GET images/docker.io/{IMAGE}/json",
        "POST containers/create",
        f"POST containers/{handle}/start",
    ]
    asked.clear()
    with pytest.raises(Conflict):
        bench.runtime.create(msgspec.structs.replace(request, command=("false",)))
    assert bench.runtime.create(request) == handle
    assert asked.count("POST containers/create") == 1


def test_creating_is_no_news(bench: RuntimeBench):
    """Only we create: a look then would take the CPU of the start that follows; the start is heard."""
    while bench.runtime.wait_event(0.3):
        continue
    handle = bench.runtime.create(bench.shell("sleep 600"))
    assert bench.runtime.wait_event(0.3) is False
    bench.runtime.start(handle)
    assert bench.runtime.wait_event(20)


def test_an_event_is_followed_by_looks_for_what_the_engines_list_shows_later(
    bench: RuntimeBench, monkeypatch: pytest.MonkeyPatch
):
    """`die` comes before the list shows the end: one look soon, so that devices are free, one to be sure."""
    for echoes, looks in (((0.1, 0.6), 3), ((0.1, 600.0), 2)):
        handle = bench.begin(bench.shell("sleep 600"))
        while bench.runtime.wait_event(0.8):
            continue
        monkeypatch.setattr("gpuboard.runtimes.docker_events.ECHOES_S", echoes)
        bench.runtime.kill(handle)
        assert [bench.runtime.wait_event(3) for _ in range(looks)] == [True] * looks
        assert not bench.runtime.wait_event(1)


# --- containers that are not ours -----------------------------------------------------------------


def test_container_of_our_name_made_by_hand_is_not_adopted(
    bench: RuntimeBench, docker_engine: DockerEngine
):
    """A member of the docker group cannot plant a job."""
    request = bench.shell("true")
    with contextlib.closing(docker_engine.client()) as api:
        config = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
        planted = api.create_container_from_config(config, request.name)["Id"]
        try:
            with pytest.raises(GpuboardError):
                bench.runtime.create(request)
            assert bench.runtime.observe() == {}
        finally:
            api.remove_container(planted, force=True)


def test_two_daemons_on_one_engine_keep_apart(
    bench: RuntimeBench, docker_engine: DockerEngine, tmp_path: Path, home: Path
):
    """Both count their jobs from one: the second's container takes another name, each sees its own."""
    other = docker_bench_on(docker_engine, tmp_path, home)
    request = bench.shell("exit 3")
    theirs = msgspec.structs.replace(request, command=("sh", "-c", "exit 4"))
    try:
        handles = [bench.begin(request), other.begin(theirs)]
        assert handles[0] != handles[1]
        assert other.reborn().create(theirs) == handles[1], "adopted under its other name"
        assert (bench.ended(handles[0]).exit_code, other.ended(handles[1]).exit_code) == (3, 4)
        for one in (bench, other):
            assert list(one.runtime.observe()) == [request.name]
        other.runtime.remove(handles[1])
        assert list(bench.runtime.observe()) == [request.name]
    finally:
        other.clear()


def _made_with_lower_id(api, config, name: str, handle: str) -> str:
    """Make a container whose id sorts before `handle`, most likely within its second."""
    for _ in range(64):
        made = api.create_container_from_config(config, name)["Id"]
        if made < handle:
            return made
        api.remove_container(made)
    raise AssertionError("no lower id in 64 tries")


def test_renamed_container_is_still_its_attempt(bench: RuntimeBench, docker_engine: DockerEngine):
    """Even beside one that was given its name, or its marks, by hand."""
    request = bench.shell("sleep 600")
    handle = bench.begin(request)
    with contextlib.closing(docker_engine.client()) as api:
        api.rename(handle, f"renamed-{os.getpid()}")
        labels = api.inspect_container(handle)["Config"]["Labels"]
        config = {"Image": IMAGE, "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
        forged = _made_with_lower_id(api, {**config, "Cmd": ["true"]}, request.name, handle)
        try:
            seen = {row.handle: row for row in bench.runtime.observe().values()}
            assert set(seen) == {handle, forged}
            assert seen[handle].state is RunState.RUNNING
            assert seen[handle].name == request.name
            assert bench.runtime.create(request) == handle
        finally:
            api.remove_container(forged, force=True)
    bench.runtime.kill(handle)
    assert bench.ended(handle).exit_code == 137
    bench.runtime.remove(handle)
    assert bench.runtime.observe() == {}


def test_container_whose_group_was_never_seen_is_not_taken_for_gone(
    bench: RuntimeBench, tmp_path: Path
):
    """The engine's word counts then: it runs, and the engine is told to end it."""
    (tmp_path / "proc").mkdir()
    blind = ContainerCgroups(proc=tmp_path / "proc")
    blind._templates = []
    handle = bench.begin(bench.shell("sleep 300"))
    bench.runtime._cgroups = blind
    assert not bench.runtime.is_gone(handle)
    bench.runtime.kill(handle)
    wait_until(lambda: bench.runtime.is_gone(handle))


def test_container_removed_behind_our_back_is_not_observed_and_is_gone(bench: RuntimeBench):
    """And removing it again is fine."""
    handle = bench.begin(bench.shell("sleep 600"))
    with contextlib.closing(bench.runtime._connection.fresh(30)) as api:
        api.remove_container(handle, force=True)
    assert bench.runtime.observe() == {}
    wait_until(lambda: bench.runtime.is_gone(handle))
    bench.runtime.remove(handle)


def test_paused_container_is_seen_as_such_and_can_be_killed(bench: RuntimeBench):
    """Somebody paused it by hand."""
    handle = bench.begin(bench.shell("sleep 600"))
    with contextlib.closing(bench.runtime._connection.fresh(30)) as api:
        api.pause(handle)
    assert bench.seen(handle).state is RunState.PAUSED
    bench.runtime.kill(handle)
    assert bench.ended(handle).exit_code == 137


# --- the engine itself -----------------------------------------------------------------------------


def test_engine_that_does_not_answer_is_unavailable_not_empty(tmp_path: Path):
    """An error is never an empty list."""
    runtime = DockerRuntime(f"unix://{tmp_path}/none.sock", SandboxSettings(), "box")
    for call in (runtime.check, runtime.observe, runtime.images):
        with pytest.raises(Unavailable):
            call()
    runtime.close()


def test_podman_behind_the_socket_is_refused_with_the_reason(tmp_path: Path):
    """Its compatible API ignores device requests in silence."""

    def answers(target: str) -> object:
        if target.endswith("/version"):
            return {
                "ApiVersion": "1.41",
                "Version": "4.3.1",
                "Components": [{"Name": "Podman Engine"}],
            }
        return {}

    with speaking(tmp_path / "s", answers):
        runtime = DockerRuntime(f"unix://{tmp_path}/s", SandboxSettings(), "box")
        with pytest.raises(HostError) as caught:
            runtime.check()
        runtime.close()
    assert "Podman" in caught.value.message
    assert "device requests" in caught.value.message


def test_engine_that_ignores_device_requests_is_refused(tmp_path: Path):
    """Whatever it calls itself: it is asked, not believed."""

    def answers(target: str) -> object:
        if target.endswith("/version"):
            return {"ApiVersion": "1.41", "Version": "20.10.0", "Components": [{"Name": "Engine"}]}
        if "/images/json" in target:
            return [{"Id": "sha256:" + "1" * 64}]
        if "/containers/create" in target:
            return {"Id": "c" * 64}
        if target.endswith("/json") and "/containers/" in target:
            return {"HostConfig": {"NetworkMode": "none"}}
        return {}

    with speaking(tmp_path / "s", answers):
        runtime = DockerRuntime(f"unix://{tmp_path}/s", SandboxSettings(), "box")
        with pytest.raises(HostError, match="ignores device requests"):
            runtime.check()
        runtime.close()


def test_old_engine_is_refused(tmp_path: Path):
    """20.10 is the oldest whose device requests are known."""
    version = {"ApiVersion": "1.40", "Version": "19.03", "Components": []}
    with speaking(tmp_path / "s", lambda target: version if target.endswith("/version") else {}):
        runtime = DockerRuntime(f"unix://{tmp_path}/s", SandboxSettings(), "box")
        with pytest.raises(GpuboardError) as caught:
            runtime.check()
        runtime.close()
    assert isinstance(caught.value, HostError)


def test_check_says_what_the_engine_is(bench: RuntimeBench, hook: DockerEngine):
    """Version, images, and how devices are opened."""
    found = bench.runtime.check()
    assert found.version
    assert found.images
    assert found.devices in {"request", "cdi"}
    assert bench.runtime.observe() == {}


def test_known_containers_are_observed_by_one_list(bench: RuntimeBench):
    """Looking stays cheap: nothing is inspected again."""
    for _ in range(12):
        bench.runtime.create(bench.shell("true"))
    handle = bench.begin(bench.shell("exit 1"))
    bench.ended(handle)
    bench.runtime.observe()
    calls: list[str] = []
    look = bench.runtime._look
    original = look._inspected
    look._inspected = lambda row: (calls.append(row.name), original(row))[1]
    assert len(bench.runtime.observe()) == 13
    assert calls == []


# --- what the tests themselves see -------------------------------------------------------------


def test_hook_records_see_a_device_in_two_containers_that_live(hook: DockerEngine):
    """The check behind "no device is ever in two containers" finds one that is, and no other."""
    with contextlib.closing(hook.client()) as client:

        def started(device: str) -> str:
            made = client.create_container(
                IMAGE,
                ["sleep", "600"],
                host_config=client.create_host_config(
                    device_requests=[DeviceRequest(device_ids=[device], capabilities=[["gpu"]])],
                    init=True,
                ),
            )["Id"]
            client.start(made)
            return made

        made = [started("GPU-a"), started("GPU-b")]
        try:
            client.kill(made[0])
            client.wait(made[0])
            made.append(started("GPU-a"))
            assert hook.hook.overlaps() == []
            made.append(started("GPU-b"))
            (found,) = hook.hook.overlaps()
            assert found.startswith("GPU-b ")
        finally:
            for one in made:
                client.remove_container(one, force=True)


def test_reading_logs_leaves_nothing_behind(bench: RuntimeBench):
    """Each reader has a thread of its own: what that thread spoke by to the engine went on being held."""
    handle = bench.begin(bench.shell("echo hello; sleep 2"))

    def sockets() -> int:
        found = 0
        for entry in os.scandir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found += os.readlink(entry.path).startswith("socket:")
        return found

    def read(follow: bool) -> None:
        assert b"hello" in b"".join(bench.runtime.read_log(handle, follow=follow))

    read(follow=True)
    before = sockets()
    clients = len(bench.runtime._connection._clients)
    for follow in (True, False) * 5:
        reader = threading.Thread(target=read, args=(follow,))
        reader.start()
        reader.join(20)
    assert len(bench.runtime._connection._clients) == clients
    assert sockets() <= before
