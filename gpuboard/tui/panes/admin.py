"""Tab 6, for admins: health of the devices, events, the configuration as loaded, the daemon itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from textual.app import ComposeResult
from textual.strip import Strip
from textual.widget import Widget

from gpuboard.errors import GpuboardError
from gpuboard.model.requests import BlackoutRequest, DrainRequest
from gpuboard.model.text import quote_command
from gpuboard.model.views.admin import AdminResult, AdminState, SettingView
from gpuboard.model.views.devices import DeviceView
from gpuboard.model.views.doctor import DoctorView
from gpuboard.model.views.events import EventList, EventView
from gpuboard.tui.bindings import ADMIN, bindings
from gpuboard.tui.daemonwords import StateLine, setting_parts, state_lines
from gpuboard.tui.devicewords import product_words, status_of
from gpuboard.tui.eventwords import event_words
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Ink, Part, clean, fit
from gpuboard.tui.instants import clock_of, epoch_s
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.filterline import FilterLine
from gpuboard.tui.widgets.painted import ActionBar, Bar, Block, Item
from gpuboard.tui.widgets.rows import RowList

PARTS = ("health", "events", "configuration", "daemon")
CHECKS_SHOWN = 4
EVENTS_ASKED = 500
AnyWidget = TypeVar("AnyWidget", bound=Widget)
AdminCall = Callable[[], AdminResult]
_CHECK_ROLES = {"ok": "ok", "warning": "warn", "error": "bad", "skipped": "dim"}
_HEALTH_HEADS = f"  {'GPU':<4} {'NAME':<18} {'STATE':<12} {'ECC':>5} {'TEMP':>5}  HEALTH"


class AdminPane(Pane, inherit_bindings=False):
    """Four parts, one at a time."""

    DEFAULT_CSS = """
    AdminPane .part { display: none; }
    AdminPane.-health .-health, AdminPane.-events .-events,
    AdminPane.-configuration .-configuration, AdminPane.-daemon .-daemon { display: block; }
    """
    BINDINGS = bindings(ADMIN)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="-health")
        self._part = "health"
        self._now_s = 0
        self._words = ""
        self._older: list[EventView] = []
        """What happened before the app began, the latest first."""
        self._has_asked_events = False
        self._state: AdminState | None = None
        self._asked_for: object = None

    def compose(self) -> ComposeResult:
        """Return the parts' names, and the parts."""
        yield ActionBar(ground="panel", id="parts")
        yield Bar([(_HEALTH_HEADS, "dim")], classes="part -health")
        yield _part(RowList[DeviceView](self._paint_device, _uuid, id="health"), "health")
        yield Bar([("  WHAT DOCTOR SAYS", "dim")], ground="panel", classes="part -health")
        yield _part(Block(least=1, id="checks"), "health")
        yield _part(RowList[EventView](self._paint_event, _number, id="events"), "events")
        yield _part(
            RowList[SettingView](
                lambda ink, row, width, ground: ink.line(setting_parts(row), width, ground),
                lambda row: (row.section, row.key),
                id="configuration",
            ),
            "configuration",
        )
        yield _part(
            RowList[StateLine](
                lambda ink, row, width, ground: ink.line(row.parts, width, ground),
                lambda row: row.key,
                id="daemon",
            ),
            "daemon",
        )
        yield FilterLine()

    def on_mount(self) -> None:
        """Name the parts."""
        self._show_parts()

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:
        """Show the devices; ask doctor and the daemon's state once a minute."""
        board = snapshot.board
        if board is None:
            return
        self._now_s = epoch_s(board.at)
        self.query_one("#health", RowList).set_rows(board.devices)
        self._show_events()
        if self._asked_for != self._now_s // 60 and not is_stale:
            self._ask()

    def repaint(self) -> None:
        """Draw again in another theme."""
        for rows in self.query(RowList):
            rows.repaint()

    def focus_first(self) -> None:
        """Put the keyboard on the part that is shown."""
        self.query_one(f"#{self._part}").focus()

    def on_filter_line_changed(self, message: FilterLine.Changed) -> None:
        """Show only events with these words."""
        self._words = message.words.lower()
        self._show_events()

    def on_filter_line_left(self) -> None:
        """Give the keyboard back."""
        self.focus_first()

    def on_row_list_chosen(self, message: RowList.Chosen[object]) -> None:
        """Open a device's page."""
        if isinstance(message.row, DeviceView):
            from gpuboard.tui.dialogs.device import DeviceScreen

            self.app.push_screen(DeviceScreen(message.row))

    def action_view(self, by: int) -> None:
        """Show the next part, or the one before."""
        self.action_part(PARTS[(PARTS.index(self._part) + by) % len(PARTS)])

    def action_part(self, part: str) -> None:
        """Show a part."""
        self.remove_class(f"-{self._part}")
        self._part = part
        self.add_class(f"-{part}")
        self._show_parts()
        self.focus_first()
        self._show_events()
        if part == "events" and not self._has_asked_events:
            self._has_asked_events = True
            self.gpuboard.errands.run(
                lambda: self.gpuboard.source.last_events(EVENTS_ASKED),
                self._take_events,
                self.gpuboard.say_error,
            )

    def action_filter(self) -> None:
        """Type words to filter the events by."""
        if self._part != "events":
            self.action_part("events")
        self.query_one(FilterLine).open()

    def action_drain(self) -> None:
        """Take the device under the cursor out of service, or put it back, after a dialog."""
        device: DeviceView | None = self.query_one("#health", RowList).current
        if device is None:
            return
        label = clean(device.label)
        if device.state != "drained":
            from gpuboard.tui.dialogs.maintenance import DrainScreen

            self.app.push_screen(DrainScreen(label), lambda _: self._ask())
            return
        self._confirm(
            f"Resume GPU {label}?",
            f"GPU {label} takes jobs and bookings again.",
            ["gpuboard", "admin", "resume", device.label],
            "resume",
            lambda: self.gpuboard.source.resume(DrainRequest(gpu_ids=[device.label])),
        )

    def action_reload(self) -> None:
        """Read the configuration again, after a dialog."""
        self._confirm(
            "Read the configuration again?",
            "The daemon takes what changed in its file; a wrong file changes nothing.",
            ["gpuboard", "admin", "config", "reload"],
            "reload",
            self.gpuboard.source.reload,
        )

    def action_check(self) -> None:
        """Check the database, after a dialog."""
        self._confirm(
            "Check the database?",
            "Every page is read beside what goes on; a large file takes a while.",
            ["gpuboard", "admin", "db", "check"],
            "check",
            self.gpuboard.source.check_database,
        )

    def action_notice(self) -> None:
        """Write to everybody."""
        from gpuboard.tui.dialogs.notice import NoticeScreen

        self.app.push_screen(NoticeScreen(), lambda _: self._ask())

    def action_blackout(self) -> None:
        """Announce maintenance."""
        from gpuboard.tui.dialogs.maintenance import BlackoutScreen

        self.app.push_screen(BlackoutScreen(), lambda _: self._ask())

    def action_backup(self) -> None:
        """Write a copy of the database."""
        from gpuboard.tui.dialogs.maintenance import BackupScreen

        self.app.push_screen(BackupScreen(), lambda _: self._ask())

    def action_stop(self) -> None:
        """Take the blackout under the cursor back, after a dialog."""
        line: StateLine | None = self.query_one("#daemon", RowList).current
        blackout = line.blackout if line and self._part == "daemon" else None
        if blackout is None:
            self.gpuboard.say("there is no blackout under the cursor (they are in the last part)")
            return
        self._confirm(
            f"Take blackout {blackout.id} back?",
            "Jobs and bookings may have its time again.",
            ["gpuboard", "admin", "blackout", "--cancel", str(blackout.id)],
            "take it back",
            lambda: self.gpuboard.source.blackout(BlackoutRequest(cancel=blackout.id)),
        )

    def _confirm(
        self, title: str, effect: str, command: list[str], yes: str, call: AdminCall
    ) -> None:
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        self.app.push_screen(
            ConfirmScreen(title, effect, quote_command(command), yes=yes),
            lambda is_sure: self._act(call) if is_sure else None,
        )

    def _act(self, call: AdminCall) -> None:
        self.gpuboard.errands.run(call, self._acted, self.gpuboard.say_error)

    def _acted(self, result: AdminResult) -> None:
        words = self.gpuboard.told(result.words)
        self.gpuboard.say(words, "information" if result.ok else "error")
        self._ask()

    def _ask(self) -> None:
        """Ask doctor, and how the daemon is."""
        self._asked_for = self._now_s // 60
        errands, source = self.gpuboard.errands, self.gpuboard.source
        errands.run(source.doctor, self._take_checks, self._no_checks)
        errands.run(source.admin_state, self._take_state, self.gpuboard.say_error)

    def _take_checks(self, view: DoctorView) -> None:
        if not self.is_mounted:
            return
        odd = [check for check in view.checks if check.status in ("warning", "error")]
        lines: list[list[Part]] = [
            [
                (f"  {fit(clean(check.name), 18)} ", _CHECK_ROLES.get(check.status, "text")),
                (self.gpuboard.told(check.words), "text"),
                (f"  mend: {clean(check.mend)}" if check.mend else "", "accent"),
            ]
            for check in odd[:CHECKS_SHOWN]
        ]
        if len(odd) > CHECKS_SHOWN:
            lines.append([(f"  and {len(odd) - CHECKS_SHOWN} more: gpuboard doctor", "dim")])
        fine = f"  all {len(view.checks)} checks are well"
        self.query_one("#checks", Block).show_lines(lines or [[(fine, "ok")]])

    def _no_checks(self, error: GpuboardError) -> None:
        if self.is_mounted:
            self.query_one("#checks", Block).show_lines(
                [[("  " + self.gpuboard.told(error.message), "bad")]]
            )

    def _take_state(self, state: AdminState) -> None:
        if not self.is_mounted:
            return
        self._state = state
        board = self.gpuboard.snapshot.board
        self.query_one("#configuration", RowList).set_rows(state.settings)
        self.query_one("#daemon", RowList).set_rows(state_lines(state, board, self._now_s))
        self._show_parts()

    def _take_events(self, view: EventList) -> None:
        if self.is_mounted:
            self._older = [*reversed(view.events)]
            self._show_events()

    def _show_parts(self) -> None:
        items: list[Item] = [
            (
                [(f" {part} ", "accent!" if part == self._part else "dim")],
                f"part('{part}')",
            )
            for part in PARTS
        ]
        self.query_one("#parts", ActionBar).show_items(items, [(self._note, "accent")])

    @property
    def _note(self) -> str:
        """What is said at the right of the parts' names."""
        if self._part == "configuration" and self._state is not None:
            changed = sum(not row.is_default for row in self._state.settings)
            name = clean(self._state.config_file) or "no file"
            return f"{name}, {changed} set "
        if self._part == "events" and self._words:
            shown = len(self.query_one("#events", RowList).rows)
            return f"with '{clean(self._words)}', {shown} shown "
        return ""

    def _show_events(self) -> None:
        if self._part != "events":
            return
        live = [*self.gpuboard.events]
        known = {event.id for event in live}
        older = (event for event in self._older if event.id not in known)
        rows = [event for event in (*live, *older) if self._has_words(event)]
        empty = "no event matches" if self._words else "nothing happened yet"
        self.query_one("#events", RowList).set_rows(rows, empty)
        self._show_parts()

    def _has_words(self, event: EventView) -> bool:
        text = f"{event.kind} {event.words} {event.user} {event.job_id or ''} {event.device or ''}"
        return all(word in text.lower() for word in self._words.split())

    def _paint_device(self, ink: Ink, device: DeviceView, width: int, ground: str) -> Strip:
        status = status_of(device, ink.glyphs)
        ecc = "-" if device.ecc_uncorrected is None else str(device.ecc_uncorrected)
        heat = "-" if device.temperature_c is None else f"{device.temperature_c}C"
        throttle = ", ".join(clean(word) for word in device.throttle)
        words = clean(device.state_words)
        slowed = f"throttled: {throttle}" if throttle else ""
        parts: list[Part] = [
            (f"  {fit(clean(device.label), 4)} ", "strong!"),
            (fit(product_words(device.name), 18) + " ", "dim"),
            (fit(f"{status.glyph} {status.word}", 12) + " ", status.role),
            (f"{ecc:>5} ", "bad" if device.ecc_uncorrected else "dim"),
            (f"{heat:>5}  ", "text"),
            (words, "text" if device.state in ("faulty", "foreign", "drained") else "dim"),
            ("; " if words and slowed else "", "dim"),
            (slowed, "warn"),
        ]
        return ink.line(parts, width, ground)

    def _paint_event(self, ink: Ink, event: EventView, width: int, ground: str) -> Strip:
        parts: list[Part] = [
            (f"  {fit(clock_of(event.at, self._now_s), 10)} ", "dim"),
            (fit(clean(event.kind), 20) + " ", "accent"),
            (self.gpuboard.told(event_words(event, self.gpuboard.device_labels)), "text"),
            (f"  {clean(event.user)}" if event.user else "", "dim"),
        ]
        return ink.line(parts, width, ground)


def _part(widget: AnyWidget, name: str) -> AnyWidget:
    """Return a widget as belonging to a part."""
    widget.add_class("part", f"-{name}")
    return widget


def _uuid(device: DeviceView) -> str:
    return device.uuid


def _number(event: EventView) -> int:
    return event.id
