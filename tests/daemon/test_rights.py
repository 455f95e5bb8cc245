"""Rights over the real socket, against the real daemon, as another person of the box."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import DaemonProcess, daemon_in
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
    ),
]
NOBODY = pwd.getpwnam("nobody").pw_uid
NO_ACCOUNT = 54321
ASK = """
import json, socket, sys
path, method, target, body = sys.argv[1:]
s = socket.socket(socket.AF_UNIX); s.connect(path)
s.sendall(f"{method} /v1{target} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n"
          f"Content-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
answer = b""
while piece := s.recv(65536): answer += piece
print(answer.partition(b"\\r\\n\\r\\n")[2].decode())
"""


@pytest.fixture
def box(folder: Path) -> Iterator[DaemonProcess]:
    folder.chmod(0o755)
    with daemon_in(folder) as running:
        yield running


def ask_as(uid: int, box: DaemonProcess, method: str, target: str, body: object = None) -> Any:
    found = subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3", "-I",
         "-c", ASK, str(box.socket), method, target, json.dumps(body) if body else ""],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    return json.loads(found.stdout)


@pytest.fixture
def job(box: DaemonProcess) -> Iterator[int]:
    """A running job of root's."""
    client = box.client()
    found = client.post(
        "/jobs",
        {
            "command": ["sh", "-c", "echo secret words; sleep 600"],
            "env": {"TOKEN": "hunter2"},
            "runtime": "process",
            "workdir": "/",
            "note": "private",
            "grace": "1s",
        },
    )["ids"][0]
    wait_until(lambda: client.get(f"/jobs/{found}")["job"]["state"] == "running")
    yield found
    client.post("/jobs/cancel", {"jobs": [str(found)], "force": True})
    wait_until(lambda: client.get(f"/jobs/{found}")["job"]["ended_at"])


def test_others_see_who_holds_what_and_nothing_private(box: DaemonProcess, job: int):
    seen = ask_as(NOBODY, box, "GET", "/jobs")["jobs"][0]
    assert (seen["id"], seen["user"], seen["mine"], seen["gpus"]) == (job, "root", False, 1)
    everything = json.dumps(ask_as(NOBODY, box, "GET", "/jobs"))
    everything += json.dumps(ask_as(NOBODY, box, "GET", "/board"))
    everything += json.dumps(ask_as(NOBODY, box, "GET", "/events"))
    everything += json.dumps(ask_as(NOBODY, box, "GET", f"/jobs/{job}"))
    for secret in ("hunter2", "secret words", "private"):
        assert secret not in everything


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/jobs/{job}/log", None),
        ("POST", "/admin/drain", {"gpu_ids": ["0"]}),
        ("POST", "/admin/notice", {"text": "hi"}),
        ("POST", "/admin/backup", {"path": "/tmp/stolen.db"}),
        ("POST", "/admin/reload", {}),
    ],
)
def test_others_are_refused_with_permission(
    box: DaemonProcess, job: int, method: str, target: str, body: object
):
    found = ask_as(NOBODY, box, method, target.format(job=job), body)
    assert found["error"]["code"] == "permission"


@pytest.mark.parametrize("action", ["cancel", "hold", "release", "update"])
def test_others_cannot_touch_a_job(box: DaemonProcess, job: int, action: str):
    found = ask_as(NOBODY, box, "POST", f"/jobs/{action}", {"jobs": [str(job)]})
    codes = [result["code"] for result in found.get("results", [])] or [found["error"]["code"]]
    assert codes == ["permission"]
    assert box.client().get(f"/jobs/{job}")["job"]["state"] == "running"


def test_others_cannot_change_a_booking(box: DaemonProcess):
    made = box.client().post("/reservations", {"gpus": 1, "duration": "1h", "at": "now+2h"})
    number = made["reservation"]["id"]
    assert ask_as(NOBODY, box, "DELETE", f"/reservations/{number}")["error"]["code"] == "permission"
    found = ask_as(NOBODY, box, "PATCH", f"/reservations/{number}", {"name": "mine now"})
    assert found["error"]["code"] == "permission"


def test_a_job_runs_as_who_submitted_it(box: DaemonProcess):
    found = ask_as(
        NOBODY, box, "POST", "/jobs",
        {"command": ["id", "-u"], "runtime": "process", "workdir": "/"},
    )  # fmt: skip
    number = found["ids"][0]
    client = box.client()
    wait_until(lambda: client.get(f"/jobs/{number}")["job"]["ended_at"])
    assert b"".join(client.stream(f"/jobs/{number}/log")).strip() == str(NOBODY).encode()


def test_a_uid_without_an_account_is_nobody_here(box: DaemonProcess):
    assert ask_as(NO_ACCOUNT, box, "GET", "/board")["error"]["code"] == "permission"


HOLD = """
import socket, sys
held, answers = [], []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); held.append(s)
for s in held:
    s.settimeout(5)
    try: s.sendall(b"GET /v1/ping HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    except BrokenPipeError: pass
    answers.append(s.recv(65536).split(b" ", 2)[1].decode())
print(answers.count("200"), answers.count("503"))
"""


def test_one_person_s_connections_are_bounded_and_others_are_served(box: DaemonProcess):
    found = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3",
         "-I", "-c", HOLD, str(box.socket), "200"],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert found.stdout.split() == ["64", "136"]
    assert box.client().get("/ping")


def test_a_thousand_idle_connections_leave_the_daemon_small_and_answering(box: DaemonProcess):
    import socket

    assert box.process is not None
    before = resident_kib(box.process.pid)
    held = []
    for _ in range(1000):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(box.socket))
        held.append(connection)
    assert box.client().get("/ping")
    assert resident_kib(box.process.pid) - before < 40 * 1024
    for connection in held:
        connection.close()
    assert box.client().get("/ping")


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_jobs_outlive_a_killed_daemon_with_log_and_exit_code(box: DaemonProcess):
    client = box.client()
    go_on = box.folder / "go-on"
    script = f"echo before; while [ ! -e {go_on} ]; do sleep 0.05; done; echo after; exit 7"
    number = client.post(
        "/jobs", {"command": ["sh", "-c", script], "runtime": "process", "workdir": "/"}
    )["ids"][0]
    wait_until(lambda: client.get(f"/jobs/{number}")["job"]["state"] == "running")
    box.kill()
    go_on.touch()
    box.start()
    client = box.client()
    wait_until(lambda: client.get(f"/jobs/{number}")["job"]["ended_at"])
    ended = client.get(f"/jobs/{number}")["job"]
    assert (ended["state"], ended["exit_code"], ended["attempt"]) == ("failed", 7, 1)
    assert b"".join(client.stream(f"/jobs/{number}/log")) == b"before\nafter\n"


def test_an_orderly_end_leaves_jobs_running(box: DaemonProcess):
    client = box.client()
    number = client.post(
        "/jobs", {"command": ["sleep", "600"], "runtime": "process", "workdir": "/", "grace": "1s"}
    )["ids"][0]
    wait_until(lambda: client.get(f"/jobs/{number}")["job"]["state"] == "running")
    started_at = client.get(f"/jobs/{number}")["job"]["started_at"]
    assert box.stop() == 0
    box.start()
    client = box.client()
    after = client.get(f"/jobs/{number}")["job"]
    assert (after["state"], after["started_at"]) == ("running", started_at)
    client.post("/jobs/cancel", {"jobs": [str(number)], "force": True})
    wait_until(lambda: client.get(f"/jobs/{number}")["job"]["ended_at"])
