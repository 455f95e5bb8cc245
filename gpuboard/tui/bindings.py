"""The one table of keys: bindings, the help screen, the key bar and the palette are made from it.

Every entry has an id, by which a person may give it another key (`[keys]` of the app's settings).
Destructive actions sit on capitals only, and always open a dialog first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Key:
    """One binding."""

    id: str
    keys: str
    """Textual's names, comma-separated."""
    action: str
    words: str
    """What it does, as the help says it."""
    short: str = ""
    """Label in the key bar; empty = not shown there."""
    palette: bool = True
    """Whether the command palette offers it."""
    is_extra: bool = False
    """Whether the key bar shows it only where there is room to spare."""
    is_first: bool = False
    """Whether it is heard before the widget that has the keyboard."""


EVERYWHERE = (
    Key("app.board", "1", "tab('board')", "show the board"),
    Key("app.timeline", "2", "tab('timeline')", "show the timeline"),
    Key("app.queue", "3", "tab('queue')", "show the queue"),
    Key("app.jobs", "4", "tab('jobs')", "show my jobs"),
    Key("app.people", "5", "tab('people')", "show people and their usage"),
    Key("app.admin", "6", "tab('admin')", "show the admin's tab", palette=False),
    Key("app.new", "n", "new_job", "start a new job", "new job"),
    Key("app.book", "b", "book", "book GPUs", "book"),
    Key(
        "app.palette",
        "colon,ctrl+p",
        "palette",
        "do anything by name",
        "anything",
        palette=False,
        is_extra=True,
    ),
    Key("app.pause", "z", "pause", "freeze or go on with the display", "freeze", is_extra=True),
    Key("app.theme", "t", "theme", "next colour theme", "theme", is_extra=True),
    Key("app.settings", "comma", "settings", "change settings and keys", "settings", is_extra=True),
    Key("app.box", "B", "next_box", "show the next box (of several --host)"),
    Key("app.help", "question_mark,h,f1", "help", "show this help", "help"),
    Key("app.quit", "q,ctrl+q", "quit", "leave (jobs go on)", "quit"),
)
ON_A_JOB = (
    Key("job.logs", "l", "logs", "follow its log", "logs"),
    Key("job.why", "w", "why", "say why it waits or ended", "why"),
    Key("job.extend", "e", "extend", "give it 30 minutes more", "extend", is_extra=True),
    Key("job.stop", "K", "stop", "cancel it, after a dialog", "cancel"),
)
MOVING = (
    Key("list.down", "j,down", "down", "one down", palette=False),
    Key("list.up", "k,up", "up", "one up", palette=False),
    Key("list.page-down", "pagedown,ctrl+d", "page_down", "a page down", palette=False),
    Key("list.page-up", "pageup,ctrl+u", "page_up", "a page up", palette=False),
    Key("list.first", "g,home", "first", "to the first", palette=False),
    Key("list.last", "G,end", "last", "to the last", palette=False),
    Key("list.open", "enter", "choose", "show details, or expand a card", palette=False),
)
GRID = (
    Key("board.left", "left", "left", "one card left", palette=False),
    Key("board.right", "right", "right", "one card right", palette=False),
    Key("board.details", "i", "open", "show everything about this GPU", palette=False),
)
CARDS = (
    Key("board.sort", "s", "sort", "sort the cards by another thing", "sort"),
    Key("board.filter", "slash", "filter", "show only cards with this text", "filter"),
    Key("board.mine", "u", "mine", "only GPUs that I hold, or all", "mine", is_extra=True),
)
FILTERING = (
    Key("list.filter", "slash", "filter", "show only rows with this text", "filter"),
    Key("list.mine", "u", "mine", "only mine, or everybody's", "mine"),
)
LISTED = (
    Key(
        "list.tag",
        "space",
        "tag",
        "tag it: what is done next is done to all tagged",
        "tag",
        is_extra=True,
    ),
    Key(
        "list.tag-all",
        "asterisk",
        "tag_all",
        "tag all of mine that are known, or drop all tags",
        "tag mine",
        is_extra=True,
    ),
    Key("job.limit", "L", "limit", "give it another time limit, in a form", "limit", is_extra=True),
    Key(
        "queue.hold",
        "H",
        "hold",
        "hold it back, or release it, after a dialog",
        "hold",
        is_extra=True,
    ),
)
QUEUED = (
    Key(
        "queue.state",
        "f",
        "state",
        "show all, or only running, queued or held jobs",
        "state",
        is_extra=True,
    ),
    Key(
        "queue.person",
        "p",
        "person",
        "show only this person's jobs, or everybody's",
        "person",
        is_extra=True,
    ),
)
TIMELINE = (
    Key("timeline.left", "left", "move(-1)", "cursor earlier", palette=False),
    Key("timeline.right", "right", "move(1)", "cursor later", palette=False),
    Key("timeline.up", "up,k", "lane(-1)", "one device up", palette=False),
    Key("timeline.down", "down,j", "lane(1)", "one device down", palette=False),
    Key("timeline.longer", "shift+right", "widen(1)", "choose a longer window", palette=False),
    Key("timeline.shorter", "shift+left", "widen(-1)", "choose a shorter window", palette=False),
    Key("timeline.more", "shift+down", "more(1)", "one GPU more", palette=False),
    Key("timeline.fewer", "shift+up", "more(-1)", "one GPU fewer", palette=False),
    Key(
        "timeline.in",
        "plus,equals_sign",
        "zoom(-1)",
        "zoom in (while moving a booking: longer)",
        "zoom",
    ),
    Key(
        "timeline.out",
        "minus",
        "zoom(1)",
        "zoom out (while moving a booking: shorter)",
        "out",
        is_extra=True,
    ),
    Key("timeline.now", "0", "now", "back to now", "now", is_extra=True),
    Key(
        "timeline.choose", "enter", "choose", "book this window, or show what is here", "book here"
    ),
    Key("timeline.drop", "escape", "drop", "leave the booking where it was", palette=False),
)
BOOKINGS = (
    Key("booking.move", "m", "grab", "move or lengthen my booking: arrows, then enter", "move"),
    Key("booking.list", "v", "view", "the bookings as a list, or the timeline", "list"),
    Key(
        "booking.cancel",
        "K",
        "stop",
        "cancel the booking or job, after a dialog",
        "cancel",
        is_extra=True,
    ),
    Key("booking.mine", "u", "mine", "only mine, or everybody's", "mine", is_extra=True),
    Key(
        "booking.person",
        "p",
        "person",
        "only one person's, picked by name",
        "person",
        is_extra=True,
    ),
    Key(
        "booking.export",
        "i",
        "export",
        "write bookings to a calendar file",
        "export",
        is_extra=True,
    ),
)
PEOPLE = (
    Key("people.day", "d", "over('day')", "over the last day", "day"),
    Key("people.week", "w", "over('week')", "over the last week", "week"),
    Key("people.month", "m", "over('month')", "over the last 30 days", "month"),
    Key("people.by", "v", "by", "by person, by group or by GPU", "by"),
    Key("people.person", "p", "person", "find a person by name", "find", is_extra=True),
)
ADMIN = (
    Key(
        "admin.view", "v", "view(1)", "the next part: health, events, configuration, daemon", "next"
    ),
    Key("admin.back", "V", "view(-1)", "the part before", palette=False),
    Key("admin.drain", "D", "drain", "drain this GPU, or resume it, after a dialog", "drain"),
    Key("admin.notice", "N", "notice", "write a notice to everybody", "notice"),
    Key(
        "admin.blackout",
        "M",
        "blackout",
        "announce maintenance: nothing runs",
        "maintenance",
        is_extra=True,
    ),
    Key(
        "admin.cancel",
        "K",
        "stop",
        "take the blackout under the cursor back, after a dialog",
        "take back",
        is_extra=True,
    ),
    Key(
        "admin.reload",
        "R",
        "reload",
        "read the configuration again, after a dialog",
        "reload",
        is_extra=True,
    ),
    Key(
        "admin.backup",
        "S",
        "backup",
        "write a copy of the database, after a dialog",
        "backup",
        is_extra=True,
    ),
    Key("admin.check", "C", "check", "check the database, after a dialog", "check", is_extra=True),
    Key("admin.filter", "slash", "filter", "show only events with this text", "filter"),
)
LOG = (
    Key("log.find", "slash", "find", "search the log", "search"),
    Key("log.next", "n", "next(1)", "next match", "next", palette=False),
    Key("log.previous", "N", "next(-1)", "previous match", "previous", palette=False),
    Key("log.wrap", "w", "wrap", "wrap long lines, or not", "wrap", palette=False),
    Key("log.follow", "f", "follow", "stay at the end, or stop there", "follow", palette=False),
    Key("log.attempt", "a", "attempt", "the log of an earlier attempt", "attempt", palette=False),
    Key("log.close", "escape,q", "dismiss_log", "back", "back", palette=False),
)
DETAIL = (
    Key("job.rerun", "r", "rerun", "a new job like this one", "again", palette=False),
    Key("job.copy", "y,ctrl+y", "copy", "copy the ssh line to its ports", palette=False),
)
DIALOG = (Key("dialog.close", "escape", "close", "back", "back", palette=False),)
PAGE = (Key("page.close", "q", "close", "back, where nothing is typed", palette=False),)
FORM = (
    Key("form.send", "ctrl+s", "send", "do it (enter does too)", palette=False),
    # Ahead of the input's own queue: else what is typed right after tab lands in the old field.
    Key(
        "form.next", "tab,down", "app.focus_next", "next field", "next field",
        palette=False, is_first=True,
    ),
    Key(
        "form.previous", "shift+tab,up", "app.focus_previous", "field before",
        palette=False, is_first=True,
    ),
    Key("form.copy", "ctrl+y", "copy", "copy the command line", "copy", palette=False),
)  # fmt: skip
BEGINNING = (
    Key("form.like", "ctrl+r", "like", "begin from a template or a job", "begin from", palette=False),
)  # fmt: skip
WINDOW = (
    Key(
        "form.nearest", "ctrl+t", "take_nearest", "take the nearest window", "nearest",
        palette=False, is_first=True,
    ),
)  # fmt: skip
SEARCHING = (
    Key("search.down", "down,ctrl+n", "step(1)", "next one", palette=False),
    Key("search.up", "up,ctrl+p", "step(-1)", "one before", palette=False),
)
ASKED = (
    Key("asked.yes", "y", "answer(True)", "yes: do it", palette=False),
    Key("asked.no", "n,escape,q", "answer(False)", "no: leave it", palette=False),
)
SERIES = (
    Key("series.one", "y", "answer('one')", "yes: this booking", palette=False),
    Key("series.all", "s", "answer('series')", "yes: it and all later ones", palette=False),
    Key("series.none", "n,q", "close", "no: leave it", palette=False),
)
SETTING = (
    Key(
        "settings.reset", "backspace,delete", "reset", "as it was made", "as it was made",
        palette=False,
    ),
)  # fmt: skip
CHOOSING = (
    Key(
        "columns.toggle", "space", "show_or_not", "show it, or leave it out", "show", palette=False
    ),
    Key("columns.up", "shift+up", "shift(-1)", "move it up", "up", palette=False),
    Key("columns.down", "shift+down", "shift(1)", "move it down", "down", palette=False),
)
HELP = (
    Key("help.tour", "t", "tour", "the tour", "the tour", palette=False),
    Key("help.settings", "s", "settings", "settings", "settings, other keys", palette=False),
)
TOUR = (
    # ahead of the page's own list, where enter means something else
    Key(
        "tour.next", "enter,space,right,n", "turn(1)", "next page", "next",
        palette=False, is_first=True,
    ),
    Key("tour.back", "left,backspace,p", "turn(-1)", "page before", "page before", palette=False),
)  # fmt: skip
FILTER_LINE = (Key("filter.drop", "escape", "drop", "drop the words", palette=False),)

SECTIONS: Mapping[str, tuple[Key, ...]] = {
    "Everywhere": EVERYWHERE,
    "In a list": MOVING,
    "On a job": ON_A_JOB,
    "Board": (*GRID, *CARDS),
    "Queue and jobs": (*FILTERING, *LISTED),
    "Queue": QUEUED,
    "Timeline": TIMELINE,
    "Bookings": BOOKINGS,
    "People": PEOPLE,
    "Admin": ADMIN,
    "A log": LOG,
    "A job's page": DETAIL,
    "A dialog": (*DIALOG, *PAGE),
    "A form": (*FORM, *BEGINNING, *WINDOW),
    "A question": ASKED,
    "Cancelling a booking": SERIES,
    "Finding by name": SEARCHING,
    "A filter": FILTER_LINE,
    "Settings": SETTING,
    "Choosing columns": CHOOSING,
    "Help": HELP,
    "The tour": TOUR,
}


def bindings(*groups: Iterable[Key]) -> list[BindingType]:
    """Return textual bindings of groups of the table."""
    return [
        Binding(key.keys, key.action, key.words, id=key.id, show=False, priority=key.is_first)
        for group in groups
        for key in group
    ]


_NAMES = {
    "question_mark": "?", "slash": "/", "comma": ",", "asterisk": "*", "colon": ":", "plus": "+",
    "minus": "-", "enter": "enter",
    "equals_sign": "=", "escape": "esc", "pagedown": "pgdn", "pageup": "pgup", "left": "←",
    "right": "→", "up": "↑", "down": "↓",
}  # fmt: skip
_NAMES_ASCII = {"left": "left", "right": "right", "up": "up", "down": "down"}


def key_words(keys: str, *, is_ascii: bool = False) -> str:
    """Return keys as they are printed on a keyboard: `?`, `ctrl+p`, `shift+→`."""
    names = _NAMES | _NAMES_ASCII if is_ascii else _NAMES
    shown = []
    for key in keys.split(","):
        *modifiers, last = key.strip().split("+")
        shown.append("+".join([*modifiers, names.get(last, last)]))
    return " ".join(shown)


def keys_of(key: Key, keymap: Mapping[str, str]) -> str:
    """Return the keys of an entry as remapped by the person."""
    return keymap.get(key.id, key.keys)


def known_ids() -> set[str]:
    """Return the ids that may be remapped."""
    return {key.id for group in SECTIONS.values() for key in group}


_TOGETHER = (
    {"Everywhere", "On a job", "In a list", "Board"},
    {"Everywhere", "On a job", "In a list", "Queue and jobs", "Queue"},
    {"Everywhere", "Timeline", "Bookings"},
    {"Everywhere", "In a list", "Bookings"},
    {"Everywhere", "In a list", "People"},
    {"Everywhere", "In a list", "Admin"},
    {"On a job", "In a list", "A job's page", "A dialog"},
    {"In a list", "A log"},
    {"A dialog", "A form"},
    {"A dialog", "Finding by name"},
    {"A dialog", "In a list", "Settings"},
    {"A dialog", "In a list", "Choosing columns"},
    {"A dialog", "In a list", "Help"},
    {"A dialog", "The tour"},
)
"""Sections whose keys are heard at the same time."""


def rival_of(key: Key, wanted: str, keymap: Mapping[str, str]) -> Key | None:
    """Return the entry that has a key already where `key` would hear it too, or nothing."""
    home = next(name for name, keys in SECTIONS.items() if key in keys)
    heard = {home}.union(*(names for names in _TOGETHER if home in names))
    for name in SECTIONS:
        for other in SECTIONS[name] if name in heard else ():
            if other.id != key.id and wanted in keys_of(other, keymap).split(","):
                return other
    return None
