"""Jobs through the services: submit, look, touch."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, DockerConfig, JobsConfig
from gpuboard.engine.workers import StepWorkers
from gpuboard.errors import (
    GpuboardError,
    HostError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Refused,
)
from gpuboard.model.device import Health
from gpuboard.model.instants import from_iso, iso
from gpuboard.model.person import Caller
from gpuboard.model.requests import CancelRequest, JobSelection, SubmitRequest, UpdateRequest
from gpuboard.model.text import change_words
from gpuboard.runtimes.simulated import Script
from gpuboard.service import selectors, turns, validation
from gpuboard.service.services import Services
from tests.support.engine import Box, uuid
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN, services_over, simulated_config


def request(name: str = "train", **fields: object) -> SubmitRequest:
    return SubmitRequest(command=["python", "train.py"], name=name, **fields)


def test_submitted_job_is_listed_running_with_its_devices(box: Box, services: Services) -> None:
    """What was submitted is seen, with who has which device until when."""
    made = services.jobs.submit(AS_ANN, request(gpus=2, time_limit="2h"))
    box.settle()
    listed = services.jobs.live(AS_BEN)
    assert [job.id for job in listed.jobs] == made.ids
    job = listed.jobs[0]
    assert (job.state, job.user, job.limit_s, job.mine) == ("running", "ann", 7200, False)
    assert [ref.label for ref in job.devices] == ["0", "1"]
    board = services.board.board(AS_ANN)
    assert [d.state for d in board.devices] == ["leased", "leased", "free", "free"]
    assert board.devices[0].mine
    assert board.devices[0].until_at == iso(from_iso(job.ends_at or "") + 10_000)


def waiting_words(services: Services, caller: Caller, number: int) -> list[str]:
    """Everything that somebody can be told of why a job waits."""
    why = services.jobs.why(caller, str(number))
    told = [why.words, *(cause.words for cause in why.causes)]
    told += [job.reason for job in services.jobs.live(caller).jobs if job.id == number]
    told += [job.reason for job in services.queue.page(caller).jobs if job.id == number]
    return [*told, services.jobs.show(caller, str(number)).job.reason]


def test_why_a_job_waits_tells_others_neither_its_image_nor_what_failed(tmp_path: Path) -> None:
    """Both are its owner's (READ_PRIVATE, READ_REASON), in `ps`, in its page and in `why`."""
    pulling = simulated_config(Config(docker=DockerConfig(pull="missing")), str(tmp_path))
    box = Box(tmp_path, config=pulling, workers=StepWorkers())
    services = services_over(box)
    image = "lab.example/ann/secret:1"
    box.runtime.missing_images.add(image)
    number = box.submit(image=image)
    box.step()
    assert all(image in words for words in waiting_words(services, AS_ANN, number))
    others = waiting_words(services, AS_BEN, number)
    assert others[0].startswith("It is being made ready to start.")
    assert not any("secret" in words for words in others)
    box.store.close()


def test_a_start_that_failed_tells_its_reason_to_the_owner_alone(
    box: Box, services: Services
) -> None:
    """The engine's words quote paths and commands."""
    words = "mounts cannot be pinned: /home/ann/secret: Input/output error"
    box.scripts["train"] = Script(create_error=HostError(words))
    (number,) = services.jobs.submit(AS_ANN, request()).ids
    box.settle()
    assert box.state(number) == "queued"
    assert all("secret" in each for each in waiting_words(services, AS_ANN, number))
    others = waiting_words(services, AS_BEN, number)
    assert all("could not start a job of ann; it is tried again soon" in each for each in others)
    assert not any("secret" in each for each in others)


def test_board_and_why_say_the_same_end_of_a_hold(box: Box, services: Services) -> None:
    """A job's devices are held until its grace is over, after its limit or after an earlier stop."""
    box.scripts["stubborn"] = Script(run_s=5000, term_exit_code=None)
    for name in ("stubborn", "train", "train", "train"):
        services.jobs.submit(AS_ANN, request(name, time_limit="2h", grace="5m"))
    services.jobs.submit(AS_BEN, request())
    box.settle()

    def ends() -> tuple[str | None, str | None]:
        causes = services.jobs.why(AS_BEN, "5").causes
        (cause,) = (each for each in causes if 1 in each.job_ids)
        return services.board.board(AS_BEN).devices[0].until_at, cause.until_at

    limit_at = from_iso(services.jobs.show(AS_BEN, "1").job.ends_at or "")
    assert ends() == (iso(limit_at + 300_000),) * 2
    stopped_at = box.clock.now_ms()
    services.jobs.cancel(AS_ANN, CancelRequest(jobs=["1"]))
    assert ends() == (iso(stopped_at + 300_000),) * 2


def test_others_see_that_a_job_runs_but_not_what(box: Box, services: Services) -> None:
    """Command, environment, image, note and events' reasons are the owner's and the admins'."""
    services.jobs.submit(AS_ANN, request(env={"API_TOKEN": "hush"}, note="secret plan"))
    box.settle()
    for caller in (AS_BEN,):
        detail = services.jobs.show(caller, "1")
        assert detail.job.command == []
        assert detail.job.note == ""
        assert detail.env == {}
    assert services.jobs.show(AS_ANN, "1").env == {"API_TOKEN": "hush"}
    assert services.jobs.show(AS_ADMIN, "1").env == {"API_TOKEN": "***"}
    assert services.jobs.show(AS_ADMIN, "1").job.command == ["python", "train.py"]


@pytest.mark.parametrize("what", ["cancel", "hold", "release", "update", "log"])
def test_touching_somebody_elses_job_is_refused_as_if_it_were_not_there(
    box: Box, services: Services, what: str
) -> None:
    """The words for another's job are the words for a job that is not there."""
    services.jobs.submit(AS_ANN, request())
    box.settle()

    def touch(selector: str) -> object:
        if what == "cancel":
            return services.jobs.cancel(AS_BEN, CancelRequest(jobs=[selector]))
        if what == "update":
            return services.jobs.update(AS_BEN, UpdateRequest(jobs=[selector], note="mine now"))
        if what == "log":
            return services.jobs.log(AS_BEN, selector)
        return getattr(services.jobs, what)(AS_BEN, JobSelection(jobs=[selector]))

    with pytest.raises(PermissionDenied) as others:
        touch("1")
    with pytest.raises(NotFound) as missing:
        touch("99")
    assert others.value.message.replace("1", "N") == missing.value.message.replace("99", "N")
    assert box.state(1) == "running"


def test_same_token_is_the_same_submission(services: Services) -> None:
    """A retry after a lost answer gets the jobs that the first try made."""
    first = services.jobs.submit(AS_ANN, request(token="abc"))
    again = services.jobs.submit(AS_ANN, request(token="abc"))
    other = services.jobs.submit(AS_BEN, request(token="abc"))
    assert first.ids == again.ids != other.ids


def test_array_becomes_one_job_an_index_and_runs_two_at_once(box: Box, services: Services) -> None:
    """`--array 0-3%2`: four jobs, never more than two of them running."""
    made = services.jobs.submit(AS_ANN, request(array="0-3%2"))
    assert len(made.ids) == 4
    box.settle()
    assert [j.array_index for j in services.jobs.live(AS_ANN).jobs if j.state == "running"] == [
        0,
        1,
    ]
    assert services.jobs.resolve(AS_ANN, [str(made.ids[0])]) == made.ids
    assert services.jobs.resolve(AS_ANN, [f"{made.ids[0]}_2"]) == [made.ids[2]]
    assert services.jobs.resolve(AS_ANN, ["@"]) == made.ids
    assert services.jobs.resolve(AS_ANN, ["train"]) == made.ids
    assert services.jobs.resolve(AS_ANN, ["2-3"]) == [2, 3]


def test_word_for_several_jobs_is_no_word_for_one(services: Services) -> None:
    """Whoever asks for one job's facts or output is told which there are, never given just any."""
    made = services.jobs.submit(AS_ANN, request(array="0-3")).ids
    for word in (f"{made[0]}-{made[3]}", "train", "@"):
        for ask in (services.jobs.show, services.jobs.why, services.jobs.log):
            with pytest.raises(InvalidRequest, match="means 4 jobs: 1, 2, 3, 4"):
                ask(AS_ANN, word)
    assert services.jobs.show(AS_ANN, f"{made[0]}_2").job.id == made[2]
    assert services.jobs.show(AS_ANN, f"{made[3]}-99").job.id == made[3]


def test_queued_job_has_a_reason_and_a_start_time(box: Box, services: Services) -> None:
    """Whoever waits is told why, and until when at the latest."""
    services.jobs.submit(AS_ANN, request(gpus=4, time_limit="1h"))
    box.settle()
    services.jobs.submit(AS_BEN, request(gpus=2, time_limit="1h"))
    box.advance(2)
    job = services.jobs.live(AS_BEN).jobs[-1]
    assert job.state == "queued"
    assert job.place == 0
    assert "ann" in job.reason
    assert job.expected_start_at is not None
    assert job.latest_start_at is not None
    why = services.jobs.why(AS_BEN, "@")
    assert why.causes
    assert why.latest_start_at is not None
    dry = services.jobs.dry_run(AS_BEN, request(gpus=1, time_limit="10m"))()()
    assert not dry.would_start_now
    assert dry.expected_start_at is not None


def test_dry_run_names_devices_and_stores_nothing(services: Services) -> None:
    """`--dry-run` answers which devices, and the queue stays empty."""
    dry = services.jobs.dry_run(AS_ANN, request(gpus=2))()()
    assert dry.would_start_now
    assert [ref.label for ref in dry.devices] == ["0", "1"]
    assert "gpuboard submit --gpus 2" in dry.command_line
    assert services.jobs.live(AS_ANN).total == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"gpus": -1}, "gpus"),
        ({"gpus": 5}, "gpus"),
        ({"gpu_ids": ["7"]}, "gpu_ids"),
        ({"gpu_type": "H900"}, "gpu_type"),
        ({"time_limit": "8d"}, "time_limit"),
        ({"time_limit": "soon"}, "time_limit"),
        ({"runtime": "vm"}, "runtime"),
        ({"name": "n" * 101}, "name"),
        ({"note": "n" * 1001}, "note"),
        ({"env": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "env"),
        ({"env": {"A=B": "1"}}, "env"),
        ({"begin": "some day"}, "begin"),
        ({"depends_on": ["afterlunch:1"]}, "depends_on"),
        ({"array": "9-0"}, "array"),
        ({"array": "0-5000"}, "array"),
        ({"memory": "lots"}, "memory"),
        ({"shm_size": "0"}, "shm_size"),
        ({"cpus": -2.0}, "cpus"),
        ({"stop_signal": "SIGSTOP"}, "stop_signal"),
        ({"grace": "1h"}, "grace"),
        ({"token": "t" * 200}, "token"),
    ],
)
def test_bad_field_is_refused_by_name_and_nothing_is_stored(
    services: Services, fields: dict[str, object], field: str
) -> None:
    """Each error names the field at fault."""
    with pytest.raises(GpuboardError) as caught:
        services.jobs.submit(AS_ANN, request(**{"name": "x", **fields}))
    assert caught.value.field == field
    assert services.jobs.live(AS_ANN).total == 0


def test_dependency_on_a_foreign_job_is_refused(services: Services) -> None:
    """Nobody waits for what is not theirs."""
    services.jobs.submit(AS_ANN, request())
    with pytest.raises(PermissionDenied):
        services.jobs.submit(AS_BEN, request(depends_on=["1"]))
    with pytest.raises(NotFound):
        services.jobs.submit(AS_BEN, request(depends_on=["77"]))


def test_admins_hold_is_not_undone_by_the_owner(box: Box, services: Services) -> None:
    """Only an administrator releases what an administrator held."""
    services.jobs.submit(AS_ANN, request(gpus=4))
    services.jobs.submit(AS_ANN, request(gpus=4, name="second"))
    box.settle()
    assert services.jobs.hold(AS_ADMIN, JobSelection(jobs=["2"])).results[0].ok
    assert box.job(2).held_by == "admin"
    with pytest.raises(PermissionDenied):
        services.jobs.release(AS_ANN, JobSelection(jobs=["2"]))
    assert services.jobs.release(AS_ADMIN, JobSelection(jobs=["2"])).results[0].ok
    assert box.job(2).held_by == ""


def test_limit_of_a_running_job_is_not_raised_over_a_booking(box: Box, services: Services) -> None:
    """Promises to others stand: the owner is refused, an administrator may."""
    from gpuboard.model.requests import ReserveRequest

    services.jobs.submit(AS_ANN, request(gpus=4, time_limit="1h"))
    box.settle()
    assert services.jobs.update(AS_ANN, UpdateRequest(jobs=["1"], time_limit="+30m")).results[0].ok
    assert box.job(1).spec.limit_s == 5400
    services.bookings.reserve(AS_BEN, ReserveRequest(gpus=4, duration="1h", at="now+2h"))
    result = services.jobs.update(AS_ANN, UpdateRequest(jobs=["1"], time_limit="3h")).results[0]
    assert (result.ok, result.code) == (False, Refused.code)
    assert services.jobs.update(AS_ADMIN, UpdateRequest(jobs=["1"], time_limit="3h")).results[0].ok
    assert services.jobs.update(AS_ANN, UpdateRequest(jobs=["1"], time_limit="-1h")).results[0].ok
    assert box.job(1).spec.limit_s == 7200


def test_cancel_of_several_tells_each_its_fate(box: Box, services: Services) -> None:
    """One result a job; ended ones of a range are passed over."""
    box.scripts["quick"] = Script(run_s=1)
    services.jobs.submit(AS_ANN, request("quick"))
    box.settle()
    box.advance(3)
    services.jobs.submit(AS_ANN, request("long"))
    services.jobs.submit(AS_BEN, request("bens"))
    box.settle()
    results = services.jobs.cancel(AS_ANN, CancelRequest(jobs=["1-3"])).results
    assert [(r.id, r.ok, r.code) for r in results] == [(2, True, ""), (3, False, "permission")]
    with pytest.raises(InvalidRequest):
        services.jobs.cancel(AS_ANN, CancelRequest(jobs=[]))


def test_hostile_names_lose_their_teeth(services: Services) -> None:
    """Control codes and escapes never reach a view."""
    made = services.jobs.submit(AS_ANN, request("\x1b[31m[/x]\u202ee\x00vil"))
    name = made.jobs[0].name
    assert "\x1b" not in name
    assert "\u202e" not in name
    assert "\x00" not in name


def test_job_of_a_person_who_is_gone_is_held(box: Box, services: Services) -> None:
    """Row 40: checked again before the start."""
    directory = services.jobs._context.directory
    services.jobs.submit(AS_ANN, request(begin="now+10m"))
    directory.people = tuple(p for p in directory.people if p.uid != AS_ANN.uid)
    box.advance(605, by=5)
    assert box.job(1).held_by == "admin"
    assert "no account" in services.jobs.live(AS_ADMIN).jobs[0].reason
    assert "no account" not in services.jobs.live(AS_BEN).jobs[0].reason


def test_job_whose_name_has_blanks_or_commas_is_reached_by_it(box: Box, services: Services) -> None:
    """Slurm scripts bring such names; several names in one text are still several."""
    for name in ("my run, the 2nd ", "my", "run"):
        services.jobs.submit(AS_ANN, request(name=name, hold=True))
    for words, ids in (
        (["my run, the 2nd"], [1]), (["my run"], [2, 3]), (["my,run", "1"], [2, 3, 1]), (["2 3"], [2, 3]),
    ):  # fmt: skip
        assert services.jobs.resolve(AS_ANN, words) == ids
    for name in ("2 3", "4-7,12", "@ 1_2"):
        with pytest.raises(InvalidRequest, match="means a number"):
            services.jobs.submit(AS_ANN, request(name=name))


def test_one_request_names_a_bounded_number_of_words_and_jobs(
    box: Box, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is said: ranges that overlap are looked up until there are too many, and no further."""
    monkeypatch.setattr(selectors, "MAX_JOBS", 20)
    for _ in range(3):
        services.jobs.submit(AS_ANN, request(array="0-5", hold=True))
    asked: list[object] = []
    find_jobs = box.engine.find_jobs
    monkeypatch.setattr(
        box.engine, "find_jobs", lambda **how: asked.append(how) or find_jobs(**how)
    )
    for words in ([f"{n}-{n + 15}" for n in range(1, 20)], ["1-18", "1-17"]):
        asked.clear()
        with pytest.raises(InvalidRequest, match="more than 20 jobs") as many:
            services.jobs.cancel(AS_BEN, CancelRequest(jobs=words))
        assert many.value.field == "jobs"
        assert len(asked) < 5
    asked.clear()
    for words in ([f"{n}-{n}" for n in range(300)], [str(n) for n in range(300)]):
        with pytest.raises(InvalidRequest, match="300 words"):
            services.jobs.resolve(AS_ANN, [" ".join(words)])
    assert not asked
    assert services.jobs.resolve(AS_ANN, ["3-9"] * 300) == list(range(3, 10))
    assert len(asked) == 1
    assert services.jobs.resolve(AS_ANN, ["7_4"]) == [11]


def test_what_a_job_waits_for_is_counted_as_jobs(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word may mean a whole array, and each of an array's jobs keeps its own list."""
    monkeypatch.setattr(validation, "MAX_DEPENDED_ON", 10)
    monkeypatch.setattr(validation, "MAX_LINKS", 50)
    services.jobs.submit(AS_ANN, request(array="0-9", hold=True))
    after = services.jobs.submit(AS_ANN, request(depends_on=["afterok:@", "afterok:@"])).ids[0]
    assert len(services.jobs.show(AS_ANN, str(after)).job.depends_on) == 10
    for what in ({"depends_on": ["1", "afterany:1-10"]}, {"depends_on": ["1"], "array": "0-9"}):
        with pytest.raises(InvalidRequest) as refused:
            services.jobs.submit(AS_ANN, request(**what))
        assert refused.value.field == "depends_on"


def test_a_request_for_many_jobs_is_one_line_of_the_audit_log(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger's range, and what an administrator did with others' jobs; one's own is no matter of it."""
    services.jobs.submit(AS_ANN, request(array="0-9", hold=True))
    with caplog.at_level("INFO", "gpuboard.audit"):
        services.jobs.cancel(AS_BEN, CancelRequest(jobs=["1-10"]))
        services.jobs.hold(AS_ADMIN, JobSelection(jobs=["1-3", "5"]))
        services.jobs.release(AS_ADMIN, JobSelection(jobs=["1-3"]))
        services.jobs.cancel(AS_ANN, CancelRequest(jobs=["1-10"]))
    assert [record.message for record in caplog.records] == [
        "refused: uid=1002 action=stop_job owner=1001 jobs 1-10",
        "allowed: uid=0 action=stop_job owner=1001 jobs 1-3,5",
        "allowed: uid=0 action=stop_job owner=1001 jobs 1-3",
    ]


def test_many_jobs_are_done_some_a_turn(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two turns others are served; the answer tells of all, in their order."""
    monkeypatch.setattr(turns, "A_TURN", 4)
    services.jobs.submit(AS_ANN, request(array="0-9", hold=True))
    rest, count = services.jobs.cancel(AS_ANN, CancelRequest(jobs=["1-10"])), 1
    while isinstance(rest, turns.Rest):
        states = [job.state for job in services.jobs.history(AS_ANN).jobs]
        assert states.count("cancelled") == 4 * count
        rest, count = rest.go_on(), count + 1
    assert [result.id for result in rest.results if result.ok] == list(range(1, 11))
    assert count == 3


RUNTIMES = (
    # runtimes of the box, its default, runtime and image asked for -> what runs it, or the complaint
    ("docker process", "docker", "", "", "process"),
    ("docker process", "docker", "", "pytorch:2", "docker"),
    ("docker process", "process", "", "", "process"),
    ("docker process", "process", "", "pytorch:2", "docker"),
    ("docker process", "docker", "docker", "", "no image: name one with --image, or --process"),
    ("docker", "docker", "", "", "no image: name one with --image"),
    ("docker process", "docker", "process", "pytorch:2", "a process has no image"),
    ("process", "process", "", "python", "where the image of a container would"),
    ("process", "process", "docker", "python", "no runtime 'docker'"),
)


@pytest.mark.parametrize(("runtimes", "default", "wanted", "image", "outcome"), RUNTIMES)
def test_image_makes_a_container_and_a_command_alone_a_process(
    box: Box, runtimes: str, default: str, wanted: str, image: str, outcome: str
) -> None:
    """The help's own examples run on the packaged configuration, and a dead end has a way out."""
    jobs = JobsConfig(runtimes=tuple(runtimes.split()), default_runtime=default)
    services = services_over(box)
    services.jobs._context.config = msgspec.structs.replace(box.config, jobs=jobs)
    asked = request(runtime=wanted, image=image)
    if outcome in ("docker", "process"):
        assert services.jobs._reader(AS_ANN).read(asked).jobs[0].spec.runtime == outcome
    else:
        with pytest.raises(InvalidRequest, match=re.escape(outcome)) as caught:
            services.jobs.submit(AS_ANN, asked)
        assert caught.value.hint


def test_command_on_a_box_without_containers_is_shown_where_the_dashes_go(box: Box) -> None:
    """`gpuboard run python train.py` needs `--` there, and is told so."""
    jobs = JobsConfig(runtimes=("process",), default_runtime="process")
    services = services_over(box)
    services.jobs._context.config = msgspec.structs.replace(box.config, jobs=jobs)
    with pytest.raises(InvalidRequest) as caught:
        services.jobs.submit(AS_ANN, SubmitRequest(image="python", command=["train.py", "-x"]))
    assert "put -- before the command: -- python train.py ...;" in caught.value.hint
    assert "apt-get install docker.io" in caught.value.hint


def test_all_that_is_waited_for_is_counted(box: Box, services: Services) -> None:
    """Five are named, and the others are not left out in silence."""
    ids = [services.jobs.submit(AS_ANN, request(f"j{n}", hold=True)).ids[0] for n in range(8)]
    last = services.jobs.submit(AS_ANN, request("end", depends_on=[f"1-{ids[-1]}"])).ids[0]
    listed = {job.id: job.reason for job in services.jobs.live(AS_ANN, states=["queued"]).jobs}
    assert listed[last] == "waits for job 1, 2, 3, 4, 5 and 3 more to end"
    assert services.jobs.why(AS_ANN, str(last)).causes[0].words == listed[last]


def test_job_that_starts_at_once_is_not_said_to_wait(box: Box, services: Services) -> None:
    """A faulty device is no reason where another is free, even before the next plan."""
    box.probe.faults = {uuid(3): (Health.FAULTY, "GPU has fallen off the bus")}
    box.settle()
    job = services.jobs.submit(AS_ANN, request()).ids[0]
    assert services.jobs.show(AS_ANN, str(job)).job.reason == "about to start"


def test_device_that_is_being_cleared_is_held_by_nobody(box: Box, services: Services) -> None:
    """Between a job's end and the driver's word there is a moment; it has words of its own."""
    services.jobs.submit(AS_ANN, request(gpus=4))
    box.settle()
    box.probe.remnants = {uuid(n): "gb-1-1" for n in range(4)}
    services.jobs.cancel(AS_ANN, CancelRequest(jobs=["1"]))
    box.settle()
    waits = services.jobs.submit(AS_BEN, request(gpus=2)).ids[0]
    words = " ".join(cause.words for cause in services.jobs.why(AS_BEN, str(waits)).causes)
    assert "GPU 0,1,2,3 are being cleared: the driver has yet to show them empty" in words
    assert "held by" not in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--time 1h", "with --time 1h"),
        ("without --gpu-ids", "without --gpu-ids"),
        ("--time 1h or without --gpu-type", "with --time 1h or without --gpu-type"),
        ("without --gpu-ids --gpus 2", "without --gpu-ids and with --gpus 2"),
    ],
)
def test_change_that_would_start_a_job_reads_as_a_sentence(change: str, words: str) -> None:
    """Never `with without`."""
    assert change_words(change) == words


def test_job_without_a_start_time_is_told_why_it_has_none(box: Box, services: Services) -> None:
    """GPUs that are broken come back nobody knows when; the words say that they are not counted on."""
    box.probe.faults = {uuid(n): (Health.FAULTY, "GPU has fallen off the bus") for n in range(3)}
    box.settle()
    job = services.jobs.submit(AS_ANN, request(gpus=3)).ids[0]
    box.settle()
    why = services.jobs.why(AS_ANN, str(job))
    assert why.expected_start_at is None
    assert why.no_start == "no start time is known: GPUs that are out of service are not counted on"
    assert "No start time is known: " in why.words
    assert "No start time is known: " in services.jobs.dry_run(AS_ANN, request(gpus=3))()().words
    other = services.jobs.submit(AS_ANN, request(gpus=1)).ids[0]
    box.settle()
    assert services.jobs.why(AS_ANN, str(other)).no_start == ""
