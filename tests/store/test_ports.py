"""Ports of live attempts: none twice, whatever the callers do."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from gpuboard.errors import StateError
from gpuboard.model.job import JobSpec, JobState, PublishedPort
from gpuboard.store.connection import connect
from tests.support.records import new_job

AT = (PublishedPort(8888, 20017), PublishedPort(6006, 20018))


@pytest.fixture
def jobs(store):
    spec = JobSpec(ports=(8888, 6006), limit_s=60)
    with store.transaction() as tx:
        return tx.insert_jobs([new_job(spec=spec), new_job(spec=spec)])


def save(store, job, state=JobState.STARTING, ports=AT):
    ended_at = 9 if state.is_final else None
    with store.transaction() as tx:
        tx.save_job(replace(job, state=state, ports=ports, ended_at=ended_at))


def test_a_port_has_at_most_one_live_attempt(store, jobs):
    """The last guard lies in the database: a second is refused, and nothing of it stays."""
    save(store, jobs[0])
    with pytest.raises(StateError):
        save(store, jobs[1], ports=AT[:1])
    assert store.live_ports() == {20017: jobs[0].id, 20018: jobs[0].id}
    assert store.get_job(jobs[1].id).state is JobState.QUEUED


@pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.LOST, JobState.QUEUED])
def test_ports_are_free_again_with_the_end_of_the_attempt(store, jobs, end):
    """In the transaction of the end itself; the record keeps where they were."""
    for state in (JobState.STARTING, JobState.RUNNING, JobState.STOPPING):
        save(store, jobs[0], state)
        assert set(store.live_ports()) == {20017, 20018}
    save(store, jobs[0], end)
    assert store.live_ports() == {}
    assert store.get_job(jobs[0].id).ports == AT
    save(store, jobs[1])


@pytest.mark.parametrize("row", [(80, 8888), (65536, 8888), (20020, 0), (20020, 65536)])
def test_the_file_itself_refuses_what_is_no_port(store, jobs, row):
    """Beside every program that writes to it."""
    with (
        closing(connect(store.path)) as beside,
        pytest.raises(sqlite3.IntegrityError),
    ):
        beside.execute(
            "INSERT INTO ports (host_port, port, job_id) VALUES (?, ?, ?)", (*row, jobs[0].id)
        )
