"""`gpuboard admin`: devices in and out of service, words to everybody, maintenance, config, database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from gpuboard.cli.completion import complete_gpus
from gpuboard.cli.options import given, refuse_empty
from gpuboard.cli.request import client_zone
from gpuboard.cli.session import Session, json_option, pass_session
from gpuboard.errors import InvalidRequest
from gpuboard.model.text import plain

_gpu_ids = click.argument("gpu_ids", nargs=-1, metavar="[GPU]...", shell_complete=complete_gpus)


def _act(session: Session, path: str, body: dict[str, Any]) -> int:
    answer = session.client.post(path, {key: value for key, value in body.items() if value})
    if session.as_json:
        session.answer(answer)
    else:
        from gpuboard.cli.words import at_ms, localised

        print(plain(localised(answer["words"], at_ms({}))))
    return 0 if answer["ok"] else 1


def _ids(gpu_ids: Sequence[str]) -> list[str]:
    return [part.strip() for text in gpu_ids for part in text.split(",") if part.strip()]


@click.group("admin", short_help="Drain, notices, maintenance, configuration, database.")
def admin() -> None:
    """What only admins of the box may do."""


@admin.command("drain")
@_gpu_ids
@click.option("--all", "everything", is_flag=True, help="All GPUs.")
@click.option("--note", default="", help="Why; everybody sees it.")
@json_option
@pass_session
def drain(session: Session, *, gpu_ids: Sequence[str], everything: bool, note: str) -> int:
    """Take GPUs out of service: what runs on them goes on, nothing new starts."""
    return _act(session, "/admin/drain", {"gpu_ids": _named(gpu_ids, everything), "note": note})


@admin.command("resume")
@_gpu_ids
@click.option("--all", "everything", is_flag=True, help="All GPUs.")
@json_option
@pass_session
def resume(session: Session, *, gpu_ids: Sequence[str], everything: bool) -> int:
    """Put GPUs back into service."""
    return _act(session, "/admin/resume", {"gpu_ids": _named(gpu_ids, everything)})


def _named(gpu_ids: Sequence[str], everything: bool) -> list[str]:
    """Return the GPUs; the daemon takes none for all, which a person has to say in words."""
    ids = _ids(gpu_ids)
    if bool(ids) == everything:
        raise InvalidRequest("name the GPUs, or say --all", hint="for example 2,3", field="gpu_ids")
    return ids


@admin.command("notice")
@click.argument("text", nargs=-1)
@click.option("--for", "duration", default="", metavar="SPAN", help="For how long it is shown.")
@click.option("--clear", is_flag=True, help="Take the notices back.")
@json_option
@pass_session
def notice(session: Session, *, text: Sequence[str], duration: str, clear: bool) -> int:
    """Say something to everybody."""
    if bool(text) == clear:
        raise InvalidRequest("give the words, or --clear", field="text")
    return _act(session, "/admin/notice", {"text": " ".join(text), "duration": duration})


@admin.command("blackout")
@click.argument("duration", required=False, metavar="[SPAN]")
@click.option("--at", default="", metavar="TIME", help="From (default now).")
@click.option("--until", default="", metavar="TIME", help="Until, instead of SPAN.")
@click.option(
    "--gpu-ids",
    default="",
    metavar="LIST",
    shell_complete=complete_gpus,
    help="Only these (default all).",
)
@click.option("--note", default="", help="Why; everybody sees it.")
@click.option("--cancel", type=int, metavar="ID", help="Take a window back.")
@json_option
@pass_session
def blackout(
    session: Session,
    *,
    duration: str | None,
    at: str,
    until: str,
    gpu_ids: str,
    note: str,
    cancel: int | None,
) -> int:
    """Announce a maintenance window, in which nothing runs.

    \b
    gpuboard admin blackout 2h --at 'saturday 08:00' --note 'new fans'
    """
    refuse_empty(given(click.get_current_context()))
    if cancel is None and not (duration or until):
        raise InvalidRequest(
            "for how long?",
            hint="gpuboard admin blackout 2h --at 'saturday 08:00'",
            field="duration",
        )
    body = {
        "duration": duration or "",
        "at": at,
        "until": until,
        "gpu_ids": _ids([gpu_ids]),
        "note": note,
        "cancel": cancel,
        "timezone": client_zone() if at or until else "",
    }
    return _act(session, "/admin/blackout", body)


@admin.command("state")
@json_option
@pass_session
def state(session: Session) -> None:
    """Show how the daemon itself is: configuration as loaded, database, runtimes, drains, blackouts."""
    if session.as_json:
        session.pass_through("/admin/state")
        return
    from gpuboard.cli.daemonstate import print_state

    print_state(session.client.get("/admin/state"))


@admin.group("config")
def config() -> None:
    """The configuration file."""


@config.command("check")
@click.argument("file", required=False, type=click.Path())
@json_option
@pass_session
def config_check(session: Session, file: str | None) -> int:
    """Say whether a configuration file is right, without a daemon.

    By default the box's; on a box without a daemon of its own, yours.
    """
    import os

    from gpuboard.api.places import has_system_daemon
    from gpuboard.config import config_file, load_config

    personal = os.geteuid() != 0 and not has_system_daemon()
    path = config_file(file, personal=personal)
    load_config(path or None, personal=personal)
    words = f"{path} is right" if path else "there is no configuration file: the defaults hold"
    if session.as_json:
        session.answer({"schema": 1, "ok": True, "words": words})
    else:
        print(plain(words))
    return 0


@config.command("reload")
@json_option
@pass_session
def config_reload(session: Session) -> int:
    """Have the daemon read its configuration again; a wrong one changes nothing."""
    return _act(session, "/admin/reload", {})


@admin.group("db")
def database() -> None:
    """The database."""


@database.command("backup")
@click.argument("path", required=False, type=click.Path())
@json_option
@pass_session
def database_backup(session: Session, path: str | None) -> int:
    """Write a consistent copy of the database, by default beside it."""
    import os

    return _act(session, "/admin/backup", {"path": os.path.abspath(path) if path else ""})  # noqa: PTH100


@database.command("check")
@json_option
@pass_session
def database_check(session: Session) -> int:
    """Run the database's integrity check."""
    return _act(session, "/admin/check", {})
