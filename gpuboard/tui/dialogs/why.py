"""Why a job waits: the causes, when it should start, and what would start it now."""

from __future__ import annotations

from gpuboard.errors import GpuboardError
from gpuboard.model.text import change_words
from gpuboard.model.views.waits import WhyView
from gpuboard.tui.dialogs.base import Line, Page, fact, fault_lines, titled
from gpuboard.tui.ink import clean, wrapped
from gpuboard.tui.instants import clock_of, epoch_s, localised
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.waitwords import ahead_of, priority_words, start_words


class WhyScreen(Page):
    """The explanation of one job."""

    def __init__(self, target: JobTarget) -> None:
        super().__init__(f"Why {target.words}")
        self._target = target
        self._view: WhyView | None = None
        self._fault: GpuboardError | None = None

    def on_mount(self) -> None:
        """Ask."""
        super().on_mount()
        self.gpuboard.errands.run(
            lambda: self.gpuboard.source.why(str(self._target.job_id)), self._take, self._fail
        )

    def lines(self, width: int) -> list[Line]:
        """Return the explanation."""
        if self._fault is not None:
            return [[], *fault_lines(self._fault, width, self.gpuboard.told)]
        if self._view is None:
            return [[], [("asking...", "dim")]]
        now = self.gpuboard.now_iso
        return [[], *why_lines(self._view, width, epoch_s(now) if now else 0)]

    def _take(self, view: WhyView) -> None:
        self._view = view
        self.rebuild()

    def _fail(self, error: GpuboardError) -> None:
        self._fault = error
        self.rebuild()


def why_lines(view: WhyView, width: int, now_s: int) -> list[Line]:
    """Return an explanation as lines."""
    # The words say the causes one after the other: with the list below they are said once.
    said = "" if view.causes else view.words
    lines: list[Line] = [[(line, "text")] for line in wrapped(said, width)] if said else []
    if start := start_words(view, now_s):
        lines.append(fact("start", start.removeprefix("starts "), "accent!"))
    if view.place is not None:
        place = "next to be served" if view.place == 0 else f"{view.place} ahead of it"
        ahead = f", {view.ahead_gpus} GPUs wanted by them" if view.ahead_gpus else ""
        lines.append(fact("place", place + ahead))
    for number, one in enumerate(view.ahead):
        lines.append(fact("" if number else "before it", ahead_of(one, now_s)))
    if view.priority is not None:
        lines += [
            fact("" if number else "priority", line)
            for number, line in enumerate(
                wrapped(priority_words(view.priority, "its owner"), width - 15)
            )
        ]
    if view.would_start_now:
        lines.append(fact("starts now", change_words(clean(view.would_start_now)), "free!"))
    if view.causes:
        lines += [[], titled("Causes")]
    for cause in view.causes:
        words = localised(clean(cause.words), now_s)
        if cause.until_at and "until" not in words:
            words += f" (until {clock_of(cause.until_at, now_s)})"
        first, *rest = wrapped(words, width - 4)
        lines.append([("  - ", "dim"), (first, "text")])
        lines += [[("    " + line, "text")] for line in rest]
    return lines
