"""The policies that a simulation compares: the daemon's own plan with other parameters."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from gpuboard.errors import InvalidRequest
from gpuboard.model.durations import parse_duration
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


def policy_named(name: str) -> PolicySettings:
    """Return a policy's parameters. Raises InvalidRequest for a name that is none."""
    return policy_of(name).settings


def policy_of(name: str) -> Policy:
    """Return a policy by its name. Raises InvalidRequest for a name that is none."""
    known = POLICIES.get(name)
    if known is None:
        raise InvalidRequest(
            f"there is no policy {name!r}", hint=f"one of {', '.join(POLICIES)}", field="--policy"
        )
    return known


SPANS = {
    "half_life": "half_life_s",
    "priority_window": "priority_window_s",
    "lease": "lease_s",
    "lease_newcomer": "newcomer_s",
}
"""Settings that may be compared, by their names in the configuration."""


def variants(base: str, compare: str) -> dict[str, Policy]:
    """Return a policy with a setting at several values, `half_life=1d,7d,14d`; by value.

    Raises InvalidRequest for a setting or a value that is none.
    """
    policy = policy_of(base)
    name, _, values = compare.partition("=")
    field = SPANS.get(name.strip())
    if field is None or not values.strip():
        raise InvalidRequest(
            f"cannot compare {compare!r}",
            hint=f"half_life=1d,7d,14d; settings: {', '.join(SPANS)}",
            field="--compare",
        )
    found = {}
    for text in values.split(","):
        span_s = parse_duration(text.strip(), field="--compare")
        settings = msgspec.structs.replace(policy.settings, **{field: span_s})
        found[f"{name.strip()}={text.strip()}"] = Policy(settings, policy.order)
    return found
