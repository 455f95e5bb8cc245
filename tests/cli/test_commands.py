"""Every command against a scripted daemon: what it asks, what it prints, how it exits."""

from __future__ import annotations

import json
import re
import socket
import sys
from types import SimpleNamespace
from typing import Any

import click
import pytest

from gpuboard import errors
from gpuboard.cli.main import COMMANDS, cli
from gpuboard.model.views.admin import (
    AdminResult,
    AdminState,
    BlackoutView,
    DatabaseView,
    DrainView,
    RuntimeView,
    SettingView,
)
from gpuboard.model.views.board import NoticeView
from gpuboard.model.views.bookings import ReservationList
from gpuboard.model.views.catalog import ImageList, ImageView
from gpuboard.model.views.devices import (
    BookingRef,
    DeviceRef,
    TopologyDevice,
    TopologyLink,
    TopologyView,
)
from gpuboard.model.views.doctor import CheckView, DoctorView
from gpuboard.model.views.events import EventView
from gpuboard.model.views.jobs import ActionResult, MountView, PortView
from gpuboard.model.views.shares import GroupRow, UsageRow, UsageView
from gpuboard.model.views.timeline import TimelineEntry, TimelineView
from gpuboard.model.views.usage import UsageReport, UsedRow
from gpuboard.model.views.waits import CauseView, DryRunView, WhyView
from tests.cli.conftest import Gpuboard, Ran, assert_harmless
from tests.support.fake_server import (
    AT,
    HOSTILE,
    FakeServer,
    board,
    booking,
    built,
    detail,
    device,
    job,
    job_list,
    submitted,
)

REF = DeviceRef("2", "GPU-2")
CAUSE = CauseView(
    cause="devices_busy", words=f"GPU 2 is held by {HOSTILE}", until_at="2026-11-22T22:10:00Z"
)


def commands(group: click.Group = cli, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every command."""
    found: list[tuple[str, ...]] = []
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        found.append((*prefix, name))
        if isinstance(command, click.Group):
            found += commands(command, (*prefix, name))
    return found


def script_everything(server: FakeServer, text: str = "train") -> None:
    """Answer every route once, with `text` wherever people can write something."""
    running = {
        "state": "running",
        "started_at": AT,
        "ends_at": "2026-11-22T22:00:00Z",
        "devices": [REF],
        "elapsed_s": 61,
    }
    one = job(
        12, name=text, user=text, reason=text, image=text, command=[text], note=text, **running
    )
    ended = detail(
        12, name=text, user=text, state="succeeded", started_at=AT, ended_at=AT, exit_code=0, exit_words=text, reason=text, note=text,
        image=text, command=[text, "a b"], env={text: text}, workdir=text,
        mounts=[MountView(text, text)], events=[EventView(1, AT, "job.submitted", text, user=text)],
    )  # fmt: skip
    why = WhyView(
        id=12, state="queued", words=text, causes=[CAUSE], expected_start_at="2026-11-22T22:10:00Z",
        latest_start_at="2026-11-23T00:00:00Z", would_start_now=f"--gpus 1 {text}",
    )  # fmt: skip
    done = {"schema": 1, "results": [built(ActionResult(id=12, ok=True, words=text))]}
    dev = device(
        "2", name=text, state="leased", state_words=text, user=text, job_id=12, job_name=text, until_at=AT,
        next_booking=BookingRef(7, text, AT, AT), processes_known=False, idle_s=900, utilization=None,
    )  # fmt: skip
    page = board(
        dev,
        device("3", name=text, next_booking=BookingRef(7, text, AT, AT)),
        driver_fault=text,
    )
    page["notices"] = [built(NoticeView(1, AT, text, text))]
    book = booking(7, user=text, name=text, gpu_type=text, on_them_now=[text])
    entries = [
        TimelineEntry(device="2", uuid="GPU-2", kind="running", user=text, name=text, job_id=12, from_at=AT, until_at="2026-11-23T06:00:00Z"),
        TimelineEntry(device=None, kind="booking", user=text, gpus=2, from_at=AT, until_at="2026-11-23T20:00:00Z"),
        TimelineEntry(device=None, kind="blackout", user=text, from_at=AT, until_at=AT),
    ]  # fmt: skip
    line = TimelineView(
        at=AT, from_at=AT, until_at="2026-11-23T20:01:00Z", devices=[REF], entries=entries
    )
    people = [
        UsageRow(
            user=text,
            uid=1,
            mine=True,
            device_seconds=36e3,
            share=0.5,
            factor=0.25,
            group=text,
            rank=2,
            quota_words=text,
        )
    ]
    check = CheckView(name="driver", status="warning", words=text, mend=text)
    admin = built(AdminResult(words=text))
    used = UsedRow(
        name=text, uid=1, mine=True, held_s=7200, seen_s=7200, used_s=3600, idle_s=60, starts=2,
        wait_median_s=30, wait_p90_s=90,
    )  # fmt: skip
    report = UsageReport(
        at=AT,
        over="week",
        from_at=AT,
        until_at=AT,
        total=used,
        people=[used],
        groups=[used],
        devices=[used],
    )
    state = AdminState(
        at=AT,
        version="1",
        started_at=AT,
        halted=text,
        config_file=text,
        driver=text,
        checked_at=AT,
        check_words=text,
        settings=[SettingView(section="jobs", key="max_time", value=text, is_default=False)],
        runtimes=[RuntimeView(name="docker", fault=text)],
        database=DatabaseView(
            path=text,
            version=3,
            sqlite="3",
            size_bytes=1,
            wal_bytes=0,
            free_bytes=1,
            backup=text,
            backup_at=AT,
        ),
        drains=[DrainView(device=REF, at=AT, by=text, note=text)],
        blackouts=[BlackoutView(id=1, from_at=AT, until_at=AT, note=text, devices=[REF])],
    )
    said: dict[tuple[str, str], Any] = {
        ("GET", "/jobs"): job_list(one, job(13, name=text, held_by="user"), total=99),
        ("GET", "/history"): job_list(one, job(11, name=text, state="failed", exit_code=3, exit_words=text, ended_at=AT)),
        ("GET", "/jobs/12"): ended,
        ("GET", "/jobs/12/why"): built(why),
        ("GET", "/jobs/12/log"): b"hello\n",
        ("GET", "/resolve"): {"schema": 1, "ids": [12]},
        ("POST", "/jobs"): lambda asked: built(
            DryRunView(would_start_now=False, devices=[REF], words=text, causes=[CAUSE], command_line=text, notices=[text])
        ) if asked.query else submitted(12, name=text, reason=text),
        **{("POST", f"/jobs/{verb}"): done for verb in ("cancel", "hold", "release", "update")},
        ("GET", "/board"): page,
        ("GET", "/topology"): built(topology(text)),
        ("GET", "/timeline"): built(line),
        ("GET", "/usage"): lambda asked: built(report) if asked.query else built(
            UsageView(
                at=AT,
                half_life_s=604800,
                people=people,
                groups=[GroupRow(name=text, parent=text, quota_words=text)],
                ranked=12,
            )
        ),
        ("GET", "/admin/state"): built(state),
        ("GET", "/images"): built(ImageList(images=[ImageView(reference=text, id="sha256:" + "a" * 64, created_at=AT, size_bytes=2**30)])),
        ("GET", "/doctor"): built(DoctorView(checks=[check])),
        ("GET", "/reservations"): built(ReservationList(at=AT)) | {"reservations": [book]},
        ("POST", "/reservations"): {"schema": 1, "dry_run": False, "reservation": book},
        ("PATCH", "/reservations/7"): {"schema": 1, "dry_run": False, "reservation": book},
        ("DELETE", "/reservations/7"): book | {"state": "cancelled"},
        **{
            ("POST", f"/admin/{verb}"): admin
            for verb in ("drain", "resume", "notice", "blackout", "backup", "check", "reload")
        },
    }  # fmt: skip
    server.answers.update(said)


CALLS: list[tuple[str, ...]] = [
    ("submit", "img", "true"),
    ("submit", "--dry-run", "img"),
    ("run", "img", "true"),
    ("run", "--dry-run", "img"),
    ("ps",),
    ("ps", "--all", "-o", "id,image,command,note,runtime,submitted,started,ended,attempt,exit"),
    ("history",),
    ("show", "12"),
    ("why", "12"),
    ("logs", "12"),
    ("wait", "12"),
    ("cancel", "12"),
    ("hold", "12"),
    ("release", "12"),
    ("update", "12", "-t", "+30m"),
    ("gpus",),
    ("gpus", "--free"),
    ("gpus", "--topology"),
    ("board", "--once"),
    ("board", "--plain"),
    ("top",),
    ("top", "--inline"),
    ("timeline",),
    ("usage",),
    ("usage", "--over", "week"),
    ("usage", "--over", "month", "--by", "group"),
    ("usage", "--over", "day", "--by", "device"),
    ("images",),
    ("doctor",),
    ("reserve", "2", "1h30m"),
    ("reserve", "--change", "7", "2", "3h"),
    ("reservations",),
    ("unreserve", "7"),
    ("admin", "state"),
    ("admin", "drain", "2", "--note", "fan"),
    ("admin", "resume", "2"),
    ("admin", "notice", "hello", "all"),
    ("admin", "blackout", "2h"),
    ("admin", "db", "backup"),
    ("admin", "db", "check"),
    ("admin", "config", "reload"),
]
WITHOUT_JSON = {"completion", "daemon", "demo", "admin", "config", "db"}
HAVE_OWN_TESTS = {
    ("dial",),
    ("admin", "config", "check"),
    ("daemon",),
    ("demo",),
    ("completion",),
    ("simulate",),
}


@pytest.fixture
def scripted(server: FakeServer) -> FakeServer:
    script_everything(server)
    return server


def test_every_command_is_called_here() -> None:
    """A new command comes with its call in this table."""
    called = {call[: len(words)] for call in CALLS for words in [_command_words(call)]}
    groups = {("admin",), ("admin", "config"), ("admin", "db")}
    assert set(commands()) - groups - HAVE_OWN_TESTS == called


def _command_words(call: tuple[str, ...]) -> tuple[str, ...]:
    known = set(commands())
    return max((call[:n] for n in range(1, len(call) + 1) if call[:n] in known), key=len)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_command_succeeds_and_says_something(
    scripted: FakeServer, gpuboard: Gpuboard, call: tuple[str, ...]
) -> None:
    """Each command ends with 0 on a daemon that answers, and stdout has its answer."""
    ran = gpuboard(*call)
    assert ran.code == 0, ran
    assert ran.out.strip()


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_json_is_exactly_one_value(
    scripted: FakeServer, gpuboard: Gpuboard, call: tuple[str, ...]
) -> None:
    """With --json stdout is one JSON object with its schema, nothing before and nothing after."""
    if call[0] in WITHOUT_JSON and call[0] != "admin":
        return
    words = len(_command_words(call))
    ran = gpuboard(*call[:words], "--json", *call[words:])
    assert ran.code == 0, ran
    value = ran.json
    assert value.get("schema", 1) == 1
    assert "error" not in value


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_json_is_exactly_one_value_on_failure_too(
    server: FakeServer, gpuboard: Gpuboard, call: tuple[str, ...]
) -> None:
    """A daemon that refuses everything gives {"error": {...}} on stdout and the class's exit code."""
    if call[0] in WITHOUT_JSON and call[0] != "admin":
        return
    refuse = errors.PermissionDenied("not yours", hint="ask ann")
    for path in _paths(server, call, gpuboard):
        server.answers[path] = refuse
    words = len(_command_words(call))
    ran = gpuboard(*call[:words], "--json", *call[words:])
    assert ran.code == 5
    assert ran.json == {"error": {"code": "permission", "message": "not yours", "hint": "ask ann"}}
    assert ran.err == "error: not yours\nhint: ask ann\n"


def _paths(server: FakeServer, call: tuple[str, ...], gpuboard: Gpuboard) -> set[tuple[str, str]]:
    """Return what the call asks for when all goes well."""
    script_everything(server)
    gpuboard(*call)
    return {(asked.method, asked.path) for asked in server.asked}


@pytest.mark.parametrize("width", [None, 40, 80, 160])
@pytest.mark.parametrize("call", [call for call in CALLS if call[0] != "logs"], ids=" ".join)
def test_hostile_text_is_harmless_everywhere(
    server: FakeServer,
    gpuboard: Gpuboard,
    monkeypatch: pytest.MonkeyPatch,
    call: tuple[str, ...],
    width: int | None,
) -> None:
    """No name, note, reason or command reaches the terminal with escape codes or direction overrides."""
    script_everything(server, HOSTILE)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    ran = gpuboard(*call)
    assert ran.code == 0, ran
    if call[0] != "run":  # its stdout is the job's own
        assert_harmless(ran.out)
    assert_harmless(ran.err)


@pytest.mark.parametrize("words", [(), *commands()], ids=" ".join)
def test_every_command_has_help_under_both_names(
    gpuboard: Gpuboard, words: tuple[str, ...]
) -> None:
    """-h and --help print usage, with no daemon anywhere."""
    short, long = gpuboard(*words, "-h"), gpuboard(*words, "--help")
    assert (short.code, long.code) == (0, 0)
    assert short.out == long.out
    assert short.out.lower().startswith("usage: gpuboard")


def test_short_help_in_the_table_is_the_commands_own() -> None:
    """The table of `gpuboard --help`, which loads no command, does not drift from the commands."""
    ctx = click.Context(cli)
    for name, (_, _, words) in COMMANDS.items():
        command = cli.get_command(ctx, name)
        assert command is not None
        assert command.get_short_help_str(200) == words


def error_of(ran: Ran) -> tuple[int, str]:
    return ran.code, ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("no"), 2),
        (errors.Refused("no"), 1),
        (errors.QuotaExceeded("no"), 1),
        (errors.NotFound("no"), 1),
        (errors.Conflict("no"), 1),
        (errors.PermissionDenied("no"), 5),
        (errors.HostError("no"), 1),
        (errors.Unavailable("no"), 3),
        (errors.StateError("no"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_code_is_the_errors_own(
    server: FakeServer, gpuboard: Gpuboard, error: errors.GpuboardError, code: int
) -> None:
    """The table of STYLE.md holds for what the daemon answers."""
    server.answers["GET", "/jobs/12/why"] = error
    assert error_of(gpuboard("why", "12")) == (code, "error: no\n")


def test_no_daemon_is_exit_code_3(
    gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A socket that nobody answers is told from a refusal."""
    monkeypatch.setenv("GPUBOARD_SOCKET", str(tmp_path / "none.sock"))
    ran = gpuboard("ps", "--json")
    assert ran.code == 3
    assert ran.json["error"]["code"] == "unavailable"


@pytest.mark.parametrize(
    "words",
    [["pss"], ["ps", "--nope", "--json"], ["ps", "extra"], ["show"], ["reserve", "two", "1h"]],
)
def test_usage_errors_are_exit_code_2_with_a_way_out(gpuboard: Gpuboard, words: list[str]) -> None:
    """A mistyped command or flag says what is wrong and where the right ones are listed."""
    ran = gpuboard(*words)
    assert ran.code == 2
    assert "\nhint: " in ran.err
    if "--json" in words:
        assert ran.json["error"]["code"] == "invalid"
    else:
        assert not ran.out


def test_mistyped_command_gets_the_nearest(gpuboard: Gpuboard) -> None:
    """`canc` is answered with `cancel`."""
    assert "did you mean 'gpuboard cancel'?" in gpuboard("canc", "12").err


def test_json_of_the_jobs_command_is_not_ours(server: FakeServer, gpuboard: Gpuboard) -> None:
    """`--json` behind the image belongs to the job: our error stays off stdout."""
    server.answers["POST", "/jobs"] = errors.Refused("no")
    ran = gpuboard("submit", "img", "tool", "--json")
    assert (ran.code, ran.out) == (1, "")


def test_ps_json_is_the_daemons_own_bytes(server: FakeServer, gpuboard: Gpuboard) -> None:
    """What the daemon sent is what the script reads: no parsing between."""
    server.answers["GET", "/jobs"] = b'{"schema": 1,   "jobs":[]}'
    assert gpuboard("ps", "--json").out == '{"schema": 1,   "jobs":[]}\n'


def test_ps_asks_for_mine_and_with_all_for_everybodys(
    scripted: FakeServer, gpuboard: Gpuboard
) -> None:
    """As `ps` of the system: one's own, unless asked for more."""
    gpuboard("ps")
    gpuboard("ps", "-a", "-s", "queued,running", "-n", "7")
    gpuboard("ps", "-u", "bob")
    asked = [one.query for one in scripted.asked]
    assert asked[0] == {"mine": ["1"], "limit": ["500"]}
    assert asked[1] == {"state": ["queued", "running"], "limit": ["7"]}
    assert asked[2] == {"user": ["bob"], "limit": ["500"]}


def test_ps_quiet_gives_numbers_for_other_commands(
    scripted: FakeServer, gpuboard: Gpuboard
) -> None:
    """`gpuboard cancel $(gpuboard ps -q)` works."""
    assert gpuboard("ps", "-q").out == "12\n13\n"


def test_waiting_job_shows_when_it_starts(server: FakeServer, gpuboard: Gpuboard) -> None:
    """`about 14:10, by 16:00`, in local time, seen from the daemon's now."""
    server.answers["GET", "/jobs"] = job_list(
        job(12, expected_start_at="2026-11-22T22:10:00Z", latest_start_at="2026-11-23T09:00:00Z")
    )
    assert "about 22:10, by tomorrow 09:00" in gpuboard("ps").out


def test_running_job_shows_when_its_limit_stops_it(server: FakeServer, gpuboard: Gpuboard) -> None:
    """`until` is said of devices alone: they are held for the job's grace longer."""
    running = job(12, state="running", started_at=AT, ends_at="2026-11-22T22:10:00Z")
    server.answers["GET", "/jobs"] = job_list(running)
    (row,) = gpuboard("ps", "--no-header").out.splitlines()
    assert "limit 22:10" in row


def test_show_tells_where_a_ports_is_and_how_to_come_there_from_afar(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """The box's port, and the ssh line to copy; before the start, that it is not known yet."""
    at = [PortView(8888, 20017), PortView(80, 20018)]
    server.answers["GET", "/jobs/12"] = detail(12, state="running", started_at=AT, ports=at)
    out = gpuboard("show", "12").out
    assert re.search(r"port +8888 at 127.0.0.1:20017\n", out)
    tunnel = f"ssh -L 8888:127.0.0.1:20017 -L 20018:127.0.0.1:20018 {socket.gethostname()}"
    assert tunnel in out
    server.answers["GET", "/jobs/12"] = detail(12, ports=[PortView(8888)])
    out = gpuboard("show", "12").out
    assert "8888 (on 127.0.0.1 once it runs)" in out
    assert "ssh" not in out


def test_submit_and_ps_tell_the_ports(server: FakeServer, gpuboard: Gpuboard) -> None:
    """What was asked for is confirmed; a column shows where it leads."""
    server.answers["POST", "/jobs"] = submitted(12, ports=[PortView(8888)])
    assert "port 8888 (on 127.0.0.1 once it runs)" in gpuboard("submit", "-p", "8888", "img").out
    server.answers["GET", "/jobs"] = job_list(
        job(12, ports=[PortView(8888, 20017)]), job(13, ports=[PortView(6006)])
    )
    assert "8888:20017" in gpuboard("ps", "--columns", "id,ports").out
    assert "6006:-" in gpuboard("ps", "--columns", "id,ports").out
    assert gpuboard("ps", "--json").json["jobs"][0]["ports"] == [{"port": 8888, "host_port": 20017}]


@pytest.mark.parametrize(("states", "code"), [(["leased", "free"], 0), (["leased", "drained"], 1)])
def test_free_gpus_answer_in_the_exit_code(
    server: FakeServer, gpuboard: Gpuboard, states: list[str], code: int
) -> None:
    """`gpuboard gpus --free && ...`: 0 when one is free now, 1 when none is; also with --json."""
    devices = [device(str(n), state=state) for n, state in enumerate(states)]
    server.answers["GET", "/board"] = board(*devices)
    ran = gpuboard("gpus", "--free")
    assert ran.code == code
    assert ran.out.split()[:1] == (["1"] if code == 0 else [])
    assert len(gpuboard("gpus", "--free", "--json").json["devices"]) == 1 - code


def topology(name: str, *links: TopologyLink) -> TopologyView:
    """Three GPUs, one of which says nothing of where it is."""
    return TopologyView(
        at=AT,
        devices=[
            TopologyDevice(
                uuid=f"GPU-{n}",
                label=str(n),
                name=name,
                numa_node=None if n == 2 else 0,
                cpus="" if n == 2 else "0-15",
            )
            for n in range(3)
        ],
        links=list(links),
        nvlink_sets=[["0", "1"]] if links else [],
    )


def test_the_topology_is_a_matrix_with_its_words_explained(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """As `nvidia-smi topo -m`: a pair of which nothing is known has a question mark."""
    links = (
        TopologyLink("1", "0", "NV", 4, "NV4"),
        TopologyLink("1", "2", "SYS", 0, "SYS"),
    )
    server.answers["GET", "/topology"] = built(topology("H100", *links))
    lines = gpuboard("gpus", "--topology").out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["GPU", "0", "1", "2", "CPUS", "NUMA", "NODE", "NAME"],
        ["0", "X", "NV4", "?", "0-15", "0", "H100"],
        ["1", "NV4", "X", "SYS", "0-15", "0", "H100"],
        ["2", "?", "SYS", "X", "?", "?", "H100"],
    ]
    assert [line.split()[0] for line in lines[5:8]] == ["NV#", "SYS", "?"]
    assert lines[8] == "all linked by NVLink: GPU 0, 1"
    assert gpuboard("gpus", "--topology", "--json").json["links"][0]["words"] == "NV4"


def test_three_words_book(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """`gpuboard reserve 2 1h30m` answers with devices, from, until, and what is on them now."""
    out = gpuboard("reserve", "2", "1h30m").out
    assert scripted.bodies("POST", "/reservations") == [{"duration": "1h30m", "gpus": 2}]
    assert "booking 7: 2 train GPUs (GPU 2,3) from" in out
    assert "  now: train\n" in out


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["2", "90"], {"gpus": 2, "duration": "90"}),
        (["1h"], {"gpus": 1, "duration": "1h"}),
        (["--gpu-ids", "2,3", "1h"], {"gpus": 2, "gpu_ids": ["2", "3"], "duration": "1h"}),
        (["3", "--until", "noon"], {"gpus": 3, "until": "noon", "timezone": "UTC"}),
    ],
)
def test_words_of_a_booking_are_gpus_then_span(
    scripted: FakeServer, gpuboard: Gpuboard, words: list[str], body: dict[str, Any]
) -> None:
    """Either may be left out where something else says it."""
    assert gpuboard("reserve", *words).code == 0
    assert scripted.bodies("POST", "/reservations") == [body]


@pytest.mark.parametrize("words", [["2"], ["two", "1h"], ["0", "1h"], ["2", "1h", "tomorrow"], []])
def test_booking_that_is_not_understood_is_not_sent(
    scripted: FakeServer, gpuboard: Gpuboard, words: list[str]
) -> None:
    """No guess books anything."""
    ran = gpuboard("reserve", *words)
    assert ran.code == 2
    assert "gpuboard reserve 2 1h30m" in ran.err
    assert not scripted.asked


def test_every_flag_of_reserve_reaches_the_request(
    scripted: FakeServer, gpuboard: Gpuboard
) -> None:
    """Nothing that was typed is lost."""
    gpuboard("reserve", "--gpu-ids", "2,3", "--at", "tomorrow 09:00", "--until", "tomorrow 11:00", "-J", "paper", "--gpu-type", "a100", "--dry-run")  # fmt: skip
    gpuboard("reserve", "--change", "7", "3", "2h", "--name", "x")
    gpuboard("reserve", "2", "1h", "--repeat", "weekly", "--count", "8")
    *_, series = scripted.bodies("POST", "/reservations")
    assert series == {
        "duration": "1h", "gpus": 2, "repeat": "weekly", "count": 8, "timezone": "UTC",
    }  # fmt: skip
    assert scripted.bodies("POST", "/reservations")[:1] == [
        {
            "at": "tomorrow 09:00", "until": "tomorrow 11:00", "name": "paper", "timezone": "UTC",
            "gpus": 2, "gpu_ids": ["2", "3"], "gpu_type": "a100", "dry_run": True,
        }
    ]  # fmt: skip
    assert scripted.bodies("PATCH", "/reservations/7") == [
        {"duration": "2h", "name": "x", "gpus": 3}
    ]


def test_selectors_go_to_the_daemon_as_they_are(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """Numbers, ranges, `@` and names are read in one place only."""
    gpuboard("cancel", "4-7", "@", "nightly", "-f")
    gpuboard("wait", "4-7", "@")
    assert scripted.bodies("POST", "/jobs/cancel") == [
        {"jobs": ["4-7", "@", "nightly"], "force": True}
    ]
    assert [one.query for one in scripted.asked if one.path == "/resolve"] == [
        {"job": ["4-7", "@"]}
    ]


def test_every_flag_of_update_reaches_the_request(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """What is not named stays as it is."""
    gpuboard("update", "12", "-t", "+30m", "-J", "x", "-g", "0", "--note", "n", "--no-preemptible")
    gpuboard("update", "12", "-A", "vision", "--qos", "urgent")
    assert scripted.bodies("POST", "/jobs/update") == [
        {
            "jobs": ["12"],
            "time_limit": "+30m",
            "name": "x",
            "gpus": 0,
            "note": "n",
            "preemptible": False,
        },
        {"jobs": ["12"], "account": "vision", "class": "urgent"},
    ]
    assert gpuboard("update", "12").code == 2


def test_one_failed_job_of_several_fails_the_command(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """The good ones are said on stdout, the failed one on stderr, and the exit code is 1 (5: all not mine)."""
    good = built(ActionResult(id=4, ok=True, words="cancelled"))
    bad = built(ActionResult(id=5, ok=False, words="not yours", code="permission"))
    server.answers["POST", "/jobs/cancel"] = {"schema": 1, "results": [good, bad]}
    ran = gpuboard("cancel", "4-5")
    assert ran == (1, "job 4: cancelled\n", "error: job 5: not yours\n")
    server.answers["POST", "/jobs/cancel"] = {"schema": 1, "results": [bad]}
    assert gpuboard("cancel", "5").code == 5


def test_job_of_another_with_a_slash_in_its_name_is_one_segment(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """A name cannot turn `show` into another route."""
    gpuboard("show", "../why")
    assert server.asked[-1].path == "/jobs/../why"


def test_doctor_fails_when_something_is_wrong(server: FakeServer, gpuboard: Gpuboard) -> None:
    """An error is exit code 1, with the command that mends it; a warning is not."""
    check = CheckView(
        name="driver", status="error", words="not loaded", mend="sudo modprobe nvidia"
    )
    server.answers["GET", "/doctor"] = built(DoctorView(checks=[check]))
    ran = gpuboard("doctor")
    assert ran.code == 1
    assert "mend: sudo modprobe nvidia" in ran.out
    assert gpuboard("doctor", "--json").code == 1


def test_drain_of_everything_must_be_said(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """Forgetting the number does not drain the box."""
    assert gpuboard("admin", "drain").code == 2
    assert gpuboard("admin", "drain", "2", "--all").code == 2
    assert not scripted.bodies("POST", "/admin/drain")
    gpuboard("admin", "drain", "--all")
    assert scripted.bodies("POST", "/admin/drain") == [{}]


def test_config_check_needs_no_daemon(gpuboard: Gpuboard, tmp_path: Any) -> None:
    """A wrong file is refused with the key's name, a right one said to be right."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[jobs]\ndefault_time = "2h"\n')
    bad.write_text('[jobs]\ndefault_tim = "2h"\n')
    assert gpuboard("admin", "config", "check", str(good)).code == 0
    ran = gpuboard("admin", "config", "check", str(bad))
    assert ran.code == 1
    assert "default_tim" in ran.err
    ran = gpuboard("admin", "config", "check", str(tmp_path / "none.toml"))
    assert (ran.code, "`gpuboard admin config check FILE`" in ran.err) == (1, True)


@pytest.mark.parametrize("has_file", [True, False])
def test_config_check_looks_where_the_box_s_daemon_or_one_s_own_would(
    gpuboard: Gpuboard, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, has_file: bool
) -> None:
    """Without a daemon of the box's, a person's own file; no file is as right."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("gpuboard.api.places.SYSTEM_MARKS", ())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if has_file:
        (tmp_path / "gpuboard").mkdir()
        (tmp_path / "gpuboard/config.toml").write_text('[jobs]\ndefault_time = "2h"\n')
    ran = gpuboard("admin", "config", "check")
    assert ran.code == 0
    assert (
        f"{tmp_path}/gpuboard/config.toml is right" if has_file else "the defaults hold"
    ) in ran.out


def test_without_a_command_a_pipe_gets_the_board_as_text(
    scripted: FakeServer, gpuboard: Gpuboard
) -> None:
    """`gpuboard | less` is useful, and the app is never opened in a pipe."""
    ran = gpuboard()
    assert ran.code == 0
    assert "GPU" in ran.out
    assert "train" in ran.out


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("words", [(), ("board",)])
def test_on_a_terminal_the_app_opens_on_the_boxs_socket(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """`gpuboard` and `gpuboard board` are the app; its exit code is theirs."""
    opened: list[list[str]] = []
    app = SimpleNamespace(run_app=lambda addresses: opened.append(addresses) or 7)
    monkeypatch.setitem(sys.modules, "gpuboard.tui.app", app)
    on_a_terminal(monkeypatch)
    assert gpuboard(*words).code == 7
    assert opened == [[server.socket_path]]


def test_plain_board_on_a_terminal_goes_on_with_a_line_for_each_change(
    scripted: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What moves every second is not told; a daemon that goes away is waited for, and told once."""
    free, busy = device("3", name="H100"), device("3", name="H100", utilization=7)
    held = device("3", state="leased", user="eve", job_id=13, job_name="ev\x1b[2Jal", mine=False)
    boards = [board(free), board(busy), board(held)]
    feed = [f"event: board\ndata: {json.dumps(each)}\n\n".encode() for each in boards]
    scripted.turns["GET", "/feed"] = [
        iter([*feed, None]),
        errors.Unavailable("it starts"),
        iter([feed[2], feed[0], None]),
    ]
    monkeypatch.setattr("gpuboard.cli.plainboard.RETRY_S", 0.01)
    on_a_terminal(monkeypatch)
    ran = gpuboard("board", "--plain")
    told = [line for line in ran.out.splitlines() if re.match(r"[0-9]{2}:[0-9]{2} ", line)]
    assert [line.partition(" ")[2] for line in told] == [
        "GPU 3: leased, eve, 13 eval",
        "GPU 3: free",
    ]
    assert ran.err.count("waiting for it") == 2


@pytest.mark.parametrize("words", [("board", "--once"), ("ps",)])
def test_on_a_terminal_text_is_coloured_and_fits(
    scripted: FakeServer,
    gpuboard: Gpuboard,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    """Colours are ours alone, and no line is wider than the terminal."""
    on_a_terminal(monkeypatch)
    out = gpuboard(*words).out
    assert "\x1b[32mrunning\x1b[0m" in out
    lines = re.sub(r"\x1b\[[0-9]+m", "", out).splitlines()
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("columns", [40, 80, 99])
@pytest.mark.parametrize("flag", ["--once", "--plain"])
def test_board_on_a_narrow_terminal_is_one_fact_a_line(
    scripted: FakeServer,
    gpuboard: Gpuboard,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    flag: str,
) -> None:
    """Nothing is wider than the terminal, nothing is cut, and what is mine is said to be `you`'s."""
    on_a_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = re.sub(r"\x1b\[[0-9]+m", "", gpuboard("board", flag).out).splitlines()
    assert max(map(len, lines)) <= columns
    place = lines.index("job 12: running")
    assert lines[place + 2] == "  of: you"
    assert "  job: 12 train" in lines[:place]
    assert not any("…" in line for line in lines)


def test_foreign_log_on_a_terminal_is_harmless(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin who reads somebody's log is not the target of its escape codes; one's own keep their colours."""
    on_a_terminal(monkeypatch)
    server.answers["GET", "/jobs/12/log"] = HOSTILE.encode() + b"x" * 200_000 + b"\n\xff end"
    server.answers["GET", "/jobs/12"] = detail(12, mine=False)
    assert_harmless(gpuboard("logs", "12").out)
    server.answers["GET", "/jobs/12"] = detail(12)
    assert "\x1b[31mred" in gpuboard("logs", "12").out


def test_instants_in_the_daemons_words_are_local(server: FakeServer, gpuboard: Gpuboard) -> None:
    """A refusal's nearest window, a notice, what is on a GPU now: people read their own clock."""
    window = "the next is from 2020-01-02T09:00:00Z until 2020-01-02T10:30:00.250Z"
    server.answers["POST", "/reservations"] = errors.Refused("not free", hint=window)
    ran = gpuboard("reserve", "2", "1h")
    assert (
        ran.err
        == "error: not free\nhint: the next is from 2020-01-02 09:00 until 2020-01-02 10:30\n"
    )
    assert gpuboard("reserve", "--json", "2", "1h").json["error"]["hint"] == window


def test_version_is_printed(gpuboard: Gpuboard) -> None:
    """-V and --version."""
    from gpuboard import __version__

    assert gpuboard("-V").out == gpuboard("--version").out == f"gpuboard {__version__}\n"


def test_log_is_byte_for_byte(server: FakeServer, gpuboard: Gpuboard) -> None:
    """In a pipe the output is the job's own bytes, colours and all; the flags reach the query."""
    server.answers["GET", "/jobs/12/log"] = b"\x1b[31mred\x1b[0m\n\r50%"
    server.answers["GET", "/jobs/12"] = detail(12)
    ran = gpuboard(
        "logs", "12", "-f", "--tail", "5", "--attempt", "2", "--since", "2026-11-22T20:00:00Z"
    )
    assert ran.out == "\x1b[31mred\x1b[0m\n\r50%"
    assert server.asked[-1].query == {
        "follow": ["1"], "tail": ["5"], "attempt": ["2"], "since": ["2026-11-22T20:00:00Z"],
    }  # fmt: skip


def test_log_as_json_is_one_value_that_says_whose_and_whether_whole(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job, attempt, text; the end of what is too long for one value; followed to its end with -f."""
    server.answers["GET", "/jobs/12/log"] = "é\n\x1b[31m".encode() + b"\xff"
    server.answers["GET", "/jobs/12"] = detail(12, attempt=2, state="queued")
    told = {"schema": 1, "id": 12, "attempt": 1, "text": "é\n\x1b[31m\ufffd", "truncated": False}
    assert gpuboard("logs", "--json", "12").json == told
    monkeypatch.setattr("gpuboard.cli.logs.MOST_JSON_BYTES", 3)
    server.answers["GET", "/jobs/12/log"] = b"abcdef"
    cut = gpuboard("logs", "--json", "-f", "--attempt", "2", "12").json
    assert (cut["text"], cut["truncated"], cut["attempt"]) == ("def", True, 2)


def test_empty_log_of_a_waiting_job_says_that_it_waits(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """On stderr: stdout is the job's."""
    server.answers["GET", "/jobs/12/log"] = b""
    server.answers["GET", "/jobs/12"] = detail(12, reason="GPU 2 is busy")
    assert gpuboard("logs", "12") == (0, "", "job 12 has not started: GPU 2 is busy\n")
    server.answers["GET", "/jobs/12"] = detail(12, state="running", started_at=AT)
    assert gpuboard("logs", "12") == (0, "", "")


def test_history_of_an_answer_is_stable_json(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """Keys of a job are those of the contract."""
    first = gpuboard("history", "--json", "--since", "3d ago", "--name", "x").json["jobs"][0]
    assert set(first) == set(json.loads(json.dumps(job())))


def test_usage_tells_ranks_and_groups(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """A row for each of a person's groups, and a second table of the groups."""
    row = {"user": "ann", "uid": 1001, "mine": True, "factor": 0.5}
    people = [
        UsageRow(**row, group="vision", rank=3, quota_words="168 of 168 GPU-hours this week"),
        UsageRow(**row, group="robots", rank=1),
    ]
    groups = [
        GroupRow(name="lab", shares=1),
        GroupRow(name="vision", parent="lab", shares=2, quota_words="3 of 4 GPUs"),
    ]
    view = UsageView(at=AT, half_life_s=604800, people=people, groups=groups, ranked=3)
    scripted.answers["GET", "/usage"] = built(view)
    lines = gpuboard("usage").out.splitlines()
    assert "GROUP" in lines[0]
    assert "3 of 3" in lines[1]
    assert "168 of 168 GPU-hours" in lines[1]
    assert "robots" in lines[2]
    assert "1 of 3" in lines[2]
    assert lines[-1].split() == ["vision", "lab", "2", "0", "0.0", "3", "of", "4", "GPUs"]


def test_why_tells_promise_and_rank(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """What the job was promised, and its owner's place by fair share."""
    why = WhyView(
        id=12, state="queued", words="", causes=[CAUSE], promised_start_at=AT, rank=2, ranked=9
    )
    scripted.answers["GET", "/jobs/12/why"] = built(why)
    lines = gpuboard("why", "12").out.splitlines()
    assert any(line.startswith("promised a start by ") for line in lines)
    assert "number 2 of 9 by fair share" in lines


def test_a_whole_series_is_changed_by_one_request(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """--series, other devices and a mere question reach the daemon; a refusal names the windows."""
    gpuboard("reserve", "--change", "7", "--gpu-ids", "2,3", "--series", "--dry-run")
    assert scripted.bodies("PATCH", "/reservations/7") == [
        {"gpu_ids": ["2", "3"], "series": True, "dry_run": True}
    ]
    assert gpuboard("reserve", "1", "1h", "--series").code == 2
    refused = dict(scripted.answers["PATCH", "/reservations/7"])
    refused |= {"refused": "ann is there", "windows": [{"from_at": AT, "until_at": AT}]}
    scripted.answers["PATCH", "/reservations/7"] = refused
    ran = gpuboard("reserve", "--change", "7", "2h", "--dry-run")
    assert ran.code == 1
    assert "ann is there" in ran.err
    assert "hint: free: " in ran.err


def test_report_is_a_table_for_spreadsheets_and_no_formula(
    server: FakeServer, gpuboard: Gpuboard
) -> None:
    """Numbers as they are; a name that a spreadsheet would run is a text."""
    script_everything(server, "=cmd|' /C calc'!A0")
    ran = gpuboard("usage", "--over", "week", "--csv")
    head, row = ran.out.splitlines()
    assert head == "person,held_s,used_s,seen_s,idle_s,starts,wait_median_s,wait_p90_s"
    assert row == "'=cmd|' /C calc'!A0,7200,3600,7200,60,2,30,90"
    assert gpuboard("usage", "--csv").code == 2
    assert gpuboard("usage", "--over", "week", "--csv", "--json").code == 2


def test_bookings_go_to_a_calendar(scripted: FakeServer, gpuboard: Gpuboard) -> None:
    """As a file that another program parses."""
    icalendar = pytest.importorskip("icalendar")
    ran = gpuboard("reservations", "--ics")
    [event] = icalendar.Calendar.from_ical(ran.out).walk("VEVENT")
    assert str(event["uid"]).startswith("booking-7@")
    assert gpuboard("reservations", "--ics", "--json").code == 2
