"""Bookings: `reserve` and `reservations`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from gpuboard.cli import words
from gpuboard.cli.completion import complete_gpu_types, complete_gpus
from gpuboard.cli.options import given, refuse_empty
from gpuboard.cli.request import client_zone
from gpuboard.cli.session import Session, json_option, pass_session, quiet_option
from gpuboard.cli.tables import Cell, Column, print_table
from gpuboard.errors import InvalidRequest, Refused
from gpuboard.model.text import plain


@click.command("reserve", short_help="Book GPUs: gpuboard reserve 2 1h30m.")
@click.argument("wanted", nargs=-1, metavar="[GPUS] [SPAN]")
@click.option(
    "--at",
    "--begin",
    "at",
    default="",
    metavar="TIME",
    help="From: 'tomorrow 09:00', now+2h, ISO (default now).",
)
@click.option("--until", default="", metavar="TIME", help="Until, instead of SPAN.")
@click.option(
    "--gpu-ids",
    default="",
    metavar="LIST",
    shell_complete=complete_gpus,
    help="Exactly these: 2,3.",
)
@click.option(
    "--gpu-type",
    default="",
    metavar="NAME",
    shell_complete=complete_gpu_types,
    help="Only GPUs whose product name has this in it.",
)
@click.option("-J", "--name", default="", help="What it is for.")
@click.option(
    "--repeat",
    default="",
    metavar="RULE",
    help="daily, weekly, weekdays or an RFC 5545 rule; --until then ends the series.",
)
@click.option("--count", type=int, metavar="N", help="So many bookings in the series.")
@click.option(
    "--change", "change_id", type=int, metavar="ID", help="Change this booking of mine instead."
)
@click.option(
    "--series",
    "whole_series",
    is_flag=True,
    help="With --change: all later ones of its series too.",
)
@click.option("-A", "--account", default="", metavar="GROUP", help="Group of mine to charge.")
@click.option("--dry-run", is_flag=True, help="Only say whether it could be had.")
@json_option
@quiet_option("Print only the booking's number.")
@pass_session
def reserve(
    session: Session,
    *,
    wanted: Sequence[str],
    at: str,
    until: str,
    gpu_ids: str,
    gpu_type: str,
    name: str,
    repeat: str,
    count: int | None,
    change_id: int | None,
    whole_series: bool,
    account: str,
    dry_run: bool,
) -> None:
    """Book a number of GPUs for a span of time. In the window your jobs start on them at once.

    \b
    gpuboard reserve 2 1h30m
    gpuboard reserve 2 1h30m --at 'tomorrow 09:00'
    gpuboard reserve 2 1h30m --at 'mon 09:00' --repeat weekly --count 8
    gpuboard reserve --gpu-ids 2,3 2h
    gpuboard reserve --change 7 2 3h
    gpuboard reserve --change 7 --at 'tue 09:00' --series
    """
    refuse_empty(given(click.get_current_context()) | {"wanted": ()})
    gpus, duration = _wanted(wanted)
    ids = [part.strip() for part in gpu_ids.split(",") if part.strip()]
    body: dict[str, Any] = {"duration": duration, "at": at, "until": until, "name": name}
    if at or until or repeat:
        body["timezone"] = client_zone()
    if change_id is not None:
        if gpu_type or repeat or count or account:
            raise InvalidRequest(
                "--change does not go with --gpu-type, --repeat, --count or --account",
                hint="book anew",
            )
        body |= {"gpus": gpus, "gpu_ids": ids, "series": whole_series, "dry_run": dry_run}
        body = {key: value for key, value in body.items() if value}
        answer = session.client.patch(f"/reservations/{change_id}", body)
        if answer.get("refused"):
            raise Refused(answer["refused"], hint=_windows_words(answer))
    elif whole_series:
        raise InvalidRequest("--series is of a --change", field="series", hint="--repeat weekly")
    else:
        if not duration and not until:
            raise InvalidRequest("for how long?", hint="gpuboard reserve 2 1h30m", field="duration")
        body |= {
            "gpus": gpus or len(ids) or 1,
            "gpu_ids": ids,
            "gpu_type": gpu_type,
            "dry_run": dry_run,
            "repeat": repeat,
            "count": count,
            "account": account,
        }
        answer = session.client.post(
            "/reservations", {key: value for key, value in body.items() if value}
        )
    _say_reserved(session, answer)


def _wanted(words: Sequence[str]) -> tuple[int | None, str]:
    """Return the number of GPUs and the span; of one word alone, a number is GPUs. Raises InvalidRequest."""
    rest = list(words)
    gpus = None
    if len(rest) > 1 or (rest and rest[0].isdigit()):
        count = rest.pop(0)
        if not (count.isascii() and count.isdigit() and int(count[:9]) > 0 and len(count) < 9):
            raise InvalidRequest(
                f"GPUS: '{count}' is not a number of GPUs",
                hint="gpuboard reserve 2 1h30m",
                field="gpus",
            )
        gpus = int(count)
    if len(rest) > 1:
        raise InvalidRequest(
            f"'{rest[1]}' is one word too many",
            hint="gpuboard reserve 2 1h30m --at 'tomorrow 09:00'",
        )
    return gpus, rest[0] if rest else ""


def _say_reserved(session: Session, answer: dict[str, Any]) -> None:
    if session.as_json:
        session.answer(answer)
        return
    booking = answer["reservation"]
    if session.quiet:
        for one in answer.get("series") or [booking]:
            print(one["id"])
        return
    now = words.at_ms({})
    likely = "likely " if booking.get("likely") else ""
    on = f" ({likely}GPU {words.devices_words(booking['devices'])})" if booking["devices"] else ""
    verb = "could be had" if answer["dry_run"] else f"booking {booking['id']}"
    window = (
        f"from {words.clock(booking['from_at'], now)} until {words.clock(booking['until_at'], now)}"
    )
    print(plain(f"{verb}: {booking['gpus']} {_gpus_word(booking)}{on} {window}"))
    for other in answer.get("series", [])[1:]:
        number = "" if answer["dry_run"] else f"booking {other['id']}: "
        begin, end = (words.clock(other[key], now) for key in ("from_at", "until_at"))
        print(plain(f"  {number}from {begin} until {end}"))
    for line in answer.get("notices", ()):
        print(f"  {plain(line)}")
    for line in booking["on_them_now"]:
        print(f"  now: {plain(words.localised(line, now))}")


def _windows_words(answer: dict[str, Any]) -> str:
    now = words.at_ms({})
    windows = [
        f"{words.clock(one['from_at'], now)} to {words.clock(one['until_at'], now)}"
        for one in answer["windows"][:3]
    ]
    return f"free: {', '.join(windows)}" if windows else "no window of this length is free soon"


def _gpus_word(booking: dict[str, Any]) -> str:
    return f"{booking['gpu_type']} GPU{'s' * (booking['gpus'] != 1)}".strip()


@click.command("reservations", short_help="List bookings.")
@click.option("--mine", is_flag=True, help="Only mine.")
@click.option("--past", is_flag=True, help="Also those that are over.")
@click.option("--ics", "as_ics", is_flag=True, help="As a calendar file (iCalendar).")
@json_option
@quiet_option("Print only the numbers.")
@pass_session
def reservations(session: Session, *, mine: bool, past: bool, as_ics: bool) -> None:
    """List bookings, by start.

    \b
    gpuboard reservations --mine --ics > bookings.ics
    """
    if as_ics:
        if session.as_json or session.quiet:
            raise InvalidRequest("--ics goes without --json and --quiet", field="ics")
        _print_calendar(session, mine=mine, past=past)
        return
    if session.as_json:
        session.pass_through("/reservations", mine=mine, past=past)
        return
    answer = session.client.get("/reservations", mine=mine, past=past)
    bookings = answer["reservations"]
    if session.quiet:
        for booking in bookings:
            print(booking["id"])
        return
    if not bookings:
        session.note("no bookings")
        return
    now = words.at_ms(answer)
    rows: list[list[str | Cell]] = [
        [
            str(one["id"]),
            Cell(one["user"], "strong" if one["mine"] else ""),
            Cell(one["state"], "good" if one["state"] == "active" else ""),
            f"{one['gpus']} {one['gpu_type']}".strip(),
            words.devices_words(one["devices"]),
            words.clock(one["from_at"], now),
            words.clock(one["until_at"], now),
            one["name"],
        ]
        for one in bookings
    ]
    columns = (
        Column("ID", right=True), Column("USER", least=6), Column("STATE"), Column("GPUS", least=4),
        Column("ON", least=4), Column("FROM"), Column("UNTIL"), Column("NAME", least=8),
    )  # fmt: skip
    print_table(columns, rows)


def _print_calendar(session: Session, *, mine: bool, past: bool) -> None:
    import msgspec

    from gpuboard.model.calendarfile import calendar_text
    from gpuboard.model.views.bookings import ReservationList

    answer = session.client.get("/reservations", mine=mine, past=past)
    found = msgspec.convert(answer, ReservationList)
    hostname = session.client.get("/board")["host"]["hostname"]
    sys.stdout.flush()
    sys.stdout.buffer.write(calendar_text(found.reservations, hostname, found.at))
    sys.stdout.buffer.flush()
