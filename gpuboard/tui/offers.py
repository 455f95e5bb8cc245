"""What the command palette offers: every action of every tab, devices, people and jobs, each with its act."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gpuboard.model.views.devices import DeviceView
from gpuboard.model.views.jobs import JobView
from gpuboard.tui.bindings import EVERYWHERE, Key, key_words, keys_of
from gpuboard.tui.devicewords import holder_words, product_words, status_of
from gpuboard.tui.header import TABS
from gpuboard.tui.ink import clean
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.jobwords import job_name, owner_words
from gpuboard.tui.keybar import GROUPS

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp

Act = Callable[[], Awaitable[object] | object]


@dataclass(frozen=True)
class Offer:
    """One thing that can be done."""

    words: str
    keys: str
    act: Act


def actions(app: GpuboardApp, where: str) -> list[Offer]:
    """Return the actions of the tab `where`, those that are the same everywhere, and the other tabs'."""
    here = [_on_pane(app, where, key, "") for key in GROUPS[where] if key.palette]
    everywhere = [
        Offer(key.words, _keys(app, key), partial(app.run_action, key.action, app))
        for key in EVERYWHERE
        if key.palette
    ]
    tabs = (*TABS, ("admin", "Admin")) if app.is_admin else TABS
    others = [
        _on_pane(app, tab, key, f"{name}: ")
        for tab, name in tabs
        for key in GROUPS[tab]
        if key.palette and tab != where
    ]
    return [*everywhere, *here, *others]


def devices(app: GpuboardApp, views: Iterable[DeviceView]) -> list[Offer]:
    """Return the devices: each opens its page."""
    offers = []
    for device in views:
        status, holder = status_of(device, app.ink.glyphs), holder_words(device, app.ink.glyphs)
        words = f"GPU {clean(device.label)} {product_words(device.name)}, {status.word}"
        words += f", {holder}" if holder else ""
        offers.append(Offer(words, "", partial(app.show_device, device)))
    return offers


def people(app: GpuboardApp, names: Iterable[str]) -> list[Offer]:
    """Return the people: each with their usage, and their jobs in the queue."""
    offers = []
    for name in sorted(names):
        who = f"person {clean(name)}"
        offers += [
            Offer(f"{who}: what they use", "", partial(app.show_person, "people", name)),
            Offer(f"{who}: their jobs", "", partial(app.show_person, "queue", name)),
        ]
    return offers


def jobs(app: GpuboardApp, views: Iterable[JobView]) -> list[Offer]:
    """Return jobs: each opens its page."""
    return [
        Offer(
            f"job {job.id} {job_name(job)}, {owner_words(job)}, {clean(job.state)}",
            "",
            partial(app.jobs.open_detail, JobTarget.of(job)),
        )
        for job in views
    ]


def _keys(app: GpuboardApp, key: Key) -> str:
    return key_words(keys_of(key, app.settings.keys), is_ascii=app.ink.glyphs.is_ascii)


def _on_pane(app: GpuboardApp, tab: str, key: Key, prefix: str) -> Offer:
    async def act() -> None:
        if prefix:
            await app.action_tab(tab)
        await app.action_on_pane(key.id)

    return Offer(prefix + key.words, _keys(app, key), act)
