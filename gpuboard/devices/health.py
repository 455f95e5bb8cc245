"""Whether a device may be given out, judged from what was read of it over time.

A device is judged faulty only for what a person would replace or reset it for; a single figure
that the driver does not give is no fault. What needs memory (errors that grew, an Xid that was
seen) is kept by UUID until the device was reset, which shows in its counters or by its having
been away.
"""

from __future__ import annotations

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

_COOLED_C = 5
"""A device that reached its shutdown temperature is fit again this far below it."""


class Vitals(NamedTuple):
    """What health is judged by. None = the driver does not say."""

    lost: str = ""
    """In words, when the device does not answer at all."""
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

    def __init__(self) -> None:
        self._ecc_baseline: dict[DeviceUuid, int] = {}
        self._xid: dict[DeviceUuid, int] = {}
        self._too_hot: set[DeviceUuid] = set()

    def judge(self, uuid: DeviceUuid, vitals: Vitals) -> Verdict:
        """Return whether the device may be given out; the gravest cause is named."""
        if vitals.lost:
            self._forget(uuid)
            return Verdict(Health.LOST, vitals.lost)
        for words in (
            "needs a reset (`nvidia-smi --gpu-reset`)" if vitals.needs_reset else "",
            self._xid_words(uuid, vitals),
            "row remapping failed: its memory is worn out" if vitals.remap_failed else "",
            self._ecc_words(uuid, vitals),
            self._heat_words(uuid, vitals),
        ):
            if words:
                return Verdict(Health.FAULTY, words)
        return Verdict(Health.OK)

    def _forget(self, uuid: DeviceUuid) -> None:
        """Begin anew: a device that was lost comes back only by a reset."""
        self._ecc_baseline.pop(uuid, None)
        self._xid.pop(uuid, None)
        self._too_hot.discard(uuid)

    def _xid_words(self, uuid: DeviceUuid, vitals: Vitals) -> str:
        for xid in vitals.xids:
            if xid in XID_WORDS:
                self._xid[uuid] = xid
        xid = self._xid.get(uuid, 0)
        return f"Xid {xid}: {XID_WORDS[xid]}" if xid else ""

    def _ecc_words(self, uuid: DeviceUuid, vitals: Vitals) -> str:
        count = vitals.ecc_uncorrected
        if count is None:
            return ""
        baseline = self._ecc_baseline.setdefault(uuid, count)
        if count < baseline:  # the counter began anew: the device was reset
            self._ecc_baseline[uuid] = baseline = count
        grown = count - baseline
        if not grown:
            return ""
        return f"{grown} new uncorrectable memory error{'s' if grown > 1 else ''} (ECC)"

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
