"""The start protocol: intent, create, intent to start, start, outcome. Started once an attempt.

`starting` and the leases are committed before anything is created; the handle and `start_issued`
before the start goes out. After that a lost answer is only looked at, never repeated (SAFETY.md
section 0, decisions 2-4). The kill limit runs from the grant of the devices, so that promises made
to others hold although a start is slow.
"""

from __future__ import annotations

from functools import partial

import msgspec

from gpuboard.engine import audit, company
from gpuboard.engine.change import Change, NewLease
from gpuboard.engine.conclude import back_to_queue, start_failed
from gpuboard.engine.core import Core, log
from gpuboard.engine.ending import Ender
from gpuboard.engine.health import StartFailures
from gpuboard.engine.images import Images
from gpuboard.engine.pauses import StartPauses
from gpuboard.engine.portdesk import RETRY_S, PortDesk
from gpuboard.engine.readback import ReadBack
from gpuboard.engine.stopping import Stopper
from gpuboard.engine.workers import Lane
from gpuboard.engine.world import shareable_bytes
from gpuboard.errors import (
    CannotStartNow,
    Conflict,
    HostError,
    OutcomeUnknown,
    PermissionDenied,
    PortTaken,
    RequestError,
    StateError,
    Unavailable,
)
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobState, RuntimeName
from gpuboard.model.plan import Start
from gpuboard.model.scripts import has_sbatch_lines
from gpuboard.runtimes.protocol import Observed, RunRequest
from gpuboard.runtimes.scripts import in_container


class Starter:
    """Carries planned starts out."""

    def __init__(
        self,
        core: Core,
        ender: Ender,
        stopper: Stopper,
        *,
        readback: ReadBack,
        images: Images,
        pauses: StartPauses,
    ) -> None:
        self._core = core
        self._ender = ender
        self._stopper = stopper
        self._readback = readback
        self._images = images
        self._ports = PortDesk(core)
        self._pauses = pauses
        self._failures = StartFailures(core)
        self._looks: dict[JobId, int] = {}
        """Until when (boot time, ms) to look for a start whose answer was lost."""
        self._issued: dict[JobId, int] = {}
        """Attempts whose start went out in this life of the daemon."""

    def can_start(self, job: Job) -> bool:
        """Whether the job's runtime takes another job now."""
        health = self._core.health.get(job.spec.runtime)
        return (
            health is not None
            and not health.fault()
            and self._core.clock.boot_ms() >= health.resume_boot_ms
        )

    def begin(self, start: Start) -> int | None:
        """Commit the intent to start a queued job on these devices, and begin.

        Return when (boot time, ms) to try again where the box has no ports left for it now.
        """
        core = self._core
        job = core.ledger.jobs[start.job_id]
        words = core.recheck(job)
        if words:
            self.hold(job, words)
            return None
        ports = self._ports.choose(job)
        if ports is None:
            self._say_portless(job)
            return core.clock.boot_ms() + int(RETRY_S * 1000)
        core.progress.pop(job.id, None)
        now = core.clock.now_ms()
        starting = msgspec.structs.replace(
            job,
            state=JobState.STARTING,
            reason="",
            devices=start.devices,
            ports=ports,
            reservation_id=start.reservation_id,
            leased_at=now,
            started_boot_ms=core.clock.boot_ms(),
            boot_id=core.clock.boot_id(),
        )
        until_at = now + (job.spec.limit_s + job.spec.grace_s) * 1000
        until_at = min(until_at, start.lease_until_at or until_at)
        change = Change("start.intent")
        for device in start.devices:
            live = core.ledger.leases.get(device)
            uid: int = job.owner.uid
            reservation_id = start.reservation_id
            if live is not None and live.job_id is None and live.reservation_id is not None:
                change.closed.append(device)
                # A device that is lent stays the booking's, and is charged to its holder.
                uid, reservation_id = live.uid, live.reservation_id
            new = NewLease(device, uid, job.id, reservation_id, until_at, job.attempt)
            if start.gpu_memory_bytes:
                capacity_bytes = shareable_bytes(core, device)
                company.join(core.ledger, change, new, start.gpu_memory_bytes, capacity_bytes)
            else:
                change.opened.append(new)
        spec_hash = run_request(core, starting).spec_hash()
        change.job(starting, "job.starting", devices=",".join(start.devices), spec_hash=spec_hash)
        core.journal.commit(change)
        self.create(starting)
        return None

    def _say_portless(self, job: Job) -> None:
        core, words = self._core, "every port of the box that it may have is in use"
        if core.progress.get(job.id) != words:
            core.progress[job.id] = words
            core.ledger.revision += 1

    def hold(self, job: Job, words: str) -> None:
        """Hold a queued job until an admin has looked: it may not run, as far as we know."""
        audit.refused(job.owner.uid, "start", job.owner.uid, f"job {job.id}: {words}")
        change = Change("start.refused")
        held = msgspec.structs.replace(job, held_by="admin", reason=words)
        change.job(held, "job.held", reason=words)
        self._core.journal.commit(change)
        self._core.plan_soon()

    def create(self, job: Job) -> None:
        """Have the attempt created; safe to repeat, since its name makes it one."""
        core = self._core
        runtime = core.runtime_of(job)
        request = run_request(core, job)
        core.flights.begin(job.id, "creating")

        def work() -> tuple[str, str]:
            core.crash("start.create")
            image_id = job.image_id
            if request.image and not image_id:
                image_id = runtime.resolve_image(
                    request.image, False, partial(core.progress.__setitem__, job.id)
                )
            handle = runtime.create(msgspec.structs.replace(request, image_id=image_id))
            core.crash("start.created")
            return handle, image_id

        core.workers.submit(work, partial(self._created, job.id, job.attempt), Lane.START)

    def _created(
        self,
        job_id: JobId,
        attempt: int,
        made: tuple[str, str] | None,
        error: BaseException | None,
    ) -> None:
        core = self._core
        core.flights.land(job_id)
        core.progress.pop(job_id, None)
        job = core.current(job_id, attempt)
        if job is None:
            return
        if made is None:
            self._create_failed(job, error)
            return
        handle, image_id = made
        is_wanted = job.state is JobState.STARTING
        issued = msgspec.structs.replace(
            job, handle=handle, image_id=image_id, start_issued=is_wanted
        )
        change = Change("start.issue")
        change.job(issued, "job.created", image_id=image_id, handle=handle)
        core.journal.commit(change)
        if is_wanted:
            self._start(issued)
        else:
            core.look_soon()

    def _create_failed(self, job: Job, error: BaseException | None) -> None:
        core = self._core
        log.warning("job %d: create: %s", job.id, error)
        if isinstance(error, Unavailable | OutcomeUnknown):
            core.progress[job.id] = f"creating: {error}"
            return
        if job.state is not JobState.STARTING:
            core.look_soon()
            return
        words = f"start failed: {error}"
        if self._images.is_gone(job, error) and job.attempt < core.config.jobs.max_attempts:
            self._ender.end(job, back_to_queue(str(error)))
            return
        if isinstance(error, Conflict) and job.attempt < core.config.jobs.max_attempts:
            # somebody's container, or one that an earlier version made: the next attempt has another name
            self._ender.end(job, back_to_queue(words))
            return
        if isinstance(error, RequestError | PermissionDenied):
            # the person's doing: it must not pause the runtime for others
            if isinstance(error, PermissionDenied):
                audit.refused(job.owner.uid, "start", job.owner.uid, f"job {job.id}: {error}")
            self._ender.end(job, start_failed(words, error))
            return
        self._pauses.failed(job)
        retry = isinstance(error, CannotStartNow) or job.attempt < core.config.jobs.max_attempts
        self._ender.end(job, back_to_queue(words) if retry else start_failed(words))

    def _start(self, job: Job) -> None:
        core = self._core
        if self._issued.get(job.id) == job.attempt:
            raise StateError(f"{job.runtime_name} would be started twice")
        self._issued[job.id] = job.attempt
        runtime, handle = core.runtime_of(job), job.handle
        core.flights.begin(job.id, "starting")

        def work() -> None:
            core.crash("start.start")
            runtime.start(handle)
            core.crash("start.started")

        core.workers.submit(work, partial(self._started, job.id, job.attempt), Lane.START)

    def _started(
        self, job_id: JobId, attempt: int, _value: None, error: BaseException | None
    ) -> None:
        core = self._core
        core.flights.land(job_id)
        job = core.current(job_id, attempt)
        if job is None:
            return
        if error is None:
            self.commit_running(job, core.clock.now_ms())
        elif isinstance(error, PortTaken) and job.state is JobState.STARTING:
            self._ports.were_taken(job)
            self._ender.end(job, back_to_queue(str(error)), fence=True)
        elif isinstance(error, CannotStartNow) and job.state is JobState.STARTING:
            self._pauses.failed(job)
            self._ender.end(job, back_to_queue(str(error)), fence=True)
        elif isinstance(error, RequestError | HostError) and job.state is JobState.STARTING:
            if isinstance(error, HostError):
                self._failures.failed(job, error)
            self._ender.end(job, start_failed(f"start failed: {error}", error), fence=True)
        elif isinstance(error, Unavailable) and job.state is JobState.STARTING:
            self._ender.end(job, back_to_queue(f"start: {error}"), fence=True)
        else:
            log.warning("job %d: start: %s; looking for what became of it", job.id, error)
            self.look_until(job)
        core.look_soon()

    def look_until(self, job: Job) -> int:
        """Return until when (boot time, ms) to look for the outcome of this start."""
        look_ms = int(self._core.pace.start_look_s * 1000)
        return self._looks.setdefault(job.id, self._core.clock.boot_ms() + look_ms)

    def commit_running(self, job: Job, started_at: int) -> None:
        """Commit that the attempt runs; a stop asked for meanwhile now reaches it."""
        core = self._core
        self._looks.pop(job.id, None)
        state = JobState.RUNNING if job.state is JobState.STARTING else job.state
        running = msgspec.structs.replace(job, state=state, started_at=started_at)
        change = Change("start.running")
        change.job(running, "job.running", devices=",".join(job.devices))
        core.journal.commit(change)
        self._failures.succeeded(job)
        self._pauses.worked(job)
        if state is JobState.STOPPING:
            self._stopper.deliver(running)
        else:
            self._readback.look_at(running)

    def adopt(self, job: Job, seen: Observed) -> None:
        """Take over an attempt that is seen running though its start's answer never came."""
        log.info("job %d: adopted, it runs as %s", job.id, seen.handle)
        now = self._core.clock.now_ms()
        earliest = job.leased_at or now
        started_at = seen.started_at if seen.started_at is not None else now
        self.commit_running(job, min(max(started_at, earliest), max(now, earliest)))

    def forget(self, job_id: JobId) -> None:
        """Drop what is remembered of a start."""
        self._looks.pop(job_id, None)
        self._issued.pop(job_id, None)
        if job_id not in self._core.ledger.jobs:
            self._core.progress.pop(job_id, None)


def run_request(core: Core, job: Job) -> RunRequest:
    """Return what the runtime is asked for; its spec hash is the same for every repetition."""
    spec, owner = job.spec, job.owner
    request = RunRequest(
        name=job.runtime_name,
        job_id=job.id,
        attempt=job.attempt,
        uid=owner.uid,
        gid=owner.gid,
        groups=owner.groups,
        user=owner.name,
        home=owner.home,
        image=spec.image if spec.runtime is not RuntimeName.PROCESS else "",
        command=spec.command,
        script=spec.script,
        env={
            **_budget_environment(core, job),
            **_slurm_environment(job),
            **spec.env,
            **_own_environment(job),
        },
        mounts=spec.mounts,
        ports=job.ports,
        workdir=spec.workdir,
        devices=job.devices,
        shm_bytes=spec.shm_bytes,
        cpus=spec.cpus,
        cpuset=_near_cpus(core, job) if core.config.jobs.numa_bind else "",
        memory_bytes=spec.memory_bytes,
        pids=core.config.jobs.pids_limit,
        stop_signal=spec.stop_signal,
        grace_s=spec.grace_s,
        granted_at=job.leased_at or 0,
    )
    return in_container(request) if spec.runtime is RuntimeName.DOCKER else request


def _near_cpus(core: Core, job: Job) -> str:
    """Return the CPUs near the job's devices; empty where the driver does not say it of each."""
    device_of = {reading.device.uuid: reading.device for reading in core.snapshot.readings}
    lists = [device_of[uuid].cpus if uuid in device_of else "" for uuid in job.devices]
    return ",".join(dict.fromkeys(lists)) if all(lists) else ""


def _budget_environment(core: Core, job: Job) -> dict[str, str]:
    """Return what tells frameworks that take all memory by default to keep to the job's budget.

    What the person sets beats it. The same for every repetition within an attempt: it goes by the
    lease, not by what is left of the device.
    """
    share = next((x.share for x in core.ledger.leases_of(job.id) if x.share is not None), None)
    if share is None:
        return {}
    fraction = 0.9 * share.memory_bytes / share.capacity_bytes  # the rest is for CUDA itself
    return {
        "GPUBOARD_GPU_MEM_BYTES": str(share.memory_bytes),
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{fraction:.3f}",
    }


def _own_environment(job: Job) -> dict[str, str]:
    env = {
        "GPUBOARD_JOB_ID": str(job.id),
        "GPUBOARD_JOB_NAME": job.spec.name,
        "GPUBOARD_ATTEMPT": str(job.attempt),
        "GPUBOARD_GPUS": str(len(job.devices)),
    }
    env |= {f"GPUBOARD_PORT_{each.port}": str(each.host_port) for each in job.ports}
    if job.array_id is not None and job.array_index is not None:
        env["GPUBOARD_ARRAY_ID"] = str(job.array_id)
        env["GPUBOARD_ARRAY_INDEX"] = str(job.array_index)
    return env


def _slurm_environment(job: Job) -> dict[str, str]:
    """Return what a script that was written for Slurm reads of itself; what the person sets beats it.

    Not SLURM_NTASKS and the like, by which frameworks would take the box for a cluster.
    """
    if not has_sbatch_lines(job.spec.script):
        return {}
    env = {"SLURM_JOB_ID": str(job.id), "SLURM_JOB_NAME": job.spec.name}
    if job.spec.workdir:
        env["SLURM_SUBMIT_DIR"] = job.spec.workdir
    if job.array_id is not None and job.array_index is not None:
        env["SLURM_ARRAY_JOB_ID"] = str(job.array_id)
        env["SLURM_ARRAY_TASK_ID"] = str(job.array_index)
    return env
