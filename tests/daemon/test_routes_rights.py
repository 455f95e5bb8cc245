"""Every route of the table, asked over the real socket by real accounts: who gets in and who does not."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpuboard.api.routes import ROUTES
from gpuboard.api.wire import Connection
from tests.safety.lab import as_uid
from tests.support.box import people
from tests.support.daemon import CONFIG, DaemonProcess, daemon_in

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("useradd") is None, reason="needs root and useradd"
    ),
]
ANYBODY, OWNER, ADMIN = "anybody", "owner", "admin"


class Sample(NamedTuple):
    """A request that works for whom it is open to."""

    open_to: str
    """The least of the roles: `anybody`, the `owner` of what is touched, or an `admin`."""
    target: str = ""
    body: dict[str, Any] | None = None


JOBS = {"jobs": ["{job}"]}
SAMPLES: dict[str, Sample] = {
    "listJobs": Sample(ANYBODY, "/jobs"),
    "pageQueue": Sample(ANYBODY, "/queue"),
    "submitJob": Sample(ANYBODY, "/jobs", {"command": ["true"], "gpus": 0, "hold": True}),
    "listHistory": Sample(ANYBODY, "/history"),
    "resolveJobs": Sample(ANYBODY, "/resolve?job={job}"),
    "holdJobs": Sample(OWNER, "/jobs/hold", JOBS),
    "updateJobs": Sample(OWNER, "/jobs/update", {**JOBS, "note": "n"}),
    "releaseJobs": Sample(OWNER, "/jobs/release", JOBS),
    "cancelJobs": Sample(OWNER, "/jobs/cancel", JOBS),
    "showJob": Sample(ANYBODY, "/jobs/{job}"),
    "explainJob": Sample(ANYBODY, "/jobs/{job}/why"),
    "readLog": Sample(OWNER, "/jobs/{job}/log"),
    "listReservations": Sample(ANYBODY, "/reservations"),
    "reserve": Sample(ANYBODY, "/reservations", {"gpus": 1, "duration": "1h", "at": "now+40d"}),
    "changeReservation": Sample(OWNER, "/reservations/{booking}", {"name": "n"}),
    "cancelReservation": Sample(OWNER, "/reservations/{booking}"),
    "showTimeline": Sample(ANYBODY, "/timeline"),
    "showBoard": Sample(ANYBODY, "/board"),
    "showTopology": Sample(ANYBODY, "/topology"),
    "showDeviceHistory": Sample(ANYBODY, "/devices/history"),
    "showUsage": Sample(ANYBODY, "/usage"),
    "listImages": Sample(ANYBODY, "/images"),
    "listTemplates": Sample(ANYBODY, "/templates"),
    "listEvents": Sample(ANYBODY, "/events"),
    "examine": Sample(ANYBODY, "/doctor"),
    "watch": Sample(ANYBODY, "/feed"),
    "showMetrics": Sample(ANYBODY, "/metrics"),
    "describe": Sample(ANYBODY, "/openapi.json"),
    "ping": Sample(ANYBODY, "/ping"),
    "drain": Sample(ADMIN, "/admin/drain", {"gpu_ids": ["0"]}),
    "resume": Sample(ADMIN, "/admin/resume", {}),
    "notice": Sample(ADMIN, "/admin/notice", {"text": "hello"}),
    "blackout": Sample(ADMIN, "/admin/blackout", {"at": "now+80d", "duration": "1h"}),
    "backup": Sample(ADMIN, "/admin/backup", {}),
    "checkDatabase": Sample(ADMIN, "/admin/check", {}),
    "showAdminState": Sample(ADMIN, "/admin/state"),
    "reload": Sample(ADMIN, "/admin/reload", {}),
}
"""By operation."""


@dataclass
class House:
    """A daemon with one person of each kind."""

    daemon: DaemonProcess
    uids: dict[str, int]

    def ask(self, role: str, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """Send one request as that person; return the status and what came (of a stream nothing)."""
        raw = None if body is None else json.dumps(body).encode()
        with as_uid(self.uids[role]):
            connection = Connection(str(self.daemon.socket), 20.0)
        with contextlib.closing(connection):
            answer = connection.request(method, f"/v1{target}", raw)
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return answer.status, json.loads(answer.read()) if is_json else None

    def things(self) -> dict[str, str]:
        """Make a waiting job and a booking of the owner's; return their numbers."""
        job = self.ask(OWNER, "POST", "/jobs", {"command": ["true"], "gpus": 0, "hold": True})[1]
        booked = {"gpus": 1, "duration": "1h", "at": "now+20d"}
        booking = self.ask(OWNER, "POST", "/reservations", booked)[1]
        return {"job": str(job["ids"][0]), "booking": str(booking["reservation"]["id"])}

    def tidy(self, things: dict[str, str]) -> None:
        """Take back what is left of them."""
        self.ask(OWNER, "POST", "/jobs/cancel", {"jobs": [things["job"]]})
        self.ask(OWNER, "DELETE", f"/reservations/{things['booking']}")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    group = f"gbadm{os.getpid()}"
    folder = Path(tempfile.mkdtemp(prefix="gbr-"))
    folder.chmod(0o755)
    try:
        with people("gbrow", "gbrst", "gbrad") as (owner, stranger, admin):
            login = pwd.getpwuid(admin).pw_name
            subprocess.run(["groupadd", "--users", login, group], check=True)
            config = CONFIG.replace("min_uid = 0", "min_uid = 1000").replace(
                "[daemon]", f'[daemon]\nadmin_group = "{group}"'
            )
            with daemon_in(folder, config + "[reservations]\nmax_per_user = 1000\n") as daemon:
                yield House(daemon, {OWNER: owner, ANYBODY: stranger, ADMIN: admin})
    finally:
        subprocess.run(["groupdel", group], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_every_route_has_its_row():
    """A new route says here to whom it is open."""
    assert {route.name for route in ROUTES} == set(SAMPLES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_route_is_open_to_whom_its_row_says(house: House, route: Any):
    """The stranger asks first, then the owner of what is touched, then the administrator."""
    sample = SAMPLES[route.name]
    for role in (ANYBODY, OWNER, ADMIN):
        things = house.things()
        target = sample.target.format(**things)
        text = json.dumps(sample.body).replace("{job}", things["job"])
        status, answer = house.ask(role, route.method, target, json.loads(text))
        house.tidy(things)
        is_open = sample.open_to == ANYBODY or role in (sample.open_to, ADMIN)
        results = (answer or {}).get("results", []) if isinstance(answer, dict) else []
        refusals = [result["code"] for result in results if not result["ok"]]
        if is_open:
            assert status == 200, (role, answer)
            assert not refusals, (role, answer)
        else:
            code = refusals[0] if refusals else answer["error"]["code"]
            assert code == "permission", (role, status, answer)
