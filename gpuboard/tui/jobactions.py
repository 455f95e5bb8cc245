"""What a person can do to a job from any screen: open it, follow it, ask why, cancel, hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuboard.model.requests import CancelRequest, UpdateRequest
from gpuboard.model.views import ActionResults, JobView
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import limit_words
from gpuboard.tui.jobwords import job_name

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp

MORE_TIME = "+30m"
"""What one press of the key adds to a limit."""


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
        )

    @property
    def words(self) -> str:
        """The job in a few words: `job 412 (train)`."""
        return f"job {self.job_id} ({self.name[:40]})" if self.name else f"job {self.job_id}"


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

    def ask_cancel(self, target: JobTarget) -> None:
        """Cancel a job, after a dialog."""
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        if target.state and target.state not in ("queued", "starting", "running", "stopping"):
            self._app.say(f"{target.words} has ended already")
            return
        if not target.mine and not self._app.is_admin:
            self._app.say(f"{target.words} is {target.user or 'somebody else'}'s, not yours")
            return
        if target.state == "queued":
            effect = f"{target.words} leaves the queue and will not run."
        else:
            on = f" on GPU {target.devices}" if target.devices else ""
            effect = (
                f"{target.words}{on} gets its stop signal, after its grace SIGKILL. "
                "What it did not save is lost."
            )
        if not target.mine:
            effect += f" It belongs to {target.user}."
        self._app.push_screen(
            ConfirmScreen(
                "Cancel this job?",
                effect,
                f"gpuboard cancel {target.job_id}",
                yes="cancel the job",
                no="leave it",
            ),
            lambda is_sure: self._cancel(target) if is_sure else None,
        )

    def ask_hold(self, target: JobTarget) -> None:
        """Hold a queued job back or release it, after a dialog."""
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        if target.state != "queued":
            self._app.say("only a job that waits can be held")
            return
        verb = "release" if target.is_held else "hold"
        effect = (
            f"{target.words} may start again when its turn comes."
            if target.is_held
            else f"{target.words} stays in the queue, but does not start until it is released."
        )
        self._app.push_screen(
            ConfirmScreen(
                f"{verb.capitalize()} this job?",
                effect,
                f"gpuboard {verb} {target.job_id}",
                yes=verb,
            ),
            lambda is_sure: self._hold(target) if is_sure else None,
        )

    def extend(self, target: JobTarget) -> None:
        """Give a job more time; at once, since `gpuboard update` takes it back."""
        if target.state and target.state not in ("queued", "starting", "running"):
            self._app.say(f"{target.words} has ended already")
            return
        if not target.mine and not self._app.is_admin:
            self._app.say(f"{target.words} is {target.user or 'somebody else'}'s, not yours")
            return
        request = UpdateRequest(jobs=[str(target.job_id)], time_limit=MORE_TIME)
        self._app.errands.run(
            lambda: self._app.source.update(request), self._tell_limits, self._app.say_error
        )

    def _cancel(self, target: JobTarget) -> None:
        request = CancelRequest(jobs=[str(target.job_id)])
        self._app.errands.run(
            lambda: self._app.source.cancel(request), self._tell, self._app.say_error
        )

    def _hold(self, target: JobTarget) -> None:
        self._app.errands.run(
            lambda: self._app.source.hold([str(target.job_id)], held=not target.is_held),
            self._tell,
            self._app.say_error,
        )

    def _tell_limits(self, results: ActionResults) -> None:
        for result in results.results:
            if result.ok and result.job is not None:
                limit = limit_words(result.job.limit_s)
                self._app.say(f"job {result.id}: its limit is {limit} now")
            else:
                self._app.say(f"job {result.id}: {self._app.told(result.words)}", "error")

    def _tell(self, results: ActionResults) -> None:
        for result in results.results:
            words = f"job {result.id}: {clean(result.words)}"
            self._app.say(words, "information" if result.ok else "error")
