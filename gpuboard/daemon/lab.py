"""The scripted lab of the demo: six people whose jobs and bookings come and go on a simulated box.

They act through the same services as everybody, each as their own caller; only who they are is
made up. A seed makes the story the same each time; the jobs are real processes (or containers)
that print epochs like a training run.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec

from gpuboard.errors import GpuboardError
from gpuboard.model.ids import Uid
from gpuboard.model.person import Caller, Person
from gpuboard.model.requests import ReserveRequest, SubmitRequest
from gpuboard.service.people import Directory
from gpuboard.service.services import Services

FIRST_UID = 70001
PEOPLE = ("ada", "ben", "chen", "dora", "emil", "fay")
HOG_JOB = "notebook-since-monday"
"""Holds a device and does nothing: the simulated probe shows it idle."""

TRAINING = (
    "i=0; while [ $i -lt {epochs} ]; do i=$((i+1)); "
    'echo "epoch $i/{epochs}  loss 0.$((1000 - 7*i))  on ${{CUDA_VISIBLE_DEVICES:-no device}}"; '
    "sleep 1; done; echo done"
)
IDLING = "echo 'Jupyter is waiting for you'; sleep 86400"


class Work(msgspec.Struct, frozen=True):
    """A kind of job that somebody in the lab runs."""

    name: str
    gpus: int
    epochs: int
    """Real run time in seconds."""
    limit: str


WORKS = (
    Work("bert-finetune", 1, 40, "10m"),
    Work("resnet50", 2, 60, "15m"),
    Work("diffusion-xl", 4, 50, "20m"),
    Work("eval-mmlu", 1, 15, "5m"),
    Work("llama-lora", 2, 80, "30m"),
    Work("segment-lungs", 1, 30, "10m"),
    Work("protein-fold", 3, 45, "12m"),
    Work("sweep-lr", 1, 20, "5m"),
)


class LabDirectory:
    """The six people beside the real ones of the host. They run as `runs_as`: who started the demo."""

    def __init__(self, host: Directory, runs_as: Person) -> None:
        self._host = host
        self._people = {
            FIRST_UID + number: msgspec.structs.replace(
                runs_as, uid=Uid(FIRST_UID + number), name=name
            )
            for number, name in enumerate(PEOPLE)
        }

    def person(self, uid: int) -> Person:
        """Return the person behind a uid."""
        return self._people.get(uid) or self._host.person(uid)

    def is_local(self) -> bool:
        """Whether the host's files are all of its directory."""
        return self._host.is_local()

    def gid_of_group(self, name: str) -> int | None:
        """Return the gid of a group of the host."""
        return self._host.gid_of_group(name)

    def callers(self) -> list[Caller]:
        """Return the six, as callers without rights."""
        return [Caller(person=person) for person in self._people.values()]


class Lab:
    """Lives the lab's day on a thread of its own until `stop`."""

    def __init__(
        self,
        services: Services,
        call: Callable[[Callable[[], Any]], Future[Any]],
        callers: list[Caller],
        *,
        image: str = "",
        seed: int = 7,
        pace_s: float = 4.0,
    ) -> None:
        """Take the services, the engine thread's `call`, the people, and an image ("" = processes)."""
        self._services = services
        self._call = call
        self._callers = callers
        self._image = image
        self._random = random.Random(seed)  # noqa: S311  # a story, not a secret
        self._pace_s = pace_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name="lab", daemon=True)

    def start(self) -> None:
        """Fill the box at once, then go on living."""
        self._open()
        self._thread.start()

    def stop(self) -> None:
        """End the story; jobs are left to the daemon."""
        self._stopped.set()
        self._thread.join(timeout=5)

    def _open(self) -> None:
        ada, ben, chen, dora, emil, fay = self._callers
        self._submit(fay, name=HOG_JOB, gpus=1, limit="12h", script=IDLING)
        self._submit_work(ada, WORKS[1])
        self._submit_work(ben, WORKS[0])
        self._submit_work(chen, WORKS[3])
        self._submit_work(dora, WORKS[6])
        self._submit_work(emil, WORKS[2])
        self._submit_work(ada, WORKS[5])
        self._reserve(dora, gpus=2, duration="30m", at="now+20m", name="demo for the visitors")
        self._reserve(chen, gpus=4, duration="2h", at="now+3h", name="thesis figures")

    def _live(self) -> None:
        while not self._stopped.wait(self._random.uniform(0.5, 1.5) * self._pace_s):
            waiting = self._do(
                lambda caller: self._services.jobs.live(caller).total, self._callers[0]
            )
            if waiting is not None and waiting > 14:
                continue
            who = self._random.choice(self._callers)
            if self._random.random() < 0.08:
                hours = self._random.randint(1, 8)
                self._reserve(who, gpus=1, duration="1h", at=f"now+{hours}h", name="booked")
            else:
                self._submit_work(who, self._random.choice(WORKS))

    def _submit_work(self, who: Caller, work: Work) -> None:
        script = TRAINING.format(epochs=work.epochs + self._random.randint(0, work.epochs))
        self._submit(who, name=work.name, gpus=work.gpus, limit=work.limit, script=script)

    def _submit(self, who: Caller, *, name: str, gpus: int, limit: str, script: str) -> None:
        request = SubmitRequest(
            image=self._image,
            runtime="docker" if self._image else "process",
            command=["sh", "-c", script],
            name=name,
            gpus=gpus,
            time_limit=limit,
            workdir="/",
            shm_size="64m" if self._image else "",
        )
        self._do(lambda caller: self._services.jobs.submit(caller, request), who)

    def _reserve(self, who: Caller, *, gpus: int, duration: str, at: str, name: str) -> None:
        request = ReserveRequest(gpus=gpus, duration=duration, at=at, name=name)
        self._do(lambda caller: self._services.bookings.reserve(caller, request), who)

    def _do(self, action: Callable[[Caller], Any], who: Caller) -> Any:
        """Act as somebody on the engine's thread; a refusal is part of life."""
        try:
            return self._call(lambda: action(who)).result(timeout=10)
        except (GpuboardError, TimeoutError):
            return None
