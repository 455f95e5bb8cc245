"""`simulate`: play a trace, or the box's own past, under several policies and compare them.

The simulator is imported only when it is asked for; nothing here touches the box, except that
`--history` reads the daemon's record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from gpuboard.cli.session import Session, json_option, pass_session
from gpuboard.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

    from gpuboard.simulate.trace import TraceJob

PAGE = 1000
"""Jobs of the record asked for at once."""
BAR_CELLS = 30


@click.command("simulate", short_help="Compare policies on a trace, or on the box's own past.")
@click.argument("trace", required=False, type=click.Path(dir_okay=False))
@click.option(
    "-g", "--gpus", type=click.IntRange(1), metavar="N", help="GPUs of the simulated box."
)
@click.option(
    "-p",
    "--policy",
    "policies",
    default="",
    metavar="LIST",
    help="fifo, fifo-greedy, easy, multifactor, sjf, fairshare; several with commas.",
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="USER=SHARES",
    help="Shares of a person (1 is usual).",
)
@click.option(
    "--preemptible",
    default="0",
    metavar="PART",
    help="Part of the jobs that may be stopped: 0.3, or all.",
)
@click.option(
    "--checkpoint",
    default="",
    metavar="SPAN",
    help="What being stopped costs such a job, e.g. 30s.",
)
@click.option(
    "--bookings", default="0", metavar="N/day", help="Bookings that people ask for, e.g. 2/day."
)
@click.option("--seed", default=1, show_default=True, help="Of all that is drawn by chance.")
@click.option("--history", is_flag=True, help="Play the record of this box instead of a trace.")
@click.option(
    "--compare",
    default="",
    metavar="NAME=LIST",
    help="Compare values of a setting of the configuration: half_life=1d,7d,14d.",
)
@click.option(
    "--forecast", is_flag=True, help="Instead: how far off forecasts of starts would have been."
)
@json_option
@pass_session
def simulate(
    session: Session,
    *,
    trace: str | None,
    gpus: int | None,
    policies: str,
    weights: Sequence[str],
    preemptible: str,
    checkpoint: str,
    bookings: str,
    seed: int,
    history: bool,
    compare: str,
    forecast: bool,
) -> None:
    """Play a TRACE (CSV, SWF, also gzipped) on a box of N GPUs under several policies.

    CSV has a header with job_id,user,submit,gpus,runtime,limit in seconds.

    \b
    gpuboard simulate log.swf.gz --gpus 100 --policy easy,multifactor,fairshare
    gpuboard simulate --history --compare half_life=1d,7d,14d
    """
    from pathlib import Path

    from gpuboard.model.durations import parse_duration
    from gpuboard.simulate.policies import Policy, policy_of, variants
    from gpuboard.simulate.run import USUAL, run_simulation
    from gpuboard.simulate.simulation import Conditions

    if history == (trace is not None):
        raise InvalidRequest(
            "say what to play: a TRACE or --history, and not both", hint="gpuboard simulate --help"
        )
    conditions = Conditions(
        shares=dict(_weight(text) for text in weights),
        preemptible=_part(preemptible),
        checkpoint_s=parse_duration(checkpoint, field="--checkpoint") if checkpoint else 0,
        bookings_a_day=_a_day(bookings),
        seed=seed,
    )
    names = [name.strip() for name in policies.split(",") if name.strip()]
    chosen: dict[str, Policy] = (
        variants(names[0] if names else "fairshare", compare)
        if compare
        else {name: policy_of(name) for name in names or USUAL}
    )
    played: Path | list[TraceJob] = Path(trace) if trace is not None else _past_of_box(session)
    if gpus is None:
        gpus = _gpus_of_box(session) if history else None
    if gpus is None:
        raise InvalidRequest("how many GPUs has the box?", hint="--gpus 16", field="--gpus")
    if forecast:
        _forecast(session, played, gpus, names[0] if names else "fairshare", seed)
        return
    answer = run_simulation(
        played, gpus=gpus, policies=chosen, conditions=conditions, on_progress=_progress(session)
    )
    if history:
        answer["trace"] = "history"
    if session.as_json:
        session.answer(answer)
        return
    _print(answer)


def _forecast(
    session: Session, played: Path | list[TraceJob], gpus: int, policy: str, seed: int
) -> None:
    from gpuboard.simulate.forecasting import run_forecast

    answer = run_forecast(played, gpus=gpus, policy=policy, seed=seed)
    if session.as_json:
        session.answer(answer)
        return
    for name, value in answer["forecast"].items():
        shown = "-" if value is None else f"{value:.3f}" if isinstance(value, float) else value
        print(f"{name:<20} {shown}")


def _weight(text: str) -> tuple[str, float]:
    user, _, shares = text.rpartition("=")
    value = _number(shares)
    if not user or value is None:
        raise InvalidRequest(f"no weight: {text!r}", hint="--weight ann=2", field="--weight")
    return user, value


def _part(text: str) -> float:
    part = 1.0 if text == "all" else _number(text)
    if part is None or part > 1:
        raise InvalidRequest(
            f"no part of the jobs: {text!r}",
            hint="--preemptible 0.3, or all",
            field="--preemptible",
        )
    return part


def _a_day(text: str) -> float:
    count = _number(text.removesuffix("/day"))
    if count is None:
        raise InvalidRequest(f"no rate: {text!r}", hint="--bookings 2/day", field="--bookings")
    return count


def _number(text: str) -> float | None:
    """Return a finite number that is not negative; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _past_of_box(session: Session) -> list[TraceJob]:
    """Return the jobs of the record that ran, as a trace."""
    from gpuboard.model.instants import from_iso
    from gpuboard.simulate.trace import TraceJob

    rows: list[tuple[int, dict[str, Any], int]] = []
    before: int | None = None
    while True:
        query = {} if before is None else {"before": before}
        page = session.client.get("/history", limit=PAGE, **query)["jobs"]
        for job in page:
            if job["started_at"] and job["ended_at"] and job["gpus"]:
                ran_ms = from_iso(job["ended_at"]) - from_iso(job["started_at"])
                rows.append((from_iso(job["submitted_at"]), job, max(0, ran_ms) // 1000))
        if len(page) < PAGE:
            break
        before = min(job["id"] for job in page)
    if not rows:
        raise InvalidRequest("the record has no job that ran on a GPU", hint="give a TRACE instead")
    rows.sort(key=lambda row: (row[0], row[1]["id"]))
    first_at = rows[0][0]
    return [
        TraceJob(
            job["id"], job["user"], (submitted_at - first_at) // 1000, job["gpus"], ran_s,
            max(1, ran_s, job["limit_s"]),
        )
        for submitted_at, job, ran_s in rows
    ]  # fmt: skip


def _gpus_of_box(session: Session) -> int:
    return len(session.client.get("/board")["devices"])


def _progress(session: Session) -> Callable[[str, float], None]:
    """Return what draws a bar on stderr, on a terminal only."""
    if session.as_json or session.quiet or not sys.stderr.isatty():
        return lambda _policy, _part: None

    def draw(policy: str, part: float) -> None:
        bar = "#" * round(part * BAR_CELLS)
        end = "\r\x1b[K" if part >= 1 else ""
        sys.stderr.write(f"\r{policy:<14.14} [{bar:<{BAR_CELLS}}] {part:4.0%}{end}")
        sys.stderr.flush()

    return draw


def _print(answer: dict[str, Any]) -> None:
    """Print a column a policy, a row a metric."""
    from gpuboard.cli.tables import Column, print_table

    tables = answer["policies"]
    metrics = next(iter(tables.values()))
    columns = [Column("METRIC"), *(Column(name, right=True) for name in tables)]
    print_table(
        columns,
        [[_title(key), *(_shown(key, table[key]) for table in tables.values())] for key in metrics],
    )


def _title(key: str) -> str:
    for unit in ("_s", "_ms"):
        key = key.removesuffix(unit)
    return key.replace("ftf_over_1_05", "finish ratio > 1.05").replace("_", " ")


def _shown(key: str, value: float | None) -> str:
    from gpuboard.cli import words

    if value is None:
        return "-"
    if key.endswith("_ms"):
        return f"{value:.2f} ms"
    if key.endswith("_s"):
        return words.span(round(value))
    if key in ("utilisation", "ftf_over_1_05"):
        return f"{value:.1%}"
    return str(value) if isinstance(value, int) else f"{value:.2f}"
