"""Why a job waits: each cause, its words, the place, and what would start it now."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gpuboard.errors import Conflict
from gpuboard.model.plan import StartForecast, WaitCause
from gpuboard.model.world import Group, JobClass, PolicySettings, Quota, World
from gpuboard.policy.explain import explain_wait
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.words import clock_words
from tests.support.policy_facts import MINUTE, booked, box, devices, gpus, held, job, without

NOW = 100 * MINUTE


def why(world, job_id, *jobs, now=NOW, forecast=None):
    queue = WaitingQueue(jobs)
    return explain_wait(world, queue, plan_round(world, queue, now), job_id, now, forecast)


def causes(explanation) -> dict:
    return {cause.cause: cause for cause in explanation.causes}


def test_busy_devices_are_named_with_their_holder_and_until_when():
    world = box(3, holders=(held(50, 0, until=130), held(51, 2, until=130), held(52, 1, until=150)))
    first, second = why(world, 1, job(1)).causes
    assert first.words == "GPU 0,2 are held by user9 until 02:10"
    assert (first.count, first.devices, first.job_ids) == (2, gpus(0, 2), (50, 51))
    assert first.until_at == 130 * MINUTE
    assert second.words == "GPU 1 is held by user9 until 02:30"


def test_a_booking_that_keeps_a_job_from_starting_when_the_holders_end_is_named():
    """Two GPUs are free at 01:50, but the job would still run when they are booked from 02:30 on."""
    world = box(
        2,
        holders=(held(50, 0, 1, until=110),),
        bookings=(booked(1, 2, 150, 400), booked(2, 2, 600, 700)),
    )
    first, second = why(world, 1, job(1, 2, minutes=120)).causes
    assert first.words == "2 GPUs are booked by user5 from 02:30, and it could still run then"
    assert second.cause is WaitCause.DEVICES_BUSY
    (only,) = why(world, 1, job(1, 2, minutes=30)).causes
    assert only.cause is WaitCause.DEVICES_BUSY


def test_a_job_behind_the_head_is_told_whom_it_would_delay():
    world = box(2, holders=(held(50, 0, until=130),))
    explanation = why(world, 2, job(1, 2), job(2, 1))
    told = causes(explanation)
    assert told[WaitCause.WOULD_DELAY_HEAD].job_ids == (1,)
    assert "promised 2 GPUs by 02:10" in told[WaitCause.WOULD_DELAY_HEAD].words
    assert (explanation.place, explanation.ahead_gpus) == (1, 2)
    assert explanation.would_start_now == "--time 30m"


def test_jobs_ahead_are_counted():
    world = box(2, holders=(held(50, 0, 1, until=130),))
    explanation = why(world, 3, job(1, 2), job(2, 1), job(3, 1))
    assert (explanation.place, explanation.ahead_gpus) == (2, 3)
    assert explanation.causes[0].words == "2 jobs (3 GPUs) ahead"


def test_what_a_person_can_wait_for_comes_before_what_only_an_admin_mends():
    """How many are ahead, who holds what until when; a faulty device last."""
    world = without(box(3, holders=(held(50, 0, until=130), held(51, 1, until=190))), 2)
    told = [cause.cause for cause in why(world, 2, job(1, 2), job(2, 2)).causes]
    assert told == [
        WaitCause.AHEAD,
        WaitCause.DEVICES_BUSY,
        WaitCause.DEVICES_BUSY,
        WaitCause.DEVICE_UNAVAILABLE,
    ]


def test_a_coming_booking_is_the_cause_and_a_shorter_limit_the_way_out():
    world = box(1, bookings=(booked(7, 1, 150, 200),))
    explanation = why(world, 1, job(1, minutes=90))
    cause = causes(explanation)[WaitCause.BOOKED]
    assert cause.words == "1 GPU is booked by user5 from 02:30, and it could still run then"
    assert (cause.reservation_id, cause.user) == (7, "user5")
    assert explanation.would_start_now == "--time 45m"


def test_an_active_booking_is_the_cause():
    world = box(1, bookings=(booked(7, 1, 50, 200, devices=gpus(0)),))
    assert why(world, 1, job(1)).causes[0].words == "GPU 0 is booked by user5 until 03:20"


def test_fewer_gpus_or_any_type_are_proposed_when_they_help():
    world = box(2, holders=(held(50, 0, until=130),))
    assert why(world, 1, job(1, 2)).would_start_now == "--gpus 1"
    mixed = replace(box(0), devices=devices("V100", "A100"), holders=(held(50, 0, until=130),))
    assert why(mixed, 1, job(1, gpu_type="V100")).would_start_now == "without --gpu-type"


def test_nothing_is_proposed_when_nothing_is_free():
    world = box(1, holders=(held(50, 0, until=130),))
    assert why(world, 1, job(1)).would_start_now == ""


@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        (
            {"is_held": True, "held_by": "admin"},
            WaitCause.HELD,
            "held by an admin; release it to let it go on",
        ),
        ({"depends_on": (7, 8)}, WaitCause.DEPENDENCY, "waits for job 7, 8 to end"),
        (
            {"is_dependency_broken": True},
            WaitCause.DEPENDENCY_BROKEN,
            "a job it depends on ended so that it can never start",
        ),
        ({"begin_at": 200 * MINUTE}, WaitCause.BEGIN_TIME, "asked to begin not before 03:20"),
    ],
)
def test_what_makes_a_job_ineligible_is_said_and_it_has_no_place(change, cause, words):
    explanation = why(box(1), 1, job(1, **change))
    assert [(one.cause, one.words) for one in explanation.causes] == [(cause, words)]
    assert explanation.place is None


def test_too_many_or_unknown_devices_are_said():
    assert why(box(2), 1, job(1, 3)).causes[0].words == "3 GPUs wanted, this box has 2"
    told = why(box(2), 1, job(1, gpu_type="B200")).causes[0]
    assert (told.cause, told.words) == (
        WaitCause.NO_SUCH_DEVICE,
        "1 GPU of type B200 wanted, this box has 0",
    )


def test_a_device_out_of_service_is_said_with_its_reason():
    told = why(without(box(2), 1), 1, job(1, 2)).causes[0]
    assert (told.cause, told.words) == (WaitCause.DEVICE_UNAVAILABLE, "GPU 1 is drained: fan")


def test_quota_and_array_limit_are_said_with_numbers():
    settings = PolicySettings(default_quota=Quota(running_gpus=1))
    world = box(2, holders=(held(50, 0, until=130, uid=1),), settings=settings)
    told = causes(why(world, 1, job(1)))[WaitCause.QUOTA]
    assert told.words == "the quota allows 1 GPUs at once, 1 are in use, 1 wanted"
    world = box(2, holders=(held(50, 0, until=130, array_id=4),))
    told = causes(why(world, 5, job(5, array_id=4, array_limit=1)))[WaitCause.ARRAY_LIMIT]
    assert told.words == "1 of array 4 run, and it allows 1 at once"


def test_maintenance_is_said():
    dark = booked(-1, 1, 110, 140, uid=-1, is_blackout=True, gpu_uuids=gpus(0))
    told = causes(why(box(1, bookings=(dark,)), 1, job(1)))[WaitCause.BLACKOUT]
    assert told.words == "maintenance from 01:50 until 02:20, and it could still run then"
    told = causes(why(box(1, bookings=(dark,)), 1, job(1, 0)))[WaitCause.BLACKOUT]
    assert told.until_at == 140 * MINUTE


def test_the_forecast_is_passed_on():
    world = box(1, holders=(held(50, 0, until=130),))
    explanation = why(world, 1, job(1), forecast={1: StartForecast(1, 5, 9)})
    assert (explanation.expected_start_at, explanation.latest_start_at) == (5, 9)


def test_a_job_that_is_not_waiting_cannot_be_explained():
    with pytest.raises(Conflict):
        why(box(1), 77, job(1))


def test_instants_are_said_as_people_say_them():
    assert clock_words(10 * 3600_000, 0) == "10:00"
    assert clock_words(2 * 86400_000 + 3600_000, 0) == "Sat 01:00"
    assert clock_words(30 * 86400_000, 0) == "1970-01-31 00:00"
    assert clock_words(1 << 62, 0).startswith("9999-")
    berlin = ((-(10**12), 3600), (20 * 86400_000, 7200))
    assert clock_words(10 * 3600_000, 0, berlin) == "11:00"
    assert clock_words(30 * 86400_000, 0, berlin) == "1970-01-31 02:00"
    assert clock_words(1 << 62, 0, berlin).startswith("9999-")


GROUPS = (Group("lab"), Group("vision", "lab"))
SURE = {"sure": JobClass(is_promised=True)}
DARK = booked(9, 1, 130, 160, uid=-1, is_blackout=True, gpu_uuids=gpus(1))


@pytest.mark.parametrize(
    ("world", "wanted", "words"),
    [
        (  # two named devices, of which one is held: any two would do, but only for half an hour
            box(4, holders=(held(50, 0, until=300),), bookings=(booked(1, 3, 130, 160),)),
            job(1, 2, gpu_uuids=gpus(0, 1)),
            "without --gpu-ids --time 30m",
        ),
        (  # of the type wanted there is one, of any there are two
            World(devices=devices("A100", "A100", "V100"), holders=(held(50, 2, until=300),)),
            job(1, 2, gpu_type="V100"),
            "without --gpu-type",
        ),
        (  # the type is held, and of the other only one is free
            World(
                devices=devices("A100", "A100", "V100", "V100"),
                holders=(held(50, 2, 3, until=300), held(51, 0, until=300)),
            ),
            job(1, 2, gpu_type="V100"),
            "without --gpu-type --gpus 1",
        ),
        (  # the person's quota leaves one
            box(4, settings=PolicySettings(default_quota=Quota(running_gpus=1))),
            job(1, 2),
            "--gpus 1",
        ),
        (  # what is left of the group's week
            box(
                4,
                settings=PolicySettings(
                    groups=GROUPS, group_quotas={"lab": Quota(gpu_hours_per_week=4)}
                ),
            ),
            job(1, 2, minutes=240, account="vision"),
            "--time 2h or --gpus 1",
        ),
        (  # the class promises a start; shorter it would be over before the maintenance
            box(
                2,
                settings=PolicySettings(classes=SURE),
                holders=(held(50, 0, until=110),),
                bookings=(DARK,),
            ),
            job(1, 1, 90, gpu_uuids=gpus(1), class_name="sure"),
            "--time 30m",
        ),
    ],
    ids=["named", "too few", "type", "quota", "group", "class"],
)
def test_the_smallest_change_is_found_for_every_kind_of_wish(world, wanted, words):
    """Types, named devices, quotas of people and groups, classes: what is proposed has been planned."""
    assert why(world, 1, wanted).would_start_now == words


def test_a_job_beyond_those_that_can_be_promised_a_start_is_told_so():
    """A class that is promised starts gets so many at once; the next one hears when it has its own."""
    settings = PolicySettings(classes={"sure": JobClass(is_promised=True)}, most_promises=3)
    world = box(1, holders=(held(90, 0, until=130),), settings=settings)
    jobs = [job(n, class_name="sure") for n in range(1, 7)]
    last = causes(why(world, jobs[-1].job_id, *jobs))[WaitCause.AHEAD]
    assert last.words.endswith("it is promised one when enough of those have begun")
    first = causes(why(world, 2, *jobs))[WaitCause.AHEAD]
    assert "promised" not in first.words
