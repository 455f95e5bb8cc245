"""What a job may ask of devices beyond their number and type: a budget on a shared one, NVLink.

Refused at once is what could never start on this box; what is only not free now waits.
"""

from __future__ import annotations

from gpuboard.config import Config
from gpuboard.errors import InvalidRequest
from gpuboard.model.job import JobSpec
from gpuboard.model.sizes import format_size
from gpuboard.service.devices import DeviceNames


def check_asks(spec: JobSpec, config: Config, devices: DeviceNames) -> None:
    """Raise InvalidRequest when the box can never give what the job asks for."""
    if spec.gpu_memory_bytes is not None:
        _check_budget(spec, spec.gpu_memory_bytes, config, devices)
    if spec.gpus > 1 and not (spec.gpu_type or spec.gpu_uuids) and devices.is_known:
        _check_whole(spec, devices)
    if spec.nvlink and spec.gpus > 1 and devices.is_known:
        _check_nvlink(spec, devices)


def _check_budget(spec: JobSpec, budget: int, config: Config, devices: DeviceNames) -> None:
    wanted = f"--gpu-mem {format_size(budget)}"
    if config.policy.sharing == "off":
        raise InvalidRequest(
            f"{wanted}: no GPU is shared on this box",
            field="gpu_memory",
            hint='leave it out, or ask an administrator for [policy] sharing = "person"',
        )
    if spec.gpus != 1:
        raise InvalidRequest(
            f"{wanted}: a job that shares a GPU has one, not {spec.gpus}",
            field="gpu_memory",
            hint="leave it out for whole GPUs",
        )
    if spec.preemptible:
        raise InvalidRequest(
            f"{wanted}: a preemptible job has its GPU to itself",
            field="gpu_memory",
            hint="leave out --preemptible, or --gpu-mem",
        )
    reserve = config.policy.sharing_reserve_bytes
    most = max(0, devices.largest_bytes(spec.gpu_type, spec.gpu_uuids) - reserve)
    if devices.is_known and budget > most:
        kept = f" ({format_size(reserve)} is kept)" if reserve else ""
        raise InvalidRequest(
            f"{wanted}: the largest GPU that would do has {format_size(most)} to share{kept}",
            field="gpu_memory",
        )


def _check_whole(spec: JobSpec, devices: DeviceNames) -> None:
    whole, every = devices.count("", whole=True), devices.count("")
    if whole < spec.gpus <= every:
        raise InvalidRequest(
            f"--gpus {spec.gpus}: this box has {whole} whole GPUs; the others are MIG instances, of which"
            " a program sees one",
            field="gpus",
            hint="ask for one, or name them with --gpu-type or --gpu-ids",
        )


def _check_nvlink(spec: JobSpec, devices: DeviceNames) -> None:
    if not devices.links:
        raise InvalidRequest(
            "--nvlink: the driver does not say how the GPUs of this box are linked",
            field="nvlink",
            hint="see: gpuboard gpus --topology",
        )
    most = devices.most_linked(spec.gpu_type, spec.gpu_uuids)
    if most < spec.gpus:
        linked = (
            f"of this box at most {most} that would do"
            if most > 1
            else "none of this box that would do"
        )
        raise InvalidRequest(
            f"--nvlink: {spec.gpus} GPUs wanted, {linked} are linked by NVLink",
            field="nvlink",
            hint="see: gpuboard gpus --topology",
        )
