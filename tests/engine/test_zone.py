"""The box's clock as data: the same words as the box's own, over a change of the clocks too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gpuboard.engine import zone
from gpuboard.policy.words import clock_words

SUNDAY = int(datetime(2026, 10, 25, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS = 60_000


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process lives in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    zone._about.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    zone._about.cache_clear()


@pytest.mark.usefixtures("berlin")
def test_a_change_of_the_clocks_is_found_to_the_minute() -> None:
    """At 01:00 UTC of that Sunday the clocks of Berlin go back."""
    offsets = zone.utc_offsets(SUNDAY - 5 * 86_400_000)
    assert (SUNDAY + 60 * MINUTE_MS, 3600) in offsets
    before, after = SUNDAY + 59 * MINUTE_MS, SUNDAY + 60 * MINUTE_MS
    assert [clock_words(at, SUNDAY, offsets) for at in (before, after)] == ["02:59", "02:00"]


@pytest.mark.usefixtures("berlin")
def test_words_are_those_of_the_boxs_own_clock() -> None:
    """For every hour of a year ahead."""
    offsets = zone.utc_offsets(SUNDAY)
    for hour in range(0, 24 * 360, 7):
        at = SUNDAY + hour * 3_600_000
        own = datetime.fromtimestamp(at / 1000, tz=UTC).astimezone()
        assert clock_words(at, at - 30 * 86_400_000, offsets) == f"{own:%Y-%m-%d %H:%M}"
