"""From flags, words and a script to the body of a submission.

How IMAGE and COMMAND are told apart, as with `docker run`: the first word is the image and the
rest is the command, except that

- after `--` all is the command (`gpuboard run -g1 -- python train.py`), as it is when `--image`,
  `--process` or `--runtime process` was given;
- a first word that names a file here beginning with `#!` is a script. Its content is captured now,
  as Slurm does; later edits change nothing. Its #GPUBOARD and #SBATCH lines count as flags, and
  flags given by hand beat them.

A process gets the variables that say where programs are found (PATH, a virtual environment);
everything else only by `-e`. On another box (`--host`) our variables, folder and home mean nothing:
none is carried, and paths are given in full.
"""

# pathlib costs every command an import
# ruff: noqa: PTH100, PTH111, PTH123

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from gpuboard.cli import script
from gpuboard.cli.firstword import insist_on_image
from gpuboard.cli.options import EXCLUSIVE, JOB_OPTIONS, given, refuse_empty
from gpuboard.errors import InvalidRequest

CARRIED = (
    "PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONPATH", "LD_LIBRARY_PATH",
    "LANG", "LC_ALL", "TZ",
)  # fmt: skip
"""Variables of the caller's shell that a process job keeps."""

_AS_THEY_ARE = {
    "gpus": "gpus", "time": "time_limit", "name": "name", "shm_size": "shm_size", "cpus": "cpus",
    "memory": "memory", "begin": "begin", "array": "array", "gpu_type": "gpu_type",
    "gpu_mem": "gpu_memory", "nvlink": "nvlink",
    "preemptible": "preemptible", "requeue": "requeue", "hold": "hold",
    "stop_signal": "stop_signal", "grace": "grace", "note": "note",
    "account": "account", "class_name": "class",
}  # fmt: skip
"""Flags that are fields of SubmitRequest under this name."""

FLAGS = {field: f"--{flag.replace('_', '-')}" for flag, field in _AS_THEY_ARE.items()} | {
    "image": "--image", "runtime": "--runtime", "gpu_ids": "--gpu-ids", "env": "--env",
    "mounts": "--volume", "ports": "--publish", "workdir": "--workdir", "depends_on": "--depends-on",
    "class": "--class",
}  # fmt: skip
"""Field of SubmitRequest -> the flag that a person knows it by."""

_SEVERAL = re.compile(r"(after(?:ok|any|notok)):([^:]+(?::[^:]+)+)", re.IGNORECASE)
"""Slurm's `afterok:9:10`."""


def gather(
    flags: Mapping[str, Any],
    words: Sequence[str],
    *,
    after_dashes: bool,
    is_remote: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Return the body of the submission, and warnings about lines of the script.

    `flags` are those given by hand, by parameter name. Raises InvalidRequest.
    """
    words = list(words)
    file = None if after_dashes or not words else script.read(words[0])
    warnings: list[str] = []
    if file is not None:
        flags, warnings = _with_directives(file, flags)
        command = [file.word, *words[1:]]
    refuse_empty(flags)
    has_image_flag = bool(
        flags.get("image") or flags.get("process") or flags.get("runtime") == "process"
    )
    image = flags.get("image") or ""
    if file is None:
        if words and not after_dashes and not has_image_flag:
            insist_on_image(words)
            image = words.pop(0)
            words = words[1:] if words[:1] == ["--"] else words
        command = words
    body = _body(flags, image, is_remote=is_remote)
    body["command"] = command
    if file is not None:
        body["name"] = body["name"] or file.name
        body["script"] = file.content
    said = {key: value for key, value in body.items() if value or key == "gpus"}
    return said, warnings


def client_zone() -> str:
    """Return the IANA name of $TZ (`Europe/Berlin`, `CET`); empty where the box's own zone holds.

    A rule such as `CET-1CEST` is no name: the daemon could not read it.
    """
    zone = os.environ.get("TZ", "").removeprefix(":")
    if not zone or zone == "UTC":
        return zone
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(zone).key
    except (ValueError, KeyError, OSError):
        return ""


def _with_directives(
    file: script.Script, flags: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    warnings: list[str] = []
    merged: dict[str, Any] = {}
    for line in file.directives():
        if line.warning:
            warnings.append(f"{file.path}:{line.number}: {line.warning}")
        merged = overlay(merged, _parsed(file, line))
    return overlay(merged, flags), warnings


def _parsed(file: script.Script, line: script.Directive) -> dict[str, Any]:
    """Return the flags of one directive line. Raises InvalidRequest that names file and line."""
    command = click.Command("directive", params=[*JOB_OPTIONS], add_help_option=False)
    try:
        ctx = command.make_context("directive", list(line.arguments))
    except click.UsageError as error:
        raise InvalidRequest(
            f"{file.path}:{line.number}: {error.format_message()}",
            hint="`gpuboard submit --help` lists what may stand in #GPUBOARD lines",
        ) from error
    return given(ctx)


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, `above` winning; flags that may be repeated add up."""
    merged = dict(below)
    for group in EXCLUSIVE:
        if group & above.keys():
            for name in group:
                merged.pop(name, None)
    for name, value in above.items():
        merged[name] = (*merged.get(name, ()), *value) if isinstance(value, tuple) else value
    return merged


def _body(flags: Mapping[str, Any], image: str, *, is_remote: bool) -> dict[str, Any]:
    body: dict[str, Any] = {field: flags.get(flag) for flag, field in _AS_THEY_ARE.items()}
    body["image"] = image
    body["runtime"] = "process" if flags.get("process") else flags.get("runtime") or ""
    if image and body["runtime"] == "process":
        raise InvalidRequest(
            "a process has no image", hint="leave out --image or --process", field="image"
        )
    is_process = not image and body["runtime"] in ("", "process")
    body["gpu_ids"] = _comma_list([flags.get("gpu_ids") or ""])
    body["gpus"] = _gpus(flags, body["gpu_ids"])
    if flags.get("cpus_per_gpu") is not None:
        body["cpus"] = _all_cpus(flags["cpus_per_gpu"], body)
    body["depends_on"] = [
        one for part in _comma_list(flags.get("depends_on", ())) for one in _dependencies(part)
    ]
    here = _far_path if is_remote else _own_path
    body["mounts"] = [parse_volume(text, here) for text in flags.get("volumes", ())]
    body["ports"] = [text.strip() for text in flags.get("ports", ())]
    body["env"] = _environment(flags, carries=is_process and not is_remote)
    workdir = flags.get("workdir") or ""
    body["workdir"] = here(workdir, "workdir") if is_process else workdir
    if body["begin"]:
        body["timezone"] = client_zone()
    return body


def _gpus(flags: Mapping[str, Any], gpu_ids: list[str]) -> int:
    wanted: int | None = flags.get("gpus")
    if gpu_ids and wanted not in (None, len(gpu_ids)):
        raise InvalidRequest(
            f"--gpus {wanted} and --gpu-ids with {len(gpu_ids)} do not agree",
            hint="leave out --gpus",
            field="gpus",
        )
    if wanted is not None:
        return wanted
    return len(gpu_ids) or 1


def _all_cpus(per_gpu: float, body: Mapping[str, Any]) -> float:
    if body["cpus"] is not None:
        raise InvalidRequest(
            "--cpus and --cpus-per-gpu say the same thing twice",
            hint="leave one of them out",
            field="cpus",
        )
    if not body["gpus"]:
        raise InvalidRequest(
            "--cpus-per-gpu: the job asks for no GPU", hint="say --cpus", field="cpus"
        )
    return float(per_gpu * body["gpus"])


def _dependencies(text: str) -> list[str]:
    """Return one dependency a job for Slurm's `afterok:9:10`."""
    several = _SEVERAL.fullmatch(text)
    return [f"{several[1]}:{job}" for job in several[2].split(":")] if several else [text]


def _comma_list(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _own_path(path: str, _field: str) -> str:
    """Return a path of this box in full."""
    return os.path.abspath(os.path.expanduser(path))


def _far_path(path: str, field: str) -> str:
    """Return a path of another box as it stands; one that leans on our folder or home is refused."""
    if path and not path.startswith("/"):
        raise InvalidRequest(
            f"'{path}' would be looked up on this box, and the job runs on another",
            hint="give the path over there in full, from / on",
            field=field,
        )
    return path


def parse_volume(text: str, absolute: Callable[[str, str], str]) -> dict[str, Any]:
    """Return the mount of docker's `SRC:DST[:ro|rw]`; `absolute` makes the source a full path."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target or mode not in ("", "ro", "rw"):
        raise InvalidRequest(
            f"--volume: '{text}' is not SRC:DST or SRC:DST:ro",
            hint="for example -v ~/data:/data:ro",
            field="mounts",
        )
    return {
        "source": absolute(source, "mounts"),
        "target": target,
        "read_only": mode == "ro",
    }


def _environment(flags: Mapping[str, Any], *, carries: bool) -> dict[str, str]:
    """Return the variables: carried ones, then files, then `-e`; the later wins."""
    found = {key: os.environ[key] for key in CARRIED if key in os.environ} if carries else {}
    for path in flags.get("env_files", ()):
        for line in _lines(path):
            _set_variable(found, line, f"--env-file {path}")
    for text in flags.get("env", ()):
        _set_variable(found, text, "--env")
    return found


def _set_variable(found: dict[str, str], text: str, where: str) -> None:
    key, equals, value = text.partition("=")
    if not key or key != key.strip():
        raise InvalidRequest(f"{where}: '{text}' is not KEY=VALUE or KEY", field="env")
    if equals:
        found[key] = value
    elif key in os.environ:  # as docker: a KEY that is not set here is left out
        found[key] = os.environ[key]


def _lines(path: str) -> list[str]:
    """Return the lines of a docker env file without blank ones and comments."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            lines = [line.rstrip("\r\n").lstrip() for line in file]
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"--env-file: {path} cannot be read: {error}", field="env") from error
    return [line for line in lines if line and not line.startswith("#")]
