"""Bookings' manners: edited as one, the past left alone, maintenance told, far-ahead limits of groups."""

from __future__ import annotations

import pytest

from gpuboard.config import parse_config
from gpuboard.errors import Conflict, InvalidRequest, QuotaExceeded, Refused
from gpuboard.model.instants import from_iso
from gpuboard.model.requests import (
    BlackoutRequest,
    ReservationUpdate,
    ReserveRequest,
    SubmitRequest,
)
from gpuboard.service.services import Services
from tests.support.engine import Box
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN, AS_EVE, services_over, simulated_config

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEKLY = ReserveRequest(gpus=2, duration="1h", at="now+1d", repeat="weekly", count=3)


def windows(services: Services) -> dict[int, tuple[int, int, int]]:
    return {
        one.id: (one.gpus, from_iso(one.from_at), from_iso(one.until_at))
        for one in services.bookings.list(AS_ANN).reservations
    }


def test_a_series_is_edited_as_one(services: Services) -> None:
    """Moved by an hour, lengthened and widened: this one and all later ones, the earlier ones not."""
    ids = [one.id for one in services.bookings.reserve(AS_ANN, WEEKLY).series]
    before = windows(services)
    update = ReservationUpdate(at="now+8d1h", duration="2h", gpus=3, name="talk", series=True)
    answer = services.bookings.change(AS_ANN, ids[1], update)
    assert [one.id for one in answer.series] == ids[1:]
    after = windows(services)
    assert after[ids[0]] == before[ids[0]]
    for number in ids[1:]:
        begin = before[number][1] + HOUR_MS
        assert after[number] == (3, pytest.approx(begin, abs=2000), after[number][1] + 2 * HOUR_MS)
    assert {one.name for one in answer.series} == {"talk"}


def test_one_of_a_series_is_edited_alone(services: Services) -> None:
    """Without --series the others stay, and it stays one of them."""
    ids = [one.id for one in services.bookings.reserve(AS_ANN, WEEKLY).series]
    before = windows(services)
    changed = services.bookings.change(AS_ANN, ids[1], ReservationUpdate(gpus=1)).reservation
    assert (changed.gpus, changed.series_id) == (1, ids[0])
    after = windows(services)
    assert {number for number in ids if after[number] != before[number]} == {ids[1]}


def test_a_series_is_edited_whole_or_not_at_all(services: Services) -> None:
    """One window that is taken refuses all of them, and a single booking is no series."""
    services.bookings.reserve(AS_BEN, ReserveRequest(gpus=2, duration="3h", at="now+15d"))
    ids = [one.id for one in services.bookings.reserve(AS_ANN, WEEKLY).series]
    before = windows(services)
    with pytest.raises(Refused, match="ben"):
        services.bookings.change(AS_ANN, ids[0], ReservationUpdate(gpus=3, series=True))
    assert windows(services) == before
    assert services.bookings.change(AS_ANN, ids[0], ReservationUpdate(gpus=3, dry_run=True)).dry_run
    assert windows(services) == before
    with pytest.raises(InvalidRequest, match="not one of a series"):
        ben = next(iter(set(before) - set(ids)))
        services.bookings.change(AS_BEN, ben, ReservationUpdate(gpus=1, series=True))


def test_a_series_moved_to_overlap_itself_is_refused(services: Services) -> None:
    """Windows of eight days once a week are one long mess."""
    daily = ReserveRequest(gpus=1, duration="1h", at="now+1d", repeat="daily", count=3)
    first = services.bookings.reserve(AS_ANN, daily).reservation.id
    with pytest.raises(InvalidRequest, match="overlap"):
        services.bookings.change(AS_ANN, first, ReservationUpdate(duration="25h", series=True))


def test_a_booking_of_several_devices_is_edited_as_one(services: Services) -> None:
    """Its devices are named anew all at once, or given back to chance."""
    made = services.bookings.reserve(
        AS_ANN, ReserveRequest(gpu_ids=["0", "1"], duration="1h", at="now+1d")
    ).reservation
    update = ReservationUpdate(gpu_ids=["1", "2", "3"])
    changed = services.bookings.change(AS_ANN, made.id, update).reservation
    assert ([ref.label for ref in changed.devices], changed.gpus) == (["1", "2", "3"], 3)
    with pytest.raises(InvalidRequest, match="names its devices"):
        services.bookings.change(AS_ANN, made.id, ReservationUpdate(gpus=1))
    changed = services.bookings.change(
        AS_ANN, made.id, ReservationUpdate(gpu_ids=[], gpus=1)
    ).reservation
    assert (changed.gpus, changed.devices) == (1, [])


def test_what_is_past_stays_as_it_was(box: Box, services: Services) -> None:
    """A booking that is over cannot be changed; one that runs keeps its start, end in the future."""
    made = services.bookings.reserve(AS_ANN, ReserveRequest(gpus=2, duration="1h")).reservation
    box.settle()
    box.advance(600, by=60)
    for update in (ReservationUpdate(at="now+1h"), ReservationUpdate(at="now-1h")):
        with pytest.raises((Conflict, InvalidRequest)):
            services.bookings.change(AS_ANN, made.id, update)
    with pytest.raises(InvalidRequest, match="over before it begins"):
        services.bookings.change(AS_ANN, made.id, ReservationUpdate(duration="5m"))
    with pytest.raises(Conflict, match="keeps its devices"):
        services.bookings.change(AS_ANN, made.id, ReservationUpdate(gpu_ids=["3"]))
    services.bookings.change(AS_ANN, made.id, ReservationUpdate(duration="20m"))
    box.advance(1200, by=60)
    with pytest.raises(Conflict, match="is over"):
        services.bookings.change(AS_ANN, made.id, ReservationUpdate(duration="2h"))
    with pytest.raises(Conflict, match="is over"):
        services.bookings.cancel(AS_ANN, made.id)


def test_maintenance_is_told_to_everybody_ahead_of_time(box: Box, services: Services) -> None:
    """On the board until it is over, in a dry run that may meet it, and to the admin who it hits."""
    booked = services.bookings.reserve(
        AS_BEN, ReserveRequest(gpus=1, duration="2h", at="now+2d")
    ).reservation
    said = services.admin.blackout(
        AS_ADMIN, BlackoutRequest(at="now+2d", duration="1h", gpu_ids=["2"], note="new fans")
    )
    assert f"booking {booked.id} of ben" in said.words
    notice = services.board.board(AS_ANN).notices[0]
    assert (notice.by, notice.id < 0) == ("maintenance", True)
    assert notice.text.startswith("maintenance of GPU 2 from ")
    assert notice.text.endswith(": new fans")
    long = SubmitRequest(command=["x"], gpus=1, time_limit="3d")
    assert services.jobs.dry_run(AS_ANN, long)()().notices == [notice.text]
    short = SubmitRequest(command=["x"], gpus=1, time_limit="1h")
    assert services.jobs.dry_run(AS_ANN, short)()().notices == []
    around = ReserveRequest(gpus=1, duration="3h", at="now+47h", dry_run=True)
    assert services.bookings.reserve(AS_ANN, around).notices == [notice.text]
    other = ReserveRequest(gpu_ids=["1"], duration="3h", at="now+47h", dry_run=True)
    assert services.bookings.reserve(AS_ANN, other).notices == []
    services.admin.blackout(AS_ADMIN, BlackoutRequest(cancel=said.id))
    assert services.board.board(AS_ANN).notices == []


def test_a_refused_window_names_the_nearest_ones(services: Services) -> None:
    """Before and after what is in the way; and these are accepted."""
    services.bookings.reserve(AS_BEN, ReserveRequest(gpus=4, duration="2h", at="now+5h"))
    wanted = ReserveRequest(gpus=1, duration="1h", at="now+6h")
    with pytest.raises(Refused, match="booked by ben") as caught:
        services.bookings.reserve(AS_ANN, wanted)
    assert caught.value.hint.count(" to ") == 2
    tried = ReserveRequest(gpus=1, duration="1h", at="now+6h", dry_run=True, suggest=True)
    for window in services.bookings.reserve(AS_ANN, tried).windows:
        again = ReserveRequest(gpus=1, at=window.from_at, until=window.until_at, dry_run=True)
        assert services.bookings.reserve(AS_ANN, again).dry_run


FAR = """
[groups.lab]
[groups.vision]
parent = "lab"
members = ["ann", "ben"]
[groups.robots]
parent = "lab"
members = ["eve"]
[reservations]
far_ahead_gpu_hours = 8
far_ahead_group_gpu_hours = 10
"""


def test_far_ahead_hours_are_limited_by_person_and_by_group(tmp_path) -> None:
    """A person's, a group's and what it is part of; a change counts what it replaces only once."""
    config = simulated_config(parse_config(FAR, env={}), state_dir=str(tmp_path / "state"))
    box = Box(tmp_path / "state", config=config)
    box.settle()
    services = services_over(box)

    def book(caller, hours: int, at: str = "now+2d"):
        return services.bookings.reserve(
            caller, ReserveRequest(gpus=1, duration=f"{hours}h", at=at)
        ).reservation

    with pytest.raises(QuotaExceeded, match="at most 8 in all"):
        book(AS_ANN, 9)
    first = book(AS_ANN, 7)
    assert first.account == "vision"
    with pytest.raises(QuotaExceeded, match="booked so far of group vision: at most 10"):
        book(AS_BEN, 4)
    with pytest.raises(QuotaExceeded, match="of group lab"):
        book(AS_EVE, 4)
    book(AS_BEN, 3)
    book(AS_BEN, 4, "now+2h")
    services.bookings.change(AS_ANN, first.id, ReservationUpdate(at="now+3d"))
    with pytest.raises(QuotaExceeded):
        services.bookings.change(AS_ANN, first.id, ReservationUpdate(duration="8h"))


def test_a_hard_weekly_quota_holds_for_bookings_too(tmp_path) -> None:
    """In any seven days, for a person and a group; spread over weeks, or soft, it is no matter."""
    text = """
    [groups.vision]
    members = ["ann", "ben"]
    [quota]
    gpu_hours_per_week = 20
    [quota.groups.vision]
    gpu_hours_per_week = 30
    """
    config = simulated_config(parse_config(text, env={}), state_dir=str(tmp_path / "state"))
    box = Box(tmp_path / "state", config=config)
    box.settle()
    services = services_over(box)

    def book(caller, gpus: int, hours: int, at: str, **more):
        request = ReserveRequest(gpus=gpus, duration=f"{hours}h", at=at, **more)
        return services.bookings.reserve(caller, request)

    with pytest.raises(QuotaExceeded, match=r"24 device-hours .* allows 20 a week"):
        book(AS_ANN, 2, 12, "now+1d")
    book(AS_ANN, 2, 10, "now+1d")
    with pytest.raises(QuotaExceeded, match="of group vision allows 30"):
        book(AS_BEN, 1, 11, "now+2h")
    book(AS_BEN, 1, 10, "now+2h")
    book(AS_ANN, 2, 10, "now+9d")
    with pytest.raises(QuotaExceeded):
        book(AS_EVE, 1, 8, "now+1d", repeat="daily", count=3)
    assert book(AS_EVE, 1, 8, "now+1d", repeat="weekly", count=3).series


def test_no_seven_days_hold_more_than_the_weekly_quota_in_whatever_order_they_are_booked(
    tmp_path,
) -> None:
    """The week from the earlier booking on was not looked at when a later one was added."""
    text = "[quota]\ngpu_hours_per_week = 20"
    config = simulated_config(parse_config(text, env={}), state_dir=str(tmp_path / "state"))
    box = Box(tmp_path / "state", config=config)
    box.settle()
    services = services_over(box)

    def book(at: str) -> None:
        services.bookings.reserve(AS_ANN, ReserveRequest(gpus=2, duration="10h", at=at))

    book("now+1d")
    with pytest.raises(QuotaExceeded, match="40 device-hours"):
        book("now+5d")
    book("now+8d")
    with pytest.raises(QuotaExceeded):  # it ends within seven days of the second's end
        book("now+6h")
