"""The last line: the keys that matter on this tab, made from the binding table; a click works too."""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.tui.bindings import (
    ADMIN,
    BOOKINGS,
    CARDS,
    EVERYWHERE,
    FILTERING,
    LISTED,
    ON_A_JOB,
    PEOPLE,
    QUEUED,
    TIMELINE,
    Key,
    key_words,
    keys_of,
)
from gpuboard.tui.widgets.painted import Item

GROUPS: Mapping[str, tuple[Key, ...]] = {
    "board": (*CARDS, *ON_A_JOB),
    "queue": (*FILTERING, *QUEUED, *ON_A_JOB, *LISTED),
    "jobs": (*FILTERING, *ON_A_JOB, *LISTED),
    "timeline": (*TIMELINE, *BOOKINGS),
    "people": PEOPLE,
    "admin": ADMIN,
}


def key_items(tab: str, keymap: Mapping[str, str]) -> list[Item]:
    """Return the items of the key bar on a tab."""
    items: list[Item] = []
    for group, where in ((EVERYWHERE[6:8], "app"), (GROUPS[tab], "pane"), (EVERYWHERE[8:], "app")):
        for key in group:
            if not key.short:
                continue
            shown = key_words(keys_of(key, keymap).split(",")[0])
            action = f"app.{key.action}" if where == "app" else f"app.on_pane('{key.id}')"
            items.append(([(f" {shown}", "key!"), (f" {key.short} ", "dim")], action))
    return items


def action_of(tab: str, key_id: str) -> str:
    """Return the action of an entry of a tab's group."""
    return next(key.action for key in GROUPS[tab] if key.id == key_id)
