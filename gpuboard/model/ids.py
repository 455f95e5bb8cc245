"""Newtypes for identities, so that a job's number is never taken for a uid."""

from __future__ import annotations

from typing import NewType

JobId = NewType("JobId", int)
ReservationId = NewType("ReservationId", int)
LeaseId = NewType("LeaseId", int)
Uid = NewType("Uid", int)
DeviceUuid = NewType("DeviceUuid", str)
"""NVML's UUID of a GPU (`GPU-...`) or MIG instance (`MIG-...`): the identity; an index is for display."""
