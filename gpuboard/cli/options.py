"""The flags of a job, as people know them from docker and Slurm: one list for run, submit and scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import click

from gpuboard.cli.completion import (
    complete_gpu_types,
    complete_gpus,
    complete_images,
    complete_jobs,
    complete_runtimes,
    complete_templates,
)
from gpuboard.errors import InvalidRequest


def _option(*names: str, help: str, **settings: object) -> click.Option:
    return click.Option(names, help=help, **settings)  # type: ignore[arg-type]


class _Finite(click.FloatRange):
    """A number above 0 that is one: `nan` is in every range, and JSON has neither it nor `inf`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or refuse it."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number of processors.", param, ctx)
        return number


_PROCESSORS = _Finite(0, min_open=True)

JOB_OPTIONS: tuple[click.Option, ...] = (
    _option("-g", "--gpus", metavar="N", type=click.IntRange(0), help="GPUs, whole (default 1; 0: none)."),
    _option(
        "-t", "--time", metavar="SPAN",
        help="Kill limit: 90m, 2h30m, 2:00:00, 1-12:00:00; a bare number is minutes.",
    ),
    _option(
        "--template", metavar="NAME", shell_complete=complete_templates,
        help="Begin from one of the lab's templates; flags and words beat it.",
    ),
    _option("--image", metavar="IMAGE", shell_complete=complete_images, help="Container image."),
    _option("--process", is_flag=True, help="Run a plain process, no container."),
    _option(
        "--runtime", metavar="NAME", shell_complete=complete_runtimes, help="What runs it: docker or process.",
    ),
    _option("-J", "--name", metavar="NAME", help="Name of the job."),
    _option("-v", "--volume", "volumes", multiple=True, metavar="SRC:DST[:ro]", help="Mount a directory of the box."),
    _option("-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="Set a variable; KEY alone takes it from here."),
    _option("--env-file", "env_files", multiple=True, metavar="FILE", help="Read variables from a file."),
    _option(
        "-p", "--publish", "ports", multiple=True, metavar="PORT",
        help="Publish a port of the container on the box's 127.0.0.1; `gpuboard show` says where.",
    ),
    _option("-w", "--workdir", metavar="DIR", help="Working directory (a process's default: this one)."),
    _option("--shm-size", metavar="SIZE", help="Shared memory, e.g. 16g."),
    _option("--cpus", metavar="N", type=_PROCESSORS, help="Processors, e.g. 8 or 1.5."),
    _option("--cpus-per-gpu", metavar="N", type=_PROCESSORS, help="Processors for each GPU asked for."),
    _option("-m", "--memory", metavar="SIZE", help="Memory, e.g. 64g."),
    _option("--begin", "--at", "begin", metavar="TIME", help="Not before: 'tomorrow 09:00', now+1h, 14:30, ISO."),
    _option(
        "-d", "--depends-on", "depends_on", multiple=True, metavar="JOB", shell_complete=complete_jobs,
        help="After a job ended well: 12, @; afterany:12:13, afternotok:12; singleton: after mine of this name.",
    ),
    _option("-a", "--array", metavar="LIST", help="One job an index: 0-9, 0-9%2 (two at once), 1,3,5."),
    _option(
        "--gpu-ids", "gpu_ids", metavar="LIST", shell_complete=complete_gpus,
        help="Exactly these GPUs: 2,3 or UUIDs.",
    ),
    _option(
        "--gpu-type", metavar="NAME", shell_complete=complete_gpu_types,
        help="Only GPUs whose product name has this in it: a100, 1g.10gb.",
    ),
    _option("--gpu-mem", metavar="SIZE", help="Share one GPU with other jobs, keeping to so much of its memory: 10G."),
    _option("--nvlink", is_flag=True, help="Only GPUs that are all linked with each other by NVLink."),
    _option("--preemptible/--no-preemptible", default=False, help="May be stopped, and queued again, for others."),
    _option("--requeue/--no-requeue", default=False, help="Back into the queue when the box loses it."),
    _option("--hold", is_flag=True, help="Queue it, but do not start it before `gpuboard release`."),
    _option("--stop-signal", metavar="SIGNAL", help="Signal that asks it to end (default SIGTERM)."),
    _option("--grace", metavar="SPAN", help="From that signal to SIGKILL, e.g. 30s."),
    _option("--note", metavar="TEXT", help="A note to yourself."),
    _option("-A", "--account", metavar="GROUP", help="Group of mine to charge (default my first)."),
    _option("--class", "--qos", "class_name", metavar="NAME", help="Class of the job (default the box's)."),
)  # fmt: skip
"""What a job is asked for with; all of it may also stand in a script's #GPUBOARD lines."""

START_OPTIONS: tuple[click.Option, ...] = (
    _option("--dry-run", is_flag=True, help="Only say on which GPUs it would run, and when."),
    _option("--nonblock", is_flag=True, help="Fail at once, with 1, unless it can start now."),
    _option(
        "--wait", "patience", metavar="SPAN",
        help="Cancel it and exit with 4 unless it (of an array, the first) starts within this.",
    ),
)  # fmt: skip
"""How the submission is meant; not for scripts."""

EXCLUSIVE: tuple[frozenset[str], ...] = (
    frozenset({"gpus", "gpu_ids"}),
    frozenset({"image", "process", "runtime"}),
    frozenset({"cpus", "cpus_per_gpu"}),
)
"""Of each group the more specific source takes all: `-g 2` by hand beats `--gpu-ids` in a script."""

_MAY_BE_EMPTY = frozenset({"name", "note"})
_SPELLED = {"class_name": "class", "volumes": "volume", "env_files": "env-file", "patience": "wait"}


def given(ctx: click.Context) -> dict[str, Any]:
    """Return the flags that were really given, by parameter name."""
    by_hand = click.core.ParameterSource.COMMANDLINE
    return {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is by_hand
    }


def refuse_empty(flags: Mapping[str, Any]) -> None:
    """Refuse flags with nothing behind them, such as `--gpu-ids "$IDS"` where IDS is not set.

    Raises InvalidRequest.
    """
    for flag, value in flags.items():
        texts = value if isinstance(value, tuple) else (value,)
        if flag in _MAY_BE_EMPTY or all(not isinstance(x, str) or x.strip(" ,") for x in texts):
            continue
        name = "--" + _SPELLED.get(flag, flag.replace("_", "-"))
        raise InvalidRequest(
            f"{name} is empty", hint=f"leave {name} out, or give it a value", field=flag
        )
