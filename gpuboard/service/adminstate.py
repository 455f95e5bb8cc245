"""How the daemon itself is: configuration as loaded, database, runtimes, what was drained and announced."""

from __future__ import annotations

import os
from collections.abc import Callable

import gpuboard
from gpuboard.config import defaults_for
from gpuboard.model.instants import iso
from gpuboard.model.text import plain
from gpuboard.model.views.admin import AdminState, BlackoutView, DrainView, RuntimeView
from gpuboard.service.configview import settings_of
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames

Checked = tuple[int, str]
"""When the database was checked, and what came of it."""


def admin_state(
    context: ServiceContext, started_at: int, checked: Checked | None
) -> Callable[[], AdminState]:
    """Return what makes the answer on a worker: it looks at files."""
    engine, now = context.engine, context.clock.now_ms()
    names, able = DeviceNames(engine.snapshot()), engine.capabilities()
    snapshot = engine.snapshot()
    drains = sorted(engine.drains().values(), key=lambda drain: (drain.at, drain.device))
    blackouts, halted = [*engine.blackouts()], engine.halted_words()
    settings = settings_of(context.config, defaults_for(context.personal, os.environ))

    def make() -> AdminState:
        return AdminState(
            at=iso(now) or "",
            version=gpuboard.__version__,
            started_at=iso(started_at) or "",
            halted=plain(halted),
            config_file=context.config_file(),
            settings=settings,
            runtimes=[
                RuntimeView(name=name, version=able.runtimes.get(name, ""), fault=plain(fault))
                for name in sorted({*able.runtimes, *able.faults})
                for fault in [able.faults.get(name, "")]
            ],
            driver=snapshot.driver,
            driver_fault=plain(snapshot.fault),
            database=engine.database_state(),
            checked_at=iso(checked[0]) if checked else None,
            check_words=plain(checked[1]) if checked else "",
            drains=[
                DrainView(device=names.ref(d.device), at=iso(d.at) or "", by=d.by, note=d.note)
                for d in drains
            ],
            blackouts=[
                BlackoutView(
                    id=b.id,
                    from_at=iso(b.from_at) or "",
                    until_at=iso(b.until_at) or "",
                    note=b.note,
                    devices=names.refs(b.devices),
                )
                for b in blackouts
            ],
        )

    return make
