"""The board one fact a line: for a narrow terminal and for a screen reader, where a table reads badly."""

from __future__ import annotations

import textwrap
from typing import Any

from gpuboard.cli import words
from gpuboard.cli.tables import painted
from gpuboard.model.text import plain

NARROW = 100
"""In fewer columns the board's tables do not fit."""


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
