"""The box's own settings: what a simulation of its past starts from, and compares others with.

They come as `gpuboard admin state` shows them, each as the configuration file writes it. gpuboard's
own policies take them all; the others keep what makes them what they are, and take what the admin
allows people (quotas, groups) and how long usage counts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from gpuboard.errors import GpuboardError, StateError
from gpuboard.model.durations import parse_duration
from gpuboard.model.world import Group, JobClass, PolicySettings, Quota
from gpuboard.simulate.policies import Policy

OURS = ("fairshare", "fairlease")
_NONE = "none"


class Baseline(NamedTuple):
    """Settings of a box as far as a simulation knows them."""

    settings: PolicySettings
    shares: Mapping[str, float]
    """By user."""
    quotas: Mapping[str, Quota]
    """By user; of those that have one of their own."""
    checkpoint_s: int
    no_show_after_s: int | None


def baseline_of(rows: Iterable[Mapping[str, Any]]) -> Baseline:
    """Return the settings from rows of section, key and value.

    Raises StateError for a value that cannot be read: the daemon writes them for this.
    """
    tables: dict[str, dict[str, Any]] = {}
    for row in rows:
        words = f"{row['section']}.{row['key']} = {row['value']}"
        try:
            value = tomllib.loads(f"value = {row['value']}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise StateError(f"the daemon's setting cannot be read: {words}") from error
        tables.setdefault(row["section"], {})[row["key"]] = value
    try:
        return _baseline(tables)
    except (KeyError, TypeError, ValueError, GpuboardError) as error:
        raise StateError(f"the daemon's settings cannot be read: {error}") from error


def on_box(name: str, policy: Policy, baseline: Baseline) -> Policy:
    """Return a policy of that name as it would be on the box."""
    here, own = baseline.settings, policy.settings
    if name in OURS:
        return replace(policy, settings=replace(here, lease_s=own.lease_s or here.lease_s))
    allowed = replace(
        own,
        half_life_s=here.half_life_s,
        default_quota=here.default_quota,
        groups=here.groups,
        group_quotas=here.group_quotas,
    )
    return replace(policy, settings=allowed)


def _baseline(tables: Mapping[str, Mapping[str, Any]]) -> Baseline:
    policy, quota = tables["policy"], tables["quota"]
    default = _quota(quota, Quota())
    settings = PolicySettings(
        half_life_s=_span(policy["half_life"]),
        priority_window_s=_span(policy["priority_window"]),
        backfill=policy["backfill"],
        lease_s=_span(policy["lease"]),
        newcomer_s=_span(policy["lease_newcomer"]),
        most_promises=policy["most_promises"],
        default_quota=default,
        group_quotas={name: _quota(own, Quota()) for name, own in quota["groups"].items()},
        groups=tuple(
            Group(name, group["parent"], group["shares"])
            for name, group in _named(tables, "groups")
        ),
        classes={
            name: JobClass(_span(one["boost"]), one["promised"])
            for name, one in _named(tables, "classes")
        },
    )
    return Baseline(
        settings,
        policy["shares"],
        {user: _quota(own, default) for user, own in quota["users"].items()},
        _span(policy["checkpoint_cost"]),
        _optional_span(tables["reservations"]["no_show_after"]),
    )


def _named(
    tables: Mapping[str, Mapping[str, Any]], kind: str
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield the tables of a kind that have names: `[groups.vision]`."""
    for section, table in tables.items():
        head, dot, name = section.partition(".")
        if dot and head == kind:
            yield name, table


def _quota(own: Mapping[str, Any], default: Quota) -> Quota:
    """Return the default with what is said otherwise; how many jobs may queue, a record has settled."""
    limits = {
        name: None if own[name] == _NONE else own[name]
        for name in ("running_gpus", "gpu_hours_per_week")
        if name in own
    }
    return replace(default, **limits, soft=frozenset(own.get("soft", default.soft)))


def _span(text: str) -> int:
    return parse_duration(text, field="settings", least_s=0)


def _optional_span(text: str) -> int | None:
    return None if text == _NONE else _span(text)
