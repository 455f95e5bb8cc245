"""Faults of the container engine: slow, killed, hung, restarted, meddled with; the real one, a real daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gpuboard.runtimes.cgroups import ContainerCgroups
from tests.support.dockerd import (
    IMAGE,
    DockerEngine,
    busybox_root,
    missing_parts,
    running_engine,
)
from tests.support.fakenvml import built, gpu_uuid
from tests.support.faultbox import DOCKER, FaultBox, container_of, fault_box, fill
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]

LIVE = "while :; do sleep 0.1; done"


def test_fault_10_start_that_takes_long(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """Others start and end meanwhile, and lists answer at once."""
    box = docker_box
    box.start()
    docker_engine.hook.behave("10")
    slow = box.shell("exit 4")
    box.wait_state(slow, "starting")
    quick = box.shell("exit 0", gpus=0)
    assert box.ended(quick)["state"] == "succeeded"
    began = time.monotonic()
    listed = {job["id"]: job["state"] for job in box.client.get("/jobs")["jobs"]}
    took_s = time.monotonic() - began
    assert listed[slow] == "starting"  # the list came before the hook's ten seconds were over
    assert box.ended(slow)["exit_code"] == 4
    record_property(
        "seen", f"still starting while another ran and ended; list in {took_s * 1000:.0f} ms"
    )


def test_fault_11_toolkits_hook_fails(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """Failed with the hook's text; after three different jobs the device is drained."""
    box = docker_box
    box.start()
    docker_engine.hook.behave("fail")
    for _ in range(3):
        view = box.ended(box.shell("true", gpu_ids=[gpu_uuid(0)]))
        assert view["state"] == "failed"
        assert "version mismatch" in view["reason"]
    wait_until(lambda: gpu_uuid(0) in box.drained(), 10)
    record_property("seen", f"failed with the text; drained: {box.drained()[gpu_uuid(0)][:60]}")


def test_fault_12_what_cannot_be_run(docker_box: FaultBox, record_property) -> None:
    """Failed in words, with Docker's own codes, and not tried again."""
    box = docker_box
    box.start()
    seen = []
    for command in (["no-such-program"], ["/etc/passwd"]):
        view = box.ended(box.ask(*command))
        assert (view["state"], view["attempt"]) == ("failed", 1)
        seen.append(f"{command[0]}: {view['reason'][:60]}")
    record_property("seen", "; ".join(seen))


def test_fault_20_container_removed_behind_our_back(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """Lost with that reason, the lease free."""
    box = docker_box
    box.start()
    job = box.shell(LIVE)
    box.wait_state(job, "running")
    assert box.daemon is not None
    box.daemon.send_signal(signal.SIGSTOP)  # else a look between kill and removal sees exit 137
    with contextlib.closing(docker_engine.client()) as client:
        client.remove_container(container_of(docker_engine, job), force=True)
    box.daemon.send_signal(signal.SIGCONT)
    view = box.ended(job)
    assert view["state"] == "lost", view
    assert "removed" in view["reason"]
    assert box.rows("SELECT count(*) FROM leases WHERE released_at IS NULL") == [(0,)]
    record_property("seen", f"lost: {view['reason']}")


def test_fault_21_renamed_and_strangers(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """A stranger with our kind of name is left alone; a renamed container ends its job truly."""
    box = docker_box
    box.start()
    job = box.shell("sleep 3; exit 8")
    box.wait_state(job, "running")
    with contextlib.closing(docker_engine.client()) as client:
        stranger = client.create_container(IMAGE, ["sleep", "60"], name="gb-987654-1")["Id"]
        client.rename(container_of(docker_engine, job), "renamed-by-hand")
        view = box.ended(job)
        time.sleep(3.5)  # a whole listing must leave it alone
        kept = {row["Id"] for row in client.containers(all=True)}
        for left in client.containers(all=True):
            if left["Id"] == stranger or "/renamed-by-hand" in left["Names"]:
                client.remove_container(left["Id"], force=True)
    assert stranger in kept
    assert (view["state"], view["exit_code"]) == ("failed", 8), view
    record_property("seen", "renamed: exit 8 all the same; the stranger was left alone")


def test_attack_42_the_writable_layer(
    docker_engine: DockerEngine, fault_folder: Path, record_property
) -> None:
    """The watch stops whoever writes more than they may beside their mounts; their bytes go too."""
    built()
    config = DOCKER.replace("[jobs]", '[jobs]\nmax_disk = "32M"').format(host=docker_engine.host)
    with fault_box(fault_folder, config) as box:
        box.start(MORTAL_LOOK_MS="500")
        greedy = box.shell("dd if=/dev/zero of=/tmp/x bs=1M count=64; sleep 300")
        modest = box.shell("dd if=/dev/zero of=/tmp/x bs=1M count=8; sleep 300", grace="1s")
        view = box.ended(greedy)
        box.wait_state(modest, "running")
        with contextlib.closing(docker_engine.client()) as client:
            row = client.inspect_container(container_of(docker_engine, modest))
        upper = Path(row["GraphDriver"]["Data"].get("UpperDir", "/nonexistent"))
        box.cancel(modest, force=True)
        assert box.ended(modest)["state"] == "cancelled"
        wait_until(lambda: not upper.exists(), 15, "the layer to be gone")
    assert view["state"] == "failed", view
    assert "of 32M to its container's disk" in view["reason"]
    record_property("seen", f"failed: {view['reason']}; a modest one ran on")


def test_attack_42_closed_root(
    docker_engine: DockerEngine, fault_folder: Path, record_property
) -> None:
    """Where the configuration closes it, nothing is written but to a small /tmp, which is full in time."""
    built()
    config = DOCKER.replace("[docker]", '[docker]\nread_only_root = true\ntmp = "8M"')
    with fault_box(fault_folder, config.format(host=docker_engine.host)) as box:
        box.start()
        script = (
            "touch /etc/x || touch /work/x || dd if=/dev/zero of=/tmp/x bs=1M count=64 || exit 6"
        )
        job = box.shell(script)
        view, log = box.ended(job), box.job_log(job).decode()
    assert view["exit_code"] == 6, view
    assert log.count("Read-only file system") == 2, log
    assert "No space left on device" in log
    record_property("seen", "closed root: read-only to the job, its /tmp full at 8 MiB")


def test_fault_22_container_paused_by_hand(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """It is shown as paused for as long as it is, keeps its device, and can be stopped."""
    box = docker_box
    box.start()
    job = box.shell(LIVE, grace="2s")
    box.wait_state(job, "running")
    with contextlib.closing(docker_engine.client()) as client:
        client.pause(container_of(docker_engine, job))
        words = wait_until(lambda: box.job(job)["reason"], 15, "the pause to be shown")
        assert "paused" in words
        assert "paused" in box.run("ps").stdout
        client.unpause(container_of(docker_engine, job))
        wait_until(lambda: not box.job(job)["reason"], 15, "the pause to be over")
        client.pause(container_of(docker_engine, job))
    box.cancel(job)
    view = box.ended(job)
    assert view["state"] == "cancelled"
    record_property("seen", f"'{words}'; cancelled, exit {view['exit_code']}")


def test_fault_23_exit_codes_are_kept(docker_box: FaultBox, record_property) -> None:
    """As they are, with a reason by one table."""
    box = docker_box
    box.start()
    seen = []
    for script, code in (("exit 259", 3), ("exit 255", 255), ("kill -9 $$; sleep 9", 137)):
        view = box.ended(box.shell(script))
        assert view["exit_code"] == code, view
        seen.append(f"{code}: {view['reason']}")
    child = "head -c 80000000 /dev/zero | tail >/dev/null; exit 0"
    view = box.ended(box.shell(child, memory="64M"))
    assert (view["state"], view["exit_code"], view["oom_killed"]) == ("succeeded", 0, True), view
    record_property(
        "seen", "; ".join(seen) + "; 0 though a child was killed for memory, and said so"
    )


def test_fault_41_image_goes_after_admission(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """A tag taken away changes nothing; an image removed is the job's reason, with its name."""
    box = docker_box
    box.start()
    jobs = []
    with contextlib.closing(docker_engine.client()) as client:
        client.tag(IMAGE, "gpuboard-test/passing", "1")
        data = busybox_root((("which", 0o644, b"fleeting"),))
        changes = ["ENV PATH=/bin"]
        client.import_image_from_data(
            data, repository="gpuboard-test/fleeting", tag="1", changes=changes
        )
        for name in ("passing", "fleeting"):
            jobs.append(box.shell("true", image=f"gpuboard-test/{name}:1", hold=True))
            wait_until(lambda: box.rows("SELECT image_id FROM jobs WHERE id=?", jobs[-1])[0][0], 20)
            client.remove_image(f"gpuboard-test/{name}:1", noprune=True)
    box.client.post("/jobs/release", {"jobs": [str(job) for job in jobs]})
    untagged, removed = (box.ended(job) for job in jobs)
    assert untagged["state"] == "succeeded", untagged
    assert removed["state"] == "failed"
    assert "fleeting" in removed["reason"]
    record_property("seen", f"tag gone: ran by its id; image gone: {removed['reason'][:70]}")


def test_fault_43_sigterm_during_a_start(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """The daemon ends in time; the next one takes the start up, and it ran once."""
    box = docker_box
    box.start()
    docker_engine.hook.behave("3")
    job = box.shell("sleep 1; exit 6")
    wait_until(lambda: list(docker_engine.hook.directory.glob("*.state")), 15)
    began = time.monotonic()
    box.stop()
    took_s = time.monotonic() - began
    assert took_s < 30
    box.start()
    view = box.ended(job)
    assert view["exit_code"] == 6, view
    events = box.rows("SELECT kind, detail FROM events WHERE job_id = ? ORDER BY id", job)
    assert len(docker_engine.hook.specs()) == 1, events
    record_property("seen", f"ended after {took_s:.1f} s; taken up, exit 6, one start")


def test_fault_18_no_event_ever_comes(docker_box: FaultBox, record_property) -> None:
    """The listing alone finds the end within five seconds."""
    box = docker_box
    box.start(deaf=True)
    job = box.shell("sleep 1; exit 2")
    view = box.ended(job)
    assert view["exit_code"] == 2
    ended, noticed = box.rows(
        "SELECT j.ended_at, e.at FROM jobs j JOIN events e ON e.job_id = j.id"
        " WHERE e.kind = 'job.failed' AND j.id = ?",
        job,
    )[0]
    assert noticed - ended < 6000, (noticed, ended)
    record_property(
        "seen", f"exit 2, found {(noticed - ended) / 1000:.1f} s after it, without events"
    )


def test_fault_13_engine_killed_inside_a_start(
    mortal_box: FaultBox, mortal_engine: DockerEngine, record_property
) -> None:
    """Nothing of it is left alive, the device is free, and a new attempt has a new name."""
    box = mortal_box
    box.start()
    mortal_engine.hook.behave("3")
    job = box.shell("sleep 2; exit 5", requeue=True)
    wait_until(lambda: list(mortal_engine.hook.directory.glob("*.state")), 15)
    stuck = container_of(mortal_engine, job)
    mortal_engine.kill()
    mortal_engine.hook.behave("0")
    mortal_engine.start()
    view = box.ended(job, 90)
    assert not ContainerCgroups().pids(stuck)
    assert (view["exit_code"], view["state"]) == (5, "failed"), view
    assert box.is_charged_once()
    record_property(
        "seen", f"ended by attempt {view['attempt']} with exit 5; nothing of the first lives"
    )


def test_fault_15_engine_restarted_and_its_containers_die(
    mortal_box: FaultBox, mortal_engine: DockerEngine, record_property
) -> None:
    """Lost by the restart, not the person's fault; run again for who asked."""
    box = mortal_box
    box.start()
    plain = box.shell(LIVE)
    rerun = box.shell("sleep 3", requeue=True)
    for job in (plain, rerun):
        box.wait_state(job, "running")
    mortal_engine.restart()
    view = box.ended(plain)
    assert view["state"] == "lost", view
    assert "restarted" in view["reason"]
    again = box.ended(rerun)
    assert (again["state"], again["attempt"]) == ("succeeded", 2), again
    record_property("seen", f"lost: {view['reason']}; the other succeeded as attempt 2")


def test_fault_16_engine_restarted_and_its_containers_live(
    mortal_box: FaultBox, mortal_engine: DockerEngine, record_property
) -> None:
    """Nothing changes; what ended meanwhile has its true code; a full log pipe only waits (fault 42).

    Docker 26.1 calls it 255, of one that ended with 0 as well: then it is not known, and that is said.
    """
    box = mortal_box
    mortal_engine.restart(signal.SIGTERM, live_restore=True)
    box.start()
    ends = box.shell("sleep 2; exit 9")
    stays = box.shell(LIVE)
    for job in (ends, stays):
        box.wait_state(job, "running")
    container = container_of(mortal_engine, ends)
    mortal_engine.kill()
    wait_until(lambda: not ContainerCgroups().pids(container), 20, "its end, while nobody looks")
    assert {box.job(job)["state"] for job in (ends, stays)} == {"running"}
    mortal_engine.start(live_restore=True)
    view = box.ended(ends)
    if mortal_engine.version == "26.1":
        assert (view["state"], view["exit_code"]) == ("lost", None), view
        assert "does not know its exit code" in view["reason"]
    else:
        assert (view["state"], view["exit_code"]) == ("failed", 9), view
    assert box.job(stays)["state"] == "running"
    told = f"exit {view['exit_code']}" if view["exit_code"] is not None else view["reason"]
    record_property("seen", f"the one that ended: {told}; the other runs on, no state changed")


PIPE_BYTES = 60_000
"""What a pipe holds, but for a block: 170 kB do not fit."""


def _has_written(container: str, least_bytes: int) -> bool:
    """Whether a process of the container has written so much by now."""
    for pid in ContainerCgroups().pids(container):
        with contextlib.suppress(OSError):
            _, written = Path(f"/proc/{pid}/io").read_text().split("wchar: ")
            if int(written.split()[0]) >= least_bytes:
                return True
    return False


def test_fault_42_log_pipe_is_full_while_the_engine_is_down(
    mortal_box: FaultBox, mortal_engine: DockerEngine, record_property
) -> None:
    """The job waits on its pipe and goes on; the log has no gap."""
    box = mortal_box
    mortal_engine.restart(signal.SIGTERM, live_restore=True)
    box.start()
    lines = 30_000
    job = box.shell(f"sleep 3; seq 1 {lines}; exit 3")
    box.wait_state(job, "running")
    container = container_of(mortal_engine, job)
    mortal_engine.kill()
    wait_until(lambda: _has_written(container, PIPE_BYTES), 20, "the pipe to be full")
    assert box.job(job)["state"] == "running"
    mortal_engine.start(live_restore=True)
    view = box.ended(job)
    assert view["exit_code"] == 3
    assert box.job_log(job) == "".join(f"{n}\n" for n in range(1, lines + 1)).encode()
    record_property("seen", f"waited, exit 3, all {lines} lines in order")


def test_fault_19_engine_hangs(
    mortal_box: FaultBox, mortal_engine: DockerEngine, record_property
) -> None:
    """A stopped dockerd: the daemon answers, decides nothing, and goes on when it goes on."""
    box = mortal_box
    box.start()
    job = box.shell("sleep 4; exit 2")
    box.wait_state(job, "running")
    container = container_of(mortal_engine, job)
    os.kill(mortal_engine.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        waits = box.shell("exit 0")
        # answered while the engine hangs
        states = [box.job(n)["state"] for n in (job, waits)]
        took_s = time.monotonic() - began
        wait_until(lambda: not ContainerCgroups().pids(container), 20, "the job's end meanwhile")
        assert box.job(job)["state"] == "running"
    finally:
        os.kill(mortal_engine.pid, signal.SIGCONT)
    assert states[0] == "running"
    assert box.ended(job)["exit_code"] == 2
    assert box.ended(waits)["state"] == "succeeded"
    record_property(
        "seen", f"answers in {took_s * 1000:.0f} ms, no decision; exit 2 after it went on"
    )


class SmallEngine(DockerEngine):
    """An engine whose disk is a small one of its own."""

    def prepare(self) -> None:
        """Mount it before anything is written."""
        super().prepare()
        mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(self.directory / "data")]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("mounting is not permitted here")


def test_fault_30_real_engines_disk_is_full(fault_folder: Path, saw) -> None:
    """The job waits with the engine's words, tried seldom, and runs once there is room."""
    built()
    if reason := missing_parts():
        pytest.skip(reason)
    with (
        running_engine(SmallEngine) as engine,
        fault_box(fault_folder, DOCKER.format(host=engine.host)) as box,
    ):
        box.start()
        filler = engine.directory / "data" / "filler"
        fill(filler)
        job = box.shell("exit 3")
        wait_until(
            lambda: "no space left" in box.job(job)["reason"],
            20,
            f"{box.job(job)} {box.log.read_text()}",
        )
        began = time.monotonic()
        filler.unlink()
        view = box.ended(job)
        tries = box.log.read_text().count("no space left")
        assert view["exit_code"] == 3, view
        assert time.monotonic() - began < 30
        assert tries <= 3, "tried again and again"
        saw(f"queued with its words, tried {tries} times, ran when there was room: exit 3")
