"""Whether a device may be given out, judged from what was read of it over time.

A device is judged faulty only for what a person would replace or reset it for; a single figure
that the driver does not give is no fault, and a call that failed once is not a loss (a loss ends
somebody's job). What happened in a moment, an Xid or new memory errors, is reported for a minute:
whoever drains the device remembers it until an admin gives it back, and can then do so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from gpuboard.model.device import Health
from gpuboard.model.ids import DeviceUuid

XID_WORDS = {
    48: "double-bit memory error",
    62: "internal micro-controller halt",
    64: "row remapping could not be recorded",
    74: "NVLink error",
    79: "fell off the bus",
    95: "uncontained memory error",
    119: "the GPU's system processor does not answer",
    120: "the GPU's system processor failed",
}
"""Xids after which NVIDIA's catalogue asks for a reset or a replacement. The others (13, 31, 43,
45, ...) come from faulty programs: they are no fault of the device."""

NEEDS_RESET = "needs a reset: with gpuboard stopped, `nvidia-smi --gpu-reset`"
"""A reset is refused while anybody, a monitor too, has the driver open."""
EVENT_S = 60.0
"""For how long a device is faulty by what happened in a moment."""
_COOLED_C = 5
"""A device that reached its shutdown temperature is fit again this far below it."""


class Vitals(NamedTuple):
    """What health is judged by. None = the driver does not say."""

    lost: str = ""
    """In words, when the device is gone."""
    unreadable: str = ""
    """In words, when it is not known whether it is gone: a call failed that should not."""
    needs_reset: bool = False
    temperature_c: int | None = None
    shutdown_c: int | None = None
    """Temperature at which the device turns itself off."""
    ecc_uncorrected: int | None = None
    """Volatile count: starts at 0 when the driver is loaded or the device reset."""
    remap_failed: bool | None = None
    xids: tuple[int, ...] = ()
    """New ones since the last judgement."""


class Verdict(NamedTuple):
    """The judgement, and why."""

    health: Health
    words: str = ""


class HealthJudge:
    """Judges devices sweep by sweep. Belongs to one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ecc_counts: dict[DeviceUuid, int] = {}
        self._events: dict[DeviceUuid, tuple[float, str]] = {}
        """What happened to a device last, and until when that counts."""
        self._too_hot: set[DeviceUuid] = set()

    def judge(self, uuid: DeviceUuid, vitals: Vitals) -> Verdict:
        """Return whether the device may be given out; the gravest cause is named."""
        if vitals.lost:
            self._forget(uuid)
            return Verdict(Health.LOST, vitals.lost)
        self._note_events(uuid, vitals)
        for words in (
            NEEDS_RESET if vitals.needs_reset else "",
            "row remapping failed: its memory is worn out" if vitals.remap_failed else "",
            self._event_words(uuid),
            self._heat_words(uuid, vitals),
        ):
            if words:
                return Verdict(Health.FAULTY, words)
        if vitals.unreadable:
            return Verdict(Health.UNKNOWN, vitals.unreadable)
        return Verdict(Health.OK)

    def _forget(self, uuid: DeviceUuid) -> None:
        """Begin anew: a device that was lost comes back only by a reset."""
        self._ecc_counts.pop(uuid, None)
        self._events.pop(uuid, None)
        self._too_hot.discard(uuid)

    def _note_events(self, uuid: DeviceUuid, vitals: Vitals) -> None:
        until_s = self._clock() + EVENT_S
        count = vitals.ecc_uncorrected
        if count is not None:
            grown = count - self._ecc_counts.get(uuid, count)  # below 0: the device was reset
            self._ecc_counts[uuid] = count
            if grown > 0:
                plural = "s" if grown > 1 else ""
                words = f"{grown} new uncorrectable memory error{plural} (ECC)"
                self._events[uuid] = (until_s, words)
        for xid in vitals.xids:
            if xid in XID_WORDS:
                self._events[uuid] = (until_s, f"Xid {xid}: {XID_WORDS[xid]}")

    def _event_words(self, uuid: DeviceUuid) -> str:
        until_s, words = self._events.get(uuid, (0.0, ""))
        if words and self._clock() >= until_s:
            del self._events[uuid]
            return ""
        return words

    def _heat_words(self, uuid: DeviceUuid, vitals: Vitals) -> str:
        temperature, shutdown = vitals.temperature_c, vitals.shutdown_c
        if temperature is None or not shutdown:
            return ""
        if temperature >= shutdown:
            self._too_hot.add(uuid)
        elif temperature < shutdown - _COOLED_C:
            self._too_hot.discard(uuid)
        if uuid not in self._too_hot:
            return ""
        return f"too hot: {temperature} C, it turns itself off at {shutdown} C"
