"""`unreserve`: which bookings are meant, and each cancelled by itself, with an answer of its own.

As with `cancel`: one that fails keeps no other from it, and a range means those in it that are
there to cancel.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from gpuboard.cli.completion import complete_reservations
from gpuboard.cli.session import Session, json_option, pass_session, quiet_option
from gpuboard.errors import GpuboardError, NotFound, PermissionDenied, RequestError
from gpuboard.model.text import plain

_NUMBER = re.compile(r"[0-9]{1,17}")
_RANGE = re.compile(r"([0-9]{1,17})-([0-9]{1,17})")
_LIST = re.compile(r"[0-9@, -]*")
_HINT = "see yours with: gpuboard reservations --mine"


@click.command("unreserve", short_help="Cancel bookings.")
@click.argument(
    "ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_reservations
)
@click.option("--series", is_flag=True, help="Also the later ones of the same series.")
@json_option
@quiet_option("Say only what failed.")
@pass_session
def unreserve(session: Session, ids: Sequence[str], *, series: bool) -> int:
    """Cancel bookings of yours; an active one ends now.

    7 is a booking, 7-9 are those of yours among these numbers, @ is your last one (the next of it
    when it repeats), anything else is a name. A booking that cannot be cancelled keeps no other
    from it; the exit code is then 1.
    """
    query = {"series": 1} if series else {}
    numbers = [*dict.fromkeys(_numbers(session, ids))]
    results = [_cancelled(session, number, query, is_alone=len(numbers) == 1) for number in numbers]
    failed = [result for result in results if not result["ok"]]
    if session.as_json:
        ended = [result["reservation"] for result in results if result["ok"]]
        session.answer({"schema": 1, "reservations": ended, "results": results})
    else:
        for result in results:
            if not result["ok"]:
                print(f"error: {plain(result['words'])}", file=sys.stderr)
            elif not session.quiet:
                print(plain(result["words"]))
    if not failed:
        return 0
    denied = all(result["code"] == PermissionDenied.code for result in failed)
    return PermissionDenied.exit_code if denied else RequestError.exit_code


def _cancelled(
    session: Session, number: int, query: dict[str, int], *, is_alone: bool
) -> dict[str, Any]:
    """Return what became of one booking. What fails of one that is alone is raised as it came."""
    try:
        booking = session.client.delete(f"/reservations/{number}", **query)
    except GpuboardError as error:
        if is_alone:
            raise
        return {"id": number, "ok": False, "words": error.message, "code": error.code}
    words = f"booking {booking['id']} {booking['state']}"
    return {"id": number, "ok": True, "words": words, "code": "", "reservation": booking}


def _numbers(session: Session, ids: Sequence[str]) -> Iterator[int]:
    """Yield the numbers that are meant. Raises NotFound for words that mean none."""
    mine: list[dict[str, Any]] | None = None
    for word in (part for text in ids for part in _parts(text)):
        if _NUMBER.fullmatch(word):
            yield int(word)
            continue
        if mine is None:
            mine = session.client.get("/reservations", mine=True)["reservations"]
        found = _meant(word, mine)
        if not found:
            raise NotFound(f"you have no booking '{plain(word, 60)}'", hint=_HINT, field="id")
        yield from found


def _parts(text: str) -> list[str]:
    """Return the words of a list such as `7,9-11`; a name may have commas and blanks in it."""
    return text.replace(",", " ").split() if _LIST.fullmatch(text) else [text]


def _meant(word: str, mine: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of those of my bookings that a range, `@` or a name means."""
    if span := _RANGE.fullmatch(word):
        return [one["id"] for one in mine if int(span[1]) <= one["id"] <= int(span[2])]
    if word != "@":
        return [one["id"] for one in mine if one["name"] == word]
    last = max(mine, key=lambda one: one["id"], default=None)
    if last is None or last["series_id"] is None:
        return [] if last is None else [last["id"]]
    return [min(one["id"] for one in mine if one["series_id"] == last["series_id"])]
