"""A scripted `Source`: a lab of eight GPUs at a fixed instant, and a feed that tests push into."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import ClassVar
from weakref import WeakSet

import msgspec

from gpuboard.errors import GpuboardError, Refused, Unavailable
from gpuboard.model.requests import (
    CancelRequest,
    DrainRequest,
    NoticeRequest,
    ReservationUpdate,
    ReserveRequest,
    SubmitRequest,
    UpdateRequest,
)
from gpuboard.model.views.admin import AdminResult
from gpuboard.model.views.board import BoardView, HostView, NoticeView
from gpuboard.model.views.bookings import (
    ReservationList,
    ReservationView,
    ReserveResult,
    WindowView,
)
from gpuboard.model.views.catalog import ImageList, ImageView, TemplateList, TemplateView
from gpuboard.model.views.devices import (
    BookingRef,
    DeviceHistory,
    DeviceRef,
    DeviceView,
    ProcessView,
)
from gpuboard.model.views.doctor import CheckView, DoctorView
from gpuboard.model.views.events import EventView
from gpuboard.model.views.jobs import (
    ActionResult,
    ActionResults,
    JobDetail,
    JobList,
    JobView,
    MountView,
    PortView,
    SubmitResult,
)
from gpuboard.model.views.shares import UsageRow, UsageView
from gpuboard.model.views.timeline import TimelineEntry, TimelineView
from gpuboard.model.views.waits import AheadView, CauseView, DryRunView, PriorityView, WhyView
from gpuboard.tui.queuewindow import QueueWish
from tests.support.tui_past import PastAndDaemon

DAY = "2026-11-23"
NOW = f"{DAY}T13:40:00Z"
GIB = 2**30


def at(clock: str, day: str = DAY) -> str:
    return f"{day}T{clock}:00Z"


def device(index: int, state: str, **values: object) -> DeviceView:
    defaults: dict[str, object] = {
        "uuid": f"GPU-{index:04d}",
        "label": str(index),
        "index": index,
        "name": "NVIDIA H100 80GB HBM3",
        "state": state,
        "utilization": 0,
        "memory_utilization": 0,
        "memory_used_bytes": 0,
        "memory_total_bytes": 80 * GIB,
        "temperature_c": 31 + index,
        "power_w": 68.0 + index,
        "power_limit_w": 700.0,
    }
    return DeviceView(**(defaults | values))  # type: ignore[arg-type]


def leased(
    index: int, user: str, job: int, name: str, since: str, until: str, **values: object
) -> DeviceView:
    use = values.pop("utilization", 90)
    memory = values.pop("memory", 52)
    processes = values.pop(
        "processes",
        [
            ProcessView(
                pid=41000 + index * 17,
                user=user,
                command=f"python {name}.py",
                memory_bytes=int(memory) * GIB,
                utilization=use,
                job_id=job,
                container=f"gb-{job}-1",
                started_at=at(since),
            )
        ],  # type: ignore[call-overload,arg-type]
    )
    return device(
        index, "leased", user=user, mine=user == "ann", job_id=job, job_name=name,
        since_at=at(since), until_at=at(until), utilization=use,
        memory_used_bytes=int(memory) * GIB,  # type: ignore[call-overload]
        temperature_c=58 + index, power_w=410.0 + 11 * index, processes=processes, **values,
    )  # fmt: skip


def devices() -> list[DeviceView]:
    return [
        leased(0, "ann", 412, "train-llm", "11:00", "16:00", utilization=97, memory=71),
        leased(1, "ann", 412, "train-llm", "11:00", "16:00", utilization=96, memory=71),
        device(2, "free", next_booking=BookingRef(7, "carl", at("15:00"), at("18:00"))),
        leased(3, "bea", 398, "notebook", "09:10", "17:10", utilization=0, memory=22, idle_s=4980),
        device(4, "booked", user="dora", reservation_id=6, since_at=at("13:00"), until_at=at("15:30")),
        device(5, "foreign", user="root", state_words="used outside gpuboard", utilization=35, memory_used_bytes=9 * GIB,
               processes=[ProcessView(pid=2231, user="root", command="xmrig --donate 0", memory_bytes=9 * GIB, belongs="foreign")]),
        device(6, "drained", state_words="fan broken"),
        device(7, "faulty", state_words="fell off the bus (Xid 79)", utilization=None, memory_used_bytes=None, temperature_c=None, power_w=None, processes_known=False),
    ]  # fmt: skip


def board(**values: object) -> BoardView:
    defaults: dict[str, object] = {
        "at": NOW,
        "read_at": NOW,
        "user": "ann",
        "uid": 1000,
        "is_admin": False,
        "host": HostView(
            hostname="hopper",
            version="0.1.0",
            cpu_percent=23.0,
            cpus=64,
            load_1m=12.3,
            memory_used_bytes=181 * GIB,
            memory_total_bytes=512 * GIB,
            shm_used_bytes=12 * GIB,
            shm_total_bytes=256 * GIB,
            disk_free_bytes=830 * GIB,
            engine="docker 27.3.1",
            driver="550.90",
            cuda="12.4",
            runtimes=["docker", "process"],
            default_runtime="docker",
            default_limit_s=4 * 3600,
            max_limit_s=7 * 86400,
        ),
        "devices": devices(),
        "queued": 5,
        "running": 2,
    }
    return BoardView(**(defaults | values))  # type: ignore[arg-type]


def job(number: int, user: str, name: str, state: str, **values: object) -> JobView:
    defaults: dict[str, object] = {
        "id": number, "name": name, "user": user, "uid": 1000 + ord(user[0]), "mine": user == "ann",
        "state": state, "runtime": "docker", "image": "pytorch/pytorch:2.4" if user == "ann" else "",
        "command": ["python", f"{name}.py", "--epochs", "30"] if user == "ann" else [],
        "gpus": 1, "limit_s": 4 * 3600, "submitted_at": at("10:55"),
    }  # fmt: skip
    return JobView(**(defaults | values))  # type: ignore[arg-type]


def ref(*labels: int) -> list[DeviceRef]:
    return [DeviceRef(str(label), f"GPU-{label:04d}") for label in labels]


def jobs() -> list[JobView]:
    return [
        job(412, "ann", "train-llm", "running", gpus=2, devices=ref(0, 1), ports=[PortView(8888, 20017)], limit_s=5 * 3600, started_at=at("11:00"), ends_at=at("16:00")),
        job(398, "bea", "notebook", "running", devices=ref(3), limit_s=8 * 3600, started_at=at("09:10"), ends_at=at("17:10")),
        job(415, "carl", "diffusion-xl", "queued", gpus=4, limit_s=6 * 3600, place=0, expected_start_at=at("16:00"), p90_start_at=at("16:40"), latest_start_at=at("17:10"), reason="needs 4 GPUs; GPU 0,1 are ann's until 16:00"),
        job(416, "ann", "eval-llm", "queued", place=1, limit_s=1800, expected_start_at=at("13:45"), latest_start_at=at("16:00"), reason="the free GPU is kept for job 415"),
        job(418, "bea", "sweep", "queued", place=2, limit_s=7200, array_id=418, array_index=0, expected_start_at=at("16:05"), latest_start_at=at("19:10"), reason="2 ahead"),
        job(420, "ann", "after-eval", "queued", limit_s=3600, depends_on=["afterok:416"], reason="waits for job 416 to succeed"),
        job(421, "dora", "big-batch", "queued", gpus=2, limit_s=86400, held_by="user", reason="held by dora"),
    ]  # fmt: skip


def ended() -> list[JobView]:
    return [
        job(401, "ann", "prep-data", "succeeded", started_at=at("08:00"), ended_at=at("09:12"), exit_code=0, devices=ref(2)),
        job(387, "ann", "train-llm", "failed", started_at=at("20:00", "2026-11-22"), ended_at=at("22:41", "2026-11-22"), exit_code=137, oom_killed=True, exit_words="killed by SIGKILL, out of memory", devices=ref(0, 1), gpus=2),
        job(380, "ann", "probe", "timed_out", limit_s=1800, started_at=at("18:00", "2026-11-21"), ended_at=at("18:30", "2026-11-21"), exit_code=143, exit_words="reached its limit of 30m"),
    ]  # fmt: skip


def booking(
    number: int, user: str, gpus: int, start: str, end: str, state: str = "booked", **values: object
) -> ReservationView:
    defaults: dict[str, object] = {"devices": []}
    return ReservationView(
        id=number, user=user, uid=1000 + ord(user[0]), mine=user == "ann", state=state, gpus=gpus,
        from_at=start, until_at=end, **(defaults | values),
    )  # type: ignore[arg-type]  # fmt: skip


def reservations() -> list[ReservationView]:
    return [
        booking(6, "dora", 1, at("13:00"), at("15:30"), "active", devices=ref(4), name="demo"),
        booking(7, "carl", 1, at("15:00"), at("18:00"), devices=ref(2)),
        booking(
            9, "ann", 4, at("09:00", "2026-11-24"), at("17:00", "2026-11-24"), name="paper deadline"
        ),
    ]


def timeline_entries() -> list[TimelineEntry]:
    def entry(
        index: int | None, kind: str, user: str, start: str, end: str, **values: object
    ) -> TimelineEntry:
        return TimelineEntry(
            device=None if index is None else str(index), uuid=None if index is None else f"GPU-{index:04d}",
            kind=kind, user=user, mine=user == "ann", from_at=start, until_at=end, **values,
        )  # type: ignore[arg-type]  # fmt: skip

    return [
        entry(2, "ran", "ann", at("11:30"), at("12:50"), job_id=401, name="prep-data"),
        entry(0, "running", "ann", at("11:00"), at("16:00"), job_id=412, name="train-llm"),
        entry(1, "running", "ann", at("11:00"), at("16:00"), job_id=412, name="train-llm"),
        entry(3, "running", "bea", at("09:10"), at("17:10"), job_id=398, name="notebook"),
        entry(4, "booking", "dora", at("13:00"), at("15:30"), reservation_id=6, name="demo"),
        entry(2, "booking", "carl", at("15:00"), at("18:00"), reservation_id=7),
        entry(2, "forecast", "ann", at("13:45"), at("14:15"), job_id=416, name="eval-llm"),
        entry(0, "forecast", "carl", at("16:00"), at("22:00"), job_id=415, name="diffusion-xl", gpus=4, latest_from_at=at("17:10")),
        entry(1, "forecast", "carl", at("16:00"), at("22:00"), job_id=415, name="diffusion-xl", gpus=4, latest_from_at=at("17:10")),
        entry(None, "booking", "ann", at("09:00", "2026-11-24"), at("17:00", "2026-11-24"), reservation_id=9, gpus=4, name="paper deadline"),
        entry(6, "blackout", "", at("20:00"), at("23:00"), name="fan replacement"),
    ]  # fmt: skip


def history() -> DeviceHistory:
    def wave(index: int, low: int, high: int) -> list[int | None]:
        return [low + (high - low) * ((i * 7 + index * 13) % 23) // 22 for i in range(200)]

    flat: list[int | None] = [0] * 200
    uses = {
        0: wave(0, 84, 100),
        1: wave(1, 80, 99),
        3: [70 if i < 60 else 0 for i in range(200)],
        5: wave(5, 20, 48),
    }
    sizes = {0: [89] * 200, 1: [89] * 200, 3: [28] * 200, 5: [11] * 200}
    return DeviceHistory(
        at="2026-11-23T13:39:59Z",
        utilization={f"GPU-{i:04d}": uses.get(i, flat) for i in range(7)},
        memory={f"GPU-{i:04d}": sizes.get(i, flat) for i in range(7)},  # type: ignore[misc]
        power={
            f"GPU-{i:04d}": [int(u or 0) // 2 + 10 for u in uses.get(i, flat)] for i in range(7)
        },
        temperature={
            f"GPU-{i:04d}": [int(u or 0) // 4 + 33 for u in uses.get(i, flat)] for i in range(7)
        },
    )


class ScriptedLog:
    """Chunks, and what is pushed later while it is open."""

    def __init__(self, chunks: list[bytes], is_open: bool) -> None:
        self.items: queue.Queue[bytes | None] = queue.Queue()
        for chunk in chunks:
            self.items.put(chunk)
        if not is_open:
            self.items.put(None)
        self.is_hung_up = False

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self.items.get()) is not None:
            yield chunk

    def hang_up(self) -> None:
        self.is_hung_up = True
        self.items.put(None)


class ScriptedSource(PastAndDaemon):
    """Answers from attributes that a test may replace; records what it was asked."""

    _made: ClassVar[WeakSet[ScriptedSource]] = WeakSet()

    @classmethod
    def end_feeds(cls) -> None:
        """End every feed: a thread that waits for the next item would keep its app, of a test that is over."""
        for source in tuple(cls._made):
            source.push(Unavailable("the test is over"))

    def __init__(self) -> None:
        self._made.add(self)
        self.board = board()
        self.jobs = jobs()
        self.ended_jobs = ended()
        self.reservations = reservations()
        self.entries = timeline_entries()
        self.log_chunks: list[bytes] = [
            b"loading shards...\n",
            *(f"step {i} loss {3.2 - i / 100:.3f}\n".encode() for i in range(60)),
            b"saved checkpoint to /data/ann/ckpt-60\n",
        ]
        self.is_log_open = False
        """Whether the job still writes: the log goes on."""
        self.log_stream: ScriptedLog | None = None
        self.calls: list[tuple[str, object]] = []
        self.fault: GpuboardError | None = None
        """Raised by every call (not by the feed) while set."""
        self.refusal: GpuboardError | None = None
        """Raised by reserve and dry_run while set."""
        self.refused = ""
        """Said by trials of bookings while set, with `windows`."""
        self.windows = [WindowView(at("16:00"), at("17:30")), WindowView(at("20:00"), at("21:30"))]
        self.gate: threading.Event | None = None
        """While set to an unset event, every call blocks on it: a daemon that does not answer."""
        self.connections = 0
        self.revision = 0
        self.is_here = True
        self.poison = ""
        """Said in place of people's and the daemon's words where tests set no other."""
        self.is_down = False
        self._items: queue.Queue[object] = queue.Queue()

    def push(self, *items: object) -> None:
        """Let the feed yield items; an exception is raised there."""
        for item in items:
            self._items.put(item)

    def push_board(self, **changes: object) -> None:
        self.board = msgspec.structs.replace(self.board, **changes)
        self.push(self.board)

    def feed(self, after: int | None) -> Iterator[object]:
        if self.is_down:
            raise Unavailable("the daemon does not answer", hint="systemctl status gpuboard")
        self.connections += 1
        self.calls.append(("feed", after))
        yield self.board
        yield self.queue_view()
        yield ReservationList(at=NOW, reservations=self.reservations)
        while True:
            item = self._items.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def queue_view(self) -> JobList:
        """What the feed says of it: my jobs, everybody's count, and that something changed."""
        self.revision += 1
        mine = [each for each in self.jobs if each.mine]
        return JobList(at=NOW, jobs=mine, total=len(self.jobs), revision=self.revision)

    def queue_page(self, wish: QueueWish, offset: int, limit: int) -> JobList:
        self._asked("queue_page", (wish, offset, limit))
        found = [each for each in self.jobs if wish.takes(each)]
        return JobList(at=NOW, jobs=found[offset : offset + limit], total=len(found), offset=offset)

    def history(self) -> DeviceHistory:
        return history()

    def job(self, selector: str) -> JobDetail:
        self._asked("job", selector)
        found = self._find(int(selector))
        return JobDetail(
            job=found, env={"WANDB_MODE": "offline", "EPOCHS": "30"}, mounts=[MountView("/data/ann", "/data")],
            workdir="/data", shm_bytes=8 * GIB, cpus=8.0, memory_bytes=64 * GIB, stop_signal="SIGTERM", grace_s=30,
            image_id="sha256:4a8f2b0d9c",
            events=[
                EventView(1, at("10:55"), "job.submitted", "submitted by ann", job_id=found.id, user="ann"),
                EventView(2, at("11:00"), "job.starting", "starts on GPU 0,1", job_id=found.id),
                EventView(3, at("11:00"), "job.running", "runs", job_id=found.id),
            ],
        )  # fmt: skip

    def why(self, selector: str) -> WhyView:
        self._asked("why", selector)
        found = self._find(int(selector))
        return WhyView(
            id=found.id, state=found.state, words="It needs 4 GPUs; 1 is free now and 3 more come free by 16:00.",
            causes=[
                CauseView("devices_busy", self.poison or "GPU 0,1 are held by ann until 16:00", 2, ref(0, 1), until_at=at("16:00"), user="ann"),
                CauseView("devices_busy", "GPU 3 is held by bea until 17:10", 1, ref(3), until_at=at("17:10"), user="bea"),
                CauseView("device_unavailable", "GPU 6 is drained: fan broken", 1, ref(6)),
            ],
            place=found.place, ahead_gpus=4 if found.place else 0, expected_start_at=found.expected_start_at, latest_start_at=found.latest_start_at,
            would_start_now="--gpus 1",
            p90_start_at=found.p90_start_at,
            ahead=[AheadView(id=415, user=self.poison or "carl", gpus=4, limit_s=6 * 3600, expected_start_at=at("16:00"))] if found.place else [],
            priority=PriorityView(share=0.31, lead_s=3 * 86400 + 7200),
        )  # fmt: skip

    def log(self, selector: str, tail: int, attempt: int | None = None) -> ScriptedLog:
        self._asked("log", selector if attempt is None else (selector, attempt))
        self.log_stream = ScriptedLog(self.log_chunks, self.is_log_open)
        return self.log_stream

    def ended(self, user: str, limit: int) -> JobList:
        self._asked("ended", user)
        return JobList(at=NOW, jobs=self.ended_jobs, total=len(self.ended_jobs))

    def dry_run(self, request: SubmitRequest) -> DryRunView:
        self._asked("dry_run", request)
        if self.refusal:
            raise self.refusal
        if request.gpus == 1:
            return DryRunView(would_start_now=True, devices=ref(2), words="starts now on GPU 2")
        return DryRunView(
            would_start_now=False,
            expected_start_at=at("16:00"),
            latest_start_at=at("17:10"),
            words="about 16:00",
        )

    def submit(self, request: SubmitRequest) -> SubmitResult:
        self._asked("submit", request)
        return SubmitResult(ids=[430], jobs=[])

    def cancel(self, request: CancelRequest) -> ActionResults:
        self._asked("cancel", request)
        return ActionResults(
            results=[
                ActionResult(id=int(number), ok=True, words="is being stopped")
                for number in request.jobs
            ]
        )

    def update(self, request: UpdateRequest) -> ActionResults:
        self._asked("update", request)
        return ActionResults(
            results=[
                ActionResult(
                    id=int(number),
                    ok=True,
                    words="changed",
                    job=msgspec.structs.replace(self._find(int(number)), limit_s=19800),
                )
                for number in request.jobs
            ]
        )

    def hold(self, jobs: list[str], *, held: bool) -> ActionResults:
        self._asked("hold" if held else "release", jobs)
        return ActionResults(
            results=[
                ActionResult(id=int(number), ok=True, words="held" if held else "released")
                for number in jobs
            ]
        )

    def reserve(self, request: ReserveRequest) -> ReserveResult:
        self._asked("reserve", request)
        if self.refusal:
            raise self.refusal
        if request.dry_run and self.refused:
            return ReserveResult(
                dry_run=True, reservation=booking(0, "ann", request.gpus, at("14:00"), at("15:30")),
                refused=self.refused, windows=self.windows,
            )  # fmt: skip
        if request.gpus > 8:
            raise Refused(
                "the box has 8 GPUs",
                hint="nearest: 8 GPUs from Tue 09:00 until 10:30",
                field="gpus",
            )
        view = booking(
            11,
            "ann",
            request.gpus,
            at("14:00"),
            at("15:30"),
            devices=ref(2),
            on_them_now=["GPU 2: free"],
        )
        return ReserveResult(dry_run=request.dry_run, reservation=view)

    def change_booking(self, reservation_id: int, request: ReservationUpdate) -> ReserveResult:
        self._asked("change_booking", (reservation_id, request))
        if self.refusal:
            raise self.refusal
        view = next(item for item in self.reservations if item.id == reservation_id)
        if request.dry_run and self.refused:
            return ReserveResult(
                dry_run=True, reservation=view, refused=self.refused, windows=self.windows
            )
        return ReserveResult(dry_run=request.dry_run, reservation=view)

    def unreserve(self, reservation_id: int, *, series: bool = False) -> ReservationView:
        self._asked("unreserve", (reservation_id, "series") if series else reservation_id)
        return next(item for item in self.reservations if item.id == reservation_id)

    def timeline(self, since: str, until: str) -> TimelineView:
        self._asked("timeline", (since, until))
        return TimelineView(
            at=NOW, from_at=since, until_at=until, devices=ref(*range(8)), entries=self.entries
        )

    def usage(self) -> UsageView:
        self._asked("usage", None)
        return UsageView(
            at=NOW, half_life_s=7 * 86400,
            people=[
                UsageRow(user="bea", uid=1001, mine=False, running_gpus=1, queued_jobs=1, device_seconds=310 * 3600, share=0.48, factor=0.26, device_seconds_7d=402 * 3600),
                UsageRow(user="ann", uid=1000, mine=True, running_gpus=2, queued_jobs=2, device_seconds=201 * 3600, share=0.31, factor=0.42, device_seconds_7d=260 * 3600),
                UsageRow(user="carl", uid=1002, mine=False, queued_jobs=1, device_seconds=96 * 3600, share=0.15, factor=0.66, device_seconds_7d=96 * 3600),
                UsageRow(user="dora", uid=1003, mine=False, device_seconds=38 * 3600, share=0.06, factor=0.85, device_seconds_7d=40 * 3600),
            ],
        )  # fmt: skip

    def templates(self) -> TemplateList:
        self._asked("templates", None)
        request = SubmitRequest(
            image="pytorch/pytorch:2.4",
            command=["python", "train.py"],
            gpus=2,
            time_limit="8h",
            env={"WANDB_MODE": "offline"},
            shm_size="32G",
            preemptible=True,
        )
        return TemplateList(
            templates=[
                TemplateView(
                    name=self.poison or "train",
                    about=self.poison or "two GPUs, nightly",
                    request=request,
                )
            ]
        )

    def images(self) -> ImageList:
        self._asked("images", None)
        return ImageList(
            images=[
                ImageView(
                    reference=name, id="sha256:4a8f", created_at=at("08:00"), size_bytes=7 * GIB
                )
                for name in ("pytorch/pytorch:2.4", "nvcr.io/nvidia/jax:24.10", "ubuntu:24.04")
            ]
        )

    def drain(self, request: DrainRequest) -> AdminResult:
        self._asked("drain", request)
        return AdminResult(words="done: drain")

    def resume(self, request: DrainRequest) -> AdminResult:
        self._asked("resume", request)
        return AdminResult(words="done: resume")

    def notice(self, request: NoticeRequest) -> AdminResult:
        self._asked("notice", request)
        return AdminResult(words="done: notice")

    def reload(self) -> AdminResult:
        self._asked("reload", None)
        return AdminResult(words="done: reload")

    def doctor(self) -> DoctorView:
        self._asked("doctor", None)
        return DoctorView(
            checks=[
                CheckView(name="driver", status="ok", words="550.90"),
                CheckView(
                    name="disk",
                    status="warning",
                    words="/var has 2 GiB left",
                    mend="docker system prune",
                ),
            ]
        )

    def called(self, name: str) -> list[object]:
        """What a call was asked with, each time."""
        return [what for call, what in self.calls if call == name]

    def _asked(self, name: str, what: object) -> None:
        self.calls.append((name, what))
        if self.gate is not None:
            self.gate.wait(20)
        if self.fault:
            raise self.fault

    def _find(self, number: int) -> JobView:
        return next(found for found in [*self.jobs, *self.ended_jobs] if found.id == number)


def notice(text: str) -> NoticeView:
    return NoticeView(1, NOW, "root", text)
