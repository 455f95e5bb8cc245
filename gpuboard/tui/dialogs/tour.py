"""The first-run tour: four pages on what is where. Skippable, shown once a person; the help brings it back."""

from __future__ import annotations

from dataclasses import replace

from gpuboard.tui.bindings import SECTIONS, TOUR, bindings, key_words, keys_of
from gpuboard.tui.dialogs.base import Line, Page, titled
from gpuboard.tui.ink import Part, wrapped
from gpuboard.tui.theme import Glyphs
from gpuboard.tui.widgets.painted import Item

PAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "The board",
        (
            "Every GPU of this box, live: how busy it is, whose it is, until when.",
            "{shapes}",
            (
                "Enter on a GPU tells all about it. {app.queue} is the queue in serving order, with a "
                "start time for each job; {app.jobs} is your own work."
            ),
        ),
    ),
    (
        "A job",
        (
            (
                "{app.new} opens the form for a new job: an image and a command, how many GPUs, how long "
                "at most. While you type it says when and where it would start."
            ),
            (
                "Every job has a limit, since start times and bookings are promised by limits. You are "
                "told before it ends; {job.extend} gives it more time."
            ),
            (
                "{job.logs} follows a job's log, {job.why} says why it waits, {job.stop} cancels it "
                "(after a dialog). Jobs go on when you leave the app."
            ),
        ),
    ),
    (
        "A booking",
        (
            (
                "{app.book} books GPUs for a time; on the timeline ({app.timeline}) you can choose a "
                "window with the arrows, shift and the arrows, or the mouse, and book it there."
            ),
            (
                "A booking is honoured to the second. If you don't come, it is given back to the queue "
                "after a while, and you are told."
            ),
            (
                "Who used much lately waits a little longer; half of it is forgotten every week. Nobody "
                "can be passed for ever."
            ),
        ),
    ),
    (
        "Getting about",
        (
            (
                "{app.palette} does anything by name: actions, jobs, people, GPUs. {list.filter} filters "
                "a list. The mouse works everywhere."
            ),
            (
                "{app.settings} are your settings: theme, refresh, keys. {app.help} shows all keys, and "
                "this tour again."
            ),
            (
                "All of it is also a command: each dialog shows the line to copy. `gpuboard --help` lists "
                "them."
            ),
        ),
    ),
)
"""Title and paragraphs of each page; `{app.new}` stands for the key that does it."""


class TourScreen(Page):
    """The tour."""

    DEFAULT_CSS = """
    TourScreen > .box { width: 72; height: 20; }
    """
    BINDINGS = bindings(TOUR)

    def __init__(self) -> None:
        super().__init__("Welcome to gpuboard")
        self._page = 0

    def lines(self, width: int) -> list[Line]:
        """Return the page."""
        title, paragraphs = PAGES[self._page]
        lines: list[Line] = [[], titled(f"{self._page + 1} of {len(PAGES)}  {title}")]
        for paragraph in paragraphs:
            lines.append([])
            if paragraph == "{shapes}":
                lines += shapes(self.gpuboard.ink.glyphs)
            else:
                words = self._with_keys(paragraph)
                lines += [[(line, "text")] for line in wrapped(words, width)]
        return lines

    def items(self) -> list[Item]:
        """Return the keys below the page."""
        forward, back = TOUR
        if self._page == len(PAGES) - 1:
            forward = replace(forward, short="begin")
        keys = (forward, back) if self._page else (forward,)
        return self.key_items(*keys, back="skip")

    def action_turn(self, by: int) -> None:
        """Turn to another page; after the last one the app begins."""
        if self._page + by >= len(PAGES):
            self.dismiss(None)
            return
        self._page = max(0, self._page + by)
        self.show_items()
        self.rebuild()

    def _with_keys(self, words: str) -> str:
        """Put this person's keys into a paragraph."""
        app = self.gpuboard
        for keys in SECTIONS.values():
            for key in keys:
                if f"{{{key.id}}}" in words:
                    shown = key_words(
                        keys_of(key, app.settings.keys), is_ascii=app.ink.glyphs.is_ascii
                    )
                    words = words.replace(f"{{{key.id}}}", shown.split(" ")[0])
        return words


def shapes(glyphs: Glyphs) -> list[Line]:
    """Return what the symbols of the states mean, in two lines."""
    meanings = (
        (glyphs.free, "free", "free"),
        (glyphs.mine, "yours", "mine"),
        (glyphs.leased, "in use", "used"),
        (glyphs.idle, "held, idle", "idle"),
        (glyphs.booked, "booked", "booked"),
        (glyphs.drained, "drained", "drained"),
        (glyphs.faulty, "faulty", "faulty"),
        (glyphs.foreign, "foreign, rogue", "foreign"),
    )
    line: list[Part] = []
    for glyph, words, role in meanings:
        line += [(f"{glyph} ", role), (f"{words}  ", "dim")]
    return [line[:10], line[10:]]
