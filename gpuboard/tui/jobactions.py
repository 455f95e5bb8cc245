"""What a person can do to jobs from any screen: open, follow, ask why, cancel, hold, give other limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuboard.model.requests import CancelRequest, UpdateRequest
from gpuboard.model.views.jobs import ActionResults, JobView
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import limit_words
from gpuboard.tui.jobwords import job_name

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp

MORE_TIME = "+30m"
"""What one press of the key adds to a limit."""
_LIVE = ("queued", "starting", "running", "stopping")
_NAMED = 4
"""So many of several jobs are named in a dialog."""


@dataclass(frozen=True)
class JobTarget:
    """A job as far as a screen needs to know it to act on it."""

    job_id: int
    name: str = ""
    mine: bool = False
    state: str = ""
    is_held: bool = False
    user: str = ""
    devices: str = ""
    attempt: int = 1

    @classmethod
    def of(cls, job: JobView) -> JobTarget:
        """Return the target that a row stands for."""
        return cls(
            job.id,
            job_name(job),
            job.mine,
            job.state,
            bool(job.held_by),
            clean(job.user),
            ",".join(clean(device.label) for device in job.devices),
            job.attempt,
        )

    @property
    def words(self) -> str:
        """The job in a few words: `job 412 (train)`."""
        return f"job {self.job_id} ({self.name[:40]})" if self.name else f"job {self.job_id}"

    @property
    def is_live(self) -> bool:
        """Whether it has not ended, as far as the screen knows."""
        return not self.state or self.state in _LIVE


class JobActions:
    """The actions; each asks the daemon off the screen's thread."""

    def __init__(self, app: GpuboardApp) -> None:
        self._app = app

    def open_detail(self, target: JobTarget) -> None:
        """Show a job's page."""
        from gpuboard.tui.dialogs.job import JobScreen

        self._app.push_screen(JobScreen(target))

    def open_log(self, target: JobTarget) -> None:
        """Follow a job's log."""
        from gpuboard.tui.dialogs.log import LogScreen

        self._app.push_screen(LogScreen(target))

    def open_why(self, target: JobTarget) -> None:
        """Say why a job waits."""
        from gpuboard.tui.dialogs.why import WhyScreen

        self._app.push_screen(WhyScreen(target))

    def ask_cancel(self, *targets: JobTarget) -> None:
        """Cancel jobs, after a dialog that says what becomes of each."""
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        chosen = self._touchable(targets, [t for t in targets if t.is_live], "has ended already")
        if not chosen:
            return
        self._app.push_screen(
            ConfirmScreen(
                "Cancel this job?" if len(chosen) == 1 else f"Cancel these {len(chosen)} jobs?",
                _cancel_effect(chosen) + _whose(chosen),
                f"gpuboard cancel {selectors(chosen)}",
                yes="cancel the job" if len(chosen) == 1 else f"cancel {len(chosen)} jobs",
                no="leave it" if len(chosen) == 1 else "leave them",
            ),
            lambda is_sure: self._cancel(chosen) if is_sure else None,
        )

    def ask_hold(self, *targets: JobTarget) -> None:
        """Hold queued jobs back, or release them where all are held, after a dialog."""
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        queued = [target for target in targets if target.state == "queued"]
        chosen = self._touchable(targets, queued, "does not wait: only a job that waits is held")
        if not chosen:
            return
        is_release = all(target.is_held for target in chosen)
        verb = "release" if is_release else "hold"
        one, start, stay = (
            (chosen[0].words, "its turn comes", "stays")
            if len(chosen) == 1
            else (named(chosen), "their turn comes", "stay")
        )
        released = "it is released" if len(chosen) == 1 else "they are released"
        does = "does" if len(chosen) == 1 else "do"
        effect = (
            f"{one} may start again when {start}."
            if is_release
            else f"{one} {stay} in the queue, but {does} not start until {released}."
        )
        self._app.push_screen(
            ConfirmScreen(
                f"{verb.capitalize()} "
                + ("this job?" if len(chosen) == 1 else f"these {len(chosen)} jobs?"),
                effect + _whose(chosen),
                f"gpuboard {verb} {selectors(chosen)}",
                yes=verb,
            ),
            lambda is_sure: self._hold(chosen, held=not is_release) if is_sure else None,
        )

    def ask_limit(self, *targets: JobTarget) -> None:
        """Give jobs another limit, in a form."""
        from gpuboard.tui.dialogs.limit import LimitScreen

        chosen = self._touchable(targets, [t for t in targets if t.is_live], "has ended already")
        if chosen:
            self._app.push_screen(LimitScreen(chosen))

    def extend(self, target: JobTarget) -> None:
        """Give a job more time; at once, since `gpuboard update` takes it back."""
        if not self._touchable([target], [target] if target.is_live else [], "has ended already"):
            return
        request = UpdateRequest(jobs=[str(target.job_id)], time_limit=MORE_TIME)
        self._app.errands.run(
            lambda: self._app.source.update(request), self.tell_limits, self._app.say_error
        )

    def tell_limits(self, results: ActionResults) -> None:
        """Tell what limits became."""
        for result in results.results:
            if result.ok and result.job is not None:
                limit = limit_words(result.job.limit_s)
                self._app.say(f"job {result.id}: its limit is {limit} now")
            else:
                self._app.say(f"job {result.id}: {self._app.told(result.words)}", "error")

    def _touchable(
        self, asked: Sequence[JobTarget], able: Sequence[JobTarget], why_not: str
    ) -> list[JobTarget]:
        """Return the jobs that may be acted on; where there are none, say why."""
        chosen = [target for target in able if target.mine or self._app.is_admin]
        if chosen or not asked:
            return chosen
        first = asked[0]
        if first not in able:
            self._app.say(f"{first.words} {why_not}")
        else:
            self._app.say(f"{first.words} is {first.user or 'somebody else'}'s, not yours")
        return []

    def _cancel(self, targets: Sequence[JobTarget]) -> None:
        request = CancelRequest(jobs=[str(target.job_id) for target in targets])
        self._app.errands.run(
            lambda: self._app.source.cancel(request), self._tell, self._app.say_error
        )

    def _hold(self, targets: Sequence[JobTarget], *, held: bool) -> None:
        numbers = [str(target.job_id) for target in targets]
        self._app.errands.run(
            lambda: self._app.source.hold(numbers, held=held), self._tell, self._app.say_error
        )

    def _tell(self, results: ActionResults) -> None:
        """Tell what became of each job; of many only the count and what failed."""
        good = [result for result in results.results if result.ok]
        if len(good) > 2:
            self._app.say(f"{len(good)} jobs: {clean(good[0].words)}")
        for result in results.results:
            if not result.ok or len(good) <= 2:
                words = f"job {result.id}: {clean(result.words)}"
                self._app.say(words, "information" if result.ok else "error")


def selectors(targets: Iterable[JobTarget]) -> str:
    """Return jobs as a command line names them: `412 415-417`."""
    runs: list[list[int]] = []
    for number in sorted(target.job_id for target in targets):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = [f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(map(str, run)) for run in runs]
    return " ".join(words)


def named(targets: Sequence[JobTarget]) -> str:
    """Return several jobs in words, the first of them by name."""
    shown = ", ".join(target.words for target in targets[:_NAMED])
    more = len(targets) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _cancel_effect(targets: Sequence[JobTarget]) -> str:
    waiting = [target for target in targets if target.state == "queued"]
    held = [target for target in targets if target.state != "queued"]
    if len(targets) == 1 and waiting:
        return f"{waiting[0].words} leaves the queue and will not run."
    lost = "What it did not save is lost." if len(held) == 1 else "What they did not save is lost."
    if len(targets) == 1:
        on = f" on GPU {held[0].devices}" if held[0].devices else ""
        return f"{held[0].words}{on} gets its stop signal, after its grace SIGKILL. {lost}"
    parts = []
    if held:
        verb = "gets its" if len(held) == 1 else "get their"
        grace = "its" if len(held) == 1 else "their"
        parts.append(f"{named(held)} {verb} stop signal, after {grace} grace SIGKILL. {lost}")
    if waiting:
        verb = "leaves" if len(waiting) == 1 else "leave"
        parts.append(f"{named(waiting)} {verb} the queue and will not run.")
    return " ".join(parts)


def _whose(targets: Sequence[JobTarget]) -> str:
    """Return whose the jobs are where they are not all one's own."""
    others = [target for target in targets if not target.mine]
    if not others:
        return ""
    if len(targets) == 1:
        return f" It belongs to {others[0].user}."
    people = ", ".join(sorted({target.user for target in others}))
    return f" {len(others)} of them belong to {people}."
