"""Which container is which attempt: by our labels, whatever it is called.

An attempt's container is called `gb-<job>-<attempt>`. The labels identify it, since an admin may
rename it; and where another gpuboard on the same engine has the name (two personal daemons count
their jobs alike), ours is called `gb-<job>-<attempt>-<box>`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import docker
import docker.errors

from gpuboard.errors import Conflict
from gpuboard.runtimes.docker_api import DockerConnection
from gpuboard.runtimes.profile import LABEL_ATTEMPT, LABEL_BOX, LABEL_JOB, LABEL_SPEC
from gpuboard.runtimes.protocol import RunRequest

_BOX_DIGITS = 6


def attempt_name(labels: Mapping[str, str], names: list[str]) -> str:
    """Return the runtime name of a container of ours, or what it is called without our labels."""
    job, attempt = labels.get(LABEL_JOB, ""), labels.get(LABEL_ATTEMPT, "")
    if _is_number(job) and _is_number(attempt):
        return f"gb-{job}-{attempt}"
    return called(names)


def called(names: list[str]) -> str:
    """Return what a container is called; of several names (links), the shortest is its own."""
    return min(names, key=len).lstrip("/") if names else ""


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()


class ContainerNames:
    """Finds an attempt's container on the engine, and a name for a new one."""

    def __init__(self, connection: DockerConnection, box_id: str) -> None:
        self._connection = connection
        self._box_id = box_id

    def find(self, request: RunRequest) -> str:
        """Return the id of this attempt's container, whatever its name; empty when there is none."""
        marks = [f"{key}={value}" for key, value in self._marks(request).items()]
        with self._connection.reading(f"looking for {request.name}") as api:
            rows = api.containers(all=True, filters={"label": marks})
            return _first_made(api, [str(row["Id"]) for row in rows])

    def find_called(self, request: RunRequest) -> str:
        """Return the id of the container that has the usual name, if it is this attempt's.

        The engine knows a new one by its name earlier than its lists show it. Raises NotFound when
        nothing is called so (any more).
        """
        found = self._inspect(request)
        labels = found["Config"].get("Labels") or {}
        is_ours = self._marks(request).items() <= labels.items()
        return str(found["Id"]) if is_ours else ""

    def other_name(self, request: RunRequest) -> str:
        """Return a name for this attempt when another box has the usual one, else an empty string.

        Raises NotFound when nothing is called so (any more).
        """
        box = (self._inspect(request)["Config"].get("Labels") or {}).get(LABEL_BOX, "")
        if box and box != self._box_id:
            return f"{request.name}-{self._box_id[:_BOX_DIGITS]}"
        return ""

    def _inspect(self, request: RunRequest) -> dict[str, Any]:
        with self._connection.reading(f"looking for {request.name}") as api:
            found: dict[str, Any] = api.inspect_container(request.name)
        return found

    def _marks(self, request: RunRequest) -> dict[str, str]:
        return {
            LABEL_BOX: self._box_id,
            LABEL_JOB: str(request.job_id),
            LABEL_ATTEMPT: str(request.attempt),
            LABEL_SPEC: request.spec_hash(),
        }

    @staticmethod
    def taken(name: str) -> Conflict:
        """Return the error for a name that somebody else's container has."""
        return Conflict(
            f"a container {name} exists that is not this job's",
            hint=f"look at it and remove it: docker rm {name}",
        )


def _first_made(api: docker.APIClient, handles: list[str]) -> str:
    """Return the id of the oldest: a create whose answer was lost may have taken effect late, twice.

    A list tells whole seconds only, so of several each is asked for its nanoseconds (RFC 3339; the
    engine leaves trailing zeros out, so the zone's letter may not take part in the comparison).
    """
    if len(handles) < 2:
        return "".join(handles)
    made: list[tuple[str, str]] = []
    for handle in handles:
        with contextlib.suppress(docker.errors.NotFound):
            made_at = str(api.inspect_container(handle)["Created"]).rstrip("Z")
            made.append((made_at, handle))
    return min(made)[1] if made else ""
