"""Attacks by bytes on the socket, by neighbours on the host, and by text that others are shown."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from gpuboard.api.throttle import BURST_S
from gpuboard.runtimes.cgroups import hierarchies
from gpuboard.runtimes.process_table import row_of, send
from tests.safety.lab import Lab, as_uid
from tests.support.box import as_person
from tests.support.dockerd import IMAGE
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]

IDLE = 5000 if os.environ.get("GPUBOARD_SAFETY_LONG") else 1000
"""Connections that one person opens and leaves: thousands are for `make safety-report`."""
LOG_BYTES = (1024 if os.environ.get("GPUBOARD_SAFETY_LONG") else 48) << 20
"""Of one line: a gibibyte is for `make safety-report`."""
HOSTILE = "$(id)\x1b[2J\x1b]0;x\x07 [red]link[/red] \u202etxt.exe\x00\r\n`id`"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def connected(lab: Lab, uid: int) -> socket.socket:
    """Return a raw connection of a person's."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(10)
    with as_uid(uid):
        wait_until(lambda: made.connect_ex(str(lab.box.socket)) != errno.EAGAIN, 10, "the backlog")
    return made


def head(size: int, path: str = "/v1/jobs") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"env": {"A": "x" * 3_000_000}}).encode(),
        b"x" * 10_000_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"env": ' + b'{"a":' * 90_000 + b"1" + b"}" * 90_001,
        b'{"gpus": Infinity}',
        b'{"cpus": 1e999}',
        b"\xff\xfe{}",
        b"",
    ],
    ids=["3MB-env", "10MB", "deep-list", "deep-object", "infinity", "1e999", "not-utf-8", "empty"],
)
def test_attack_28_requests_that_are_too_much(lab: Lab, saw, body: bytes):
    before, newest = lab.daemon_bytes(), lab.last_id()
    status, answer = lab.ask(lab.mallory, "POST", "/jobs", body)
    assert 400 <= status < 500, answer
    assert lab.last_id() == newest
    assert lab.daemon_bytes() - before < 32 * 2**20
    saw(f"{status}; the daemon grew by less than 32 MiB")


def test_attack_28_keys_twice(lab: Lab, saw):
    """Which of the two would count is nobody's to guess."""
    newest = lab.last_id()
    body = b'{"image": "gpuboard-test/busybox:1", "command": ["true"], "gpus": 1, "gpus": 0}'
    status, answer = lab.ask(lab.mallory, "POST", "/jobs", body)
    assert (status, answer["error"]["code"]) == (400, "invalid")
    assert lab.last_id() == newest
    saw(f"400: {answer['error']['message']}")


@pytest.mark.parametrize("target", ["/jobs/cancel", "/resolve", "/jobs"])
def test_attack_28_a_mebibyte_of_ranges(lab: Lab, saw, target: str):
    """Each would be looked up on the thread that everybody waits for, before anybody's right to it."""
    lab.submit(lab.victim)
    words = [f"{n}-{n + 9999}" for n in range(1, 60_000)]
    body: Any = {"jobs": words}
    if target == "/jobs":
        body = lab.request(depends_on=words[:100])
    if target == "/resolve":
        target, body = f"/resolve?job={','.join(words[:700])}", None
    logged, began = len(lab.daemon_log()), time.monotonic()
    status, answer = lab.ask(lab.mallory, "GET" if body is None else "POST", target, body)
    took_s = time.monotonic() - began
    assert status in (400, 403), answer
    assert took_s < 3
    assert lab.daemon_log()[logged:].count("refused:") <= 1
    saw(f"{status} after {took_s:.1f} s: {answer['error']['message']}")


def test_attack_29_half_a_request(lab: Lab, saw):
    """The deadline here is 2 s; a byte now and then does not move it."""
    for start in (b"POST /v1/jobs HT", head(1000) + b'{"im'):
        with connected(lab, lab.mallory) as half:
            half.sendall(start)
            began = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                while half.recv(4096):
                    pass
            assert time.monotonic() - began < 8
    with connected(lab, lab.mallory) as slow:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in head(10) * 100:
                slow.sendall(bytes([byte]))
                slow.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    if not slow.recv(4096):
                        break
        assert time.monotonic() - began < 12
    saw("closed after the read deadline")


def test_attack_29_idle_connections(lab: Lab, saw):
    """One person's are bounded by 64; of thousands the rest is turned away, and the others are served."""
    held: list[socket.socket] = []
    refused: set[int] = set()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, IDLE + 1000)), hard))
    idle = min(IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    try:
        for _ in range(idle):
            made = connected(lab, lab.mallory)
            made.setblocking(False)
            held.append(made)

        def turned_away() -> bool:
            for number, made in enumerate(held):
                with contextlib.suppress(OSError):
                    answer = made.recv(64)
                    if b"503" in answer or not answer:  # closed is turned away, too
                        refused.add(number)
            return len(refused) >= idle - 64

        wait_until(turned_away, 90, "all but 64 to be turned away")
        began = time.monotonic()
        assert lab.ask(lab.victim, "GET", "/jobs")[0] == 200
        waited = time.monotonic() - began
    finally:
        for made in held:
            made.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert waited < 2
    saw(
        f"{len(refused)} of {idle:,} turned away with 503; a neighbour answered in {waited * 1000:.0f} ms"
    )


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\x01\x02\x03" * 64, b"hello\n\n", b"GET /v1/ping HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
     b"GET " + b"a" * 100_000, b"POST /v1/jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n"],
    ids=["binary", "no-http", "version", "tls", "no-newline", "negative-length"],
)  # fmt: skip
def test_attack_30_bytes_that_are_no_http(lab: Lab, saw, garbage: bytes):
    with connected(lab, lab.mallory) as made:
        answer = b""
        with contextlib.suppress(ConnectionError):
            made.sendall(garbage)
        with contextlib.suppress(ConnectionError):
            while piece := made.recv(65536):
                answer += piece
    assert b" 400 " in answer.split(b"\r\n")[0] or answer == b""
    assert b"Traceback" not in answer
    assert lab.ask(lab.victim, "GET", "/ping")[0] == 200
    saw("400 or nothing, then closed; others are served")


def test_attack_32_hostile_names(lab: Lab, saw):
    """A NUL or newline never gets in; whatever gets in is plain text when it comes out."""
    number = lab.submit(lab.mallory, name=HOSTILE, note=HOSTILE, hold=True)
    try:
        told = json.dumps(lab.ask(lab.victim, "GET", "/jobs")[1], ensure_ascii=False)
        told += json.dumps(lab.ask(0, "GET", f"/jobs/{number}")[1], ensure_ascii=False)
        assert not _CONTROL.search(told)
        shown = lab.box.run("ps", "--all").stdout + lab.box.run("show", str(number)).stdout
        assert not _CONTROL.search(shown), ascii(shown)
        assert "uid=0" not in shown
    finally:
        lab.cancel(number)
    saw("no control character, escape or direction mark in the API or the commands")


@pytest.mark.timeout(120 + (LOG_BYTES >> 21))
@pytest.mark.parametrize(
    "kind", [{}, {"runtime": "process", "image": ""}], ids=["docker", "process"]
)
def test_attack_33_a_log_with_teeth(lab: Lab, saw, kind: dict[str, str]):
    """One line without an end, with escapes and NULs: bounded on disk, streamed, never in one piece."""
    script = f"printf '\\033[2Jred\\000\\n'; head -c {LOG_BYTES} /dev/zero; echo end"
    before = lab.daemon_bytes()
    number = lab.submit(lab.mallory, command=["sh", "-c", script], **kind)
    lab.wait(number, timeout_s=50 + LOG_BYTES / 2**22)
    with as_uid(lab.mallory):
        from gpuboard.api.client import Client

        client = Client(str(lab.box.socket), timeout_s=30)
        stream = client.stream(f"/jobs/{number}/log")
        first = next(stream)
    size = len(first) + sum(len(piece) for piece in stream)
    tail = lab.ask(lab.mallory, "GET", f"/jobs/{number}/log?tail=2")[1]
    grown = lab.daemon_bytes() - before
    assert size <= 64 * 2**20
    assert grown < 96 * 2**20, grown
    assert b"end" in tail
    saw(f"{size >> 20} MiB kept as they are; the daemon grew by {max(0, grown) >> 20} MiB")


def test_attack_39_submitting_as_fast_as_it_goes(lab: Lab, saw):
    """Four connections submit without pause; a neighbour lists jobs meanwhile, and waits less than 100 ms.

    What submits is nice to the neighbour: processors are not what the daemon shares out.

    The rate here is the default: 20 a second, with five seconds' worth at once.
    """
    stop, began_all = threading.Event(), time.monotonic()
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from gpuboard.api.client import Client\n"
        "c = Client(sys.argv[1], timeout_s=20); until = time.monotonic() + 3; n = 0\n"
        "while time.monotonic() < until:\n"
        "    c.post('/jobs', {'image': 'gpuboard-test/busybox:1', 'hold': True}); n += 1\n"
        "print(n)"
    )
    root = str(Path(__file__).resolve().parents[2])
    flood = [
        subprocess.Popen(
            ["nice", "-n", "19", *as_person(lab.mallory), sys.executable, "-c", code, str(lab.box.socket), root],
            stdout=subprocess.PIPE, text=True, cwd="/",
        )
        for _ in range(4)
    ]  # fmt: skip
    waits = []
    while any(process.poll() is None for process in flood):
        began = time.monotonic()
        assert lab.ask(lab.victim, "GET", "/jobs?mine=1")[0] == 200
        waits.append(time.monotonic() - began)
        stop.wait(0.02)
    submitted = sum(int(process.communicate()[0] or 0) for process in flood)
    took_s = time.monotonic() - began_all
    lab.ask(lab.mallory, "POST", "/jobs/cancel", {"jobs": ["1-9999"]})
    middle = statistics.median(waits)
    assert 0 < submitted <= 20 * (BURST_S + took_s) + 1, took_s
    assert middle < 0.1, middle
    assert max(waits) < 5
    saw(
        f"{submitted} taken in {took_s:.0f} s; a neighbour waited {middle * 1000:.0f} ms in the"
        f" middle, {max(waits) * 1000:.0f} ms at most"
    )


@pytest.fixture
def groups() -> Iterator[list[Path]]:
    """Control groups that are removed again; a test appends those it makes."""
    made: list[Path] = []
    yield made
    for path in reversed(made):
        with contextlib.suppress(OSError):
            path.rmdir()


def make_groups(groups: list[Path], name: str) -> list[Path]:
    """Make a control group of this path in every hierarchy; skip where that cannot be."""
    found = []
    for tree in hierarchies():
        path = tree
        for part in Path(name).parts:
            path = path / part
            if not path.exists():
                try:
                    path.mkdir()
                except OSError as error:
                    pytest.skip(f"control groups cannot be made here: {error}")
                groups.append(path)
        found.append(path)
    return found


def asks_from_a_container(lab: Lab, uid: int) -> tuple[dict, dict]:
    """Run a container with the socket inside as that person; return what ping and drain answer there."""
    asker = lab.box.folder / "asker"
    source = Path(__file__).parents[1] / "support" / "asker.c"
    subprocess.run(["cc", "-static", "-o", str(asker), str(source)], check=True)
    mounts = [
        docker.types.Mount(str(path), str(path), type="bind", read_only=True)
        for path in (asker, lab.box.socket.parent)
    ]
    with contextlib.closing(lab.engine.client()) as client:
        made = client.create_container(
            IMAGE,
            [str(asker), str(lab.box.socket), "GET /v1/ping", "POST /v1/admin/drain"],
            user=f"{uid}:{uid}",
            host_config=client.create_host_config(mounts=mounts, network_mode="none"),
        )["Id"]
        client.start(made)
        client.wait(made, timeout=30)
        said = client.logs(made).decode()
        client.remove_container(made, force=True)
    ping, drain = (json.loads(line) for line in said.splitlines())
    return ping, drain


def test_attack_48_root_in_a_container(lab: Lab, saw):
    """The kernel says uid 0, and the control group says container."""
    ping, drain = asks_from_a_container(lab, 0)
    assert (ping["uid"], ping["is_admin"]) == (0, False)
    assert drain["error"]["code"] == "permission"
    saw("uid 0, but no admin: /admin refused")


def test_attack_47_an_ordinary_person_with_the_socket(lab: Lab, saw):
    """If the socket were inside after all, its peer would still be the job's person."""
    ping, drain = asks_from_a_container(lab, lab.mallory)
    assert (ping["uid"], ping["is_admin"]) == (lab.mallory, False)
    assert drain["error"]["code"] == "permission"
    saw("an ordinary person from inside a container, too")


def test_attack_49_a_control_group_named_like_anothers(lab: Lab, saw, groups: list[Path]):
    """The attacker's process sits on a free GPU, in a group named after the victim's container."""
    job = lab.submit(lab.victim, command=["sleep", "300"])
    lab.wait(job, "running")
    name = f"user.slice/user-{lab.mallory}.slice/docker-{lab.container(job)['Id']}.scope"
    sleeper = subprocess.Popen([*as_person(lab.mallory), "sleep", "300"])
    gpu = lab.fake.gpus[3]
    try:
        for path in make_groups(groups, name):
            (path / "cgroup.procs").write_text(str(sleeper.pid))
        gpu.processes = [f"{sleeper.pid} 500"]
        lab.fake.write()
        seen = wait_until(
            lambda: lab.ask(0, "GET", "/board")[1]["devices"][3]["processes"], 15, "the process"
        )
        assert (seen[0]["pid"], seen[0]["job_id"]) == (sleeper.pid, None)
        assert (seen[0]["user"], seen[0]["belongs"]) == (lab.home(lab.mallory).name, "foreign")
    finally:
        gpu.processes = []
        lab.fake.write()
        sleeper.kill()
        sleeper.wait()
        lab.cancel(job)
    saw("shown as the attacker's own, outside the queue")


def test_attack_51_a_pid_that_was_reused(lab: Lab, saw):
    """A signal is for a pid with its start time: another process of that number is left alone."""
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        row = row_of(bystander.pid)
        assert row is not None
        assert send(bystander.pid, row.start_ticks - 1, signal.SIGKILL) is False
        assert bystander.poll() is None
        assert send(bystander.pid, row.start_ticks, signal.SIGKILL) is True
        bystander.wait(5)
    finally:
        bystander.kill()
        bystander.wait()
    saw("pidfd and start time compared: no signal to the new process")


def test_attack_52_reading_the_state(lab: Lab, saw):
    """As the attacker, with every path known."""
    paths = [lab.box.state, *lab.box.state.rglob("*")]
    assert len(paths) > 3
    for path in paths:
        if path.is_socket():
            continue
        reader = subprocess.run(
            [*as_person(lab.mallory), "cat" if path.is_file() else "ls", str(path)],
            capture_output=True, check=False,
        )  # fmt: skip
        assert reader.returncode != 0, path
    modes = {f"{lab.box.state.stat().st_mode & 0o777:04o}"}
    files = {f"{p.stat().st_mode & 0o777:04o}" for p in paths if p.is_file()}
    assert modes == {"0700"}
    assert files == {"0600"}, files
    saw(f"{len(paths)} paths closed: folders 0700, files 0600")


def test_attack_53_a_link_where_logs_are_written(lab: Lab, saw):
    """Nobody but root can plant one; and even then it is not written through."""
    planter = subprocess.run(
        [*as_person(lab.mallory), "ln", "-s", "/tmp/x", str(lab.box.state / "logs" / "planted")],
        capture_output=True, check=False,
    )  # fmt: skip
    assert planter.returncode != 0
    number = lab.submit(lab.mallory, command=["echo", "words"], hold=True)
    target = lab.box.folder / "written-through"
    (logs,) = [p for p in lab.box.state.iterdir() if p.name == "logs"]
    for name in (f"{number}-1.log", f"{number}-1", f"{number}.1.log", f"gb-{number}-1.log"):
        (logs / name).symlink_to(target)
    lab.ask(0, "POST", "/jobs/release", {"jobs": [str(number)]})
    lab.wait(number)
    wait_until(lambda: "words" in lab.log(number), 10, "the log")
    assert not target.exists()
    saw("the folder is the daemon's alone; a link of root's own is replaced, not followed")
