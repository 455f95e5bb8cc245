"""The policies that a simulation compares: the daemon's own plan with other parameters."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import Enum

import msgspec

from gpuboard.errors import InvalidRequest
from gpuboard.model.world import PolicySettings

EVERYTHING = 1 << 30
HOUR_S = 3600


class Order(Enum):
    """What jobs are served by."""

    VIRTUAL_SUBMIT_TIME = "virtual submit time"
    SATURATING_AGE = "age up to a limit, and fair share"
    SHORTEST_PREDICTED = "predicted run time"


class Policy(msgspec.Struct, frozen=True):
    """One policy: the plan's parameters, and what its jobs are served by."""

    settings: PolicySettings
    order: Order = Order.VIRTUAL_SUBMIT_TIME
    conditions: Mapping[str, object] = {}
    """What the trace is played under rather than as it was asked for: fields of `Conditions`."""


_EASY = PolicySettings(priority_window_s=0, backfill_scan=EVERYTHING, backfill_shortest_first=False)

POLICIES: Mapping[str, Policy] = {
    "fifo": Policy(PolicySettings(priority_window_s=0, backfill=False)),
    "fifo-greedy": Policy(
        PolicySettings(priority_window_s=0, backfill=False, promise_head=False, sticky_head=False)
    ),
    "easy": Policy(_EASY),
    "multifactor": Policy(
        PolicySettings(backfill_scan=EVERYTHING, backfill_shortest_first=False, sticky_head=False),
        Order.SATURATING_AGE,
    ),
    "sjf": Policy(msgspec.structs.replace(_EASY, sticky_head=False), Order.SHORTEST_PREDICTED),
    "tiresias": Policy(
        msgspec.structs.replace(_EASY, lease_s=HOUR_S, newcomer_s=HOUR_S, turns_by_job=True)
    ),
    "fairshare": Policy(PolicySettings()),
    "fairlease": Policy(PolicySettings(lease_s=HOUR_S)),
}
"""By name: strict first in first out; first in first out that passes over what does not fit; EASY
backfill in queue order; Slurm's multifactor priority with it; shortest predicted job first with it;
discretised least attained service in two queues (Tiresias: jobs that ran for less than an hour first;
only preemptible jobs know the difference); gpuboard's default; the same with leases of an hour for
preemptible jobs."""


def policy_of(name: str) -> Policy:
    """Return a policy by its name. Raises InvalidRequest for a name that is none."""
    known = POLICIES.get(name)
    if known is None:
        raise InvalidRequest(f"there is no policy {name!r}", hint=_near(name), field="--policy")
    return known


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, POLICIES, 1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(POLICIES)}"
