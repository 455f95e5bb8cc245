"""Jobs in the store: written whole, read back the same, found by what people look for."""

import tempfile

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuboard.errors import StateError
from gpuboard.model.ids import JobId
from gpuboard.model.job import (
    Dependency,
    DependencyKind,
    Job,
    JobSpec,
    JobState,
    Mount,
    PublishedPort,
    StopCause,
    Verdict,
)
from gpuboard.store import Store
from tests.support.records import ALICE, BOB, DEVICES, new_job

replace = msgspec.structs.replace


def insert(store, *jobs):
    with store.transaction() as tx:
        return tx.insert_jobs(jobs)


def test_a_job_with_every_field_set_is_read_back_the_same(store):
    """Nothing of a job is lost or changed between two daemons."""
    spec = JobSpec(
        image="lab/torch:2", command=("python", "-c", "print('ä')"), name="train", gpus=2,
        gpu_uuids=DEVICES[:2], gpu_type="H100", limit_s=60, env={"A": "1"}, mounts=(Mount("/a", "/b", True),),
        ports=(8888, 6006), workdir="/w", shm_bytes=1, cpus=1.5, memory_bytes=2, begin_at=3,
        depends_on=(Dependency(JobId(1), DependencyKind.AFTER_ANY),), preemptible=True, requeue=True,
        stop_signal="SIGUSR1", grace_s=5, note="hi\0",
    )  # fmt: skip
    [first] = insert(store, new_job())
    [job] = insert(store, new_job(spec=spec, token="t"))
    full = replace(
        job, state=JobState.STOPPING, attempt=2, reason="r", array_id=first.id, array_index=3, array_limit=2,
        image_id="sha256:1", start_issued=True, handle="h", devices=DEVICES[:2], leased_at=4, started_at=5,
        started_boot_ms=6, boot_id="b", stop_cause=StopCause.PREEMPTION, stop_by="bob", stop_requested_at=7,
        ended_at=8, exit_code=4294967295, oom_killed=True, held_by="admin",
        fenced=Verdict(JobState.LOST, "gone", 3, True, 9, True),
        ran_s=77, ports=(PublishedPort(8888, 20017), PublishedPort(6006, 20018)),
    )  # fmt: skip
    changed = {f for f in Job.__struct_fields__ if getattr(full, f) != getattr(new_job(), f)}
    assert changed >= set(Job.__struct_fields__) - {"owner", "submitted_at", "reservation_id"}
    with store.transaction() as tx:
        tx.save_job(full)
    assert store.get_job(full.id) == full


words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
specs = st.builds(
    JobSpec, name=words, command=st.lists(words, max_size=3).map(tuple), gpus=st.integers(0, 16),
    limit_s=st.integers(0, 2**40), env=st.dictionaries(words, words, max_size=2), note=words,
    cpus=st.none() | st.floats(0, 1e6),
)  # fmt: skip
jobs = st.builds(
    new_job, owner=st.sampled_from([ALICE, BOB]), spec=specs, state=st.sampled_from(JobState),
    submitted_at=st.integers(0, 2**52), reason=words, handle=words, ended_at=st.integers(0, 2**52),
    exit_code=st.none() | st.integers(-(2**31), 2**32), devices=st.sets(st.sampled_from(DEVICES)).map(tuple),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(jobs, max_size=5))
def test_any_jobs_are_read_back_the_same(new):
    """Whatever text and numbers a job has, two rows never mix."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        placed = insert(store, *new)
        assert [replace(job, id=0) for job in placed] == new
        assert [store.get_job(job.id) for job in placed] == placed
        assert store.load_live_jobs() == [job for job in placed if not job.state.is_final]
        store.close()


def test_ids_grow_and_are_never_used_again(store):
    """A number names one job for ever, also when the last transaction was undone."""
    first = insert(store, new_job(), new_job())
    with pytest.raises(RuntimeError), store.transaction() as tx:
        tx.insert_jobs([new_job()])
        raise RuntimeError
    second = insert(store, new_job())
    assert [job.id for job in first + second] == [1, 2, 3]
    assert insert(store) == []


def test_an_array_is_named_by_its_first_job(store):
    """Jobs with an index from one submission belong together; others do not."""
    insert(store, new_job())
    placed = insert(store, *(new_job(array_index=i, array_limit=2, token="t") for i in (0, 5)))
    assert [job.array_id for job in placed] == [2, 2]
    assert insert(store, new_job())[0].array_id is None
    assert store.find_jobs(array_id=JobId(2)) == placed[::-1]
    assert store.jobs_by_token(ALICE.uid, "t") == placed


def test_a_token_is_one_submission_of_one_person(store):
    """The same token again is refused by the database itself; another person may use it."""
    [job] = insert(store, new_job(token="t"))
    with pytest.raises(StateError):
        insert(store, new_job(token="t"))
    [other] = insert(store, new_job(BOB, token="t"))
    insert(store, new_job(), new_job())  # no token: no such rule
    assert store.jobs_by_token(ALICE.uid, "t") == [job]
    assert store.jobs_by_token(BOB.uid, "t") == [other]
    assert store.jobs_by_token(ALICE.uid, "") == []


def test_a_job_that_is_not_there_cannot_be_saved(store):
    """A write that changes nothing is a bug that must not pass."""
    with pytest.raises(StateError), store.transaction() as tx:
        tx.save_job(replace(new_job(), id=7))


def test_an_ended_job_has_its_end(store):
    """The database refuses a final state without an instant."""
    [job] = insert(store, new_job())
    with pytest.raises(StateError), store.transaction() as tx:
        tx.save_job(replace(job, state=JobState.FAILED))


def test_last_job_is_the_persons_own(store):
    """`@` never names somebody else's job."""
    mine, _ = insert(store, new_job(), new_job(BOB))
    assert store.last_job(ALICE.uid) == mine
    assert store.last_job(7) is None


def test_text_that_is_not_unicode_does_not_keep_an_outcome_from_being_recorded(store):
    """A runtime's words with lone surrogates are written with `?`."""
    [job] = insert(store, new_job())
    ended = replace(job, state=JobState.FAILED, ended_at=1, reason="bad \ud800 byte")
    with store.transaction() as tx:
        tx.save_job(ended)
        tx.append_event(1, "job.failed", job_id=job.id, detail={"reason": "bad \ud800 byte"})
    assert store.get_job(job.id).reason == "bad ? byte"
    assert store.events_after(0)[0].detail == {"reason": "bad ? byte"}


def test_recent_runs_are_of_the_same_person_width_and_limit(store):
    """Predictions come from like runs that ended by themselves, newest first."""

    def run(seconds, state=JobState.SUCCEEDED, owner=ALICE, gpus=1):
        return new_job(
            owner,
            spec=JobSpec(gpus=gpus, limit_s=60),
            state=state,
            started_at=1000,
            ended_at=1000 + seconds * 1000,
        )

    insert(
        store, run(10), run(20), run(30, JobState.FAILED), run(99, JobState.CANCELLED), run(99, owner=BOB),
        run(99, gpus=2), run(-5, JobState.TIMED_OUT), new_job(spec=JobSpec(limit_s=60)),
    )  # fmt: skip
    assert store.recent_runs(ALICE.uid, 1, 60) == [0, 30]
    assert store.recent_runs(ALICE.uid, 1, 60, n=9) == [0, 30, 20, 10]
    assert store.recent_runs(ALICE.uid, 3, 60) == []
    assert store.recent_parts(ALICE.uid, 4) == [10 / 60 + 10 / 60, 0.5, 1.0, 0.0]
    assert store.recent_parts(BOB.uid, 40) == [1.0]
    assert len(store.recent_parts(None, 40)) == 6


def history(store):
    names = ("a", "a*b", "[x]", "train-1", "train-2", "")
    return insert(store, *(
        new_job(
            (ALICE, BOB)[n % 2], spec=JobSpec(name=names[n % 6], limit_s=60), submitted_at=n * 100,
            state=tuple(JobState)[n % 10], ended_at=n * 100 + 150 if tuple(JobState)[n % 10].is_final else None,
        ) for n in range(30)
    ))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    states=st.sets(st.sampled_from(JobState)).map(tuple), uid=st.sampled_from([None, 1001, 1002, 9]),
    name=st.sampled_from(["", "a", "a*b", "[x]", "train-1", "no"]), since_at=st.none() | st.integers(0, 3200),
    until_at=st.none() | st.integers(0, 3200), limit=st.integers(0, 40), before_id=st.none() | st.integers(0, 40),
)  # fmt: skip
def test_history_finds_what_a_plain_filter_finds(
    states, uid, name, since_at, until_at, limit, before_id
):
    """Every filter, alone and together, against the same words in Python."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        everything = history(store)
        found = store.find_jobs(
            states=states, uid=uid, name="" if name == "a*b" else name, since_at=since_at, until_at=until_at,
            limit=limit, before_id=before_id,
        )  # fmt: skip
        store.close()
    expected = [
        job for job in reversed(everything)
        if (not states or job.state in states)
        and (uid is None or job.owner.uid == uid)
        and (name in ("", "a*b") or job.spec.name == name)
        and (since_at is None or job.ended_at is None or job.ended_at >= since_at)
        and (until_at is None or job.submitted_at < until_at)
        and (before_id is None or job.id < before_id)
    ]  # fmt: skip
    assert found == expected[:limit]


def test_a_star_in_a_name_is_a_pattern_and_nothing_else_is(store):
    """`train-*` finds both; brackets and question marks are letters."""
    history(store)
    assert {job.spec.name for job in store.find_jobs(name="train-*")} == {"train-1", "train-2"}
    assert {job.spec.name for job in store.find_jobs(name="[x]*")} == {"[x]"}
    assert store.find_jobs(name="?rain-*") == []
    assert {job.spec.name for job in store.find_jobs(name="a*")} == {"a", "a*b"}
