"""The last line: the keys that matter on this tab, made from the binding table; a click works too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
from gpuboard.tui.ink import width_of
from gpuboard.tui.widgets.painted import Item

GROUPS: Mapping[str, tuple[Key, ...]] = {
    "board": (*CARDS, *ON_A_JOB),
    "queue": (*FILTERING, *QUEUED, *ON_A_JOB, *LISTED),
    "jobs": (*FILTERING, *ON_A_JOB, *LISTED),
    "timeline": (*TIMELINE, *BOOKINGS),
    "bookings": BOOKINGS,
    "people": PEOPLE,
    "admin": ADMIN,
}


def key_items(group: str, keymap: Mapping[str, str], width: int, *, is_ascii: bool) -> list[Item]:
    """Return the items of the key bar for a group of keys: the usual ones, and more where they fit."""
    first, last = EVERYWHERE[6:8], EVERYWHERE[8:]
    placed = [(key, "app") for key in first] + [(key, "pane") for key in GROUPS[group]]
    placed += [(key, "app") for key in last]
    items = {
        key.id: _item(key, where, keymap, is_ascii=is_ascii) for key, where in placed if key.short
    }
    extra = [key.id for key, _where in placed if key.short and key.is_extra]
    room = width - sum(_width(item) for name, item in items.items() if name not in extra)
    for name in extra:
        room -= _width(items[name])
        if room < 0:
            del items[name]
    return list(items.values())


def _item(key: Key, where: str, keymap: Mapping[str, str], *, is_ascii: bool) -> Item:
    shown = key_words(keys_of(key, keymap).split(",")[0], is_ascii=is_ascii)
    action = f"app.{key.action}" if where == "app" else f"app.on_pane('{key.id}')"
    return [(f" {shown}", "key!"), (f" {key.short} ", "dim")], action


def _width(item: Item) -> int:
    return sum(width_of(text) for text, _role in item[0])


def dialog_items(keys: Iterable[Key], keymap: Mapping[str, str], *, is_ascii: bool) -> list[Item]:
    """Return the keys of a dialog that have a label."""
    items: list[Item] = []
    for key in keys:
        if key.short:
            action = key.action if key.action.startswith("app.") else f"screen.{key.action}"
            shown = key_words(keys_of(key, keymap).split(",")[0], is_ascii=is_ascii)
            items.append(([(f" {shown}", "key!"), (f" {key.short} ", "dim")], action))
    return items


def action_of(group: str, key_id: str) -> str:
    """Return the action of an entry of a group."""
    return next(key.action for key in GROUPS[group] if key.id == key_id)
