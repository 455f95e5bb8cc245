"""The box: `board`, `gpus`, `images`, `doctor`."""

from __future__ import annotations

import sys
from typing import Any

import click

from gpuboard.cli import words
from gpuboard.cli.session import Session, ascii_option, json_option, pass_session
from gpuboard.cli.tables import Cell, Column, output_width, painted, print_table
from gpuboard.errors import Unavailable
from gpuboard.model.text import plain

_GPU_COLUMNS = (
    Column("GPU"), Column("NAME", least=6), Column("STATE"), Column("WHO", least=6),
    Column("JOB", least=6), Column("UNTIL"), Column("UTIL", right=True), Column("MEM GiB", right=True),
    Column("TEMP", right=True), Column("NOTE", least=10),
)  # fmt: skip


def open_board(session: Session, *, plainly: bool = False) -> int:
    """Open the app on a terminal; else print the board as text."""
    if not plainly and sys.stdout.isatty() and sys.stdin.isatty():
        addresses = _reached(session)
        from gpuboard.tui.app import run_app

        return run_app(addresses)
    print_board(session)
    return 0


def _reached(session: Session) -> list[str]:
    """Return the addresses of the boxes to watch. Other boxes are called once before the app owns the
    terminal: that is when ssh may ask for a password or a host's key.
    """
    from gpuboard.api.client import Client

    if len(session.hosts) < 2 and not session.is_remote:
        return [session.client.socket_path]
    from gpuboard.api.ssh import never_ask

    addresses = session.addresses or [session.address]
    for address in addresses:
        Client(address).get("/ping")
    never_ask()
    return addresses


@click.command("board", short_help="Open the app, or print the board as text.")
@click.option("--once", is_flag=True, help="Print it once, as text, also on a terminal.")
@click.option(
    "--plain",
    "plainly",
    is_flag=True,
    help="Print it as text, and then, on a terminal, a line for each change: for screen readers.",
)
@ascii_option
@json_option
@pass_session
def board(session: Session, *, once: bool, plainly: bool) -> int:
    """Open the terminal app; in a pipe, or with --once or --plain, print the board as text.

    --plain goes on, on a terminal, until ctrl+c: it never draws over what it said.
    """
    if session.as_json:
        session.pass_through("/board")
        return 0
    code = open_board(session, plainly=once or plainly)
    if plainly and not once and sys.stdout.isatty():
        from gpuboard.cli.plainboard import tell_changes

        tell_changes(session)
    return code


@click.command("top", short_help="Watch the GPUs: the app, or a few lines under the prompt.")
@click.option("--inline", is_flag=True, help="Under the prompt, and leave the last picture there.")
@click.option(
    "--lines", type=click.IntRange(2, 50), default=5, show_default=True, help="With --inline."
)
@ascii_option
@json_option
@pass_session
def top(session: Session, *, inline: bool, lines: int) -> int:
    """Watch the GPUs live: as the app, or with --inline in a few lines under the prompt (q ends)."""
    if session.as_json:
        session.pass_through("/board")
        return 0
    if not inline or not (sys.stdout.isatty() and sys.stdin.isatty()):
        return open_board(session)
    from gpuboard.tui.top import run_top

    session.client.get("/ping")  # a daemon that is away is told before the terminal is taken
    return run_top(session.client.socket_path, lines)


def print_board(session: Session) -> None:
    """Print notices, GPUs and everybody's live jobs: tables, or where they do not fit one fact a line."""
    from gpuboard.cli.jobtable import print_jobs
    from gpuboard.cli.lists import PS_COLUMNS
    from gpuboard.cli.plainboard import NARROW, job_facts, print_facts

    answer = session.client.get("/board")
    jobs = session.client.get("/jobs", limit=100)
    for each in [*answer["devices"], *jobs["jobs"]]:
        each["user"] = "you" if each["mine"] else each["user"]
    _print_head(answer)
    width = output_width()
    if width is not None and width < NARROW:
        now = words.at_ms(answer)
        print_facts([_device_facts(device, now) for device in answer["devices"]], width)
        print_facts([job_facts(job, now) for job in jobs["jobs"]], width)
    else:
        _print_devices(answer)
    if jobs["jobs"] and (width is None or width >= NARROW):
        print()
        print_jobs(jobs, PS_COLUMNS, header=True)
    if jobs["total"] > len(jobs["jobs"]):
        print(f"... {jobs['total'] - len(jobs['jobs'])} more")


@click.command("gpus", short_help="Show every GPU: who has it, until when.")
@click.option(
    "--free", "only_free", is_flag=True, help="Only those that are free now; exit 1 when none is."
)
@click.option("--topology", is_flag=True, help="How they are linked with each other and with CPUs.")
@json_option
@pass_session
def gpus(session: Session, *, only_free: bool, topology: bool) -> int:
    """Show every GPU: who has it, which job, until when, how busy it is.

    --free answers which can be used now, and says so in the exit code. --topology shows the links
    between them: NVLink, PCIe, NUMA nodes.
    """
    if topology:
        return _show_topology(session)
    if session.as_json and not only_free:
        session.pass_through("/board")
        return 0
    answer = session.client.get("/board")
    if not only_free:
        _print_faults(answer)
        _print_devices(answer)
        return 0
    free = [device for device in answer["devices"] if device["state"] == "free"]
    if session.as_json:
        session.answer({"schema": answer["schema"], "at": answer["at"], "devices": free})
    elif free:
        _print_free(free, words.at_ms(answer))
    else:
        _say_none_free(session, answer)
    return 0 if free else 1


def _show_topology(session: Session) -> int:
    if session.as_json:
        session.pass_through("/topology")
        return 0
    from gpuboard.cli.topology import print_topology

    print_topology(session.client.get("/topology"))
    return 0


def _print_free(free: list[dict[str, Any]], now: int) -> None:
    for device in free:
        booking = device["next_booking"]
        until = (
            f"until {words.clock(booking['from_at'], now)}, then booked by {booking['user']}"
            if booking
            else ""
        )
        print(plain(f"{device['label']}  {device['name']}  {until}").rstrip())


def _say_none_free(session: Session, answer: dict[str, Any]) -> None:
    ends = sorted(device["until_at"] for device in answer["devices"] if device["until_at"])
    soonest = f"; the first is due {words.clock(ends[0], words.at_ms(answer))}" if ends else ""
    session.note(f"no GPU is free now{soonest}")


def _print_head(answer: dict[str, Any]) -> None:
    host = answer["host"]
    kind = " (simulated)" if host["simulated"] else ""
    print(
        plain(f"{host['hostname']}{kind}: {answer['running']} running, {answer['queued']} queued")
    )
    _print_faults(answer)
    for notice in answer["notices"]:
        print(plain(f"notice from {notice['by']}: {notice['text']}"))


def _print_faults(answer: dict[str, Any]) -> None:
    host = answer["host"]
    for fault in (host["driver_fault"], host["engine_fault"], host.get("store_fault")):
        if fault:
            print(f"warning: {plain(fault)}", file=sys.stderr)


def _print_devices(answer: dict[str, Any]) -> None:
    now = words.at_ms(answer)
    if not answer["devices"]:
        print("no GPUs")
        return
    print_table(_GPU_COLUMNS, [_device_row(device, now) for device in answer["devices"]])


def _device_row(device: dict[str, Any], now: int) -> list[str | Cell]:
    return [
        device["label"],
        device["name"],
        Cell(device["state"], words.STYLES.get(device["state"], "")),
        device["user"],
        words.device_job_words(device),
        words.clock(device["until_at"], now),
        _percent(device["utilization"]),
        f"{words.gib(device['memory_used_bytes'])}/{words.gib(device['memory_total_bytes'])}",
        "?" if device["temperature_c"] is None else f"{device['temperature_c']}C",
        _note(device, now),
    ]


def _device_facts(device: dict[str, Any], now: int) -> list[tuple[str, str]]:
    memory = (
        f"{words.gib(device['memory_used_bytes'])} of {words.gib(device['memory_total_bytes'])}"
    )
    warm = "" if device["temperature_c"] is None else f", {device['temperature_c']}C"
    return [
        (f"GPU {device['label']}", device["state"]),
        ("name", device["name"]),
        ("of", device["user"]),
        ("job", words.device_job_words(device)),
        ("until", words.clock(device["until_at"], now)),
        ("use", f"{_percent(device['utilization'])}, memory {memory} GiB{warm}"),
        ("note", _note(device, now)),
    ]


def _percent(value: int | None) -> str:
    return "?" if value is None else f"{value}%"


def _note(device: dict[str, Any], now: int) -> str:
    """Return what else should be known: a fault, idleness, the next booking."""
    notes = [device["state_words"]] if device["state_words"] else []
    if device["idle_s"] is not None:
        notes.append(f"idle for {words.span(device['idle_s'])}")
    if not device["processes_known"]:
        notes.append("its processes cannot be read")
    if device["next_booking"]:
        notes.append(words.next_booking_words(device["next_booking"], now))
    return "; ".join(notes)


@click.command("images", short_help="List the images that jobs may use.")
@json_option
@pass_session
def images(session: Session) -> None:
    """List the local images that jobs may use."""
    if session.as_json:
        session.pass_through("/images")
        return
    from gpuboard.model.sizes import format_size

    answer = session.client.get("/images")
    now = words.at_ms({})
    rows = [
        [
            image["reference"],
            image["id"].removeprefix("sha256:")[:12],
            words.clock(image["created_at"], now),
            "" if image["size_bytes"] is None else format_size(image["size_bytes"]),
        ]
        for image in answer["images"]
    ]
    if not rows:
        session.note("no images")
        return
    print_table(
        (Column("IMAGE", least=12), Column("ID"), Column("CREATED"), Column("SIZE", right=True)),
        rows,
    )


def _examined(session: Session) -> dict[str, Any]:
    """Return what the daemon finds; where none answers, what we find without it."""
    try:
        return session.client.get("/doctor")
    except Unavailable as unreachable:
        if session.is_remote:
            raise
        from gpuboard.daemon.examine import examine

        return examine(unreachable)


@click.command("doctor", short_help="Say what is wrong with the box and what mends it.")
@json_option
@pass_session
def doctor(session: Session) -> int:
    """Say in words what is wrong with the box, and the command that mends it. Exit 1 on an error."""
    answer = _examined(session)
    has_error = any(check["status"] == "error" for check in answer["checks"])
    if session.as_json:
        session.answer(answer)
        return int(has_error)
    styles = {"ok": "good", "warning": "busy", "error": "bad", "skipped": "dim"}
    for check in answer["checks"]:
        status = painted(f"{plain(check['status']):<8}", styles.get(check["status"], ""))
        print(f"{status} {plain(check['name'])}: {plain(check['words'])}")
        if check["mend"]:
            print(f"{'':<8} mend: {plain(check['mend'])}")
    return int(has_error)
