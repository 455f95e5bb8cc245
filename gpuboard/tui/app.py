"""The app: one screen of six tabs, one feed, and dialogs that are imported when first opened."""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from gpuboard.errors import GpuboardError, HostError
from gpuboard.model.views.devices import DeviceView
from gpuboard.model.views.events import EventView
from gpuboard.tui import header
from gpuboard.tui.bindings import EVERYWHERE, SECTIONS, bindings, key_words, keys_of
from gpuboard.tui.bookingactions import BookingActions
from gpuboard.tui.errands import Errands, way_onto
from gpuboard.tui.eventwords import event_words
from gpuboard.tui.feed import Snapshot, Source
from gpuboard.tui.histories import Histories
from gpuboard.tui.ink import Ink, clean
from gpuboard.tui.instants import epoch_s, localised
from gpuboard.tui.jobactions import JobActions
from gpuboard.tui.keybar import action_of, key_items
from gpuboard.tui.notices import Severity
from gpuboard.tui.paint import Canvas
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.settings import Settings
from gpuboard.tui.terminals import depth_of, filters_for
from gpuboard.tui.theme import ASCII, DARK, THEMES, Palette, glyphs_for
from gpuboard.tui.watched import Watched
from gpuboard.tui.widgets.painted import ActionBar, Bar, Block

if TYPE_CHECKING:
    from textual.driver import Driver
    from textual.filter import LineFilter

    from gpuboard.model.requests import SubmitRequest

STALE_S = 4.0
"""Without an item for so long what is shown is grey, with its age."""
LOOK_S = 2.0
"""So often it is looked whether that is so."""


class Frame(NamedTuple):
    """The lines around a tab."""

    tabs: ActionBar
    host: Bar
    notice: Bar
    away: Block
    keys: ActionBar


class GpuboardApp(App[None]):
    """The terminal app over the sources of one box or several."""

    TITLE = "gpuboard"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = bindings(EVERYWHERE)
    CSS = """
    Screen { background: $background; color: $foreground; }
    #tabs, #host, #keys { dock: none; }
    #notice { display: none; }
    #notice.-open { display: block; }
    #away { display: none; }
    #away.-open { display: block; }
    #panes { height: 1fr; }
    .heads { height: 1; }
    Toast { padding: 0 1; width: 64; max-width: 90%; background: $panel; }
    """

    def __init__(
        self,
        source: Source,
        settings: Settings | None = None,
        others: Sequence[Watched] = (),
        *,
        name: str = "",
    ) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.boxes = [Watched(source, name), *others]
        self.watched = self.boxes[0]
        """The box that is shown."""
        self.errands = Errands(self)
        self.jobs = JobActions(self)
        self.bookings = BookingActions(self)
        self.is_paused = False
        self._shown = Snapshot()
        self._was_stale = False
        self._tab = "board"
        self._panes: dict[str, Pane] = {}
        self._frame: Frame | None = None
        self._keys_of: tuple[object, ...] = ()
        """What the key bar was made from."""
        for colours in THEMES:
            self.register_theme(colours.textual())
        self._colours = next(
            (colours for colours in THEMES if colours.name == self.settings.theme_name), DARK
        )
        self.theme = self._colours.name
        self._renew_ink()
        self.canvas = Canvas(self)
        self._shown_at = 0.0

    def get_driver_class(self) -> type[Driver]:
        """Return the driver of this platform, the patient one where there is one."""
        usual = super().get_driver_class()
        try:
            from textual.drivers.linux_driver import LinuxDriver

            from gpuboard.tui.patientdriver import PatientDriver
        except ImportError:  # it stands on what textual keeps to itself, which another one may lack
            return usual
        return PatientDriver if usual is LinuxDriver else usual

    @property
    def source(self) -> Source:
        """Whom the app asks: the shown box's daemon."""
        return self.watched.source

    @property
    def snapshot(self) -> Snapshot:
        """What the shown box has said."""
        return self.watched.snapshot

    @property
    def histories(self) -> Histories:
        """The last samples of the shown box's devices."""
        return self.watched.histories

    @property
    def events(self) -> deque[EventView]:
        """What happened on the shown box since the app began, the latest first."""
        return self.watched.events

    @property
    def device_labels(self) -> dict[str, str]:
        """The labels of the shown box's devices by UUID."""
        return self.watched.labels

    @property
    def is_admin(self) -> bool:
        """Whether the daemon calls the person an admin."""
        return self.snapshot.board is not None and self.snapshot.board.is_admin

    @property
    def is_stale(self) -> bool:
        """Whether what is shown is no longer what is."""
        return bool(self.snapshot.fault) or self.age_s > STALE_S

    @property
    def age_s(self) -> float:
        """Seconds since the last item of the feed."""
        return self.watched.age_s

    @property
    def now_iso(self) -> str:
        """The daemon's now; empty before the first board."""
        return self.snapshot.board.at if self.snapshot.board else ""

    @property
    def box_name(self) -> str:
        """By what name ssh may find the shown box: as `--host` gave it, else its own."""
        board = self.snapshot.board
        return self.watched.name or (board.host.hostname if board else "") or "box"

    @property
    def pane(self) -> Pane | None:
        """The tab that is shown."""
        return self._panes.get(self._tab)

    def compose(self) -> ComposeResult:
        """Return the frame; the tabs come when they are first shown."""
        frame = self._frame = Frame(
            ActionBar(id="tabs"),
            Bar(id="host", ground="base"),
            Bar(id="notice", ground="panel"),
            Block(id="away", least=1, ground="panel"),
            ActionBar(id="keys"),
        )
        yield from frame[:-1]
        yield Container(id="panes")
        yield frame.keys

    async def on_mount(self) -> None:
        """Show the board and begin to listen."""
        self.set_keymap(dict(self.settings.keys))
        for words in self.settings.faults:
            self.say(words, "warning")
        await self.action_tab(self._tab)
        for box in self.boxes:
            box.follow(way_onto(self), self._take, self._take_event)
        self.set_interval(LOOK_S, self._watch)
        if self.settings.wants_tour:
            self._show_tour()

    def _show_tour(self) -> None:
        """Show the tour, and remember that it was shown."""
        from gpuboard.tui.dialogs.tour import TourScreen
        from gpuboard.tui.settings import save_settings

        self.push_screen(TourScreen())
        try:
            save_settings({"tour": False})
        except GpuboardError:
            pass  # a home that cannot be written sees the tour again

    def on_unmount(self) -> None:
        """Stop listening."""
        for box in self.boxes:
            box.stop()

    def say(self, words: str, severity: Severity = "information", title: str = "") -> None:
        """Tell the person something in passing, as plain text."""
        self.notify(clean(words), title=clean(title), severity=severity, timeout=6, markup=False)

    def say_error(self, error: GpuboardError) -> None:
        """Tell the person that something failed, and the way out."""
        hint = f". {self.told(error.hint)}" if error.hint else ""
        self.notify(self.told(error.message) + hint, severity="error", timeout=8, markup=False)

    def told(self, words: str) -> str:
        """Return the daemon's words as one safe line, its instants in the person's own time."""
        now_s = epoch_s(self.now_iso) if self.now_iso else int(time.time())
        return localised(clean(words), now_s)

    async def action_tab(self, name: str) -> None:
        """Show a tab."""
        if name == "admin" and not self.is_admin:
            self.say("this tab is for admins of the box")
            return
        self._tab = name
        if name not in self._panes:
            pane = self._panes[name] = _new_pane(name)
            await self.query_one("#panes").mount(pane)
        for other, pane in self._panes.items():
            pane.display = other == name
        self._show_frame()
        self._panes[name].take(self._shown, is_stale=self.is_stale)
        self._panes[name].focus_first()

    def action_new_job(self, like: SubmitRequest | None = None) -> None:
        """Open the form for a new job."""
        from gpuboard.tui.dialogs.newjob import NewJobScreen

        self.push_screen(NewJobScreen(like))

    def action_book(self) -> None:
        """Open the form for a booking."""
        from gpuboard.tui.dialogs.booking import BookingScreen

        self.push_screen(BookingScreen(self.pane.booking_like() if self.pane else None))

    def action_palette(self) -> None:
        """Do anything by name."""
        from gpuboard.tui.dialogs.palette import PaletteScreen

        self.push_screen(PaletteScreen(self._tab))

    def action_help(self) -> None:
        """Show all keys."""
        from gpuboard.tui.dialogs.help import HelpScreen

        self.push_screen(HelpScreen())

    async def action_on_pane(self, key_id: str) -> None:
        """Do what a key of the shown tab does (a click on the key bar)."""
        if self.pane is not None:
            await self.run_action(action_of(self._tab, key_id), default_namespace=self.pane)

    def show_device(self, device: DeviceView) -> None:
        """Open a device's page."""
        from gpuboard.tui.dialogs.device import DeviceScreen

        self.push_screen(DeviceScreen(device))

    async def show_person(self, tab: str, name: str) -> None:
        """Show a person's row on the people's tab, or only their jobs on the queue."""
        await self.action_tab(tab)
        if self.pane is not None:
            self.pane.show_person(name)

    def known_people(self) -> set[str]:
        """Return everybody of whom the shown box has told."""
        board, queue, booked = self.snapshot.board, self.snapshot.queue, self.snapshot.reservations
        names = {device.user for device in board.devices} | {board.user} if board else set()
        names |= {job.user for job in queue.jobs} if queue else set()
        names |= {row.user for row in booked.reservations} if booked else set()
        return names - {""}

    def key(self, key_id: str) -> str:
        """Return the first key of a binding, as the person has it and as it is printed."""
        key = next(key for keys in SECTIONS.values() for key in keys if key.id == key_id)
        first = keys_of(key, self.settings.keys).split(",")[0]
        return key_words(first, is_ascii=self.ink.glyphs.is_ascii)

    def action_pause(self) -> None:
        """Freeze the display, or go on."""
        self.is_paused = not self.is_paused
        self._show()

    def action_theme(self) -> None:
        """Take the next theme, and keep it as the settings do."""
        from gpuboard.tui.settings import THEME_NAMES, save_settings

        place = next(i for i, colours in enumerate(THEMES) if colours.name == self.theme)
        name = THEMES[(place + 1) % len(THEMES)].name
        self.use(replace(self.settings, theme_name=name))
        short = next(short for short, full in THEME_NAMES.items() if full == name)
        try:
            save_settings({"theme": short})
        except HostError as error:
            self.say_error(error)

    def action_settings(self) -> None:
        """Open the settings."""
        from gpuboard.tui.dialogs.settings import SettingsScreen

        self.push_screen(SettingsScreen())

    def use(self, settings: Settings) -> None:
        """Live by other settings from now on."""
        self.settings = settings
        self._colours = next(one for one in THEMES if one.name == settings.theme_name)
        self._renew_ink()
        self.theme = self._colours.name
        self.set_keymap(dict(settings.keys))
        for pane in self._panes.values():
            pane.repaint()
        for screen in self.screen_stack:
            for bar in screen.query(Bar):
                bar.refresh()

    def _renew_ink(self) -> None:
        glyphs = ASCII if self.settings.is_ascii else glyphs_for()
        depth = depth_of(self)
        self.ink = Ink(Palette(self._colours, depth), glyphs)
        self._line_filters = filters_for(depth, is_ascii=glyphs.is_ascii)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what every line goes through on its way to the terminal."""
        return self._line_filters

    async def action_box(self, number: int) -> None:
        """Show another box."""
        if self.boxes[number] is self.watched:
            return
        self.watched = self.boxes[number]
        self.is_paused, self._shown = False, self.watched.snapshot
        panes, self._panes = self._panes, {}
        for pane in panes.values():
            await pane.remove()
        await self.action_tab("board" if self._tab == "admin" and not self.is_admin else self._tab)
        self._show()

    async def action_next_box(self) -> None:
        """Show the next box."""
        if len(self.boxes) == 1:
            self.say("one box is shown; `gpuboard --host A --host B` shows several")
            return
        await self.action_box((self.boxes.index(self.watched) + 1) % len(self.boxes))

    def _take(self, box: Watched, snapshot: Snapshot) -> None:
        for words, severity in box.notices.of(snapshot, self.key("job.extend")):
            self.say(words, severity, box.name)
        if box is self.watched and self._is_due():
            self._show()

    def _take_event(self, box: Watched, event: EventView) -> None:
        board = box.snapshot.board
        severity = box.notices.severity_of(event, board.user) if board is not None else None
        if severity is not None:
            self.say(self.told(event_words(event, box.labels)), severity, box.name)

    def _watch(self) -> None:
        """Now and then: grey what is stale, and tell its age."""
        is_behind = self._shown is not self.snapshot and not self.is_paused and self._is_due()
        if self.is_stale or self._was_stale or is_behind:
            self._show()

    def _is_due(self) -> bool:
        """Whether the person wants to see the box this often."""
        wait_s = self.settings.refresh_s
        return wait_s <= 1 or time.monotonic() - self._shown_at >= wait_s - 0.5

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        self._was_stale = self.is_stale
        if not self.is_paused:
            self._shown = self.snapshot
        with self.canvas:
            self._show_frame()
            pane = self.pane
            if pane is not None and pane.is_mounted:
                pane.set_class(self._was_stale, "-stale")
                pane.take(self._shown, is_stale=self._was_stale)

    def on_resize(self) -> None:
        """Show as many keys, and as much of the host, as there is room for."""
        if self._panes:
            self._show_frame()

    def show_keys(self) -> None:
        """Show the keys of what is shown now."""
        self._show_frame()

    def _show_frame(self) -> None:
        frame = self._frame
        if frame is None or not (frame.tabs.is_attached and frame.keys.is_attached):
            return  # the app ends, and something is heard meanwhile
        glyphs, board = self.ink.glyphs, self._shown.board
        tabs = header.tab_items(self._tab, is_admin=self.is_admin)
        room = self.size.width - header.items_width(tabs) - header.CLOCK
        tabs += header.box_items([box.name for box in self.boxes], self.watched.name, room)
        link = header.link_parts(
            self.snapshot,
            is_stale=self.is_stale,
            go_on=self.key("app.pause") if self.is_paused else "",
            age_s=self.age_s,
            glyphs=glyphs,
            room=self.size.width - header.items_width(tabs),
        )
        frame.tabs.show_items(tabs, link)
        self._show_keys(frame.keys)
        lines = header.away_lines(self.snapshot, self.told, self.size.width)
        frame.away.show_lines(lines)
        frame.away.set_class(bool(lines), "-open")
        if board is None:
            frame.host.show([(" connecting to the daemon...", "dim")])
            return
        frame.host.show(*header.host_parts(board, glyphs, self.size.width, is_stale=self.is_stale))
        words = header.notice_parts(board, glyphs)
        frame.notice.show(words)
        frame.notice.set_class(bool(words), "-open")

    def _show_keys(self, bar: ActionBar) -> None:
        group = self.pane.key_group if self.pane else self._tab
        made_of = (group, self.settings, self.size.width, self.ink.glyphs)
        if made_of != self._keys_of:
            self._keys_of = made_of
            keys, width = self.settings.keys, self.size.width
            bar.show_items(key_items(group, keys, width, is_ascii=self.ink.glyphs.is_ascii))


def _new_pane(name: str) -> Pane:
    """Return a tab; its module is imported when it is first shown."""
    if name == "board":
        from gpuboard.tui.panes.board import BoardPane

        return BoardPane(id="pane-board")
    if name == "queue":
        from gpuboard.tui.panes.queue import QueuePane

        return QueuePane(id="pane-queue")
    if name == "jobs":
        from gpuboard.tui.panes.jobs import JobsPane

        return JobsPane(id="pane-jobs")
    if name == "timeline":
        from gpuboard.tui.panes.timeline import TimelinePane

        return TimelinePane(id="pane-timeline")
    if name == "admin":
        from gpuboard.tui.panes.admin import AdminPane

        return AdminPane(id="pane-admin")
    from gpuboard.tui.panes.people import PeoplePane

    return PeoplePane(id="pane-people")


def run_app(addresses: Sequence[str]) -> int:
    """Run the app on the daemons at the addresses: sockets' paths, or `ssh://HOST`."""
    from gpuboard.api.client import Client
    from gpuboard.tui.settings import load_settings
    from gpuboard.tui.source import ClientSource

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise GpuboardError(
            "the app needs a terminal", hint="`gpuboard gpus` and `gpuboard ps` print text"
        )
    boxes = [
        Watched(ClientSource(Client(address)), address.removeprefix("ssh://"))
        for address in addresses
    ]
    first, *others = boxes
    name = first.name if others else ""
    app = GpuboardApp(first.source, load_settings(), others, name=name)
    # What is imported by now lives as long as the app: no collection needs to walk it again.
    gc.freeze()
    app.run()
    return app.return_code or 0
