"""The command line on a real daemon (jobs simulated): what is asked for is what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import Gpuboard
from tests.support.served_box import served_box


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_box(tmp_path_factory.mktemp("box")) as served:
        yield served.path


@pytest.fixture
def box(
    socket_path: str, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gpuboard]:
    """The command line on an empty box."""
    monkeypatch.setenv("GPUBOARD_SOCKET", socket_path)
    yield gpuboard
    for job in gpuboard("ps", "--json").json["jobs"]:
        gpuboard("cancel", "-f", str(job["id"]))
    gpuboard("unreserve", "1-999999")


def booked(box: Gpuboard, *arguments: str) -> dict[str, Any]:
    ran = box("reserve", *arguments, "--json")
    assert ran.code == 0, ran.err
    made: dict[str, Any] = ran.json["reservation"]
    return made


def submitted(box: Gpuboard, *arguments: str) -> list[int]:
    ran = box("submit", "--json", *arguments, "--", "true")
    assert ran.code == 0, ran.err
    ids: list[int] = ran.json["ids"]
    return ids


def test_booking_is_answered_with_the_devices_that_it_has(box: Gpuboard) -> None:
    """On a box of two types, twice in a row."""
    answers = {made["id"]: made["devices"] for made in (booked(box, "2", "1h") for _ in range(2))}
    known = {
        one["id"]: one["devices"] for one in box("reservations", "--json").json["reservations"]
    }
    assert answers == known
    assert "likely GPU" in box("reserve", "2", "1h", "--at", "now+2h").out


def test_window_is_what_its_words_say(box: Gpuboard) -> None:
    """`--until "tomorrow 12:00"` is tomorrow at noon, whenever the window begins."""
    window = booked(box, "1", "--at", "tomorrow 11:00", "--until", "tomorrow 12:00", "--dry-run")
    assert (window["from_at"][11:], window["until_at"][11:]) == ("11:00:00Z", "12:00:00Z")
    assert window["from_at"][:10] == window["until_at"][:10]
    ran = box("reserve", "1", "--at", "tomorrow 09:00", "--until", "tomorrow 08:00")
    assert ran.code == 2
    assert "over before it begins" in ran.err


def test_slip_of_a_span_is_refused(box: Gpuboard) -> None:
    """Nobody books a second."""
    ran = box("reserve", "2", "1s")
    assert ran.code == 2
    assert "at least 10s" in ran.err


def test_bookings_of_a_range_are_cancelled_each_by_itself(box: Gpuboard) -> None:
    """One that is over is passed by a range; named by itself it fails alone, and the rest goes on."""
    ids = [booked(box, "1", "1h", "--at", "now+1h")["id"] for _ in range(3)]
    assert box("unreserve", str(ids[0])).out == f"booking {ids[0]} cancelled\n"
    ran = box("unreserve", str(ids[0]), str(ids[1]), "--json")
    assert ran.code == 1
    assert [(one["id"], one["ok"]) for one in ran.json["results"]] == [
        (ids[0], False),
        (ids[1], True),
    ]
    assert [one["id"] for one in ran.json["reservations"]] == [ids[1]]
    ran = box("unreserve", f"{ids[0]}-{ids[2]}")
    assert (ran.code, ran.out, ran.err) == (0, f"booking {ids[2]} cancelled\n", "")
    assert box("unreserve", f"{ids[0]}-{ids[2]}").code == 1


def test_booking_is_cancelled_by_name_and_the_last_by_its_sign(box: Gpuboard) -> None:
    """A name may have blanks; `@` is the last one, of a series its next."""
    named = booked(box, "1", "1h", "--at", "now+1h", "-J", "my demo")["id"]
    last = booked(box, "1", "1h", "--at", "now+3h")["id"]
    assert box("unreserve", "my demo").out == f"booking {named} cancelled\n"
    assert box("unreserve", "@").out == f"booking {last} cancelled\n"
    first = booked(box, "1", "1h", "--at", "now+3h", "--repeat", "daily", "--count", "3")["id"]
    assert box("unreserve", "@", "--series").out == f"booking {first} cancelled\n"
    assert box("unreserve", "@").code == 1


def test_array_is_called_by_its_number_and_its_jobs_by_theirs(box: Gpuboard) -> None:
    """`24_1` is listed and understood; who cancels 24 is told that it is all of the array."""
    first, *_ = submitted(box, "-a", "0-2", "--hold")
    listed = box("ps", "-o", "id", "--no-header").out.split()
    assert listed == [f"{first}_{index}" for index in range(3)]
    assert f"{first}_1" in box("show", f"{first}_1").out.splitlines()[0]
    assert box("cancel", f"{first}_1").out == f"job {first}_1: cancelled\n"
    ran = box("cancel", str(first))
    assert f"{first} is an array: all 2 of it are meant ({first}_0 would be one" in ran.err
    assert ran.out == f"job {first}_0: cancelled\njob {first}_2: cancelled\n"
    last, *_ = submitted(box, "-a", "0-1", "--hold")
    assert f"{last} is an array: all 2 of it are meant" in box("release", "@").err
    (alone,) = submitted(box, "--hold")
    assert box("cancel", "@").err == box("cancel", f"{alone},{last}_0").err == ""


def test_jobs_of_one_name_run_one_after_the_other(box: Gpuboard) -> None:
    """Slurm's `singleton`: after all of mine that have the name, and after nobody else's."""
    (first,) = submitted(box, "-J", "sweep", "--hold")
    submitted(box, "-J", "other", "--hold")
    (second,) = submitted(box, "-J", "sweep", "-d", "singleton", "--hold")
    (third,) = submitted(box, "-J", "sweep", "-d", f"singleton,afterok:{first}", "--hold")
    shown = box("show", str(third), "--json").json["job"]["depends_on"]
    assert shown == [f"afterany:{first}", f"afterany:{second}", f"afterok:{first}"]
    assert submitted(box, "-J", "alone", "-d", "singleton")


def test_hold_is_told_alike_everywhere(box: Gpuboard) -> None:
    """`ps` and `why` call who holds a job by the same words."""
    (job,) = submitted(box, "--hold")
    assert "held by its owner" in box("ps").out
    assert "held by its owner" in box("why", str(job)).out


@pytest.mark.parametrize("name", ["@", "12", "4-7", "24_3"])
def test_name_that_means_something_else_is_refused(box: Gpuboard, name: str) -> None:
    """Such a job or booking could never be reached by its name."""
    for ran in (
        box("submit", "-J", name, "--", "true"),
        box("reserve", "1", "1h", "--at", "now+1h", "-J", name),
    ):
        assert ran.code == 2
        assert "means a number, a range or my last" in ran.err


def test_start_in_the_past_is_refused(box: Gpuboard) -> None:
    """A date that has gone by is a slip, not `now`."""
    ran = box("submit", "--begin", "2020-01-01 09:00", "--", "true")
    assert ran.code == 2
    assert "is past" in ran.err
    assert submitted(box, "--begin", "now", "--hold")


def test_unknown_type_is_answered_with_those_there_are(box: Gpuboard) -> None:
    """Of a job and of a booking."""
    for ran in (
        box("submit", "--gpu-type", "b200", "--", "true"),
        box("reserve", "1", "1h", "--gpu-type", "b200"),
    ):
        assert ran.code == 2
        assert "hint: this box has: NVIDIA" in ran.err


def test_record_counts_all_of_it(box: Gpuboard) -> None:
    """`history -n 1` says how many there are, not how many it shows."""
    submitted(box, "-a", "0-4", "-J", "counted", "--hold")
    found = box("history", "-n", "1", "--name", "counted", "--json").json
    assert (len(found["jobs"]), found["total"]) == (1, 5)
    assert "1 of 5 shown" in box("history", "-n", "1", "--name", "counted").err
