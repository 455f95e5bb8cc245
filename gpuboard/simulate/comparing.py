"""What if a setting of the configuration were another: `--compare half_life=1d,7d,14d`.

The names are those of the configuration file, with or without their table ("policy.half_life").
Several comparisons multiply, and so do several policies.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from msgspec.structs import replace

from gpuboard.errors import InvalidRequest
from gpuboard.model.durations import parse_duration
from gpuboard.model.world import PolicySettings
from gpuboard.simulate.policies import Policy

MOST_VARIANTS = 24
"""More columns than that no table shows."""
NONE = "none"


class Knob(NamedTuple):
    """A setting that a simulation can turn."""

    table: str
    """Of the configuration."""
    parse: Callable[[str], Any]
    """Turns the text of a value into it. Raises InvalidRequest."""
    turn: Callable[[Policy, Any], Policy]
    """Returns the policy with the setting at a value."""


def variants(policies: Mapping[str, Policy], comparisons: Sequence[str]) -> dict[str, Policy]:
    """Return every policy with every combination of the values compared, by a name that says it.

    Raises InvalidRequest for a setting or a value that is none, or for too many combinations.
    """
    axes = [_axis(text) for text in comparisons]
    names = [name for name, _ in axes]
    for name in names:
        if names.count(name) > 1:
            raise _refused(f"{name} is compared twice", f"--compare {name}=A,B,C")
    count = len(policies)
    for _, values in axes:
        count *= len(values)
    if count > MOST_VARIANTS:
        raise _refused(
            f"that makes {count} simulations, at most {MOST_VARIANTS} are compared at once",
            "compare fewer values, or one setting after the other",
        )
    found = {}
    for policy_name, policy in policies.items():
        for combination in product(*(values for _, values in axes)):
            words = [policy_name] if len(policies) > 1 else []
            turned = policy
            for name, (text, value) in zip(names, combination, strict=True):
                words.append(f"{name}={text}")
                turned = KNOBS[name].turn(turned, value)
            found[" ".join(words)] = turned
    return found


def _axis(comparison: str) -> tuple[str, list[tuple[str, Any]]]:
    """Return a setting and its values, each with its text, from `half_life=1d,7d`."""
    written, _, texts = comparison.partition("=")
    table, _, name = written.strip().rpartition(".")
    knob = KNOBS.get(name)
    if knob is None or table not in ("", knob.table):
        near = difflib.get_close_matches(name, KNOBS, 1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(KNOBS)}"
        raise _refused(f"there is no setting {written.strip()!r} to compare", hint)
    values = [text.strip() for text in texts.split(",") if text.strip()]
    if not values:
        raise _refused(f"no values to compare {name} at", "--compare half_life=1d,7d,14d")
    return name, [(text, knob.parse(text)) for text in dict.fromkeys(values)]


def _refused(message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(message, hint=hint, field="--compare")


# values


def _span(text: str) -> int:
    return parse_duration(text, field="--compare", least_s=0)


def _optional_span(text: str) -> int | None:
    return None if text == NONE else _span(text)


def _count(text: str) -> int | None:
    if text == NONE:
        return None
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1 << 31:
        raise _refused(f"no number: {text!r}", "a whole number of 1 or more, or none")
    return int(text)


def _switch(text: str) -> bool:
    known = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
    if text.casefold() not in known:
        raise _refused(f"neither on nor off: {text!r}", "true or false")
    return known[text.casefold()]


def _soft(text: str) -> frozenset[str]:
    names = ("running_gpus", "gpu_hours_per_week")
    chosen = frozenset(() if text == NONE else text.split("+"))
    if not chosen <= frozenset(names):
        raise _refused(f"no quota: {text!r}", f"{NONE}, {', '.join(names)}, or {'+'.join(names)}")
    return chosen


# turns


def _setting(field: str, policy: Policy, value: object) -> Policy:
    return replace(policy, settings=replace(policy.settings, **{field: value}))


def _quota(field: str, policy: Policy, value: object) -> Policy:
    settings: PolicySettings = policy.settings
    quota = replace(settings.default_quota, **{field: value})
    return _setting("default_quota", policy, quota)


def _condition(field: str, policy: Policy, value: object) -> Policy:
    return replace(policy, conditions={**policy.conditions, field: value})


KNOBS: Mapping[str, Knob] = {
    "half_life": Knob("policy", _span, partial(_setting, "half_life_s")),
    "priority_window": Knob("policy", _span, partial(_setting, "priority_window_s")),
    "backfill": Knob("policy", _switch, partial(_setting, "backfill")),
    "lease": Knob("policy", _span, partial(_setting, "lease_s")),
    "lease_newcomer": Knob("policy", _span, partial(_setting, "newcomer_s")),
    "checkpoint_cost": Knob("policy", _span, partial(_condition, "checkpoint_s")),
    "running_gpus": Knob("quota", _count, partial(_quota, "running_gpus")),
    "gpu_hours_per_week": Knob("quota", _count, partial(_quota, "gpu_hours_per_week")),
    "soft": Knob("quota", _soft, partial(_quota, "soft")),
    "no_show_after": Knob("reservations", _optional_span, partial(_condition, "no_show_after_s")),
}
"""By name. Those that say how people ask (limits, sizes) are not here: a trace has asked already."""
