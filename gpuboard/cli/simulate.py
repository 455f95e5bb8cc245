"""`simulate`: play a trace, or the box's own past, under several policies and compare them.

The simulator is imported only when it is asked for; nothing here touches the box, except that
`--history` reads the daemon's record (`boxrecord.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gpuboard.cli import boxrecord
from gpuboard.cli.session import Session, json_option, pass_session
from gpuboard.errors import InvalidRequest

if TYPE_CHECKING:
    from gpuboard.simulate.baseline import Baseline
    from gpuboard.simulate.played import Played
    from gpuboard.simulate.policies import Policy
    from gpuboard.simulate.simulation import Conditions
    from gpuboard.simulate.trace import TraceJob

BAR_CELLS = 30
MOST_GPUS = 20_000
"""The memory that a box takes grows with the square of its devices: here it is 50 MB."""
MOST_BOOKINGS_A_DAY = 1000


class _Asked(NamedTuple):
    """The command line, as it was written."""

    trace: str | None
    gpus: int | None
    policies: tuple[str, ...]
    weights: Sequence[str]
    preemptible: str
    checkpoint: str
    bookings: str
    no_show: str
    seed: int
    history: bool
    compare: Sequence[str]
    forecast: bool
    skip_wider: bool
    plot: str | None


class _Stage(NamedTuple):
    """What is played, and on what."""

    name: str
    jobs: list[TraceJob]
    gpus: int
    conditions: Conditions
    baseline: Baseline | None = None
    """The box's own settings, where its own record is played."""


@click.command("simulate", short_help="Compare policies on a trace, or on the box's own past.")
@click.argument("trace", required=False, type=click.Path(dir_okay=False))
@click.option(
    "-g",
    "--gpus",
    type=click.IntRange(1, MOST_GPUS),
    metavar="N",
    help="GPUs of the simulated box.",
)
@click.option(
    "-p",
    "--policy",
    "policies",
    multiple=True,
    metavar="LIST",
    help="fifo, fifo-greedy, easy, multifactor, sjf, tiresias, fairshare, fairlease; several with"
    " commas.",
)
@click.option(
    "--compare",
    multiple=True,
    metavar="NAME=LIST",
    help="Compare values of a setting of the configuration: half_life=1d,7d,14d. Several multiply."
    " Settings: half_life, priority_window, backfill, lease, lease_newcomer, checkpoint_cost,"
    " running_gpus, gpu_hours_per_week, soft, no_show_after.",
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
@click.option(
    "--no-show", default="0", metavar="PART", help="Part of the bookings to which nobody comes."
)
@click.option("--seed", default=1, show_default=True, help="Of all that is drawn by chance.")
@click.option("--history", is_flag=True, help="Play the record of this box instead of a trace.")
@click.option("--skip-wider", is_flag=True, help="Leave out jobs that are wider than the box.")
@click.option(
    "--forecast", is_flag=True, help="Instead: how far off forecasts of starts would have been."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    metavar="FILE.svg",
    help="Also draw it: waits, who held which GPU, and everybody's part of the box.",
)
@json_option
@pass_session
def simulate(session: Session, /, **options: Any) -> None:
    """Play a TRACE (CSV, SWF, also gzipped) on a box of N GPUs under several policies.

    CSV has a header with job_id,user,submit,gpus,runtime,limit in seconds.

    \b
    gpuboard simulate log.swf.gz --gpus 100 --policy easy,multifactor,fairshare
    gpuboard simulate --history --compare half_life=1d,7d,14d
    gpuboard simulate --history --compare running_gpus=none,4,8 --plot quota.svg
    gpuboard simulate log.csv -g 16 --preemptible all --compare lease=0s,1h,4h
    gpuboard simulate --history --forecast

    --history starts from the settings of this box, which it shows to administrators.
    """
    asked = _Asked(**options)
    chosen = _policies(asked, None)
    _check_plot(asked)
    stage = _stage(session, asked)
    if stage.baseline is not None:
        chosen = _policies(asked, stage.baseline)
    if asked.forecast:
        _forecast(session, stage, chosen)
    else:
        _compare(session, asked, stage, chosen)


def _policies(asked: _Asked, baseline: Baseline | None) -> dict[str, Policy]:
    """Return the policies, or the variants of them, by name; with the box's own settings."""
    from gpuboard.simulate.baseline import on_box
    from gpuboard.simulate.comparing import variants
    from gpuboard.simulate.policies import policy_of
    from gpuboard.simulate.run import USUAL

    names = [name.strip() for text in asked.policies for name in text.split(",") if name.strip()]
    usual = ["fairshare"] if asked.compare or asked.forecast else USUAL
    policies = {name: policy_of(name) for name in names or usual}
    if baseline is not None:
        policies = {name: on_box(name, policy, baseline) for name, policy in policies.items()}
    chosen = variants(policies, asked.compare) if asked.compare else policies
    if asked.forecast and len(chosen) > 1:
        raise InvalidRequest(
            f"--forecast is of one policy, not of {len(chosen)}",
            hint="--policy fairshare",
            field="--forecast",
        )
    return chosen


def _check_plot(asked: _Asked) -> None:
    """Find out before the work whether the picture could be drawn."""
    if asked.plot is None:
        return
    path = Path(asked.plot)
    if asked.forecast:
        raise InvalidRequest(
            "--plot draws what was played, not forecasts", hint="without --forecast", field="--plot"
        )
    if path.suffix != ".svg":
        raise InvalidRequest(
            f"--plot writes SVG, not {path.name}",
            hint=f"--plot {path.with_suffix('.svg')}; rsvg-convert and browsers make others of it",
            field="--plot",
        )
    if not path.absolute().parent.is_dir():
        raise InvalidRequest(f"there is no directory {path.absolute().parent}", field="--plot")


def _stage(session: Session, asked: _Asked) -> _Stage:
    from gpuboard.simulate.run import without_wider
    from gpuboard.simulate.trace import read_trace

    if asked.history == (asked.trace is not None):
        raise InvalidRequest(
            "say what to play: a TRACE or --history, and not both", hint="gpuboard simulate --help"
        )
    conditions = _conditions(asked)
    gpus, baseline = asked.gpus, None
    if asked.trace is None:
        devices = [device["uuid"] for device in session.client.get("/board")["devices"]]
        past = boxrecord.read_past(session, devices)
        gpus = gpus or len(devices)
        name, jobs, conditions = "history", past.jobs, boxrecord.as_it_was(past, conditions, gpus)
        baseline = boxrecord.read_baseline(session)
        if baseline is not None:
            conditions = boxrecord.as_allowed(
                past, conditions, baseline, has_checkpoint=bool(asked.checkpoint)
            )
    else:
        path = Path(asked.trace)
        name, jobs = path.name, read_trace(path)
    if gpus is None:
        raise InvalidRequest("how many GPUs has the box?", hint="--gpus 16", field="--gpus")
    if asked.skip_wider:
        fitting = without_wider(jobs, gpus)
        if len(fitting) < len(jobs):
            session.warn(
                f"{len(jobs) - len(fitting)} of {len(jobs)} jobs want more than {gpus} GPUs"
            )
        jobs = fitting
    return _Stage(name, jobs, gpus, conditions, baseline)


def _conditions(asked: _Asked) -> Conditions:
    from gpuboard.model.durations import parse_duration
    from gpuboard.simulate.simulation import Conditions

    checkpoint = asked.checkpoint
    return Conditions(
        shares=dict(_weight(text) for text in asked.weights),
        preemptible=_part(asked.preemptible, "--preemptible"),
        checkpoint_s=parse_duration(checkpoint, field="--checkpoint", least_s=0)
        if checkpoint
        else 0,
        bookings_a_day=_a_day(asked.bookings),
        no_show=_part(asked.no_show, "--no-show"),
        seed=asked.seed,
    )


def _compare(session: Session, asked: _Asked, stage: _Stage, chosen: Mapping[str, Policy]) -> None:
    from gpuboard.simulate.run import run_simulation

    played: dict[str, Played] = {}
    answer = run_simulation(
        stage.jobs,
        gpus=stage.gpus,
        policies=chosen,
        conditions=stage.conditions,
        on_progress=_progress(session),
        on_played=played.__setitem__,
    )
    answer["trace"] = stage.name
    for name, one in played.items():
        if one.refused:
            session.warn(
                f"{name}: the quota forbids {one.refused} of {len(stage.jobs)} jobs for ever"
            )
    if asked.plot is not None:
        _draw(session, Path(asked.plot), stage, played)
    if session.as_json:
        session.answer(answer)
        return
    _print(answer)


def _draw(session: Session, path: Path, stage: _Stage, played: Mapping[str, Played]) -> None:
    from gpuboard.simulate.pictures import picture_of

    try:
        path.write_text(picture_of(stage.name, stage.gpus, played), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}", field="--plot") from error
    session.note(f"drawn: {path}")


def _forecast(session: Session, stage: _Stage, chosen: Mapping[str, Policy]) -> None:
    from gpuboard.simulate.forecasting import run_forecast

    ((name, policy),) = chosen.items()
    draw = _progress(session)
    answer = run_forecast(
        stage.jobs,
        gpus=stage.gpus,
        policy=policy,
        conditions=stage.conditions,
        on_progress=lambda part: draw(name, part),
    )
    answer |= {"trace": stage.name, "policy": name}
    if session.as_json:
        session.answer(answer)
        return
    for key, value in answer["forecast"].items():
        shown = "-" if value is None else f"{value:.3f}" if isinstance(value, float) else value
        print(f"{key:<20} {shown}")


def _weight(text: str) -> tuple[str, float]:
    user, _, shares = text.rpartition("=")
    value = _number(shares)
    if not user or value is None:
        raise InvalidRequest(f"no weight: {text!r}", hint="--weight ann=2", field="--weight")
    return user, value


def _part(text: str, option: str) -> float:
    part = 1.0 if text == "all" else _number(text)
    if part is None or part > 1:
        raise InvalidRequest(
            f"no part of all: {text!r}",
            hint=f"{option} 0.3, or all",
            field=option,
        )
    return part


def _a_day(text: str) -> float:
    count = _number(text.removesuffix("/day"))
    if count is None or count > MOST_BOOKINGS_A_DAY:
        raise InvalidRequest(
            f"no rate: {text!r}",
            hint=f"--bookings 2/day; at most {MOST_BOOKINGS_A_DAY:,}",
            field="--bookings",
        )
    return count


def _number(text: str) -> float | None:
    """Return a finite number that is not negative; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


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
