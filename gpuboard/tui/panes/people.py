"""Tab 5: who held and used how much, where fair share stands, and when the box is busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.errors import GpuboardError
from gpuboard.model.views.shares import UsageRow, UsageView
from gpuboard.model.views.usage import UsageReport, UsedRow
from gpuboard.tui import columns
from gpuboard.tui.bindings import PEOPLE, bindings
from gpuboard.tui.columns import Column
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.graphs import bar
from gpuboard.tui.ink import Ink, Part, clean, wrapped
from gpuboard.tui.instants import epoch_s, span
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.usagewords import (
    OVER,
    fair_share_words,
    folded,
    hours_words,
    percent_words,
    report_words,
    used_share,
    wait_words,
)
from gpuboard.tui.widgets.heatmap import HeatMap
from gpuboard.tui.widgets.painted import Bar, Block
from gpuboard.tui.widgets.rows import RowList

BY = ("person", "group", "GPU")
OF_PEOPLE = ("wait", "long", "share", "now")
"""Columns that groups and devices have nothing to say in."""


@dataclass(frozen=True)
class Row:
    """A line of the table: the window's sums, and of a person fair share as it stands."""

    name: str
    used: UsedRow
    share: UsageRow | None = None


class PeoplePane(Pane, inherit_bindings=False):
    """A sentence about oneself, the table, and the week by hours."""

    DEFAULT_CSS = "PeoplePane #people { height: 1fr; min-height: 3; }"
    BINDINGS = bindings(PEOPLE)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._over = "week"
        self._by = BY[0]
        self._usage: UsageView | None = None
        self._report: UsageReport | None = None
        self._wanted = ""
        """Whose row is to be found when the table is there."""
        self._asked: object = None
        self._is_asking = False

    def compose(self) -> ComposeResult:
        """Return sentence, sums, table and heat map."""
        yield Block(least=1, id="share")
        yield Block(least=2, id="sums")
        yield Bar(id="people-heads", ground="panel")
        yield RowList[Row](self._paint_row, lambda row: row.name, id="people")
        yield HeatMap()

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:
        """Ask anew when the queue changed, and once a minute."""
        if snapshot.board is None or is_stale:
            return
        wanted = (snapshot.queue, epoch_s(snapshot.board.at) // 60, self._over)
        if wanted != self._asked and not self._is_asking:
            self._asked = wanted
            self._ask()

    def repaint(self) -> None:
        """Draw again in another theme, or with other columns."""
        self._show()
        self.query_one(RowList).repaint()
        self.query_one(HeatMap).repaint()
        self.refresh(layout=True)

    def focus_first(self) -> None:
        """Put the keyboard on the table."""
        self.query_one(RowList).focus()

    def on_resize(self) -> None:
        """Wrap the sentence anew."""
        self._show()

    def action_over(self, over: str) -> None:
        """Show another window."""
        self._over = over
        self._ask()

    def action_by(self) -> None:
        """Show rows by person, by group or by device."""
        self._by = BY[(BY.index(self._by) + 1) % len(BY)]
        self._show()

    def action_person(self) -> None:
        """Find a person by name."""
        from gpuboard.tui.dialogs.pickperson import PickPersonScreen

        self._by = BY[0]
        self._show()
        board = self.gpuboard.snapshot.board
        names = [row.name for row in self._rows()]
        self.app.push_screen(
            PickPersonScreen(names, board.user if board else ""),
            lambda name: self._find(name) if name else None,
        )

    def show_person(self, name: str) -> None:
        """Put the cursor on a person, at once or when the table is there."""
        self._by, self._wanted = BY[0], name
        self._show()

    def _find(self, name: str) -> None:
        rows = self.query_one(RowList)
        for place, row in enumerate(rows.rows):
            if row.name == name:
                rows.move_to(place)
                return
        self.gpuboard.say(f"{clean(name)} held nothing in {OVER[self._over]}")

    def _ask(self) -> None:
        self._is_asking = True
        over, source = self._over, self.gpuboard.source
        self.gpuboard.errands.run(
            lambda: (source.usage(), source.usage_over(over)),
            lambda found: self._take_found(over, *found),
            self._failed,
        )

    def _take_found(self, over: str, usage: UsageView, report: UsageReport) -> None:
        self._is_asking = False
        if not self.is_mounted:
            return
        self._usage = usage
        if over == self._over:
            self._report = report
        else:
            self._ask()
        self._show()

    def _failed(self, error: GpuboardError) -> None:
        self._is_asking = False
        self.gpuboard.say_error(error)

    def _show(self) -> None:
        if self._usage is None or self._report is None:
            return
        words = wrapped(fair_share_words(self._usage), max(20, self.size.width - 2))
        self.query_one("#share", Block).show_lines([[(f" {line}", "strong")] for line in words])
        over = OVER[self._over]
        self.query_one("#sums", Block).show_lines(
            [
                [(f" {over}: ", "accent!"), (report_words(self._report), "text")],
                [(f" {wait_words(self._report)}", "dim")],
            ]
        )
        heads = "  " + columns.heads(self._layout(self.rows_width), name=self._by.upper())
        self.query_one("#people-heads", Bar).show([(heads, "dim")])
        empty = "no job was charged to a group" if self._by == "group" else "nobody held anything"
        self.query_one(RowList).set_rows(self._rows(), f"{empty} in {over}")
        self.query_one(HeatMap).show(folded(self._report.hours))
        if self._wanted:
            wanted, self._wanted = self._wanted, ""
            self._find(wanted)

    @property
    def rows_width(self) -> int:
        """Columns that a row has: those of the pane less the scroll bar."""
        return self.query_one(RowList).size.width or self.size.width

    def _layout(self, width: int) -> Sequence[tuple[Column, int]]:
        names = self.gpuboard.settings.columns_of("people")
        shown = tuple(name for name in names if self._by == "person" or name not in OF_PEOPLE)
        return columns.laid_out("people", shown, width - 2)

    def _rows(self) -> list[Row]:
        report, usage = self._report, self._usage
        if report is None or usage is None:
            return []
        if self._by == "group":
            return [Row(row.name or "(none)", row) for row in report.groups]
        if self._by == "GPU":
            return [Row(row.name, row) for row in report.devices]
        shares = {row.uid: row for row in usage.people}
        rows = [Row(row.name, row, shares.pop(row.uid or 0, None)) for row in report.people]
        absent = sorted(shares.values(), key=lambda row: (-row.share, row.user))
        return rows + [
            Row(row.user, UsedRow(name=row.user, uid=row.uid, mine=row.mine), row) for row in absent
        ]

    def _paint_row(self, ink: Ink, row: Row, width: int, ground: str) -> Strip:
        layout = self._layout(width)
        return ink.line([("  ", "text"), *columns.cells(layout, _parts(ink, row))], width, ground)


def _parts(ink: Ink, row: Row) -> dict[str, Part]:
    """Return what each column says of a row; what only people have is empty for the others."""
    used, share, stand = row.used, used_share(row.used), row.share
    owner = "mine!" if used.mine else "text"
    filled, empty = bar(share, 8, ink.glyphs)
    now = [f"{stand.running_gpus} GPU"] if stand and stand.running_gpus else []
    now += [f"{stand.queued_jobs} wait"] if stand and stand.queued_jobs else []
    waits = ["" if wait is None else span(wait) for wait in (used.wait_median_s, used.wait_p90_s)]
    return {
        "name": ("you" if used.mine else clean(row.name), owner),
        "held": (hours_words(used.held_s), "text"),
        "used": (percent_words(share), "text" if share is not None else "dim"),
        "bar": (filled + empty, "mine" if used.mine else "accent"),
        "idle": (hours_words(used.idle_s), "idle" if used.idle_s >= 3600 else "dim"),
        "wait": (waits[0], "text"),
        "long": (waits[1], "text"),
        "share": ("" if stand is None else f"{stand.share:.0%}", "text"),
        "jobs": (str(used.starts), "text"),
        "now": (", ".join(now), "dim"),
    }
