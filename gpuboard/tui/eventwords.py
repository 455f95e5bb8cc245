"""Events as one line each: what they are about, which their own words may leave out."""

from __future__ import annotations

from gpuboard.model.views import EventView
from gpuboard.tui.ink import clean


def subject_words(event: EventView) -> str:
    """Return what an event is about: `job 412`, `booking 7`, or nothing."""
    if event.job_id is not None:
        return f"job {event.job_id}"
    if event.reservation_id is not None:
        return f"booking {event.reservation_id}"
    return ""


def event_words(event: EventView) -> str:
    """Return an event's words; with its subject where they do not name it."""
    subject, words = subject_words(event), clean(event.words)
    return f"{subject}: {words}" if subject and subject not in words else words
