"""A submission as the fields of a form, and back. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from gpuboard.errors import InvalidRequest
from gpuboard.model.job import Mount
from gpuboard.model.ports import parse_ports
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.text import quote_command

SWITCHES = ("preemptible", "requeue", "hold", "nvlink")
"""The yes-or-no wishes of a submission."""
NAMED = ("class", "account")
"""Wishes that are written `class=urgent`."""


def filled(like: SubmitRequest) -> dict[str, str]:
    """Return the fields that ask for the same."""
    options = [name for name in SWITCHES if getattr(like, name)]
    options += [f"class={like.class_name}"] if like.class_name else []
    options += [f"account={like.account}"] if like.account else []
    return {
        "image": like.image,
        "command": quote_command(like.command) if like.command else "",
        "gpus": str(like.gpus),
        "time": str(like.time_limit),
        "mounts": " ".join(
            shlex.quote(f"{m.source}:{m.target}" + (":ro" if m.read_only else ""))
            for m in like.mounts
        ),
        "ports": " ".join(map(str, like.ports)),
        "env": " ".join(shlex.quote(f"{name}={value}") for name, value in like.env.items()),
        "name": like.name,
        "type": like.gpu_type,
        "memory": str(like.gpu_memory),
        "after": " ".join(like.depends_on),
        "array": like.array,
        "begin": like.begin,
        "options": " ".join(options),
    }


def request_of(values: dict[str, str], like: SubmitRequest) -> SubmitRequest:
    """Return what the fields ask for; what has no field is as in `like`.

    Raises InvalidRequest that names the field.
    """
    command = _command(values)
    if not command and not values["image"]:
        raise InvalidRequest("say what to run: a command, an image, or both", field="command")
    runtime, options = like.runtime, _options(values["options"])
    if values["image"]:
        runtime = "" if runtime == "process" else runtime
    elif runtime == "docker":
        runtime = ""
    return msgspec.structs.replace(
        like,
        image=values["image"],
        command=command,
        script=like.script if command[:1] == like.command[:1] else "",
        runtime=runtime,
        name=values["name"],
        gpus=_count(values["gpus"]),
        gpu_ids=[],
        gpu_type=values["type"],
        gpu_memory=values["memory"],
        time_limit=values["time"],
        env=_env(_split(values, "env")),
        mounts=[_mount(word) for word in _split(values, "mounts")],
        ports=list(parse_ports(values["ports"].replace(",", " ").split())),
        depends_on=values["after"].replace(",", " ").split(),
        array=values["array"],
        begin=values["begin"],
        token="",
        class_name=options.get("class", ""),
        account=options.get("account", ""),
        **{name: name in options for name in SWITCHES},
    )


def mount_sources(text: str) -> list[str]:
    """Return the paths of this box in a field of mounts, as far as they are written out."""
    return [word.partition(":")[0] for word in text.split() if ":" in word and word[0] in "/~"]


def _count(text: str) -> int:
    if not text:
        return 1
    if not text.isdecimal():
        raise InvalidRequest(f"'{text}' is not a number from 0 up", field="gpus")
    return int(text)


def _command(values: dict[str, str]) -> list[str]:
    """Return the words of the command; with shell operators in it (`cd x && y`), a shell's."""
    words = _split(values, "command")
    lexer = shlex.shlex(values["command"], posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    if any(token and set(token) <= set(";|&<>") for token in lexer):
        return ["sh", "-c", values["command"]]
    return words


def _options(text: str) -> dict[str, str]:
    found = {}
    for word in text.replace(",", " ").split():
        name, sign, value = word.partition("=")
        if name not in (NAMED if sign else SWITCHES) or (sign and not value):
            known = ", ".join((*SWITCHES, *(f"{each}=NAME" for each in NAMED)))
            raise InvalidRequest(f"'{word}' is none of {known}", field="options")
        found[name] = value
    return found


def _split(values: dict[str, str], name: str) -> list[str]:
    try:
        return shlex.split(values[name])
    except ValueError as error:
        raise InvalidRequest(f"quotes do not match: {error}", field=name) from error


def _env(words: list[str]) -> dict[str, str]:
    env = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise InvalidRequest(f"'{word}' is not NAME=value", field="env")
        env[name] = value
    return env


def _mount(word: str) -> Mount:
    parts = word.rstrip(",").split(":")
    if len(parts) not in (1, 2, 3) or not all(parts) or parts[2:] not in ([], ["ro"], ["rw"]):
        raise InvalidRequest(f"'{word}' is not /host:/inside or /host:/inside:ro", field="mounts")
    source = str(Path(parts[0]).expanduser()) if parts[0].startswith("~") else parts[0]
    return Mount(source, parts[1] if len(parts) > 1 else source, parts[2:] == ["ro"])
