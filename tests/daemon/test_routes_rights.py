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
ANYBODY, MEMBER, MANAGER, OWNER, ADMIN = "anybody", "member", "manager", "owner", "admin"
ROLES = (ANYBODY, MEMBER, MANAGER, OWNER, ADMIN)
"""From the least to the most: a stranger; of the group that the job is charged to; its manager."""


class Sample(NamedTuple):
    """A request that works for whom it is open to."""

    open_to: str
    """The least of the roles."""
    target: str = ""
    body: dict[str, Any] | None = None


JOBS = {"jobs": ["{job}"]}
SAMPLES: dict[str, Sample] = {
    "listJobs": Sample(ANYBODY, "/jobs"),
    "pageQueue": Sample(ANYBODY, "/queue"),
    "submitJob": Sample(ANYBODY, "/jobs", {"command": ["true"], "gpus": 0, "hold": True}),
    "listHistory": Sample(ANYBODY, "/history"),
    "resolveJobs": Sample(ANYBODY, "/resolve?job={job}"),
    "holdJobs": Sample(MANAGER, "/jobs/hold", JOBS),
    "updateJobs": Sample(OWNER, "/jobs/update", {**JOBS, "note": "n"}),
    "releaseJobs": Sample(MANAGER, "/jobs/release", JOBS),
    "cancelJobs": Sample(MANAGER, "/jobs/cancel", JOBS),
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
LIMIT = Sample(MANAGER, "/jobs/update", {**JOBS, "time_limit": "1h"})


GROUPS = """
[groups.lab]
managers = ["{manager}"]
[groups.vision]
parent = "lab"
members = ["{owner}", "{member}"]
"""


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
        asked = {"command": ["true"], "gpus": 0, "hold": True, "note": "soon", "env": {"A": "b"}}
        job = self.ask(OWNER, "POST", "/jobs", asked)[1]
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
        with people("gbrst", "gbrme", "gbrma", "gbrow", "gbrad") as uids:
            logins = {
                role: pwd.getpwuid(uid).pw_name for role, uid in zip(ROLES, uids, strict=True)
            }
            subprocess.run(["groupadd", "--users", logins[ADMIN], group], check=True)
            config = CONFIG.replace("min_uid = 0", "min_uid = 1000").replace(
                "[daemon]", f'[daemon]\nadmin_group = "{group}"'
            )
            config += "[reservations]\nmax_per_user = 1000\n" + GROUPS.format(**logins)
            with daemon_in(folder, config) as daemon:
                yield House(daemon, dict(zip(ROLES, uids, strict=True)))
    finally:
        subprocess.run(["groupdel", group], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_every_route_has_its_row():
    """A new route says here to whom it is open."""
    assert {route.name for route in ROUTES} == set(SAMPLES)


@pytest.mark.parametrize(
    ("route", "sample"),
    [
        *((route, SAMPLES[route.name]) for route in ROUTES),
        *((route, LIMIT) for route in ROUTES if route.name == "updateJobs"),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "open_to", "")),
)
def test_route_is_open_to_whom_its_row_says(house: House, route: Any, sample: Sample):
    """The stranger asks first, then the people of the job's group, its owner, the administrator."""
    for role in ROLES:
        things = house.things()
        target = sample.target.format(**things)
        text = json.dumps(sample.body).replace("{job}", things["job"])
        status, answer = house.ask(role, route.method, target, json.loads(text))
        house.tidy(things)
        results = (answer or {}).get("results", []) if isinstance(answer, dict) else []
        refusals = [result["code"] for result in results if not result["ok"]]
        if ROLES.index(role) >= ROLES.index(sample.open_to):
            assert status == 200, (role, answer)
            assert not refusals, (role, answer)
        else:
            code = refusals[0] if refusals else answer["error"]["code"]
            assert code == "permission", (role, status, answer)


def test_what_of_a_job_is_shown_to_whom(house: House):
    """The note to its group; command and environment to the owner and to administrators alone."""
    things = house.things()
    seen = {}
    for role in ROLES:
        answer = house.ask(role, "GET", f"/jobs/{things['job']}")[1]
        seen[role] = [bool(answer["job"]["note"]), bool(answer["job"]["command"] or answer["env"])]
    house.tidy(things)
    assert seen == {
        ANYBODY: [False, False],
        MEMBER: [True, False],
        MANAGER: [True, False],
        OWNER: [True, True],
        ADMIN: [True, True],
    }


def test_decisions_about_rights_are_a_line_each(house: House):
    """Who has no account, an administrator who looks and acts, a manager; and none of what is one's own."""
    things = house.things()
    job = things["job"]
    begins = house.daemon.log.stat().st_size
    house.uids["nobody"] = 3_999_999_999
    for _ in range(3):
        assert house.ask("nobody", "GET", "/jobs")[0] == 403
    house.ask(ADMIN, "GET", f"/jobs/{job}")
    house.ask(ADMIN, "GET", f"/jobs/{job}/log")
    house.ask(MANAGER, "POST", "/jobs/release", {"jobs": [job]})
    house.ask(OWNER, "POST", "/jobs/update", {"jobs": [job], "account": "lab"})
    house.ask(ADMIN, "POST", "/admin/notice", {"text": "hello"})
    house.ask(OWNER, "GET", f"/jobs/{job}")
    house.tidy(things)
    log = house.daemon.log.read_text()[begins:]
    lines = [line.partition("gpuboard.audit: ")[2] for line in log.splitlines() if "audit" in line]
    owner = house.uids[OWNER]
    assert lines == [
        "refused: uid=3999999999 action=enter owner=- uid 3999999999 has no account on this box",
        f"allowed: uid={house.uids[ADMIN]} action=read_private owner={owner} jobs {job}",
        f"allowed: uid={house.uids[ADMIN]} action=read_log owner={owner} jobs {job}",
        f"allowed: uid={house.uids[MANAGER]} action=stop_job owner={owner} jobs {job}",
        f"refused: uid={owner} action=change_job owner={owner} jobs {job}: you are not in group lab",
        f"allowed: uid={house.uids[ADMIN]} action=administer owner=- notice",
    ]
