"""Faults of the daemon's own house: disk, database, driver, descriptors, clients; a real daemon, fake GPUs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from gpuboard.errors import GpuboardError, HostError
from gpuboard.runtimes.docker import DockerRuntime
from gpuboard.runtimes.sandbox import SandboxSettings
from gpuboard.store.connection import JOURNAL_LIMIT_BYTES
from gpuboard.store.database import Store
from tests.support.box import ROOT, people
from tests.support.canned_engine import speaking
from tests.support.dockerd import IMAGE, DockerEngine
from tests.support.fakenvml import gpu_uuid, process_line
from tests.support.faultbox import (
    DOCKER,
    PROCESS,
    FaultBox,
    container_of,
    container_rows,
    fault_box,
    fill,
)
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.cc]


def device(box: FaultBox, number: int) -> dict:
    """Return what the board says of one device."""
    devices = box.client.get("/board")["devices"]
    return next(d for d in devices if d["uuid"] == gpu_uuid(number))


@pytest.mark.parametrize("choice", ["stop", "keep"])
def test_fault_25_gpu_lost_under_a_running_job(
    fault_folder: Path, choice: str, record_property
) -> None:
    """The device is drained; its job is stopped or kept as configured; the other device's goes on."""
    with fault_box(fault_folder, PROCESS.format(jobs=f'on_device_fault = "{choice}"')) as box:
        box.start()
        hit = box.shell("sleep 60", gpu_ids=[gpu_uuid(0)])
        other = box.shell("sleep 60", gpu_ids=[gpu_uuid(1)])
        for job in (hit, other):
            box.wait_state(job, "running")
        box.fake.gpus[0].keys["lost"] = 1
        box.fake.write()
        wait_until(lambda: gpu_uuid(0) in box.drained(), 15, "the drain")
        if choice == "stop":
            box.ended(hit)
        state = box.job(hit)["state"]
        assert state == ("failed" if choice == "stop" else "running")
        assert box.job(other)["state"] == "running"
        record_property("seen", f"{choice}: job {state}, device drained, the other runs")


def test_fault_25_driver_hangs_and_comes_back(process_box: FaultBox, record_property) -> None:
    """The board answers, what runs goes on, nothing new starts on a GPU until it answers again."""
    box = process_box
    box.start()
    runs = box.shell("sleep 60")
    box.wait_state(runs, "running")
    box.fake.write(latency_us=4_000_000, latency_mode="sleep")
    host = lambda: box.client.get("/board")["host"]  # noqa: E731
    words = wait_until(lambda: host()["driver_fault"], 20, "the hang to be said")
    began = time.monotonic()
    waits = box.shell("sleep 60")
    assert time.monotonic() - began < 2
    assert box.job(runs)["state"] == "running"
    assert box.job(waits)["state"] == "queued"
    box.fake.clear("latency_us", "latency_mode")
    box.wait_state(waits, "running", timeout_s=40)
    record_property("seen", f"'{words}'; waited, ran after; nobody was killed")


def test_fault_26_devices_renumbered_and_gone(process_box: FaultBox, record_property) -> None:
    """A lease follows the UUID; one that is gone from the list is not given out."""
    box = process_box
    box.start()
    job = box.shell("sleep 60", gpu_ids=[gpu_uuid(1)])
    box.wait_state(job, "running")
    box.fake.gpus.reverse()
    box.fake.write()
    box.fake.gpus.pop()  # number 0, which is free
    box.fake.write()
    wait_until(lambda: gpu_uuid(0) in box.drained(), 15, "the missing one to be drained")
    assert box.job(job)["state"] == "running"
    assert box.rows("SELECT device FROM leases WHERE released_at IS NULL") == [(gpu_uuid(1),)]
    record_property(
        "seen", "lease kept by UUID, missing one drained: " + box.drained()[gpu_uuid(0)]
    )


def test_fault_27_somebody_is_on_a_free_device(process_box: FaultBox, record_property) -> None:
    """A real process that the driver names: shown with its person, the device given to nobody."""
    box = process_box
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        for gpu in box.fake.gpus:
            gpu.processes = [process_line(sleeper.pid)]
        box.fake.write()
        box.start()
        job = box.shell("true")
        wait_until(lambda: box.client.get(f"/jobs/{job}/why"), 10)
        time.sleep(1.5)  # two sweeps: it must not start in them
        assert box.job(job)["state"] == "queued"
        words = str(box.client.get(f"/jobs/{job}/why"))
        assert "root" in words
    finally:
        sleeper.kill()
        sleeper.wait()
    for gpu in box.fake.gpus:
        gpu.processes = []
    box.fake.write()
    assert box.ended(job)["state"] == "succeeded"
    record_property("seen", "waited while root's process was there, ran after it")


@pytest.fixture
def small_disk(fault_folder: Path) -> Iterator[Path]:
    """A disk of 120 MB for the state."""
    folder = fault_folder / "box" / "state"
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120m,mode=0700", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_fault_29_database_disk_full(small_disk: Path, fault_folder: Path, record_property) -> None:
    """Reads go on, submissions are refused in words, the end of what runs is recorded."""
    with fault_box(fault_folder, PROCESS.format(jobs="")) as box:
        box.start()
        job = box.shell("sleep 2; exit 5")
        box.wait_state(job, "running")
        with (small_disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 65536)
        with pytest.raises(GpuboardError) as caught:
            box.shell("true")
        assert box.job(job)["id"] == job
        alarm = box.client.get("/board")["host"]["store_fault"]
        assert alarm
        assert any(
            check["name"] == "database" and check["status"] == "error"
            for check in box.client.get("/doctor")["checks"]
        )
        time.sleep(3)  # it ends while not a byte is free
        (small_disk / "filler").unlink()
        view = box.ended(job)
        assert view["exit_code"] == 5, view
        later = box.shell("true")
        assert box.ended(later)["state"] == "succeeded"
        record_property(
            "seen",
            f"alarm and submit: '{caught.value.message[:60]}...'; exit 5 recorded; goes on",
        )


@pytest.mark.engine
def test_fault_29_no_room_for_the_log_of_a_container(
    small_disk: Path, docker_engine: DockerEngine, fault_folder: Path, record_property
) -> None:
    """The job ends truly; its log stays with the container, whole, and is kept when there is room."""
    with fault_box(fault_folder, DOCKER.format(host=docker_engine.host)) as box:
        box.start()
        job = box.shell("seq 1 100000; sleep 1; exit 5")
        box.wait_state(job, "running")
        fill(small_disk / "filler")
        with contextlib.closing(docker_engine.client(10)) as client:
            client.wait(container_of(docker_engine, job))
        words = wait_until(lambda: box.client.get("/board")["host"]["store_fault"], 15, "the alarm")
        kept = small_disk / "logs" / f"{job}-1.log"
        assert not kept.exists()
        (small_disk / "filler").unlink()
        assert box.ended(job)["exit_code"] == 5
        assert box.job_log(job) == "".join(f"{n}\n" for n in range(1, 100_001)).encode()
        wait_until(lambda: not container_rows(docker_engine), 20, "the container's removal")
        assert kept.exists()
        record_property("seen", f"'{words[:50]}...'; exit 5, the log whole, kept after")


@pytest.mark.engine
def test_fault_29_disk_that_fills_while_a_log_is_saved(
    docker_engine: DockerEngine, fault_folder: Path, record_property
) -> None:
    """An error, no half of a log that takes the room left, and all of it once there is room."""
    folder = fault_folder / "logs"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    command = ["sh", "-c", "seq 1 300000"]
    runtime = DockerRuntime(docker_engine.host, SandboxSettings(), "box")
    try:
        with contextlib.closing(docker_engine.client()) as client:
            handle = client.create_container(IMAGE, command, name="log-without-room")["Id"]
            client.start(handle)
            client.wait(handle)
            with pytest.raises(OSError, match="No space left"):
                runtime.save_log(handle, str(folder / "1-1.log"))
            assert not list(folder.iterdir())
            subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
            runtime.save_log(handle, str(folder / "1-1.log"))
            assert (folder / "1-1.log").read_bytes().endswith(b"\n300000\n")
            client.remove_container(handle, force=True)
    finally:
        runtime.close()
        subprocess.run(["umount", "-l", str(folder)], check=True)
    record_property("seen", "an error, nothing left behind; saved whole when there was room")


def _damage(path: Path, kind: str) -> None:
    if kind == "newer":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(b"no database, but somebody's only copy" * 200)
    else:
        data = bytearray(path.read_bytes())
        for page in range(2, len(data) // 4096, 3):
            data[page * 4096 : page * 4096 + 500] = b"\x5a" * 500
        path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["damaged", "garbage", "empty", "newer"])
def test_fault_31_database_that_must_not_be_used(
    fault_folder: Path, kind: str, record_property
) -> None:
    """The daemon does not start, says why, names the backup, and changes nothing."""
    state = fault_folder / "box" / "state"
    store = Store(str(state))
    backup = store.backup_daily("2026-01-01")
    store.close()
    path = state / "gpuboard.db"
    _damage(path, kind)
    before = path.read_bytes()
    with fault_box(fault_folder, PROCESS.format(jobs="")) as box:
        done = subprocess.run(
            [sys.executable, "-m", "gpuboard.daemon", "--config", str(box.config)],
            env={**box.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode != 0
    assert backup in done.stderr
    assert path.read_bytes() == before
    [words] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    record_property("seen", f"{kind}: refused, names the backup, file untouched: {words[-60:]}")


def test_fault_32_migration_killed_half_way(tmp_path: Path, record_property) -> None:
    """The old version is intact after SIGKILL at any statement; the next start completes it."""
    from tests.store.test_schema import KILLED, NEXT, columns, version

    pristine = Store(str(tmp_path / "state"))
    path = str(tmp_path / "copy.db")
    pristine.backup(path)
    pristine.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        old = version(connection)
    for point in (2, 14, 30, 10_000):
        run = subprocess.run(
            [sys.executable, "-c", KILLED, path, str(point), str(ROOT)], check=False
        )
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            found = (version(connection), "colour" in columns(connection))
            assert found in ((old, False), (len(NEXT), True))
            if point == 10_000:
                assert (run.returncode, found) == (0, (len(NEXT), True))
    record_property(
        "seen", "SIGKILL at three statements: old version whole; the next run completes it"
    )


def test_fault_33_database_locked_by_an_admins_shell(
    process_box: FaultBox, record_property
) -> None:
    """Reads are answered at once, the board says so, writes wait for the shell; nothing is lost."""
    box = process_box
    box.start()
    job = box.shell("sleep 2; exit 6")
    box.wait_state(job, "running")
    with (
        contextlib.closing(
            sqlite3.connect(box.state / "gpuboard.db", isolation_level=None)
        ) as shell,
        ThreadPoolExecutor(1) as pool,
    ):
        shell.execute("BEGIN IMMEDIATE")
        submitting = pool.submit(box.shell, "exit 0")
        words = wait_until(lambda: box.client.get("/board")["host"]["store_fault"], 10, "the alarm")
        longest = _longest_answer(box, 3.0)
        assert not submitting.done()
        assert box.job(job)["state"] == "running", "its end cannot be written yet"
        shell.execute("ROLLBACK")
        waited = submitting.result(20)
    assert box.ended(job)["exit_code"] == 6
    assert box.ended(waited)["state"] == "succeeded"
    wait_until(lambda: not box.client.get("/board")["host"]["store_fault"], 15, "the all-clear")
    assert box.is_charged_once()
    record_property(
        "seen",
        f"'{words[:40]}...'; reads within {longest * 1000:.0f} ms, the submission waited and was"
        " taken, exit 6 recorded once",
    )


def _longest_answer(box: FaultBox, seconds: float) -> float:
    """Ask for the jobs during so many seconds; return the longest wait (s)."""
    longest, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        box.client.get("/jobs")
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.02)
    assert longest < 2.0, "the engine's thread waited for the lock"
    return longest


def test_fault_33_lock_that_stays_is_an_error_in_words(
    process_box: FaultBox, record_property
) -> None:
    """A submission waits ten seconds and says who is in the way; the daemon is not restarted for it."""
    box = process_box
    box.start()
    with contextlib.closing(
        sqlite3.connect(box.state / "gpuboard.db", isolation_level=None)
    ) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(GpuboardError) as caught:
            box.shell("true")
        shell.execute("ROLLBACK")
    assert caught.value.code == "database_busy"
    assert "sqlite3 shell" in caught.value.hint
    assert box.ended(box.shell("true"))["state"] == "succeeded"
    record_property("seen", f"after 10 s: {caught.value.message[:60]}")


def test_fault_34_reader_that_stays(tmp_path: Path, record_property) -> None:
    """The log grows while somebody reads, which is said at 64 MB; it is folded back when they go."""
    store = Store(str(tmp_path / "state"))
    reader = sqlite3.connect(f"file:{store.path}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    log = Path(f"{store.path}-wal")
    assert not store.fault()
    detail = {"text": "x" * 60_000}
    for batch in range(2000):
        with store.transaction() as tx:
            tx.append_event(batch, "job.note", detail=detail)
        if log.stat().st_size > JOURNAL_LIMIT_BYTES:
            break
    assert not store.checkpoint()
    words = store.fault()
    assert "keeps the database open for reading" in words
    reader.execute("ROLLBACK")
    reader.close()
    assert store.checkpoint()
    assert log.stat().st_size == 0
    assert not store.fault()
    store.close()
    record_property("seen", f"'{words[-82:]}'; 0 bytes after it went")


def test_fault_36_descriptors_run_out(process_box: FaultBox, record_property) -> None:
    """Requests are refused; the daemon and its accept loop stay."""
    box = process_box
    box.start()
    assert box.daemon is not None
    process = psutil.Process(box.daemon.pid)
    _, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 8, hard))
    held = []
    for _ in range(60):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(box.socket))
        held.append(connection)
    wait_until(lambda: "cannot accept a connection" in box.log.read_text(), 15)
    for connection in held:
        connection.close()
    wait_until(box.answers, 10, "an answer")
    record_property("seen", "60 connections at 8 descriptors: told once, serves again after")


def test_fault_36_processes_run_out(process_box: FaultBox, record_property) -> None:
    """No thread and no process can be made (EAGAIN): jobs wait or end in words, and run after it."""
    box = process_box
    box.start()
    assert box.daemon is not None
    tree = Path("/sys/fs/cgroup/pids" if Path("/sys/fs/cgroup/pids").is_dir() else "/sys/fs/cgroup")
    group = tree / f"gpuboard-fault-36-{os.getpid()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("max")
        (group / "cgroup.procs").write_text(str(box.daemon.pid))
    except OSError as error:
        pytest.skip(f"a control group of its own cannot be made: {error}")
    full = group / "pids.max"
    try:
        full.write_text((group / "pids.current").read_text())
        without_thread = box.shell("exit 4")
        wait_until(lambda: "no thread more" in box.log.read_text(), 20, "the words")
        # the thread was wanted for the look at its person, or for its start
        assert box.job(without_thread)["state"] in ("queued", "starting")
        full.write_text("max")
        assert box.ended(without_thread)["exit_code"] == 4
        full.write_text((group / "pids.current").read_text())
        without_process = box.shell("exit 4", requeue=True)
        words = wait_until(lambda: _refusal(box, without_process), 20, "the refusal")
        full.write_text("max")
        view = box.ended(without_process, 60)
    finally:
        full.write_text("max")
        box.stop()
        group.rmdir()
    assert view["state"] == "failed", view
    assert view["exit_code"] == 4 or "unavailable" in view["reason"], view
    record_property("seen", f"no thread: done when there is one; no process: {words[:70]}")


def _refusal(box: FaultBox, job: int) -> str:
    """Return what became of a start that could not be made; empty while nothing did."""
    rows = box.rows("SELECT detail FROM events WHERE job_id = ? AND kind <> 'job.submitted'", job)
    told = [json.loads(detail).get("reason", "") for (detail,) in rows]
    return next((words for words in told if words), "")


def test_fault_36_memory_runs_out(process_box: FaultBox, record_property) -> None:
    """Not a page more for five seconds: what is asked may be refused, the daemon and its jobs stay."""
    box = process_box
    box.start()
    job = box.shell("sleep 3; exit 5")
    box.wait_state(job, "running")
    assert box.daemon is not None
    process = psutil.Process(box.daemon.pid)
    soft, hard = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms, hard))
    refused, until = 0, time.monotonic() + 5
    while time.monotonic() < until:
        try:
            box.ask("true", env={"FILL": "x" * 60_000}, hold=True)
        except GpuboardError:
            refused += 1
    process.rlimit(psutil.RLIMIT_AS, (soft, hard))
    wait_until(box.answers, 20, "an answer")
    assert box.daemon.poll() is None
    assert box.ended(job)["exit_code"] == 5
    record_property("seen", f"{refused} requests refused; serves again, exit 5 recorded")


def test_fault_37_client_dies_and_retries(process_box: FaultBox, record_property) -> None:
    """A follower's death closes our side; a submission sent twice with its token is one job."""
    box = process_box
    box.start()
    job = box.shell("while :; do echo x; sleep 0.05; done")
    box.wait_state(job, "running")
    assert box.daemon is not None
    process = psutil.Process(box.daemon.pid)
    before = process.num_fds()
    for _ in range(5):
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(box.socket))
            client.sendall(f"GET /v1/jobs/{job}/log?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(100)
    wait_until(lambda: process.num_fds() <= before + 1, 20, "our side to be closed")
    first = box.shell("true", token="once-and-only-once")
    second = box.shell("true", token="once-and-only-once")
    assert first == second
    record_property("seen", f"descriptors back at {before}; the token gave job {first} twice")


def test_attack_51_pid_reused_under_a_job(process_box: FaultBox, record_property) -> None:
    """The job's process is gone and a stranger has its number: a cancel with force leaves it alone."""
    box = process_box
    box.start()
    job = box.ask("sleep", "300")  # alone: a child would keep the number as its process group's
    box.wait_state(job, "running")
    [record] = (box.state / "processes").glob(f"**/gb-{job}-*/started.json")
    facts = json.loads(record.read_text())
    assert box.daemon is not None
    box.daemon.send_signal(signal.SIGSTOP)  # nobody looks between the death and the birth
    try:
        for pid in (facts["supervisor"], facts["pid"]):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not psutil.pid_exists(pid), 10, "its end")
        bystander = _born_as(facts["pid"])
    finally:
        box.daemon.send_signal(signal.SIGCONT)
    try:
        with contextlib.suppress(GpuboardError):  # it may have been found lost before
            box.cancel(job, force=True)
        view = box.ended(job)
        assert psutil.Process(bystander.pid).status() != psutil.STATUS_ZOMBIE
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    record_property("seen", f"{view['state']}: {view['reason'][:50]}; the new process lives on")


def _born_as(pid: int) -> subprocess.Popen[bytes]:
    """Return a sleeper with this very number; skip where the kernel does not let numbers be chosen."""
    for _ in range(200):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError as error:
            pytest.skip(f"pids cannot be chosen here: {error}")
        made = subprocess.Popen(["sleep", "300"])
        if made.pid == pid:
            return made
        made.kill()
        made.wait()
    pytest.skip(f"pid {pid} was not to be had")


def test_fault_38_two_daemons(process_box: FaultBox, record_property) -> None:
    """The second ends at once with 75 and names the first."""
    box = process_box
    box.start()
    assert box.daemon is not None
    second = subprocess.run(
        [sys.executable, "-m", "gpuboard.daemon", "--config", str(box.config)],
        env={**box.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 75
    assert f"pid {box.daemon.pid}" in second.stderr
    assert box.answers()
    record_property("seen", "second: exit 75, names the first's pid; the first serves on")


@pytest.mark.skipif(shutil.which("useradd") is None, reason="needs useradd")
def test_fault_40_account_goes_while_its_job_waits(process_box: FaultBox, record_property) -> None:
    """Not started, and said why."""
    box = process_box
    with people("gbgoing") as [uid]:
        box.start()
        blocker = box.shell("sleep 60", gpus=2)
        box.wait_state(blocker, "running")
        job = box.submit("-g", "1", "-t", "5m", "--", "true", uid=uid)
    box.cancel(blocker, force=True)
    wait_until(lambda: box.job(job)["held_by"], 20, "it to be held")
    view = box.job(job)
    assert view["state"] == "queued"
    record_property("seen", f"held: {view['reason']}")
    box.cancel(job)


def test_fault_44_loop_that_hangs_starves_the_watchdog(fault_folder: Path, record_property) -> None:
    """WATCHDOG=1 comes from the engine's own steps: a loop that hangs sends none."""
    hang = fault_folder / "hang"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        fault_box(fault_folder, PROCESS.format(jobs="")) as box,
    ):
        address = str(fault_folder / "n")
        manager.bind(address)
        manager.settimeout(10)
        box.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="2000000", MORTAL_HANG=str(hang))
        while b"WATCHDOG=1" not in manager.recv(500):
            pass
        hang.touch()
        assert _is_silent_for(manager, 3), "the watchdog is fed though the loop hangs"
        assert box.client.get("/ping"), "the server still takes requests"
        hang.unlink()
        manager.settimeout(15)
        while b"WATCHDOG=1" not in manager.recv(500):
            pass
    record_property("seen", "no WATCHDOG=1 for 3 s of a hanging step; fed again after it")


def _is_silent_for(manager: socket.socket, seconds: float) -> bool:
    """Whether, once what was on its way has come, no WATCHDOG=1 comes for so long."""
    deadline = time.monotonic() + 30
    quiet_since = time.monotonic()
    manager.settimeout(0.2)
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            if b"WATCHDOG=1" in manager.recv(500):
                quiet_since = time.monotonic()
        if time.monotonic() - quiet_since > seconds:
            return True
    return False


def test_fault_44_locked_database_does_not_starve_the_watchdog(
    fault_folder: Path, record_property
) -> None:
    """A restart would not help, and would lose what is kept in memory."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        fault_box(fault_folder, PROCESS.format(jobs="")) as box,
    ):
        address = str(fault_folder / "n")
        manager.bind(address)
        manager.settimeout(15)
        box.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="2000000")
        job = box.shell("sleep 2")
        box.wait_state(job, "running")
        with contextlib.closing(
            sqlite3.connect(box.state / "gpuboard.db", isolation_level=None)
        ) as shell:
            shell.execute("BEGIN IMMEDIATE")
            wait_until(lambda: box.client.get("/board")["host"]["store_fault"], 10, "the alarm")
            time.sleep(2.5)  # longer than the watchdog's own time
            manager.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    manager.recv(500)
            manager.settimeout(10)
            while b"WATCHDOG=1" not in manager.recv(500):
                pass
            shell.execute("ROLLBACK")
        assert box.ended(job)["state"] == "succeeded"
    record_property("seen", "fed all the time; the end was recorded when the lock was gone")


def test_fault_47_engine_that_ignores_device_requests(tmp_path: Path, record_property) -> None:
    """Refused when the runtime is checked: it is asked, not believed."""

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
        with pytest.raises(HostError, match="device requests") as caught:
            runtime.check()
        runtime.close()
    record_property("seen", caught.value.message)


def test_fault_48_wrong_configuration_at_reload(process_box: FaultBox, record_property) -> None:
    """The old one stays in force; the line and the key are told."""
    box = process_box
    box.start()
    assert box.daemon is not None
    box.config.write_text(box.config.read_text() + "\n[api]\nmax_conections = 5\n")
    box.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: "the old configuration stays" in box.log.read_text(), 15)
    assert box.ended(box.shell("true"))["state"] == "succeeded"
    [line] = [x for x in box.log.read_text().splitlines() if "the old configuration stays" in x]
    record_property("seen", line.partition("force: ")[2][:120])
