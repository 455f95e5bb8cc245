"""The use case of a report on the past: who held and used how much over a day, a week, a month."""

from __future__ import annotations

from collections.abc import Callable

from gpuboard.errors import InvalidRequest
from gpuboard.model.durations import parse_duration
from gpuboard.model.person import Caller
from gpuboard.model.views.usage import UsageReport
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames
from gpuboard.service.usagereport import report_on

DAY_S = 86400
WINDOWS_S = {"day": DAY_S, "week": 7 * DAY_S, "month": 30 * DAY_S}
LONGEST_S = 366 * DAY_S


class UsageService:
    """What everybody may know of the past."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def report(self, caller: Caller, over: str) -> Callable[[], UsageReport]:
        """Return what makes, on a worker, the report on the window that ends now.

        `over`: day, week, month, or a span (`36h`). Raises InvalidRequest.
        """
        span_s = WINDOWS_S.get(over) or parse_duration(over, field="over")
        if not 60 <= span_s <= LONGEST_S:
            raise InvalidRequest(
                f"over: {over[:40]} is not from a minute to a year",
                field="over",
                hint="day, week, month, or a span such as 36h",
            )
        engine, until_at = self._context.engine, self._context.clock.now_ms()
        names = DeviceNames(engine.snapshot())

        def make() -> UsageReport:
            past = engine.past(until_at - span_s * 1000, until_at)
            return report_on(past, names, over=over, own_uid=caller.uid)

        return make
