"""The daemon is killed (SIGKILL, by itself) at every other named point: what people and admins ask
for, bookings, devices, what the engine remembers. And no point of the engine is in no test.

Each death is a short story: what leads there, and what must be true after the next start. What was
committed is there, once; what was not can be asked for again.
"""

from __future__ import annotations

import ast
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gpuboard.engine
from tests.safety import test_faults_crashes
from tests.safety.deaths import SCRIPT, CrashBox, crash_box
from tests.support.dockerd import DockerEngine
from tests.support.fakenvml import gpu_uuid, process_line
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]

Story = Callable[[CrashBox, str], Iterator[Callable[[], object]]]
"""Prepares, yields what leads the daemon to its death, and holds what must be true afterwards."""
STORIES: dict[str, Story] = {}
LIVE = "while :; do sleep 0.2; done"


def dies_at(*names: str) -> Callable[[Story], Story]:
    """Tell this story before and after the commits of these names."""

    def put(story: Story) -> Story:
        STORIES.update({f"{name}.{side}": story for name in names for side in ("before", "after")})
        return story

    return put


@pytest.fixture(scope="module")
def box(docker_engine: DockerEngine, crash_folder: Path) -> Iterator[CrashBox]:
    """One box that lives through all the deaths."""
    with crash_box(docker_engine, crash_folder) as found:
        yield found


@pytest.fixture
def revived(box: CrashBox) -> CrashBox:
    """The box, alive and idle."""
    box.revive()
    return box


def test_every_point_that_the_engine_can_pass_is_in_a_test() -> None:
    """A new crash point, or a new commit, must bring the story of a death there."""
    tested = set(STORIES)
    for test in vars(test_faults_crashes).values():
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "parametrize" and mark.args[0] == "point":
                tested |= set(mark.args[1])
    tested.add("start.intent.before")  # a test of its own
    assert points_of_the_engine() == tested


def test_every_commit_of_the_engine_has_a_point_on_both_sides() -> None:
    """Nothing in engine/ opens a transaction in a function that passes no crash point."""
    silent = []
    for module in _modules():
        for function in _functions(module):
            calls = {_called(node) for node in ast.walk(function) if isinstance(node, ast.Call)}
            if "transaction" in calls and not calls & {"crash", "_crash"}:
                silent.append(function.name)
    assert not silent


def points_of_the_engine() -> set[str]:
    """Return the names of all crash points, read from the source."""
    found = set()
    for module in _modules():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.args[0], "value", None)
            if not isinstance(name, str):
                continue
            if _called(node) in ("crash", "_crash"):
                found.add(name)
            elif _called(node) in ("Change", "_committing", "_commit"):
                found |= {f"{name}.before", f"{name}.after"}
    return found


def _modules() -> Iterator[ast.Module]:
    for path in sorted(Path(gpuboard.engine.__file__).parent.glob("*.py")):
        yield ast.parse(path.read_text())


def _functions(module: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef))


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


# what people ask for


@dies_at("submit")
def _submission(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    def ask() -> int:
        return box.shell(SCRIPT, token=f"once-{point}")

    yield ask
    job = ask()
    assert box.rows("SELECT id FROM jobs WHERE token = ?", f"once-{point}") == [(job,)]
    box.check_true_end(job)


@dies_at("image.admitted")
def _image_admitted(box: CrashBox, _point: str) -> Iterator[Callable[[], object]]:
    yield lambda: box.shell(SCRIPT)
    [(job,)] = box.rows("SELECT max(id) FROM jobs")
    box.check_true_end(job)
    assert box.rows("SELECT image_id <> '' FROM jobs WHERE id = ?", job) == [(1,)]


@dies_at("image.failed")
def _image_failed(box: CrashBox, _point: str) -> Iterator[Callable[[], object]]:
    yield lambda: box.shell("true", image="127.0.0.1:1/nobody:1")
    [(job,)] = box.rows("SELECT max(id) FROM jobs")
    view = box.ended(job)
    assert view["state"] == "failed"
    assert "cannot be pulled" in view["reason"]
    box.check_clean(job)


@dies_at("cancel")
def _cancel(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    job = box.shell("true", hold=True)
    yield lambda: box.cancel(job)
    if point.endswith(".before"):
        assert box.job(job)["state"] == "queued"
        box.cancel(job)
    assert box.job(job)["state"] == "cancelled"
    box.check_clean(job)


@dies_at("hold")
def _hold(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    job = box.shell("true", begin="now+1h")

    def ask() -> object:
        return box.client.post("/jobs/hold", {"jobs": [str(job)]})

    yield ask
    is_held = box.rows("SELECT held_by <> '' FROM jobs WHERE id = ?", job)
    assert is_held == [(point.endswith(".after"),)]
    ask()
    assert _events(box, "job.held", job) == 1
    box.cancel(job)


@dies_at("release")
def _release(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    job = box.shell(SCRIPT, hold=True)

    def ask() -> object:
        return box.client.post("/jobs/release", {"jobs": [str(job)]})

    yield ask
    if point.endswith(".before"):
        assert box.job(job)["state"] == "queued"
        ask()
    box.check_true_end(job)


@dies_at("update")
def _update(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    job = box.shell(LIVE)
    box.wait_state(job, "running")

    def ask() -> object:
        return box.client.post("/jobs/update", {"jobs": [str(job)], "time_limit": "9m"})

    yield ask
    if point.endswith(".before"):
        assert box.job(job)["limit_s"] == 300
        ask()
    assert box.job(job)["limit_s"] == 540
    until = "SELECT until_at - granted_at FROM leases WHERE released_at IS NULL AND job_id = ?"
    [(ms,)] = box.rows(until, job)
    assert abs(ms / 1000 - 540) < 10
    box.cancel(job, force=True)
    box.ended(job)


@dies_at("start.refused")
def _start_refused(box: CrashBox, _point: str) -> Iterator[Callable[[], object]]:
    """An older version stored what is forbidden now."""
    job = box.shell("true", hold=True)
    box.kill()
    with contextlib.closing(sqlite3.connect(box.state / "gpuboard.db")) as db, db:
        [(text,)] = db.execute("SELECT spec FROM jobs WHERE id = ?", (job,))
        spec = {**json.loads(text), "env": {"NVIDIA_VISIBLE_DEVICES": "all"}}
        db.execute("UPDATE jobs SET spec = ? WHERE id = ?", (json.dumps(spec), job))
    box.start()
    yield lambda: box.client.post("/jobs/release", {"jobs": [str(job)]})
    wait_until(lambda: "NVIDIA" in box.job(job)["reason"], 20, "the refusal")
    assert box.starts_of(job) in (0, None)
    assert _events(box, "job.held", job) == 1
    box.cancel(job)


# time and devices


def _book(box: CrashBox, **fields: object) -> int:
    asked = {"gpus": 1, "duration": "1h", "at": "now+2h", **fields}
    return int(box.client.post("/reservations", asked)["reservation"]["id"])


@dies_at("booking.create")
def _booking(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    yield lambda: _book(box, name=point)
    found = box.rows("SELECT id FROM reservations WHERE name = ?", point)
    assert len(found) == point.endswith(".after")
    box.client.delete(f"/reservations/{found[0][0] if found else _book(box, name=point)}")


@dies_at("booking.begin", "booking.bind")
def _booking_begins(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    yield lambda: _book(box, at="", name=point)
    [(booking,)] = box.rows("SELECT id FROM reservations WHERE name = ?", point)
    bound = "SELECT device FROM leases WHERE released_at IS NULL AND reservation_id = ?"
    wait_until(lambda: box.rows(bound, booking), 20, "its device")
    assert len(box.rows(bound, booking)) == 1
    for kind in ("reservation.started", "reservation.bound"):
        events = "SELECT count(*) FROM events WHERE kind = ? AND reservation_id = ?"
        assert box.rows(events, kind, booking) == [(1,)]
    box.client.delete(f"/reservations/{booking}")


@dies_at("booking.end")
def _booking_ends(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    booking = _book(box, at="", name=point)
    bound = "SELECT device FROM leases WHERE released_at IS NULL AND reservation_id = ?"
    wait_until(lambda: box.rows(bound, booking), 20, "its device")

    def ask() -> object:
        return box.client.delete(f"/reservations/{booking}")

    yield ask
    if point.endswith(".before"):
        ask()
    assert not box.rows(bound, booking)
    ended = "SELECT count(*) FROM events WHERE kind = 'reservation.ended' AND reservation_id = ?"
    assert box.rows(ended, booking) == [(1,)]
    assert box.is_charged_once()


@dies_at("booking.change")
def _booking_changes(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    booking = _book(box)

    def ask() -> object:
        return box.client.patch(f"/reservations/{booking}", {"gpus": 2})

    yield ask
    if point.endswith(".before"):
        ask()
    assert box.rows("SELECT gpus FROM reservations WHERE id = ?", booking) == [(2,)]
    box.client.delete(f"/reservations/{booking}")


@dies_at("booking.cancel_series")
def _series_cancelled(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    first = _book(box, repeat="daily", count=3)

    def ask() -> object:
        return box.client.delete(f"/reservations/{first}", series=1)

    yield ask
    if point.endswith(".before"):
        ask()
    states = box.rows("SELECT state FROM reservations WHERE series_id = ?", first)
    assert states == [("cancelled",)] * 3


@dies_at("device.drain", "device.resume")
def _drain(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    what = {"gpu_ids": [gpu_uuid(7)], "note": point}
    is_resume = point.startswith("device.resume")

    def ask() -> object:
        return box.client.post("/admin/resume" if is_resume else "/admin/drain", what)

    if is_resume:
        box.client.post("/admin/drain", what)
    yield ask
    assert (gpu_uuid(7) in box.drained()) == (is_resume != point.endswith(".after"))
    ask()
    assert (gpu_uuid(7) in box.drained()) != is_resume
    box.client.post("/admin/resume", what)


@dies_at("device.fault")
def _device_fault(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    def lose() -> None:
        box.fake.gpus[7].keys["lost"] = 1
        box.fake.write()

    yield lose
    # a daemon that begins with a lost device cannot ask for its UUID: it drains what it knows
    assert {*box.drained()} == ({gpu_uuid(7)} if point.endswith(".after") else set())
    job = box.shell(SCRIPT)
    box.check_true_end(job)
    assert gpu_uuid(7) not in str(box.job(job)["devices"])
    del box.fake.gpus[7].keys["lost"]
    box.fake.write()
    box.kill()  # a device that was lost comes back with the driver
    box.start()
    box.client.post("/admin/resume", {"gpu_ids": [gpu_uuid(7)]})


@dies_at("device.closed")
def _device_closed(box: CrashBox, _point: str) -> Iterator[Callable[[], object]]:
    """What a daemon-reload does to a container, done to its rules by hand."""
    if not Path("/sys/fs/cgroup/devices").is_dir():
        pytest.skip("control groups v2 do not show a container's device rules")
    job = box.shell(LIVE)
    box.wait_state(job, "running")
    [(handle,)] = box.rows("SELECT handle FROM jobs WHERE id = ?", job)
    rules = Path(f"/sys/fs/cgroup/devices/docker/{handle}")
    (rules / "devices.allow").write_text("c 195:* rw")
    box.ended(box.shell("true", gpus=0))  # meanwhile the engine was listed

    yield lambda: (rules / "devices.deny").write_text("c 195:* rw")
    view = box.ended(job)
    assert view["state"] == "failed", view
    assert "NVML: Unknown Error" in view["reason"]
    box.check_clean(job)


@dies_at("opened")
def _devices_opened(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    """What its container could open is on record: it may be shut out while no daemon looks."""
    if not Path("/sys/fs/cgroup/devices").is_dir():
        pytest.skip("control groups v2 do not show a container's device rules")
    job = box.shell(LIVE)
    box.wait_state(job, "running")
    [(handle,)] = box.rows("SELECT handle FROM jobs WHERE id = ?", job)
    rules = Path(f"/sys/fs/cgroup/devices/docker/{handle}")

    yield lambda: (rules / "devices.allow").write_text("c 195:* rw")
    if point == "opened.before":
        wait_until(lambda: box.rows("SELECT 1 FROM state WHERE key = 'opened'"), 15, "the record")
    box.kill()
    (rules / "devices.deny").write_text("c 195:* rw")
    box.start()
    assert "NVML: Unknown Error" in box.ended(job)["reason"]
    box.check_clean(job)


@dies_at("budget.over")
def _over_budget(box: CrashBox, _point: str) -> Iterator[Callable[[], object]]:
    job = box.shell(LIVE, gpu_memory="2G")
    view = box.wait_state(job, "running")
    number = next(n for n in range(8) if gpu_uuid(n) in str(view["devices"]))
    [(handle,)] = box.rows("SELECT handle FROM jobs WHERE id = ?", job)
    with contextlib.closing(box.engine.client(10)) as client:
        pid = client.inspect_container(handle)["State"]["Pid"]

    def take() -> None:
        box.fake.gpus[number].processes = [process_line(pid, 30_000)]
        box.fake.write()

    yield take
    wait_until(lambda: _events(box, "job.over_budget", job), 15, "the words")
    assert box.job(job)["state"] == "running"
    box.fake.gpus[number].processes = []
    box.fake.write()
    box.cancel(job, force=True)
    box.ended(job)
    box.check_clean(job)


@dies_at("notice", "blackout", "blackout.called_off")
def _words_of_an_admin(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    is_kept = point.endswith(".after")
    if point.startswith("notice"):
        yield lambda: box.client.post("/admin/notice", {"text": point})
        assert box.rows("SELECT count(*) FROM notices WHERE text = ?", point) == [(is_kept,)]
        box.client.post("/admin/notice", {"text": ""})
        return
    window = {"at": "now+30d", "duration": "1h", "note": point}
    live = "SELECT id FROM blackouts WHERE note = ? AND cancelled_at IS NULL"
    if point.startswith("blackout.called_off"):
        number = box.client.post("/admin/blackout", window)["id"]
        yield lambda: box.client.post("/admin/blackout", {"cancel": number})
        assert len(box.rows(live, point)) == (not is_kept)
    else:
        yield lambda: box.client.post("/admin/blackout", window)
        assert len(box.rows(live, point)) == is_kept
    for (number,) in box.rows(live, point):
        box.client.post("/admin/blackout", {"cancel": number})


# what the engine remembers from round to round


def _kept(box: CrashBox, key: str) -> str:
    found = box.rows("SELECT value FROM state WHERE key = ?", key)
    return found[0][0] if found else ""


@dies_at("head", "fill_head", "promises")
def _waiter_remembered(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    key = point.partition(".")[0]
    how = {"fill_head": {"preemptible": True}, "promises": {"class": "promised"}}.get(key, {})
    full = box.shell(LIVE, gpus=8)
    box.wait_state(full, "running")
    yield lambda: box.shell(SCRIPT, gpus=2, **how)
    [(job,)] = box.rows("SELECT max(id) FROM jobs")
    wait_until(lambda: str(job) in _kept(box, key), 15, f"job {job} as {key}")
    box.cancel(full, force=True)
    box.check_true_end(job)


@dies_at("incarnation")
def _incarnation(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    box.kill()
    with contextlib.closing(sqlite3.connect(box.state / "gpuboard.db")) as db, db:
        db.execute("DELETE FROM state WHERE key = 'incarnation.docker'")
    yield lambda: box.start(crash_at=point)
    wait_until(lambda: _kept(box, "incarnation.docker"), 15, "the engine's incarnation")


@dies_at("hours")
def _hours(box: CrashBox, _point: str) -> Iterator[Callable[[], object]]:
    job = box.shell(LIVE)
    box.wait_state(job, "running")
    yield lambda: None
    seen = "SELECT sum(seen_s) FROM device_hours"
    wait_until(lambda: box.rows(seen)[0][0], 20, "the hour book")
    box.cancel(job, force=True)
    box.ended(job)


@dies_at("hours.forgotten")
def _hours_forgotten(box: CrashBox, point: str) -> Iterator[Callable[[], object]]:
    with contextlib.closing(sqlite3.connect(box.state / "gpuboard.db")) as db, db:
        db.execute("INSERT OR IGNORE INTO device_hours VALUES (0, 'GPU-old', -1, 1, 1, 0)")
    box.kill()
    yield lambda: box.start(crash_at=point)
    old = "SELECT count(*) FROM device_hours WHERE hour_at = 0"
    wait_until(lambda: box.rows(old) == [(0,)], 20, "the old hours to go")


def _events(box: CrashBox, kind: str, job: int) -> int:
    found: int = box.rows("SELECT count(*) FROM events WHERE kind = ? AND job_id = ?", kind, job)[
        0
    ][0]
    return found


@pytest.mark.parametrize("point", sorted(STORIES))
def test_daemon_that_dies_there_leaves_nothing_half_done(revived: CrashBox, point: str) -> None:
    """What was committed is there once; what was not can be asked for again; jobs end truly."""
    story = STORIES[point](revived, point)
    revived.die_at(point, next(story))
    assert next(story, None) is None
    revived.check_devices()
    assert not revived.client.get("/jobs")["jobs"]
