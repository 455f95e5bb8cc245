"""Services over a simulated box, with a scripted directory of people."""

from __future__ import annotations

import msgspec

from gpuboard.config import Config
from gpuboard.model.ids import Uid
from gpuboard.model.person import Caller, Person
from gpuboard.service.context import ServiceContext
from gpuboard.service.people import UnknownPerson
from gpuboard.service.services import Services
from tests.support.engine import ANN, BEN, Box

ROOT = Person(Uid(0), 0, "root", "/root", (0,))
EVE = Person(Uid(1003), 1003, "eve", "/home/eve", (1003, 999))

AS_ANN, AS_BEN, AS_EVE = Caller(ANN), Caller(BEN), Caller(EVE)
AS_ADMIN = Caller(ROOT, is_admin=True)


class ScriptedDirectory:
    """The people of the test lab."""

    people = (ANN, BEN, EVE, ROOT)
    is_whole = True

    def person(self, uid: int) -> Person:
        for person in self.people:
            if person.uid == uid:
                return person
        raise UnknownPerson(uid, is_certain=self.is_whole)

    def is_local(self) -> bool:
        return self.is_whole

    def gid_of_group(self, name: str) -> int | None:
        return 999 if name == "gpuboard-admin" else None


def simulated_config(config: Config | None = None, state_dir: str = "") -> Config:
    """Let jobs be submitted to the simulated runtime."""
    config = config or Config()
    jobs = msgspec.structs.replace(
        config.jobs, runtimes=("simulated",), default_runtime="simulated"
    )
    daemon = msgspec.structs.replace(config.daemon, state_dir=state_dir)
    return msgspec.structs.replace(config, jobs=jobs, daemon=daemon)


def services_over(box: Box) -> Services:
    context = ServiceContext(
        engine=box.engine,
        config=box.config,
        clock=box.clock,
        directory=ScriptedDirectory(),
        runtimes={"simulated": box.runtime},
        simulated=True,
    )
    context.groups.look_up(box.config)
    return Services.over(context)
