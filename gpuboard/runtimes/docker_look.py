"""What a Docker Engine shows of our containers: a list, an inspection where there is news, the kernel's word.

What does not change any more is asked once: looking every few seconds has to stay one list call.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from gpuboard.errors import HostError, NotFound, Unavailable
from gpuboard.runtimes.cgroups import ContainerCgroups
from gpuboard.runtimes.docker_api import DockerConnection, instant_ms
from gpuboard.runtimes.docker_names import attempt_name, called
from gpuboard.runtimes.profile import LABEL_BOX, LABEL_SPEC
from gpuboard.runtimes.protocol import Observed, RunState

INSPECT_TIMEOUT_S = 2.0
"""Inspecting a container whose start hangs in a hook blocks on the container's lock."""
INSPECTS_A_PASS = 64
CREATED_RECHECK_S = 5.0
"""A container that was only created says nothing new until a start of it failed."""
_EXITED_TEXT = re.compile(r"Exited \((\d+)\)")
_STATES = {
    "created": RunState.CREATED,
    "running": RunState.RUNNING,
    "restarting": RunState.RUNNING,
    "paused": RunState.PAUSED,
    "exited": RunState.EXITED,
    "removing": RunState.EXITED,
    "dead": RunState.EXITED,
}


class ContainerLook:
    """Observes the containers of one box."""

    def __init__(
        self, connection: DockerConnection, box_id: str, cgroups: ContainerCgroups
    ) -> None:
        self._connection = connection
        self._box_id = box_id
        self._cgroups = cgroups
        self._known: dict[str, Observed] = {}
        """Facts of running and ended containers that do not change any more, by id."""
        self._looked_at: dict[str, float] = {}
        """When a created container was last inspected (monotonic seconds), by id."""
        self._lock = threading.Lock()

    def again(self, handle: str) -> None:
        """Have a container inspected anew: a start of it was answered."""
        with self._lock:
            self._looked_at.pop(handle, None)

    def forget(self, handle: str) -> str:
        """Drop what is known of a container; return its attempt's name, empty where that is not known."""
        with self._lock:
            known = self._known.pop(handle, None)
        return known.name if known is not None else ""

    def observe(self, starting: Collection[str]) -> Mapping[str, Observed]:
        """Return all containers of this box by attempt: one list call, and an inspect for news.

        `starting`: those that the engine is starting; nothing more is known of them yet.
        One that bears the marks of an attempt that is there already goes by what it is called.
        """
        filters = {"label": f"{LABEL_BOX}={self._box_id}"}
        with self._connection.reading("listing containers") as api:
            rows = api.containers(all=True, filters=filters)
        alive = self._alive([str(row["Id"]) for row in rows if str(row["Id"]) not in starting])
        budget = INSPECTS_A_PASS
        seen: dict[str, Observed] = {}
        for row in sorted(rows, key=lambda row: not _is_called_so(row)):
            summary = _summary(row, alive.get(str(row["Id"])))
            if self._needs_inspect(summary, starting) and budget > 0:
                budget -= 1
                summary = self._inspected(summary)
            else:
                summary = self._with_known(summary)
            summary = self._with_devices(summary)
            seen[summary.name if summary.name not in seen else _called(row)] = summary
        live = {item.handle for item in seen.values()}
        with self._lock:
            self._cgroups.keep(live)
            for facts in (self._known, self._looked_at):
                for handle in facts.keys() - live:
                    del facts[handle]
        return seen

    def _with_devices(self, summary: Observed) -> Observed:
        """Return the summary with the kernel's word on whether GPUs can be opened in the container."""
        if summary.state is not RunState.RUNNING:
            return summary
        can_open = self._cgroups.may_open_gpus(summary.handle)
        return msgspec.structs.replace(summary, can_open_devices=can_open)

    def _alive(self, handles: list[str]) -> dict[str, bool]:
        """Return which containers are populated, by the kernel; nothing when that cannot be seen."""
        try:
            return {handle: bool(pids) for handle, pids in self._cgroups.pids_of(handles).items()}
        except HostError:
            return {}

    def _needs_inspect(self, summary: Observed, starting: Collection[str]) -> bool:
        """Whether the engine knows more: not of a start that is under way, and once of each state."""
        if summary.handle in starting:
            return False
        with self._lock:
            known = self._known.get(summary.handle)
            looked_at = self._looked_at.get(summary.handle, -CREATED_RECHECK_S)
        if summary.state is RunState.CREATED and known is None:
            return time.monotonic() - looked_at >= CREATED_RECHECK_S
        return known is None or known.state is not summary.state

    def _with_known(self, summary: Observed) -> Observed:
        with self._lock:
            known = self._known.get(summary.handle)
        if known is None or known.state is not summary.state:
            return summary
        return _joined(summary, known)

    def _inspected(self, summary: Observed) -> Observed:
        """Return the summary with times, exit code and error; as it is when the engine is slow."""
        try:
            with self._connection.reading("inspecting", INSPECT_TIMEOUT_S) as api:
                state = api.inspect_container(summary.handle)["State"]
        except (NotFound, Unavailable):
            return summary
        self._cgroups.learn(summary.handle, int(state.get("Pid") or 0))
        known = _facts(summary, state)
        with self._lock:
            self._looked_at[summary.handle] = time.monotonic()
            if known.state is not RunState.CREATED or known.error:
                self._known[summary.handle] = known
        return _joined(summary, known)


def _summary(row: Mapping[str, Any], populated: bool | None) -> Observed:
    """Return what the list itself says of a container, with the kernel's word on its processes."""
    code = _EXITED_TEXT.match(str(row.get("Status", "")))
    return Observed(
        name=attempt_name(row.get("Labels") or {}, _names(row)),
        handle=str(row["Id"]),
        state=_STATES.get(str(row.get("State")), RunState.EXITED),
        spec_hash=(row.get("Labels") or {}).get(LABEL_SPEC, ""),
        exit_code=int(code[1]) if code else None,
        is_populated=populated,
    )


def _names(row: Mapping[str, Any]) -> list[str]:
    return row.get("Names") or [str(row["Id"])]


def _called(row: Mapping[str, Any]) -> str:
    return called(_names(row))


def _is_called_so(row: Mapping[str, Any]) -> bool:
    """Whether a container bears the name of the attempt that its labels name."""
    return attempt_name(row.get("Labels") or {}, _names(row)) == _called(row)


def _facts(summary: Observed, state: Mapping[str, Any]) -> Observed:
    """Return what an inspection says."""
    status = _STATES.get(str(state.get("Status")), summary.state)
    error = str(state.get("Error") or "")
    started_at = instant_ms(str(state.get("StartedAt", "")))
    ended_at = instant_ms(str(state.get("FinishedAt", "")))
    has_code = status is RunState.EXITED or (status is RunState.CREATED and error)
    return Observed(
        name=summary.name,
        handle=summary.handle,
        state=status,
        exit_code=int(state.get("ExitCode", 0)) if has_code else None,
        oom_killed=bool(state.get("OOMKilled")),
        started_at=started_at,
        # of a very short run the engine stamps the end before the start
        ended_at=max(ended_at, started_at or 0) if has_code and ended_at else None,
        error=error,
    )


def _joined(summary: Observed, known: Observed) -> Observed:
    """Return the inspection's facts with the list's identity and the kernel's present word."""
    return Observed(
        name=summary.name,
        handle=summary.handle,
        state=known.state,
        spec_hash=summary.spec_hash,
        exit_code=known.exit_code if known.exit_code is not None else summary.exit_code,
        oom_killed=known.oom_killed,
        started_at=known.started_at,
        ended_at=known.ended_at,
        error=known.error,
        is_populated=summary.is_populated,
    )
