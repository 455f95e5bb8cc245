"""A refused booking in words: the causes, and the nearest windows that would be accepted."""

from __future__ import annotations

from gpuboard.errors import Refused
from gpuboard.model.durations import format_duration
from gpuboard.model.instants import iso
from gpuboard.model.plan import Admission, ReservationRequest


def insist_admitted(admission: Admission, wanted: ReservationRequest, now: int) -> None:
    """Raise Refused unless the window can be promised."""
    if admission.accepted:
        return
    windows = ", ".join(
        f"{iso(window.from_at)} to {iso(window.until_at)}" for window in admission.nearest[:3]
    )
    raise Refused(
        refusal_words(admission, wanted, now),
        hint=f"free: {windows}" if windows else "no window of this length is free soon",
    )


def refusal_words(admission: Admission, wanted: ReservationRequest, now: int) -> str:
    """Return why a window cannot be promised."""
    devices = "1 device" if wanted.gpus == 1 else f"{wanted.gpus} devices"
    span = format_duration((wanted.until_at - wanted.from_at) // 1000)
    start = "now" if wanted.from_at <= now else f"from {iso(wanted.from_at)}"
    causes = "; ".join(cause.words for cause in admission.causes) or "it does not fit"
    return f"{devices} for {span} {start} cannot be promised: {causes}"
