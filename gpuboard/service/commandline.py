"""The same thing as a command line: what a person would type to ask for a job."""

from __future__ import annotations

from gpuboard.model.requests import SubmitRequest
from gpuboard.model.scripts import base_name
from gpuboard.model.text import shown_command

_FLAGS = (
    ("runtime", "--runtime"),
    ("name", "--name"),
    ("gpu_type", "--gpu-type"),
    ("gpu_memory", "--gpu-mem"),
    ("time_limit", "--time"),
    ("workdir", "--workdir"),
    ("shm_size", "--shm-size"),
    ("cpus", "--cpus"),
    ("memory", "--memory"),
    ("begin", "--begin"),
    ("array", "--array"),
    ("stop_signal", "--stop-signal"),
    ("grace", "--grace"),
    ("note", "--note"),
    ("account", "--account"),
    ("class_name", "--class"),
)
_SWITCHES = ("nvlink", "preemptible", "requeue", "hold")


def submit_line(request: SubmitRequest) -> str:
    """Return `gpuboard submit ...` for a request; values of the environment are left out."""
    words = ["gpuboard", "submit"]
    if request.gpu_ids:
        words += ["--gpu-ids", ",".join(request.gpu_ids)]
    else:
        words += ["--gpus", str(request.gpus)]
    if request.image:
        words += ["--image", request.image]
    for field, flag in _FLAGS:
        value = getattr(request, field)
        if field == "name" and request.script and value == base_name(request.command[0]):
            continue  # the script's own
        if value not in ("", None):
            words += [flag, str(value)]
    for key in request.env:
        words += ["--env", key]
    for mount in request.mounts:
        suffix = ":ro" if mount.read_only else ""
        words += ["--volume", f"{mount.source}:{mount.target}{suffix}"]
    for port in request.ports:
        words += ["--publish", str(port)]
    for dependency in request.depends_on:
        words += ["--depends-on", dependency]
    words += [f"--{switch}" for switch in _SWITCHES if getattr(request, switch)]
    if request.command:
        words += request.command if request.script else ["--", *request.command]
    return shown_command(words)
