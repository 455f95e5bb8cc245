"""Changes of jobs that have not ended: what each field may become, and who was promised what meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gpuboard.engine import audit
from gpuboard.errors import InvalidRequest, PermissionDenied, QuotaExceeded, Refused
from gpuboard.model.durations import format_duration, parse_duration
from gpuboard.model.job import Job, JobSpec, JobState
from gpuboard.model.person import Caller, Person
from gpuboard.model.plan import ReservationRequest
from gpuboard.model.requests import UpdateRequest
from gpuboard.policy.quota import GPU_HOURS, quotas_of
from gpuboard.runtimes.sandbox import check_submission
from gpuboard.service.charging import Charging
from gpuboard.service.context import ServiceContext
from gpuboard.service.deviceasks import check_asks
from gpuboard.service.devices import DeviceNames
from gpuboard.service.names import given_name
from gpuboard.service.rights import Action, may
from gpuboard.service.validation import (
    MAX_NOTE,
    SpecReader,
    bounded,
    sandbox_settings,
    with_changes,
)


class JobChanges:
    """What one caller asks to have changed."""

    def __init__(
        self,
        context: ServiceContext,
        caller: Caller,
        reader: SpecReader,
        names: DeviceNames,
        charging: Charging,
    ) -> None:
        self._context = context
        self._engine = context.engine
        self._caller = caller
        self._reader = reader
        self._names = names
        self._charging = charging

    def applied(self, job: Job, request: UpdateRequest) -> JobSpec:
        """Return the job's spec with the changes asked for. Raises what they deserve."""
        spec = self._changed(job, request)
        self._check_raise(job, spec)
        return spec

    def _changed(self, job: Job, request: UpdateRequest) -> JobSpec:
        begin_at = job.spec.begin_at
        reader = self._reader
        spec = with_changes(
            job.spec,
            limit_s=self._new_limit(job, request.time_limit),
            name=given_name(request.name) if request.name is not None else None,
            note=bounded(request.note, MAX_NOTE, "note") if request.note is not None else None,
            gpus=request.gpus,
            preemptible=request.preemptible,
            account=_as_refusal(self._charging.account, self._caller, job, request.account),
            class_name=_as_refusal(
                self._charging.class_name, self._caller, job, request.class_name
            ),
        )
        if request.begin is not None:
            begin_at = reader.begin_at(request.begin, "")
        if request.gpus is not None and spec.gpu_uuids and len(spec.gpu_uuids) != request.gpus:
            raise InvalidRequest("the job names its devices: --gpus cannot change", field="gpus")
        if spec.gpus < 0 or (self._names.is_known and spec.gpus > self._names.count("")):
            raise InvalidRequest(f"--gpus {spec.gpus}: this box has not so many", field="gpus")
        if (spec.gpus, spec.preemptible) != (job.spec.gpus, job.spec.preemptible):
            check_asks(spec, self._context.config, self._names)
        spec = msgspec.structs.replace(spec, begin_at=begin_at)
        asked = (spec.gpus, spec.limit_s, spec.class_name)
        if asked != (job.spec.gpus, job.spec.limit_s, job.spec.class_name):
            self._charging.check(spec)
        check_submission(spec, job.owner, sandbox_settings(self._context.config))
        return spec

    def _new_limit(self, job: Job, text: str | int | None) -> int | None:
        if text is None:
            return None
        words = str(text).strip()
        if words[:1] not in ("+", "-"):
            return self._reader.limit_s(text)
        delta_s = parse_duration(words[1:], field="time_limit")
        limit_s = job.spec.limit_s + (delta_s if words[0] == "+" else -delta_s)
        if limit_s < 1:
            raise InvalidRequest(f"--time {words}: nothing would be left", field="time_limit")
        return self._reader.limit_s(format_duration(limit_s))

    def _check_raise(self, job: Job, spec: JobSpec) -> None:
        """Refuse a longer limit of a running job where others were promised its devices."""
        if job.state is JobState.QUEUED or spec.limit_s <= job.spec.limit_s or not job.devices:
            return
        if may(self._caller, Action.RAISE_LIMIT, job.owner.uid) or job.leased_at is None:
            return
        self._check_week(job, spec)
        old_end = job.leased_at + (job.spec.limit_s + job.spec.grace_s) * 1000
        new_end = job.leased_at + (spec.limit_s + spec.grace_s) * 1000
        beside = self._engine.shares().get(job.devices[0], ())
        if any(lease.job_id != job.id and lease.until_at >= new_end for lease in beside):
            return  # another job shares the device as long: nobody else gets it sooner
        request = ReservationRequest(
            gpus=len(job.devices), from_at=old_end, until_at=new_end, gpu_uuids=job.devices
        )
        admission = self._engine.admit(job.owner, request)
        if not admission.accepted:
            causes = "; ".join(cause.words for cause in admission.causes)
            raise Refused(
                f"job {job.id}: the limit cannot be raised: {causes or 'others wait for its devices'}",
                field="time_limit",
                hint="an administrator may raise it all the same",
            )

    def _check_week(self, job: Job, spec: JobSpec) -> None:
        """Refuse a longer limit that a hard weekly quota has no room for: what runs counts up to its limit."""
        more = len(job.devices) * (spec.limit_s - job.spec.limit_s) / 3600
        settings, used = self._engine.policy_settings(), self._engine.week_hours()
        for unit, quota in quotas_of(settings, job.owner.uid, job.spec.account):
            most = quota.gpu_hours_per_week
            if most is None or GPU_HOURS in quota.soft:
                continue
            hours = used.get(unit, 0.0) + more
            if hours > most:
                whose = f" of group {unit}" if isinstance(unit, str) else ""
                raise QuotaExceeded(
                    f"job {job.id}: the limit cannot be raised: the quota{whose} allows {most} GPU-hours a"
                    f" week, with this it would be {hours:.1f}",
                    field="time_limit",
                    hint="an administrator may raise it all the same",
                )


def _as_refusal(
    chosen: Callable[[Person, str], str], caller: Caller, job: Job, wanted: str | None
) -> str | None:
    """Return the group or class chosen for a job's owner; what is not theirs is Refused.

    PermissionDenied would say that the job itself is not the caller's.
    """
    if wanted is None:
        return None
    try:
        return chosen(job.owner, wanted)
    except PermissionDenied as error:
        what = f"jobs {job.id}: {error.message}"
        audit.refused(caller.uid, Action.CHANGE_JOB, job.owner.uid, what)
        raise Refused(error.message, hint=error.hint, field=error.field) from None
