"""The queue page by page: everybody's, one person's, and what a search finds."""

from __future__ import annotations

import pytest

from gpuboard.errors import InvalidRequest
from gpuboard.model.requests import JobSelection, SubmitRequest
from gpuboard.model.views.jobs import JobList
from gpuboard.service.services import Services
from tests.support.engine import Box
from tests.support.services import AS_ANN, AS_BEN, AS_EVE, Caller


def submit(services: Services, caller: Caller, name: str, **fields: object) -> int:
    request = SubmitRequest(command=["python", f"{name or 'secret'}.py"], name=name, **fields)
    return services.jobs.submit(caller, request).ids[0]


def page(services: Services, caller: Caller = AS_BEN, **query: object) -> JobList:
    answer = services.queue.page(caller, **query)
    return answer()() if callable(answer) else answer


@pytest.fixture
def busy(box: Box, services: Services) -> Services:
    """Two running jobs of Ann's on all four devices, and six waiting ones, one of them held."""
    for name in ("wide-a", "wide-b"):
        submit(services, AS_ANN, name, gpus=2, time_limit="2h")
    box.settle()
    for number in range(3):
        submit(services, AS_ANN, f"ann-{number}")
        submit(services, AS_BEN, f"ben-{number}" if number else "")
    services.jobs.hold(AS_ANN, JobSelection(jobs=["ann-0"]))
    box.settle()
    return services


def test_pages_put_together_are_the_whole_list(busy: Services) -> None:
    whole = busy.jobs.live(AS_BEN)
    pages = [page(busy, offset=offset, limit=3) for offset in (0, 3, 6)]
    assert [job.id for part in pages for job in part.jobs] == [job.id for job in whole.jobs]
    assert [part.total for part in pages] == [8, 8, 8]
    assert [part.offset for part in pages] == [0, 3, 6]
    places = [job.place for part in pages for job in part.jobs]
    assert places == [None, None, 0, 1, 2, 3, 4, None]


def test_a_persons_page_knows_their_places_among_all(busy: Services) -> None:
    mine = page(busy, AS_BEN, mine=True)
    assert {job.user for job in mine.jobs} == {"ben"}
    assert mine.total == 3
    everybody = {job.id: job.place for job in page(busy).jobs}
    assert [job.place for job in mine.jobs] == [everybody[job.id] for job in mine.jobs]
    assert [job.id for job in page(busy, AS_ANN, user="ben").jobs] == [j.id for j in mine.jobs]


def test_a_search_finds_by_name_state_and_owner(busy: Services) -> None:
    assert {job.name for job in page(busy, text="ANN-").jobs} == {"ann-0", "ann-1", "ann-2"}
    assert [job.name for job in page(busy, text="ann held").jobs] == ["ann-0"]
    assert [job.name for job in page(busy, states=["held"]).jobs] == ["ann-0"]
    assert {job.state for job in page(busy, states=["running"]).jobs} == {"running"}
    found = page(busy, text="ann-", offset=2, limit=5)
    assert (len(found.jobs), found.total, found.offset) == (1, 3, 2)


def test_a_command_is_found_only_by_who_may_read_it(busy: Services) -> None:
    assert page(busy, AS_BEN, text="secret.py").total == 1
    assert page(busy, AS_ANN, text="secret.py").total == 0


def test_own_list_counts_everybody_and_shows_only_mine(busy: Services) -> None:
    own = busy.queue.own(AS_BEN, 2)
    assert own.total == 8
    assert [job.mine for job in own.jobs] == [True, True]
    assert own.revision == busy.board.revision()


def test_wrong_filters_are_named(busy: Services) -> None:
    with pytest.raises(InvalidRequest, match="no live job is ever 'failed'"):
        page(busy, states=["failed"])
    with pytest.raises(InvalidRequest, match="nobody called 'zoe'"):
        page(busy, user="zoe")


def test_a_newcomer_has_no_jobs_and_is_no_stranger(busy: Services) -> None:
    """Whoever never started a job may ask for their own by name; a name that nobody has is told."""
    assert page(busy, AS_EVE, user="eve").jobs == []
    assert busy.jobs.history(AS_EVE, user="eve").jobs == []
    for ask in (busy.jobs.history, busy.queue.page):
        with pytest.raises(InvalidRequest, match="nobody called 'eve'"):
            ask(AS_BEN, user="eve")
