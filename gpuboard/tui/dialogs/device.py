"""A device's page: who has it, its readings, and the processes on it."""

from __future__ import annotations

from gpuboard.model.views.devices import DeviceView
from gpuboard.tui.devicewords import holder_words, product_words, status_of
from gpuboard.tui.dialogs.base import Line, Page, fact, titled
from gpuboard.tui.histories import memory_percent
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import clock_of, epoch_s, gigabytes
from gpuboard.tui.processwords import process_head, process_row


class DeviceScreen(Page):
    """The page of one device; it follows the feed."""

    def __init__(self, device: DeviceView) -> None:
        super().__init__(f"GPU {clean(device.label)}  {product_words(device.name)}")
        self._device = device

    def on_mount(self) -> None:
        """Follow the feed."""
        super().on_mount()
        self.set_interval(1.0, self._refresh)

    def lines(self, width: int) -> list[Line]:
        """Return the page."""
        device = self._device
        now_s = epoch_s(self.gpuboard.now_iso) if self.gpuboard.now_iso else 0
        glyphs = self.gpuboard.ink.glyphs
        status = status_of(device, glyphs, now_s)
        lines: list[Line] = [[], fact("state", f"{status.glyph} {status.word}", status.role + "!")]
        if device.state_words:
            lines.append(fact("", clean(device.state_words)))
        lines.append(fact("held by", holder_words(device, glyphs) or "nobody"))
        lines.append(fact("until", clock_of(device.until_at, now_s, "-")))
        if device.next_booking:
            booking = device.next_booking
            lines.append(
                fact(
                    "booked",
                    f"{clean(booking.user)}, {clock_of(booking.from_at, now_s)} until "
                    f"{clock_of(booking.until_at, now_s)}",
                )
            )
        return [*lines, [], *_readings(device), [], *_processes(device, width, now_s)]

    def _refresh(self) -> None:
        board = self.gpuboard.snapshot.board
        if board is None or self.gpuboard.is_paused:
            return
        found = next((item for item in board.devices if item.uuid == self._device.uuid), None)
        if found is not None and found != self._device:
            self._device = found
            self.rebuild()


def _readings(device: DeviceView) -> list[Line]:
    memory = "n/a"
    if device.memory_total_bytes is not None:
        percent = memory_percent(device)
        memory = (
            f"{gigabytes(device.memory_used_bytes)} of {gigabytes(device.memory_total_bytes)} GiB"
        )
        memory += f" ({percent}%)" if percent is not None else ""
    power = f"{_or_na(device.power_w, ' W')} of {_or_na(device.power_limit_w, ' W')}"
    lines = [
        titled("Readings"),
        fact("utilisation", _or_na(device.utilization, "%")),
        fact("memory", memory),
        fact("temperature", _or_na(device.temperature_c, " C")),
        fact("power", power),
        fact("SM clock", _or_na(device.sm_clock_mhz, " MHz")),
        fact("fan", _or_na(device.fan_percent, "%")),
        fact("ECC errors", _or_na(device.ecc_uncorrected, "")),
    ]
    if device.throttle:
        lines.append(fact("throttled", clean(", ".join(device.throttle)), "warn"))
    lines.append(fact("UUID", clean(device.uuid)))
    return lines


def _or_na(value: float | None, unit: str) -> str:
    return "n/a" if value is None else f"{value:.0f}{unit}"


def _processes(device: DeviceView, width: int, now_s: int) -> list[Line]:
    lines: list[Line] = [titled("Processes")]
    if not device.processes_known:
        return [*lines, [("  they cannot be read", "warn")]]
    if not device.processes:
        return [*lines, [("  none", "dim")]]
    lines.append(process_head(width))
    return [*lines, *(process_row(each, now_s, width) for each in device.processes)]
