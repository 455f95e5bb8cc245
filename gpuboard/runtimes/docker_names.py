"""Which container is which attempt: by our labels, whatever it is called.

An attempt's container is called `gb-<job>-<attempt>`. The labels identify it, since an admin may
rename it; and where another gpuboard on the same engine has the name (two personal daemons count
their jobs alike), ours is called `gb-<job>-<attempt>-<box>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        marks = {
            LABEL_BOX: self._box_id,
            LABEL_JOB: str(request.job_id),
            LABEL_ATTEMPT: str(request.attempt),
            LABEL_SPEC: request.spec_hash(),
        }
        with self._connection.reading(f"looking for {request.name}") as api:
            rows = api.containers(
                all=True, filters={"label": [f"{key}={value}" for key, value in marks.items()]}
            )
        return _first_made(rows)

    def other_name(self, request: RunRequest) -> str:
        """Return a name for this attempt when another box has the usual one, else an empty string.

        Raises NotFound when nothing is called so (any more).
        """
        with self._connection.reading(f"looking for {request.name}") as api:
            found = api.inspect_container(request.name)
        box = (found["Config"].get("Labels") or {}).get(LABEL_BOX, "")
        if box and box != self._box_id:
            return f"{request.name}-{self._box_id[:_BOX_DIGITS]}"
        return ""

    @staticmethod
    def taken(name: str) -> Conflict:
        """Return the error for a name that somebody else's container has."""
        return Conflict(
            f"a container {name} exists that is not this job's",
            hint=f"look at it and remove it: docker rm {name}",
        )


def _first_made(rows: list[dict[str, Any]]) -> str:
    """Return the id of the oldest: a create whose answer was lost may have taken effect late, twice."""
    return str(min(rows, key=lambda row: (row["Created"], row["Id"]))["Id"]) if rows else ""
