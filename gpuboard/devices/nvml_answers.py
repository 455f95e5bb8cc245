"""What NVML's return codes mean: a value, no value, a device's fault, or the whole driver's.

Every figure may be missing on some driver or board, so it is a value or None. Four things are not
a missing figure and are raised: the driver as a whole does not work (`DriverFault`), this device
is gone (`DeviceLost`), it wants a reset (`ResetRequired`), or its very identity could not be read
this time (`DeviceUnreadable`: not a loss, or one failed call would end somebody's job).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from gpuboard.errors import HostError

T = TypeVar("T")


class DriverFault(HostError):
    """The driver as a whole does not answer: not installed, not loaded, mismatch."""


class DeviceLost(HostError):
    """A device is gone."""


class DeviceUnreadable(HostError):
    """A device's identity could not be read; the next call may succeed."""


class ResetRequired(HostError):
    """A device answers that it needs a reset."""


DEVICE_FAULTS = (DeviceLost, DeviceUnreadable, ResetRequired)
"""What one device may raise while the others are well."""


_FAULT_WORDS: dict[str, tuple[str, str]] = {
    "NVML_ERROR_LIBRARY_NOT_FOUND": (
        "the NVIDIA driver's library (libnvidia-ml.so.1) is not installed",
        "install the NVIDIA driver (`apt install nvidia-driver`), then try `nvidia-smi`",
    ),
    "NVML_ERROR_DRIVER_NOT_LOADED": (
        "the NVIDIA driver is not loaded",
        "`modprobe nvidia`; if that fails after a new kernel: `dkms autoinstall`, then reboot",
    ),
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": (
        "the NVIDIA driver in the kernel and its library are of different versions",
        (
            "reboot; or, since whoever uses the driver keeps it loaded, stop gpuboard and all GPU work,"
            " `modprobe -r nvidia_uvm nvidia_drm nvidia_modeset nvidia`, `modprobe nvidia`,"
            " and start gpuboard again"
        ),
    ),
    "NVML_ERROR_NO_PERMISSION": (
        "no permission to ask the NVIDIA driver",
        "look at `ls -l /dev/nvidiactl`: the daemon must be able to open it",
    ),
    "NVML_ERROR_UNINITIALIZED": ("the NVIDIA driver went away", "try `nvidia-smi`"),
    "NVML_ERROR_FUNCTION_NOT_FOUND": (
        "the NVIDIA driver is too old",
        "install a driver of version 450 or later",
    ),
}
_WHOLE_DRIVER = (
    "NVML_ERROR_UNINITIALIZED",
    "NVML_ERROR_DRIVER_NOT_LOADED",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
    "NVML_ERROR_LIBRARY_NOT_FOUND",
)
"""Answers of any call that mean: nothing else will work either."""
_GONE = ("NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_GPU_NOT_FOUND")


class NvmlAnswers:
    """Makes calls into pynvml and reads their answers."""

    def __init__(self, nvml: ModuleType) -> None:
        """`nvml` is the module pynvml: only `nvml_calls` imports it."""
        self._nvml = nvml

    def value(self, function: Callable[..., T], *arguments: object) -> T | None:
        """Return a call's value, or None where there is none."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            self.raise_if_grave(error)
        except (self._nvml.NVMLLibraryMismatchError, UnicodeDecodeError):
            pass
        return None

    def must(self, function: Callable[..., T], *arguments: object) -> T:
        """Return a call's value, without which nothing can be said of the device."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            self.raise_if_grave(error)
            raise DeviceUnreadable(f"the driver answers: {error}") from error

    def raise_if_grave(self, error: Exception) -> None:
        """Raise what an NVMLError means beyond a missing figure, if anything."""
        if self.is_one_of(error, _WHOLE_DRIVER):
            raise self.driver_fault(error) from error
        if self.is_one_of(error, _GONE):
            raise DeviceLost("fell off the bus: the driver lost it") from error
        if self.is_one_of(error, ("NVML_ERROR_RESET_REQUIRED",)):
            raise ResetRequired("needs a reset") from error

    def driver_fault(self, error: Exception) -> DriverFault:
        """Return the fault of the whole driver in words, with the command that mends it."""
        for name, (words, hint) in _FAULT_WORDS.items():
            if self.is_one_of(error, (name,)):
                return DriverFault(words, hint=hint)
        return DriverFault(f"the NVIDIA driver answers: {error}", hint="try `nvidia-smi`")

    def is_one_of(self, error: Exception, names: tuple[str, ...]) -> bool:
        """Return whether an NVMLError has one of these codes."""
        code = getattr(error, "value", None)
        return any(code == getattr(self._nvml, name) for name in names)

    def quiet(self, function: Callable[..., object], *arguments: object) -> None:
        """Make a call of which nothing is expected any more."""
        try:
            function(*arguments)
        except self._nvml.NVMLError:
            pass
