"""`--template NAME`: one of the lab's jobs below what was said by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuboard.cli.session import Session
from gpuboard.errors import InvalidRequest

_GPUS = frozenset({"gpus", "gpu_ids", "gpu_mem"})
"""Flags that say how many devices: any of them beats the template's number."""


def template_of(session: Session, name: str) -> dict[str, Any]:
    """Return what a template asks for. Raises InvalidRequest that names the nearest ones."""
    found = {one["name"]: one["request"] for one in session.client.get("/templates")["templates"]}
    if name in found:
        request: dict[str, Any] = found[name]
        return {key: value for key, value in request.items() if value or key == "gpus"}
    import difflib

    near = difflib.get_close_matches(name, found, n=1, cutoff=0.4)
    known = ", ".join(found) or "there are none: an admin writes them into config.toml"
    raise InvalidRequest(
        f"--template: there is no template '{name}'",
        hint=f"did you mean {near[0]}?" if near else f"known: {known}",
        field="template",
    )


def flags_over(template: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags, with the template's image as if it were given: words are its command then."""
    given = dict(flags)
    if template.get("image") and not {"image", "process", "runtime"} & given.keys():
        given["image"] = template["image"]
    return given


def over_template(
    template: Mapping[str, Any], body: Mapping[str, Any], flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the submission: the template below, what was said by hand above; lists add up."""
    merged = {**template, **body}
    if not _GPUS & flags.keys():
        merged["gpus"] = template.get("gpus", 1)
    by_hand = {text.partition("=")[0] for text in flags.get("env", ())}
    env = {key: value for key, value in template.get("env", {}).items() if key not in by_hand}
    merged["env"] = {**body.get("env", {}), **env}
    merged["mounts"] = [*template.get("mounts", ()), *body.get("mounts", ())]
    merged["ports"] = list(dict.fromkeys([*template.get("ports", ()), *body.get("ports", ())]))
    if "image" not in body:
        merged.pop("image", None)
    return merged
