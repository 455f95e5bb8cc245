"""The part of a long list that is known: a few screens of rows around those that are seen. Pure.

100,000 jobs are as many rows to a list widget, but only those near the seen ones were ever asked
for; the others are None until the person comes near.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from gpuboard.model.views.jobs import JobList, JobView
from gpuboard.tui.jobwords import matches

MARGIN = 2
"""Screens of rows asked for above and below the seen ones."""
LEAST = 120
"""Rows asked for at once at least."""


@dataclass(frozen=True)
class QueueWish:
    """Which live jobs a list shows; empty: all."""

    mine: bool = False
    user: str = ""
    state: str = ""
    text: str = ""

    @property
    def words(self) -> list[str]:
        """What is left out, for the head of the list."""
        notes = ["only mine"] if self.mine else []
        notes += [f"only {self.user}'s"] if self.user else []
        notes += [f"only {self.state}"] if self.state else []
        return [*notes, *([f"with '{self.text}'"] if self.text else [])]

    def takes(self, job: JobView) -> bool:
        """Whether a job is one of them, as far as the job as it is known tells."""
        return (
            (job.mine or not self.mine)
            and self.user in ("", job.user)
            and self.state in ("", "held" if job.held_by else job.state)
            and matches(job, self.text)
        )


class QueueWindow(Sequence[JobView | None]):
    """All rows of a list, of which one run is known."""

    def __init__(self, page: JobList | None = None) -> None:
        self.page = page or JobList(at="")

    def __len__(self) -> int:
        known_to = self.page.offset + len(self.page.jobs) if self.page.jobs else 0
        return max(self.page.total, known_to)

    @overload
    def __getitem__(self, place: int) -> JobView | None: ...

    @overload
    def __getitem__(self, place: slice) -> list[JobView | None]: ...

    def __getitem__(self, place: int | slice) -> JobView | list[JobView | None] | None:
        """Return a row, None where it is not known."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        within = place % len(self) - self.page.offset
        return self.page.jobs[within] if 0 <= within < len(self.page.jobs) else None

    def __iter__(self) -> Iterator[JobView | None]:
        return (self[place] for place in range(len(self)))

    def place_of(self, job_id: int) -> int | None:
        """Return the row of a job, if it is known."""
        for within, job in enumerate(self.page.jobs):
            if job.id == job_id:
                return self.page.offset + within
        return None

    def covers(self, top: int, height: int) -> bool:
        """Whether all rows of a screen are known."""
        end = min(top + height, len(self))
        return self.page.offset <= top and end <= self.page.offset + len(self.page.jobs)


def run_around(top: int, height: int) -> tuple[int, int]:
    """Return (offset, limit) of the run to ask for when these rows are seen."""
    limit = max(LEAST, (2 * MARGIN + 1) * height)
    return max(0, top - (limit - height) // 2), min(limit, 1000)
