"""From what a person asks for to what the queue takes: every field read, bounded and resolved.

The sandbox's own rules (environment, mounts, images, resources) are `runtimes.sandbox`'s; here is
what needs the configuration, the clock, the devices or other jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gpuboard.config import Config
from gpuboard.engine import audit
from gpuboard.engine.protocol import NewJob, Vetted
from gpuboard.errors import GpuboardError, InvalidRequest, PermissionDenied
from gpuboard.model.arrays import parse_array
from gpuboard.model.durations import format_duration, parse_duration
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.instants import parse_instant
from gpuboard.model.job import Dependency, DependencyKind, Job, JobSpec, RuntimeName
from gpuboard.model.person import Caller
from gpuboard.model.ports import parse_ports
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.sizes import parse_size
from gpuboard.model.text import plain, quote_command
from gpuboard.runtimes.sandbox import SandboxSettings, check_submission
from gpuboard.service.boxlimits import most_cpus, most_memory_bytes
from gpuboard.service.charging import Charging
from gpuboard.service.clockwords import clock_words
from gpuboard.service.context import ServiceContext
from gpuboard.service.deviceasks import check_asks
from gpuboard.service.devices import DeviceNames
from gpuboard.service.names import MAX_NAME, given_name, means_else
from gpuboard.service.people import UnknownPerson
from gpuboard.service.rights import Action

MAX_NOTE = 1000
MAX_TOKEN = 128
MAX_DEPENDENCIES = 100
"""Words; each may mean many jobs (`afterok:@` after an array)."""
MAX_DEPENDED_ON = 1000
"""Jobs that one job waits for."""
MAX_LINKS = 100_000
"""Dependencies of all of an array's jobs together: each is kept with each."""
_JUST_NOW_MS = 60_000
"""An instant of the last minute is now: people write `14:30` at 14:30."""


@dataclass(frozen=True)
class Submission:
    """What a request became."""

    jobs: list[NewJob]
    array_limit: int | None
    held_by: str
    token: str


def sandbox_settings(config: Config) -> SandboxSettings:
    """Return what the administrator allows of a job, from [docker] and [jobs], and what the box has."""
    docker, jobs = config.docker, config.jobs
    return SandboxSettings(
        images=docker.images,
        pull=docker.pull,
        mount_roots=docker.mount_roots,
        mount_home=docker.mount_home,
        network=docker.network,
        port_range=docker.port_range,
        max_ports=docker.max_ports,
        default_shm_bytes=jobs.default_shm_bytes,
        pids_limit=jobs.pids_limit,
        max_cpus=most_cpus(config),
        max_memory_bytes=most_memory_bytes(config),
        default_memory_bytes=jobs.default_memory_bytes,
        min_uid=jobs.min_uid,
        max_env_bytes=jobs.max_env_bytes,
        max_grace_s=jobs.max_grace_s,
        max_disk_bytes=jobs.max_disk_bytes,
        read_only_root=docker.read_only_root,
        tmp_bytes=docker.tmp_bytes,
    )


class SpecReader:
    """Reads submissions of one caller at one instant."""

    def __init__(
        self,
        caller: Caller,
        config: Config,
        now: int,
        devices: DeviceNames,
        resolve_job: Callable[[str], list[JobId]],
        *,
        find_live: Callable[[str], list[JobId]],
        charging: Charging,
    ) -> None:
        self._caller = caller
        self._config = config
        self._now = now
        self._devices = devices
        self._resolve_job = resolve_job
        self._find_live = find_live
        self._charging = charging

    def read(self, request: SubmitRequest) -> Submission:
        """Return the jobs asked for. Raises InvalidRequest, Refused, PermissionDenied."""
        try:
            spec = self._spec(request)
            check_asks(spec, self._config, self._devices)
            self._charging.check(spec)
            check_submission(spec, self._caller.person, sandbox_settings(self._config))
        except PermissionDenied as error:
            audit.refused(self._caller.uid, Action.SUBMIT, self._caller.uid, error.message)
            raise
        if len(request.token) > MAX_TOKEN:
            raise InvalidRequest(f"a token has at most {MAX_TOKEN} characters", field="token")
        indices, limit = self._array(request.array)
        links = len(indices) * len(spec.depends_on)
        if links > MAX_LINKS:
            raise InvalidRequest(
                f"an array of {len(indices)}, each after {len(spec.depends_on)} jobs: at most"
                f" {MAX_LINKS} dependencies in all",
                field="depends_on",
                hint="put one small job in between that waits for all, and let the array wait for it",
            )
        jobs = [NewJob(spec, index) for index in indices] if indices else [NewJob(spec)]
        held_by = "user" if request.hold else ""
        return Submission(jobs, limit, held_by, request.token)

    def _spec(self, request: SubmitRequest) -> JobSpec:
        jobs = self._config.jobs
        runtime = self._runtime(request)
        uuids = self._devices.resolve(request.gpu_ids, "gpu_ids")
        class_name = self._charging.class_name(self._caller.person, request.class_name)
        name = self._name(request)
        grace_s = (
            jobs.default_grace_s
            if request.grace in ("", None)
            else parse_duration(_seconds(request.grace), field="grace")
        )
        return JobSpec(
            runtime=runtime,
            image=request.image,
            command=tuple(request.command),
            script=request.script,
            name=name,
            gpus=self._gpus(request, uuids),
            gpu_uuids=uuids,
            gpu_type=self._gpu_type(request.gpu_type),
            gpu_memory_bytes=_size(request.gpu_memory, "gpu_memory"),
            nvlink=request.nvlink,
            limit_s=self.limit_s(request.time_limit, class_name),
            env=request.env,
            mounts=tuple(request.mounts),
            ports=parse_ports(request.ports),
            workdir=request.workdir,
            shm_bytes=_size(request.shm_size, "shm_size"),
            cpus=request.cpus,
            memory_bytes=_size(request.memory, "memory"),
            begin_at=self.begin_at(request.begin, request.timezone),
            depends_on=self._dependencies(request.depends_on, name),
            preemptible=request.preemptible,
            requeue=request.requeue,
            stop_signal=_signal(request.stop_signal),
            grace_s=grace_s,
            note=bounded(request.note, MAX_NOTE, "note"),
            account=self._charging.account(self._caller.person, request.account),
            class_name=class_name,
        )

    def _runtime(self, request: SubmitRequest) -> RuntimeName:
        allowed = self._config.jobs.runtimes
        wanted = request.runtime or self._runtime_meant(request.image)
        if wanted not in allowed:
            raise InvalidRequest(
                f"this box has no runtime {plain(wanted, 40)!r}",
                field="runtime",
                hint="one of " + ", ".join(allowed),
            )
        runtime = RuntimeName(wanted)
        if runtime is RuntimeName.DOCKER and not request.image:
            other = ", or --process" if RuntimeName.PROCESS in allowed else ""
            raise InvalidRequest(
                f"no image: name one with --image{other}",
                field="image",
                hint="`gpuboard images` lists those on this box",
            )
        if runtime is RuntimeName.PROCESS and request.image:
            self._refuse_image(request)
        return runtime

    def _runtime_meant(self, image: str) -> str:
        """Return what runs a job that does not say: an image a container, a command alone a process."""
        jobs = self._config.jobs
        if image:
            has_containers = RuntimeName.DOCKER in jobs.runtimes
            return RuntimeName.DOCKER if has_containers else jobs.default_runtime
        is_container = jobs.default_runtime == RuntimeName.DOCKER
        if is_container and RuntimeName.PROCESS in jobs.runtimes:
            return RuntimeName.PROCESS
        return jobs.default_runtime

    def _refuse_image(self, request: SubmitRequest) -> None:
        if RuntimeName.DOCKER in self._config.jobs.runtimes:
            raise InvalidRequest(
                "a process has no image", field="image", hint="leave out the image, or --process"
            )
        words = [request.image, *request.command[:1], *(["..."] if request.command[1:] else [])]
        raise InvalidRequest(
            f"{plain(request.image, 60)!r} stands where the image of a container would, and there are no"
            " containers on this box: it has no Docker Engine that gpuboard uses",
            field="image",
            hint=f"for a plain process put -- before the command: -- {plain(quote_command(words), 80)};"
            " for containers: apt-get install docker.io, [jobs] runtimes, and restart the daemon",
        )

    def _name(self, request: SubmitRequest) -> str:
        if request.name:
            return given_name(request.name)
        source = request.command[0] if request.command else request.image
        base = source.rstrip("/").rsplit("/", 1)[-1]
        name = plain(base, MAX_NAME).strip()
        return name if name and not means_else(name) else "job"

    def _gpus(self, request: SubmitRequest, uuids: tuple[DeviceUuid, ...]) -> int:
        gpus = len(uuids) if uuids else request.gpus
        if gpus < 0:
            raise InvalidRequest(f"--gpus {gpus}: 0 or more", field="gpus")
        fitting = self._devices.count(request.gpu_type)
        if self._devices.is_known and gpus > fitting:
            kind = f" of type {plain(request.gpu_type, 40)}" if request.gpu_type else ""
            raise InvalidRequest(
                f"--gpus {gpus}: this box has {fitting} device{'' if fitting == 1 else 's'}{kind}",
                field="gpu_type"
                if request.gpu_type and gpus <= self._devices.count("")
                else "gpus",
                hint=self._devices.types_hint() if request.gpu_type else "",
            )
        return gpus

    def _gpu_type(self, text: str) -> str:
        return bounded(text, MAX_NAME, "gpu_type").strip()

    def limit_s(self, text: str | int, class_name: str = "") -> int:
        """Return a kill limit in seconds; for an empty one the default, as far as the class allows."""
        jobs = self._config.jobs
        if text == "":
            return min(jobs.default_time_s, self._charging.most_time_s(class_name))
        limit_s = parse_duration(text, field="time_limit")
        if limit_s > jobs.max_time_s:
            raise InvalidRequest(
                f"--time {format_duration(limit_s)}: at most {format_duration(jobs.max_time_s)} here",
                field="time_limit",
            )
        return limit_s

    def begin_at(self, text: str, zone: str) -> int | None:
        """Return the instant before which the job must not start; None for none, and for now.

        Raises InvalidRequest for one that is past.
        """
        if not text.strip():
            return None
        at = parse_instant(text, now_ms=self._now, zone=zone, field="begin")
        if at < self._now - _JUST_NOW_MS:
            raise InvalidRequest(
                f"--begin {plain(text, 40)}: {clock_words(at, self._now)} is past",
                field="begin",
                hint="leave it out to start as soon as there is room",
            )
        return at if at > self._now else None

    def _dependencies(self, words: list[str], name: str) -> tuple[Dependency, ...]:
        if len(words) > MAX_DEPENDENCIES:
            raise InvalidRequest(
                f"{len(words)} dependencies: at most {MAX_DEPENDENCIES}", field="depends_on"
            )
        found: dict[Dependency, None] = {}
        for word in dict.fromkeys(words):
            kind, ids = self._dependency(word, name)
            found.update(dict.fromkeys(Dependency(job_id, kind) for job_id in ids))
            if len(found) > MAX_DEPENDED_ON:
                raise InvalidRequest(
                    f"{len(found)} jobs to wait for: at most {MAX_DEPENDED_ON}", field="depends_on"
                )
        return tuple(found)

    def _dependency(self, word: str, name: str) -> tuple[DependencyKind, list[JobId]]:
        """Return how and after which jobs; `singleton`, as Slurm's, means all of mine of this name."""
        if word.lower() == "singleton":
            return DependencyKind.AFTER_ANY, self._find_live(name)
        kind_text, colon, rest = word.partition(":")
        if not colon:
            return DependencyKind.AFTER_OK, self._own_jobs(word)
        try:
            kind = DependencyKind(kind_text.lower())
        except ValueError:
            raise InvalidRequest(
                f"{plain(word, 60)!r} is no dependency",
                field="depends_on",
                hint="12, afterok:12, afterany:12, afternotok:@ or singleton",
            ) from None
        return kind, self._own_jobs(rest)

    def _own_jobs(self, selector: str) -> list[JobId]:
        try:
            return self._resolve_job(selector)
        except PermissionDenied as error:
            raise PermissionDenied(error.message, hint=error.hint, field="depends_on") from None

    def _array(self, text: str) -> tuple[tuple[int, ...], int | None]:
        if not text:
            return (), None
        indices, limit = parse_array(text, field="array")
        if len(indices) > self._config.jobs.max_array:
            raise InvalidRequest(
                f"an array of {len(indices)}: at most {self._config.jobs.max_array} here",
                field="array",
            )
        return indices, limit


def bounded(text: str, most: int, field: str) -> str:
    """Return the text as it is; raise InvalidRequest when it is longer than people write."""
    if len(text) > most:
        raise InvalidRequest(f"{field}: {len(text)} characters, at most {most}", field=field)
    return plain(text)


def _size(text: str | int, field: str) -> int | None:
    return None if text == "" else parse_size(text, field=field)


def _seconds(text: str | int) -> str | int:
    """Read a bare number as seconds: nobody means a grace of ten minutes by 10."""
    words = str(text).strip()
    return f"{words}s" if words.isdigit() else text


def _signal(text: str) -> str:
    if not text:
        return "SIGTERM"
    upper = text.upper()
    return upper if upper.startswith("SIG") else f"SIG{upper}"


def with_changes(spec: JobSpec, **changes: object) -> JobSpec:
    """Return a spec with those fields changed that are not None."""
    return msgspec.structs.replace(spec, **{k: v for k, v in changes.items() if v is not None})


def start_check(context: ServiceContext) -> Callable[[Job], Vetted]:
    """Return what says before a start, on a worker: may this still run, as this person?

    Accounts go or pass to others, people leave groups, rules change, and a spec may have been stored
    by an older version. What a directory that is away would say too (no account, no groups) is certain
    only where the box's own files are the whole directory.
    """

    def check(job: Job) -> Vetted:
        try:
            person = context.directory.person(job.owner.uid)
        except UnknownPerson as error:
            return Vetted(error.message, is_certain=error.is_certain)
        try:
            check_submission(job.spec, person, sandbox_settings(context.config))
        except GpuboardError as error:
            return Vetted(error.message)
        if person.name != job.owner.name:
            return Vetted(f"uid {job.owner.uid} is {person.name} now, not {job.owner.name}")
        left = set(job.owner.groups) - {person.gid, *person.groups}
        if left:
            groups = ", ".join(map(str, sorted(left)))
            words = f"{person.name} is not in group {groups} any more"
            return Vetted(words, is_certain=context.directory.is_local())
        return Vetted()

    return check
