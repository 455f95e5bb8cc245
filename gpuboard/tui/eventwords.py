"""Events as one line each: what they are about, which their own words may leave out."""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.model.views.events import EventView
from gpuboard.tui.ink import clean


def subject_words(event: EventView, labels: Mapping[str, str]) -> str:
    """Return what an event is about: `job 412`, `booking 7`, `GPU 3`, or nothing.

    `labels` are those of the devices by UUID, which is what an event names.
    """
    if event.job_id is not None:
        return f"job {event.job_id}"
    if event.reservation_id is not None:
        return f"booking {event.reservation_id}"
    if event.device:
        return f"GPU {clean(labels.get(event.device, event.device))}"
    return ""


def event_words(event: EventView, labels: Mapping[str, str]) -> str:
    """Return an event's words; with its subject where they do not name it."""
    subject, words = subject_words(event, labels), clean(event.words)
    is_named = subject in words or (subject.startswith("GPU ") and "GPU " in words)
    return words if is_named else f"{subject}: {words}"
