"""The form for another time limit of one or several jobs."""

from __future__ import annotations

from collections.abc import Sequence

from gpuboard.errors import InvalidRequest, Refused
from gpuboard.model.durations import parse_duration
from gpuboard.model.requests import UpdateRequest
from gpuboard.tui.dialogs.form import Field, Form
from gpuboard.tui.ink import Part
from gpuboard.tui.instants import limit_words
from gpuboard.tui.jobactions import JobTarget, named, selectors


class LimitScreen(Form[UpdateRequest, UpdateRequest]):
    """A new limit, or so much more or less than the present one."""

    FIELDS = (
        Field("time", "time", "2h30m, or +30m, -1h from the present one", ("time_limit", "limit")),
    )
    SEND = "change"

    def __init__(self, targets: Sequence[JobTarget]) -> None:
        title = targets[0].words if len(targets) == 1 else f"{len(targets)} jobs"
        super().__init__(f"Another limit for {title}", {})
        self._targets = targets

    def request(self, values: dict[str, str]) -> UpdateRequest:
        """Return the change."""
        if not values["time"]:
            raise InvalidRequest("say how long", field="time", hint="2h30m, +30m, -1h")
        parse_duration(values["time"].lstrip("+-"), field="time")
        return UpdateRequest(
            jobs=[str(target.job_id) for target in self._targets], time_limit=values["time"]
        )

    def line_of(self, request: UpdateRequest) -> str:
        """Return the command line."""
        return f"gpuboard update {selectors(self._targets)} --time={request.time_limit}"

    def ask(self, request: UpdateRequest) -> UpdateRequest:
        """Nothing is asked: whether others wait for the devices is said when it is sent."""
        return request

    def answer_parts(self, answer: UpdateRequest) -> tuple[list[Part], list[Part]]:
        """Say what is about to change."""
        words = str(answer.time_limit)
        seconds = parse_duration(words.lstrip("+-"), field="time")
        how = {"+": "longer by", "-": "shorter by"}.get(words[0], "then")
        return [
            (f"{how} {limit_words(seconds)}", "accent!"),
            (f": {named(self._targets)}", "text"),
        ], []

    def send(self, request: UpdateRequest) -> str:
        """Change it; what failed of several is told as the form's fault."""
        results = self.gpuboard.source.update(request).results
        bad = [result for result in results if not result.ok]
        if bad:
            raise Refused(f"job {bad[0].id}: {bad[0].words}", field="time")
        limits = {limit_words(result.job.limit_s) for result in results if result.job is not None}
        jobs = f"job {results[0].id}" if len(results) == 1 else f"{len(results)} jobs"
        return f"{jobs}: limit {', '.join(sorted(limits))} now"
