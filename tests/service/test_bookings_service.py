"""Bookings through the services: three words book, refusals help, the timeline shows it all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from gpuboard.config import Config, ReservationsConfig
from gpuboard.errors import GpuboardError, InvalidRequest, QuotaExceeded, Refused
from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.instants import iso
from gpuboard.model.requests import (
    BlackoutRequest,
    ReservationUpdate,
    ReserveRequest,
    SubmitRequest,
)
from gpuboard.runtimes.simulated import Script
from gpuboard.service.services import Services
from tests.support.engine import Box, uuid
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN, services_over, simulated_config


def test_answer_names_devices_window_and_what_is_on_them_now(box: Box, services: Services) -> None:
    """`gpuboard reserve 2 1h30m`, as GPUBK answers."""
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpus=4, time_limit="1h", name="big"))
    box.settle()
    made = services.bookings.reserve(
        AS_BEN, ReserveRequest(gpus=2, duration="1h30m", at="now+2h")
    ).reservation
    assert len(made.devices) == 2
    assert made.until_at > made.from_at
    assert len(made.on_them_now) == 2
    assert "job 1 big of ann" in made.on_them_now[0]


def test_dry_run_books_nothing(services: Services) -> None:
    """The same answer, and nothing kept."""
    made = services.bookings.reserve(AS_ANN, ReserveRequest(gpus=1, duration="1h", dry_run=True))
    assert made.dry_run
    assert made.reservation.id == 0
    assert services.bookings.list(AS_ANN).reservations == []


def test_booking_from_now_on_answers_the_devices_that_it_has(box: Box, services: Services) -> None:
    """Of a box of two types, twice in a row: what is answered is what is bound, now and later."""
    box.probe.models = {0: ("H100", 2**36), 1: ("H100", 2**36)}
    box.probe.links = tuple(
        DeviceLink(uuid(a), uuid(b), LinkKind.NVLINK) for a, b in ((0, 1), (2, 3))
    )
    box.settle()
    answered = []
    for _ in range(2):
        trial = services.bookings.reserve(
            AS_ANN, ReserveRequest(gpus=2, duration="1h", dry_run=True)
        ).reservation
        made = services.bookings.reserve(AS_ANN, ReserveRequest(gpus=2, duration="1h")).reservation
        assert (trial.likely, made.likely, made.state) == (True, False, "active")
        assert trial.devices == made.devices
        assert made.on_them_now == []
        answered.append({device.uuid for device in made.devices})
    box.settle()
    assert answered == [set(one.devices) for one in box.engine.reservations()]
    assert answered == [{uuid(2), uuid(3)}, {uuid(0), uuid(1)}]


def test_likely_devices_of_a_later_booking_are_those_it_gets_if_nothing_changes(
    box: Box, services: Services
) -> None:
    """They are chosen as the binding will choose, linked ones of the plainest type."""
    box.probe.models = {0: ("H100", 2**36), 1: ("H100", 2**36)}
    box.probe.links = tuple(
        DeviceLink(uuid(a), uuid(b), LinkKind.NVLINK) for a, b in ((0, 1), (2, 3))
    )
    box.settle()
    likely = services.bookings.reserve(
        AS_ANN, ReserveRequest(gpus=2, duration="1h", at="now+1h")
    ).reservation
    assert likely.likely
    box.advance(3605, by=600)
    (bound,) = services.bookings.list(AS_ANN).reservations
    assert (bound.state, bound.likely, bound.devices) == ("active", False, likely.devices)


def test_devices_of_a_later_booking_are_only_likely(services: Services) -> None:
    """They are bound when it begins; those asked for by name are certain."""
    later = services.bookings.reserve(AS_ANN, ReserveRequest(duration="1h", at="now+1h"))
    assert later.reservation.likely
    named = services.bookings.reserve(
        AS_ANN, ReserveRequest(duration="1h", at="now+1h", gpu_ids=["3"])
    )
    assert not named.reservation.likely


UNTIL = (
    # the test's clock stands a little after 08:00 UTC on Friday, the 15th of January 2027
    ("tomorrow 11:00", "tomorrow 12:00", "2027-01-16T12:00"),
    ("tomorrow 09:00", "tomorrow 08:00", ""),
    ("tomorrow 09:00", "today 23:00", ""),
    ("now+12h", "now+14h", "2027-01-15T22:00"),
    ("tomorrow 09:00", "+2h", "2027-01-16T11:00"),
    ("tomorrow 09:00", "08:00", "2027-01-17T08:00"),
    ("tomorrow 09:00", "12:00", "2027-01-16T12:00"),
    ("tue 09:00", "tue 11:00", "2027-01-19T11:00"),
    ("tue 09:00", "tue 08:00", "2027-01-26T08:00"),
    ("", "tomorrow 09:00", "2027-01-16T09:00"),
)


@pytest.mark.parametrize(("at", "until", "ends"), UNTIL)
def test_end_of_a_window_means_what_it_means_now(
    box: Box, services: Services, at: str, until: str, ends: str
) -> None:
    """Only a time or weekday alone and +1h roll on from the start; today and tomorrow are of now."""
    request = ReserveRequest(at=at, until=until, timezone="UTC", dry_run=True)
    blackout = BlackoutRequest(at=at, until=until, timezone="UTC")
    if ends:
        assert services.bookings.reserve(AS_ANN, request).reservation.until_at.startswith(ends)
        services.admin.blackout(AS_ADMIN, blackout)
        assert (iso(box.engine.blackouts()[0].until_at) or "").startswith(ends)
    else:
        for ask in (
            lambda: services.bookings.reserve(AS_ANN, request),
            lambda: services.admin.blackout(AS_ADMIN, blackout),
        ):
            with pytest.raises(InvalidRequest, match="over before it begins"):
                ask()


def test_refusal_names_causes_and_nearest_windows(box: Box, services: Services) -> None:
    """Who cannot have it now is told when."""
    services.bookings.reserve(AS_ANN, ReserveRequest(gpus=3, duration="2h"))
    with pytest.raises(Refused) as caught:
        services.bookings.reserve(AS_BEN, ReserveRequest(gpus=2, duration="1h"))
    assert "2 devices for 1h now" in caught.value.message
    assert "ann" in caught.value.message
    assert caught.value.hint.startswith("free: ")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"gpus": 0, "duration": "1h"}, "gpus"),
        ({"gpus": 9, "duration": "1h"}, "gpus"),
        ({"duration": ""}, "duration"),
        ({"duration": "8d"}, "duration"),
        ({"duration": "1h", "at": "now+91d"}, "at"),
        ({"duration": "1h", "at": "now-2h"}, "at"),
        ({"duration": "1h", "until": "now+2h"}, "until"),
        ({"duration": "1h", "gpu_ids": ["9"]}, "gpu_ids"),
        ({"duration": "1h", "timezone": "Moon/Base", "at": "14:30"}, "timezone"),
        ({"duration": "1h", "name": "n" * 101}, "name"),
    ],
)
def test_bad_booking_is_refused_by_the_fields_name(
    services: Services, fields: dict[str, object], field: str
) -> None:
    """Each error names the field at fault."""
    with pytest.raises(GpuboardError) as caught:
        services.bookings.reserve(AS_ANN, ReserveRequest(**fields))
    assert caught.value.field == field


def test_booking_is_moved_lengthened_and_renamed_by_its_owner(services: Services) -> None:
    """One edit; an administrator may too."""
    services.bookings.reserve(AS_ANN, ReserveRequest(gpus=2, duration="1h", at="now+1h"))
    longer = services.bookings.change(AS_ANN, 1, ReservationUpdate(duration="2h", name="demo"))
    assert longer.reservation.name == "demo"
    moved = services.bookings.change(AS_ADMIN, 1, ReservationUpdate(at="now+5h"))
    assert moved.reservation.from_at > longer.reservation.from_at
    cancelled = services.bookings.cancel(AS_ANN, 1)
    assert cancelled.state == "cancelled"
    assert services.bookings.list(AS_ANN).reservations == []


def test_number_of_bookings_a_person_is_bounded(tmp_path) -> None:
    """max_per_user, with the way out as hint."""
    config = simulated_config(Config(reservations=ReservationsConfig(max_per_user=1)))
    box = Box(tmp_path / "s", config=config)
    box.settle()
    services = services_over(box)
    services.bookings.reserve(AS_ANN, ReserveRequest(duration="1h"))
    with pytest.raises(QuotaExceeded):
        services.bookings.reserve(AS_ANN, ReserveRequest(duration="1h"))
    services.bookings.reserve(AS_BEN, ReserveRequest(duration="1h"))
    box.store.close()


def test_timeline_shows_past_present_bookings_and_forecast(box: Box, services: Services) -> None:
    """Kinds: ran, running, booking, forecast, blackout."""
    from gpuboard.runtimes.simulated import Script

    box.scripts["quick"] = Script(run_s=5)
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], name="quick"))
    box.settle()
    box.advance(10)
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpus=4, time_limit="1h"))
    box.settle()
    services.jobs.submit(AS_BEN, SubmitRequest(command=["x"], gpus=2, time_limit="1h"))
    services.bookings.reserve(AS_BEN, ReserveRequest(gpus=1, duration="1h", at="now+5h"))
    services.admin.blackout(AS_ADMIN, BlackoutRequest(at="now+10h", duration="1h", note="fans"))
    box.advance(3)
    view = services.bookings.timeline(AS_ANN)()
    assert {entry.kind for entry in view.entries} == {
        "ran",
        "running",
        "booking",
        "forecast",
        "blackout",
    }
    assert len(view.devices) == 4
    booking = next(entry for entry in view.entries if entry.kind == "booking")
    assert (booking.device, booking.user, booking.mine) == (None, "ben", False)


def test_far_ahead_hours_are_limited_and_same_day_ones_are_not(box: Box) -> None:
    """Many hours of next week are one person's no more; this afternoon is anybody's."""
    limits = ReservationsConfig(far_ahead_gpu_hours=8)
    services = services_over_limits(box, limits)
    services.bookings.reserve(AS_ANN, ReserveRequest(gpus=2, duration="3h", at="now+2d"))
    with pytest.raises(QuotaExceeded, match="3 device-hours more than a day ahead, beside 6"):
        services.bookings.reserve(AS_ANN, ReserveRequest(gpus=1, duration="3h", at="now+3d"))
    services.bookings.reserve(AS_ANN, ReserveRequest(gpus=2, duration="10h", at="now+1h"))
    services.bookings.reserve(AS_BEN, ReserveRequest(gpus=1, duration="3h", at="now+3d"))


def test_moving_a_far_booking_does_not_count_it_twice(box: Box) -> None:
    """An edit replaces what it edits."""
    services = services_over_limits(box, ReservationsConfig(far_ahead_gpu_hours=8))
    request = ReserveRequest(gpus=2, duration="3h", at="now+2d")
    made = services.bookings.reserve(AS_ANN, request).reservation
    services.bookings.change(AS_ANN, made.id, ReservationUpdate(at="now+4d"))
    with pytest.raises(QuotaExceeded):
        services.bookings.change(AS_ANN, made.id, ReservationUpdate(duration="5h"))


def services_over_limits(box: Box, limits: ReservationsConfig) -> Services:
    box.config = msgspec.structs.replace(box.config, reservations=limits)
    return services_over(box)


def test_dry_run_that_asks_for_suggestions_answers_a_refusal_with_windows(
    box: Box, services: Services
) -> None:
    """The same cause and windows as the error, as data; nothing is booked."""
    services.bookings.reserve(AS_ANN, ReserveRequest(gpus=4, duration="1h", at="now+1h"))
    wanted = ReserveRequest(gpus=2, duration="2h", dry_run=True, suggest=True)
    answer = services.bookings.reserve(AS_BEN, wanted)
    assert answer.dry_run
    assert "cannot be promised" in answer.refused
    first = answer.windows[0]
    taken = msgspec.structs.replace(wanted, at=first.from_at, suggest=False)
    assert services.bookings.reserve(AS_BEN, taken).reservation.from_at == first.from_at
    assert len(services.bookings.list(AS_BEN).reservations) == 1


def test_change_can_be_tried_without_changing_anything(box: Box, services: Services) -> None:
    """One's own window does not stand in the way; somebody else's does, and windows are offered."""
    booked = services.bookings.reserve(
        AS_ANN, ReserveRequest(gpus=4, duration="1h", at="now+1h")
    ).reservation
    services.bookings.reserve(AS_BEN, ReserveRequest(gpus=1, duration="1h", at="now+3h"))
    fine = services.bookings.change(
        AS_ANN, booked.id, ReservationUpdate(duration="90m", dry_run=True)
    )
    assert (fine.refused, fine.dry_run) == ("", True)
    refused = services.bookings.change(
        AS_ANN, booked.id, ReservationUpdate(duration="4h", dry_run=True)
    )
    assert "cannot be promised" in refused.refused
    assert refused.windows
    [still] = services.bookings.list(AS_ANN, mine=True).reservations
    assert (still.from_at, still.until_at) == (booked.from_at, booked.until_at)


def test_timeline_tells_a_forecasts_latest_start_and_how_a_booking_repeats(
    box: Box, services: Services
) -> None:
    """About when, and no later than."""
    box.scripts["long"] = Script(run_s=50000)
    for _ in range(2):
        services.jobs.submit(
            AS_ANN, SubmitRequest(command=["x"], gpus=4, name="long", time_limit="1h")
        )
    services.bookings.reserve(
        AS_ANN, ReserveRequest(duration="1h", at="now+5h", repeat="daily", count=2)
    )
    box.advance(40)
    entries = services.bookings.timeline(AS_ANN)().entries
    forecasts = [entry for entry in entries if entry.kind == "forecast"]
    assert forecasts
    assert all((entry.latest_from_at or "") >= entry.from_at for entry in forecasts)
    assert {entry.rule for entry in entries if entry.kind == "booking"} == {"FREQ=DAILY"}


def test_what_ran_is_not_read_on_the_engine_s_thread(
    box: Box, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year of a busy box is hundreds of thousands of leases, and everybody may ask for it."""
    ids = [
        services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], name=f"n{i}")).ids[0]
        for i in range(3)
    ]
    box.advance(100)
    monkeypatch.setattr(
        box.engine, "job", lambda number: pytest.fail(f"job {number} was looked up")
    )
    read_on: list[threading.Thread] = []
    named_leases = box.engine.named_leases
    monkeypatch.setattr(
        box.engine,
        "named_leases",
        lambda *window: read_on.append(threading.current_thread()) or named_leases(*window),
    )
    work = services.bookings.timeline(AS_BEN, since="300d ago")
    assert not read_on
    with ThreadPoolExecutor(1) as worker:
        entries = worker.submit(work).result().entries
    assert [(entry.job_id, entry.name, entry.kind, entry.user) for entry in entries] == [
        (number, f"n{i}", "ran", "ann") for i, number in enumerate(ids)
    ]
