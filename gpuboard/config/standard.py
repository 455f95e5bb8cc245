"""What holds without a file: for the box's daemon, and for a person's own."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gpuboard.config.settings import Config

PERSONAL_IDLE_EXIT_S = 600


def defaults_for(personal: bool, env: Mapping[str, str]) -> Config:
    """Return the defaults of a system daemon, or of a personal one for the person who runs it.

    The personal paths are where `api.places` looks for them; nothing is created here.
    """
    system = Config()
    if not personal:
        return system
    replace = msgspec.structs.replace
    return replace(
        system,
        daemon=replace(
            system.daemon,
            socket=f"{_runtime_dir(env)}/gpuboard.sock",
            socket_mode="0600",
            state_dir=f"{_state_base(env)}/gpuboard",
            admins=(_own_name(),),
            admin_group="",
            idle_exit_s=PERSONAL_IDLE_EXIT_S,
        ),
        jobs=replace(system.jobs, runtimes=_runtimes(env), default_runtime="process", min_uid=0),
        docker=replace(system.docker, host=_engine(env) or system.docker.host),
        api=replace(system.api, max_requests_per_second=None, max_submissions_per_second=None),
    )


def personal_file(env: Mapping[str, str]) -> str:
    """Return where a person's own configuration lies, if there is one."""
    return f"{_absolute(env, 'XDG_CONFIG_HOME') or _home(env) + '/.config'}/gpuboard/config.toml"


def _runtime_dir(env: Mapping[str, str]) -> str:
    base = _absolute(env, "XDG_RUNTIME_DIR")
    return f"{base}/gpuboard" if base else f"/tmp/gpuboard-{os.geteuid()}"  # noqa: S108 - made 0700 and checked by who binds


def _state_base(env: Mapping[str, str]) -> str:
    return _absolute(env, "XDG_STATE_HOME") or f"{_home(env)}/.local/state"


def _engine(env: Mapping[str, str]) -> str:
    named = env.get("DOCKER_HOST", "")
    return named if named.startswith("unix:///") else ""


def _runtimes(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return what can run jobs on a person's own box: one without Docker lacks nothing that it had."""
    host = (_engine(env) or Config().docker.host).removeprefix("unix://")
    has_engine = Path(host).exists() or any(
        shutil.which("dockerd", path=path) for path in (None, "/usr/sbin:/usr/bin:/snap/bin")
    )
    return ("docker", "process") if has_engine else ("process",)


def _absolute(env: Mapping[str, str], name: str) -> str:
    """Return a directory from the environment; a relative one counts as none (XDG Base Directory)."""
    value = env.get(name, "")
    return value.rstrip("/") if value.startswith("/") else ""


def _home(env: Mapping[str, str]) -> str:
    home = _absolute(env, "HOME")
    if home:
        return home
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
