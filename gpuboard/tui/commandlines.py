"""Submissions and bookings as command lines to copy. Pure."""

from __future__ import annotations

from gpuboard.model.requests import ReservationUpdate, ReserveRequest, SubmitRequest
from gpuboard.model.text import quote_command
from gpuboard.tui.jobfields import SWITCHES


def submit_line(request: SubmitRequest) -> str:
    """Return `gpuboard submit ...` for a submission."""
    words = ["gpuboard", "submit", "-g", str(request.gpus)]
    if request.time_limit:
        words += ["-t", str(request.time_limit)]
    if request.gpu_type:
        words += ["--gpu-type", request.gpu_type]
    if request.gpu_memory:
        words += ["--gpu-mem", str(request.gpu_memory)]
    if request.name:
        words += ["--name", request.name]
    for mount in request.mounts:
        words += ["-v", f"{mount.source}:{mount.target}" + (":ro" if mount.read_only else "")]
    for port in request.ports:
        words += ["-p", str(port)]
    for name, value in request.env.items():
        words += ["-e", f"{name}={value}"]
    if request.workdir:
        words += ["-w", request.workdir]
    for dependency in request.depends_on:
        words += ["--depends-on", dependency]
    if request.array:
        words += ["--array", request.array]
    if request.begin:
        words += ["--begin", request.begin]
    more = {
        "--shm-size": str(request.shm_size),
        "--cpus": f"{request.cpus:g}" if request.cpus else "",
        "--memory": str(request.memory),
        "--class": request.class_name,
        "--account": request.account,
    }
    for flag, value in more.items():
        words += [flag, value] if value else []
    words += [f"--{name}" for name in SWITCHES if getattr(request, name)]
    if request.image:
        words += ["--image", request.image]
    if request.command:
        words += request.command if request.script else ["--", *request.command]
    return quote_command(words)


def reserve_line(request: ReserveRequest) -> str:
    """Return `gpuboard reserve ...` for a booking."""
    words = ["gpuboard", "reserve", str(request.gpus), str(request.duration)]
    if request.at:
        words += ["--at", request.at]
    if request.name:
        words += ["--name", request.name]
    if request.repeat:
        words += ["--repeat", request.repeat]
    if request.count is not None:
        words += ["--count", str(request.count)]
    if request.until:
        words += ["--until", request.until]
    return quote_command(words)


def change_line(number: int, request: ReservationUpdate) -> str:
    """Return `gpuboard reserve --change ...` for another window of a booking."""
    words = ["gpuboard", "reserve", "--change", str(number)]
    if request.gpus is not None:
        words.append(str(request.gpus))
    if request.duration is not None:
        words.append(str(request.duration))
    if request.at is not None:
        words += ["--at", request.at]
    if request.name is not None:
        words += ["--name", request.name]
    return quote_command(words)
