"""Use cases that only look: the board, device history, usage, images, events, doctor."""

from __future__ import annotations

from collections.abc import Callable

import gpuboard
from gpuboard.errors import NotFound
from gpuboard.model.ids import JobId
from gpuboard.model.instants import iso
from gpuboard.model.job import EventRow
from gpuboard.model.person import Caller
from gpuboard.model.views.board import BoardView, HostView, NoticeView
from gpuboard.model.views.catalog import ImageList, ImageView
from gpuboard.model.views.devices import DeviceHistory, TopologyView
from gpuboard.model.views.doctor import DoctorView
from gpuboard.model.views.events import EventList
from gpuboard.model.views.shares import UsageView
from gpuboard.runtimes.sandbox import is_image_allowed
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames
from gpuboard.service.deviceviews import DeviceViews
from gpuboard.service.doctor import Doctor
from gpuboard.service.host import HostSampler
from gpuboard.service.jobviews import JobViews
from gpuboard.service.maintenance import maintenance_notices
from gpuboard.service.rights import Action, may
from gpuboard.service.selectors import JobSelectors
from gpuboard.service.shares import usage_view
from gpuboard.service.topologyview import topology_view

MAX_EVENTS = 10_000
MAX_HISTORY_S = 3600
_OWNERS_KEPT = 10_000


class BoardService:
    """What everybody may see of the box."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._engine = context.engine
        self._host = HostSampler(context.config.daemon.state_dir)
        self._owners: dict[JobId, int | None] = {}
        self._selectors = JobSelectors(context.engine)

    def board(self, caller: Caller) -> BoardView:
        """Return one second of the box."""
        engine, config = self._engine, self._context.config
        now = self._context.clock.now_ms()
        snapshot = engine.snapshot()
        devices = DeviceViews(engine, caller, now, config.devices.idle_after_s)
        return BoardView(
            at=iso(now) or "",
            read_at=iso(snapshot.at) if snapshot.at else None,
            user=caller.person.name,
            uid=caller.uid,
            is_admin=caller.is_admin,
            host=self._host_view(),
            devices=[devices.view(reading) for reading in snapshot.readings],
            notices=[
                *self._alarms(now),
                *maintenance_notices(engine, now),
                *(
                    NoticeView(n.id, iso(n.at) or "", n.by, n.text, iso(n.until_at))
                    for n in engine.notices()
                ),
            ],
            queued=engine.queue_length(),
            running=len(engine.running_jobs()),
        )

    def _alarms(self, now: int) -> list[NoticeView]:
        """Return what everybody has to know and no admin has to write."""
        halted = self._engine.halted_words()
        if not halted:
            return []
        text = f"nothing new is started: {halted}; what runs goes on. Please tell the admin"
        return [NoticeView(0, iso(now) or "", "gpuboard", text, None)]

    def _host_view(self) -> HostView:
        config, facts = self._context.config, self._host.read()
        snapshot, able = self._engine.snapshot(), self._engine.capabilities()
        return HostView(
            hostname=facts.hostname,
            version=gpuboard.__version__,
            personal=self._context.personal,
            simulated=self._context.simulated,
            cpu_percent=facts.cpu_percent,
            cpus=facts.cpus,
            load_1m=facts.load_1m,
            memory_used_bytes=facts.memory_used_bytes,
            memory_total_bytes=facts.memory_total_bytes,
            disk_free_bytes=facts.disk_free_bytes,
            shm_used_bytes=facts.shm_used_bytes,
            shm_total_bytes=facts.shm_total_bytes,
            engine=" ".join(("docker", able.runtimes["docker"])).strip()
            if "docker" in able.runtimes
            else "",
            engine_fault=able.faults.get("docker", ""),
            driver=snapshot.driver,
            cuda=snapshot.cuda,
            driver_fault=snapshot.fault,
            store_fault=self._engine.store_fault(),
            runtimes=sorted(able.runtimes),
            default_runtime=config.jobs.default_runtime,
            default_limit_s=config.jobs.default_time_s,
            max_limit_s=config.jobs.max_time_s,
        )

    def topology(self, caller: Caller) -> TopologyView:  # noqa: ARG002
        """Return how the devices are linked with each other and with CPUs."""
        return topology_view(self._engine.snapshot(), self._context.clock.now_ms())

    def history(self, caller: Caller, seconds: int = 120) -> DeviceHistory:  # noqa: ARG002
        """Return recent samples of the devices."""
        if self._context.history is None:
            return DeviceHistory(at=iso(self._context.clock.now_ms()) or "")
        return self._context.history.history(max(1, min(seconds, MAX_HISTORY_S)))

    def usage(self, caller: Caller) -> UsageView:
        """Return usage of everybody, the heaviest first."""
        return usage_view(self._context, caller)

    def images(self, caller: Caller) -> Callable[[], ImageList]:  # noqa: ARG002
        """Return a function that lists local images allowed here; it runs on a worker thread."""
        runtime = self._context.runtimes.get("docker")
        allowed = self._context.config.docker.images

        def read() -> ImageList:
            if runtime is None:
                return ImageList()
            return ImageList(
                images=[
                    ImageView(
                        reference=i.reference,
                        id=i.id,
                        created_at=iso(i.created_at),
                        size_bytes=i.size_bytes,
                    )
                    for i in runtime.images()
                    if is_image_allowed(i.reference, allowed)
                ]
            )

        return read

    def events(
        self, caller: Caller, after_id: int, limit: int = 1000, job: str | None = None
    ) -> EventList:
        """Return events after an id, oldest first."""
        job_id = self._selectors.one(caller, job).id if job else None
        rows = self._engine.events(after_id, max(0, min(limit, MAX_EVENTS)), job_id)
        now = self._context.clock.now_ms()
        views = JobViews(self._engine, caller, now, DeviceNames(self._engine.snapshot()))
        return EventList(
            events=[views.event(row, is_private=self._is_private(caller, row)) for row in rows]
        )

    def last_event_id(self) -> int:
        """Return the id of the newest event."""
        return self._engine.last_event_id()

    def _is_private(self, caller: Caller, row: EventRow) -> bool:
        if row.job_id is None:
            return False
        return not may(caller, Action.READ_PRIVATE, self._owner(row.job_id))

    def _owner(self, job_id: JobId) -> int | None:
        if job_id not in self._owners:
            if len(self._owners) >= _OWNERS_KEPT:
                self._owners.clear()
            try:
                self._owners[job_id] = self._engine.job(job_id).owner.uid
            except NotFound:
                self._owners[job_id] = None
        return self._owners[job_id]

    def revision(self) -> int:
        """Return a number raised by every change that a list of jobs or bookings could show."""
        return self._engine.revision()

    def doctor(self, caller: Caller) -> Callable[[], DoctorView]:  # noqa: ARG002
        """Return a function that checks the box; it runs on a worker thread."""
        context = self._context
        doctor = Doctor(
            config=context.config,
            snapshot=self._engine.snapshot(),
            runtimes=context.runtimes,
            personal=context.personal,
            halted=self._engine.halted_words(),
            store_fault=self._engine.store_fault(),
        )
        return doctor.examine
