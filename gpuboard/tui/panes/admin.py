"""Tab 6, for admins: the health of the devices with drain and resume, what doctor says, and events."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.errors import GpuboardError
from gpuboard.model.requests import DrainRequest
from gpuboard.model.text import quote_command
from gpuboard.model.views import AdminResult, DeviceView, DoctorView, EventView
from gpuboard.tui.bindings import ADMIN, bindings
from gpuboard.tui.devicewords import product_words, status_of
from gpuboard.tui.eventwords import event_words
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Ink, Part, clean, fit
from gpuboard.tui.instants import clock_of, epoch_s
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.filterline import FilterLine
from gpuboard.tui.widgets.painted import Bar, Block
from gpuboard.tui.widgets.rows import RowList

CHECKS_SHOWN = 4
AdminCall = Callable[[], AdminResult]
_CHECK_ROLES = {"ok": "ok", "warning": "warn", "error": "bad", "skipped": "dim"}


class AdminPane(Pane):
    """Devices above, findings between, events below."""

    DEFAULT_CSS = """
    AdminPane #health { height: 2fr; }
    AdminPane #events { height: 2fr; }
    """
    BINDINGS = bindings(ADMIN)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._now_s = 0
        self._words = ""
        self._asked_for: object = None

    def compose(self) -> ComposeResult:
        """Return devices, findings, events and the filter."""
        heads = f"  {'GPU':<4} {'NAME':<18} {'STATE':<12} {'ECC':>5} {'TEMP':>5}  HEALTH"
        yield Bar([(heads, "dim")], ground="panel")
        yield RowList[DeviceView](self._paint_device, lambda device: device.uuid, id="health")
        yield Bar([("  WHAT DOCTOR SAYS", "dim")], ground="panel")
        yield Block(least=1, id="checks")
        yield Bar([("  EVENTS", "dim")], ground="panel", id="event-heads")
        yield RowList[EventView](
            self._paint_event, lambda event: event.id, empty="no events", id="events"
        )
        yield FilterLine()

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:
        """Show the devices; ask doctor once a minute."""
        board = snapshot.board
        if board is None:
            return
        self._now_s = epoch_s(board.at)
        self.query_one("#health", RowList).set_rows(board.devices)
        self._show_events()
        if self._asked_for != self._now_s // 60 and not is_stale:
            self._asked_for = self._now_s // 60
            self.gpuboard.errands.run(
                self.gpuboard.source.doctor, self._take_checks, self._no_checks
            )

    def repaint(self) -> None:
        """Draw again in another theme."""
        for rows in self.query(RowList):
            rows.repaint()

    def focus_first(self) -> None:
        """Put the keyboard on the devices."""
        self.query_one("#health").focus()

    def on_filter_line_changed(self, message: FilterLine.Changed) -> None:
        """Show only events with these words."""
        self._words = message.words.lower()
        self._show_events()

    def on_filter_line_left(self) -> None:
        """Give the keyboard back."""
        self.focus_first()

    def action_filter(self) -> None:
        """Type words to filter the events by."""
        self.query_one(FilterLine).open()

    def action_drain(self) -> None:
        """Take the device under the cursor out of service, or put it back, after a dialog."""
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        device: DeviceView | None = self.query_one("#health", RowList).current
        if device is None:
            return
        is_back = device.state == "drained"
        verb, label = ("resume" if is_back else "drain"), clean(device.label)
        effect = (
            f"GPU {label} takes jobs and bookings again."
            if is_back
            else f"GPU {label} gets no new job; what runs on it goes on to its end."
        )
        request = DrainRequest(gpu_ids=[device.label])
        source = self.gpuboard.source
        ask = source.resume if is_back else source.drain
        self.app.push_screen(
            ConfirmScreen(
                f"{verb.capitalize()} GPU {label}?",
                effect,
                quote_command(["gpuboard", "admin", verb, device.label]),
                yes=verb,
            ),
            lambda is_sure: self._act(lambda: ask(request)) if is_sure else None,
        )

    def action_reload(self) -> None:
        """Read the configuration again, after a dialog."""
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        self.app.push_screen(
            ConfirmScreen(
                "Read the configuration again?",
                "The daemon takes what changed in its file; a wrong file changes nothing.",
                "gpuboard admin config reload",
                yes="reload",
            ),
            lambda is_sure: self._act(self.gpuboard.source.reload) if is_sure else None,
        )

    def action_notice(self) -> None:
        """Write to everybody."""
        from gpuboard.tui.dialogs.notice import NoticeScreen

        self.app.push_screen(NoticeScreen())

    def _act(self, call: AdminCall) -> None:
        self.gpuboard.errands.run(
            call, lambda result: self.gpuboard.say(result.words), self.gpuboard.say_error
        )

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

    def _show_events(self) -> None:
        rows = [event for event in self.gpuboard.events if self._has_words(event)]
        self.query_one("#events", RowList).set_rows(
            rows, "no event matches" if self._words else "nothing happened since the app began"
        )
        notes = f"with '{self._words}', {len(rows)} shown " if self._words else ""
        self.query_one("#event-heads", Bar).show([("  EVENTS", "dim")], [(notes, "accent")])

    def _has_words(self, event: EventView) -> bool:
        text = f"{event.kind} {event.words} {event.user} {event.job_id or ''} {event.device or ''}"
        return all(word in text.lower() for word in self._words.split())

    def _paint_device(self, ink: Ink, device: DeviceView, width: int, ground: str) -> Strip:
        status = status_of(device, ink.glyphs)
        ecc = "-" if device.ecc_uncorrected is None else str(device.ecc_uncorrected)
        heat = "-" if device.temperature_c is None else f"{device.temperature_c}C"
        words = clean(device.state_words) or ", ".join(clean(word) for word in device.throttle)
        parts: list[Part] = [
            (f"  {fit(clean(device.label), 4)} ", "strong!"),
            (fit(product_words(device.name), 18) + " ", "dim"),
            (fit(f"{status.glyph} {status.word}", 12) + " ", status.role),
            (f"{ecc:>5} ", "bad" if device.ecc_uncorrected else "dim"),
            (f"{heat:>5}  ", "text"),
            (words, "text" if device.state in ("faulty", "foreign", "drained") else "dim"),
        ]
        return ink.line(parts, width, ground)

    def _paint_event(self, ink: Ink, event: EventView, width: int, ground: str) -> Strip:
        parts: list[Part] = [
            (f"  {fit(clock_of(event.at, self._now_s), 10)} ", "dim"),
            (fit(clean(event.kind), 20) + " ", "accent"),
            (self.gpuboard.told(event_words(event)), "text"),
            (f"  {clean(event.user)}" if event.user else "", "dim"),
        ]
        return ink.line(parts, width, ground)
