"""The board one fact or one change a line: for a narrow terminal and for a screen reader."""

from __future__ import annotations

import json
import textwrap
import time
from typing import Any

from gpuboard.cli import words
from gpuboard.cli.session import Session
from gpuboard.cli.tables import painted
from gpuboard.errors import Unavailable
from gpuboard.model.text import plain

NARROW = 100
"""In fewer columns the board's tables do not fit."""
RETRY_S = 2.0


def print_facts(blocks: list[list[tuple[str, str]]], width: int) -> None:
    """Print blocks of (name, words): the first line heads its block, empty words are left out."""
    for facts in blocks:
        for number, (name, said) in enumerate(facts):
            if not said:
                continue
            line = f"{'  ' if number else ''}{plain(name)}: {plain(said)}"
            indent = "    " if number else "  "
            for part in textwrap.wrap(line, max(20, width), subsequent_indent=indent):
                head, colon, state = part.partition(": ")
                style = "" if number else words.STYLES.get(state, "")
                print(head + colon + painted(state, style) if style else part)


def job_facts(job: dict[str, Any], now: int) -> list[tuple[str, str]]:
    """Return what the board says of a job."""
    gpus = words.devices_words(job["devices"]) or str(job["gpus"] or "none")
    ran, limit = words.span(job["elapsed_s"]), words.span(job["limit_s"])
    return [
        (f"job {words.job_id_words(job)}", job["state"]),
        ("name", job["name"]),
        ("of", job["user"]),
        ("GPUs", gpus if job["devices"] else f"{gpus} wanted" if job["gpus"] else gpus),
        ("time", f"{ran} of {limit}" if ran else f"at most {limit}"),
        ("when", words.when_words(job, now)),
        ("why", job["reason"] or job["exit_words"]),
    ]


def tell_changes(session: Session) -> None:
    """Print a line for each change of the board, from now on; a daemon that restarts is waited for."""
    before: dict[tuple[str, int], str] | None = None
    is_away = False
    while True:
        try:
            for event, _id, data in session.client.feed():
                if event != "board":
                    continue
                board, is_away = json.loads(data), False
                standing = _standing(board)
                at = words.clock(board["at"], words.at_ms(board))
                for about, said in standing.items():
                    if before is not None and before.get(about) != said:
                        print(plain(f"{at} {about[0]}: {said}"), flush=True)
                before = standing
        except Unavailable:
            if not is_away:
                session.note("the daemon does not answer; waiting for it")
            is_away = True
            session.reconnect()
            time.sleep(RETRY_S)


def _standing(board: dict[str, Any]) -> dict[tuple[str, int], str]:
    """Return what is told of a board when it changes, by what it is about; no figures that always move."""
    now = words.at_ms(board)
    counts = f"{board['running']} running, {board['queued']} queued"
    return {
        **{(f"GPU {each['label']}", 0): _device_words(each, now) for each in board["devices"]},
        **{(f"notice from {each['by']}", each["id"]): each["text"] for each in board["notices"]},
        ("jobs", 0): counts,
    }


def _device_words(device: dict[str, Any], now: int) -> str:
    facts = [
        device["state"],
        "you" if device["mine"] else device["user"],
        words.device_job_words(device),
        f"until {words.clock(device['until_at'], now)}" if device["until_at"] else "",
        device["state_words"],
        "idle" if device["idle_s"] is not None else "",
        words.next_booking_words(device["next_booking"], now) if device["next_booking"] else "",
    ]
    return ", ".join(fact for fact in facts if fact)
