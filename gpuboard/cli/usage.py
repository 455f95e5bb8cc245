"""`usage`: fair share as it stands, or who held and used how much over a past window."""

from __future__ import annotations

import sys
from typing import Any

import click

from gpuboard.cli import words
from gpuboard.cli.session import Session, json_option, pass_session
from gpuboard.cli.tables import Cell, Column, print_table
from gpuboard.errors import InvalidRequest
from gpuboard.model.text import plain

_ROWS = {"person": "people", "group": "groups", "device": "devices"}
_CSV_KEYS = (
    "name", "held_s", "used_s", "seen_s", "idle_s", "starts", "wait_median_s", "wait_p90_s",
)  # fmt: skip


@click.command("usage", short_help="Show who used how much, and fair share.")
@click.option(
    "--over",
    default="",
    metavar="SPAN",
    help="A report on the last day, week, month, or a span such as 36h.",
)
@click.option(
    "--by", type=click.Choice(list(_ROWS)), default="person", help="Whose rows the report has."
)
@click.option("--csv", "as_csv", is_flag=True, help="The report as comma-separated values.")
@json_option
@pass_session
def usage(session: Session, *, over: str, by: str, as_csv: bool) -> None:
    """Show who used how much (GPU-hours held, not utilisation) and where fair share stands.

    With --over: what was held, used and held idle in a past window, and how long jobs waited.

    \b
    gpuboard usage --over week
    gpuboard usage --over month --by device --csv
    """
    if as_csv and session.as_json:
        raise InvalidRequest("either --csv or --json", field="csv")
    if as_csv and not over:
        raise InvalidRequest("--csv is of a report", hint="--over week", field="csv")
    if session.as_json:
        session.pass_through("/usage", **({"over": over} if over else {}))
    elif not over:
        _print_shares(session)
    else:
        report = session.client.get("/usage", over=over)
        if as_csv:
            _print_csv(report, by)
        else:
            _print_report(session, report, by)


def _print_shares(session: Session) -> None:
    answer = session.client.get("/usage")
    columns = [
        Column("USER", least=6), Column("NOW", right=True), Column("QUEUED", right=True),
        Column("GPU-HOURS 7D", right=True), Column("DECAYED", right=True), Column("SHARE", right=True),
        Column("FACTOR", right=True),
    ]  # fmt: skip
    has_groups = bool(answer.get("groups"))
    has_quotas = any(one.get("quota_words") for one in answer["people"])
    columns += [Column("GROUP"), Column("RANK", right=True)] if has_groups else []
    columns += [Column("QUOTA")] if has_quotas else []
    rows: list[list[str | Cell]] = []
    for one in answer["people"]:
        row: list[str | Cell] = [
            Cell(one["user"], "strong" if one["mine"] else ""),
            str(one["running_gpus"]),
            str(one["queued_jobs"]),
            _hours(one["device_seconds_7d"]),
            _hours(one["device_seconds"]),
            f"{one['share']:.0%}",
            f"{one['factor']:.2f}",
        ]
        row += [one["group"], f"{one['rank']} of {answer['ranked']}"] if has_groups else []
        row += [one["quota_words"]] if has_quotas else []
        rows.append(row)
    print_table(columns, rows)
    if has_groups:
        _print_groups(answer["groups"])
    session.note(
        f"DECAYED: half of it is forgotten every {words.span(answer['half_life_s'])}; FACTOR 1 is served first"
        + ("; RANK: by Fair Tree, groups first" if has_groups else "")
    )


def _print_groups(groups: list[dict[str, Any]]) -> None:
    print()
    columns = (
        Column("GROUP", least=6), Column("PART OF"), Column("SHARES", right=True), Column("NOW", right=True),
        Column("DECAYED", right=True), Column("QUOTA"),
    )  # fmt: skip
    rows: list[list[str | Cell]] = [
        [
            one["name"],
            one["parent"],
            f"{one['shares']:g}",
            str(one["running_gpus"]),
            _hours(one["device_seconds"]),
            one["quota_words"],
        ]
        for one in groups
    ]
    print_table(columns, rows)


def _print_report(session: Session, report: dict[str, Any], by: str) -> None:
    rows = report[_ROWS[by]]
    if not rows:
        session.note("no group was charged" if by == "group" else "nothing was held")
        return
    has_waits = by == "person"
    columns = [
        Column({"person": "USER", "group": "GROUP", "device": "GPU"}[by], least=6),
        Column("GPU-HOURS", right=True), Column("USED", right=True), Column("IDLE-HOURS", right=True),
    ]  # fmt: skip
    if has_waits:
        columns += [
            Column("STARTS", right=True),
            Column("WAIT", right=True),
            Column("9 OF 10", right=True),
        ]
    print_table(columns, [_report_row(row, has_waits=has_waits) for row in rows])
    total = report["total"]
    now = words.at_ms(report)
    session.note(
        f"since {words.clock(report['from_at'], now)}: {_hours(total['held_s'])} GPU-hours held,"
        f" {_hours(total['idle_s'])} of them idle"
    )


def _report_row(row: dict[str, Any], *, has_waits: bool) -> list[str | Cell]:
    cells: list[str | Cell] = [
        Cell(row["name"] or "(no group)", "strong" if row["mine"] else ""),
        _hours(row["held_s"]),
        f"{row['used_s'] / row['seen_s']:.0%}" if row["seen_s"] else "?",
        _hours(row["idle_s"]),
    ]
    if has_waits:
        waits = (row["wait_median_s"], row["wait_p90_s"])
        cells += [str(row["starts"]), *("" if one is None else words.span(one) for one in waits)]
    return cells


def _print_csv(report: dict[str, Any], by: str) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([by, *_CSV_KEYS[1:]])
    for row in report[_ROWS[by]]:
        writer.writerow([_inert(row["name"]), *(row[key] for key in _CSV_KEYS[1:])])


def _inert(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    name = plain(name)
    return f"'{name}" if name[:1] in ("=", "+", "-", "@") else name


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f}"
