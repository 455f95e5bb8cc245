"""Which jobs are meant: numbers, ranges, `@`, names, arrays.

`12` a job (for actions: the whole array when 12 is an array's id), `12_3` an array's element,
`4-7` those of a range that exist, `@` the caller's last submission, anything else a name: the
caller's live jobs of that name, or the newest that ended. A `*` in a name stands for anything.
Several in one text have commas or blanks between them, unless one of the caller's jobs is called so.

One request names a bounded number of words and of jobs: it is looked up on the engine's thread,
where everybody waits behind it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpuboard.engine.protocol import Engine
from gpuboard.errors import InvalidRequest, NotFound
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job
from gpuboard.model.person import Caller
from gpuboard.model.text import plain
from gpuboard.service.names import MAX_NAME, split_words
from gpuboard.service.rights import no_such_job

MAX_JOBS = 10_000
"""Jobs that one request may mean, and a range may span."""
MAX_WORDS = 200
"""Words that each cost a search (ranges, names, elements, `@`); plain numbers are bounded as jobs."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_ELEMENT = re.compile(r"([0-9]{1,18})_([0-9]{1,10})")
_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


class JobSelectors:
    """Finds the jobs that a caller means."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def one(self, caller: Caller, selector: str) -> Job:
        """Return the one job meant. Raises NotFound, and InvalidRequest where several are."""
        word = selector.strip()
        if _NUMBER.fullmatch(word):
            return self._numbered(int(word), word)
        jobs = self._some(caller, word)
        if len(jobs) > 1:
            raise _several(word, jobs)
        return jobs[0]

    def many(self, caller: Caller, selectors: Sequence[str]) -> list[Job]:
        """Return all jobs meant, each once.

        Raises NotFound, and InvalidRequest when none was named, or too many words or jobs.
        """
        texts = dict.fromkeys(selectors)
        words = dict.fromkeys(
            word
            for text in texts
            for word in (
                [text.strip()] if self._is_name(caller, text, len(texts)) else split_words(text)
            )
        )
        searched = sum(1 for word in words if not _NUMBER.fullmatch(word))
        if searched > MAX_WORDS or len(words) > MAX_JOBS:
            raise InvalidRequest(
                f"{len(words)} words for jobs: at most {MAX_WORDS} ranges and names,"
                f" and {MAX_JOBS} numbers",
                field="jobs",
                hint="a range such as 4-700 is one word",
            )
        found: dict[JobId, Job] = {}
        looked_at = 0
        for word in words:
            some = self._some(caller, word)
            looked_at += len(some)
            if looked_at > MAX_JOBS:
                raise InvalidRequest(f"more than {MAX_JOBS} jobs at once", field="jobs")
            found.update((job.id, job) for job in some)
        if not found:
            raise InvalidRequest("no job was named", field="jobs", hint="12, 4-7, @ or a name")
        return list(found.values())

    def _is_name(self, caller: Caller, text: str, of_texts: int) -> bool:
        """Whether a text that would be several words is what a job of the caller's is called."""
        if of_texts > MAX_WORDS or len(text) > MAX_NAME or len(split_words(text)) < 2:
            return False
        return bool(self._engine.find_jobs(uid=caller.uid, name=text.strip(), limit=1))

    def _some(self, caller: Caller, word: str) -> list[Job]:
        if word == "@":
            return self._last(caller)
        if _NUMBER.fullmatch(word):
            job = self._numbered(int(word), word)
            return self._members(job.id) if job.array_id == job.id else [job]
        if element := _ELEMENT.fullmatch(word):
            return [self._element(int(element[1]), int(element[2]), word)]
        if span := _RANGE.fullmatch(word):
            return self._range(int(span[1]), int(span[2]), word)
        return self._named(caller, word)

    def _numbered(self, number: int, word: str) -> Job:
        try:
            return self._engine.job(JobId(number))
        except NotFound:
            raise no_such_job(word) from None

    def _last(self, caller: Caller) -> list[Job]:
        job = self._engine.last_job(caller.uid)
        if job is None:
            raise NotFound("you have not submitted anything yet", hint="gpuboard submit --help")
        return self._members(job.array_id) if job.array_id is not None else [job]

    def _members(self, array_id: JobId) -> list[Job]:
        members = self._engine.find_jobs(array_id=array_id, limit=MAX_JOBS)
        return sorted(members, key=lambda member: member.id)

    def _element(self, array: int, index: int, word: str) -> Job:
        found = self._engine.find_jobs(array_id=JobId(array), array_index=index, limit=1)
        if not found:
            raise no_such_job(word)
        return found[0]

    def _range(self, first: int, last: int, word: str) -> list[Job]:
        if not first <= last < first + MAX_JOBS:
            raise InvalidRequest(
                f"{word}: a range goes up, over at most {MAX_JOBS} jobs", field="jobs"
            )
        found = self._engine.find_jobs(
            from_id=JobId(first), before_id=JobId(last + 1), limit=last - first + 1
        )
        if not found:
            raise no_such_job(word)
        return sorted(found, key=lambda job: job.id)

    def _named(self, caller: Caller, word: str) -> list[Job]:
        live = ("queued", "starting", "running", "stopping")
        found = self._engine.find_jobs(uid=caller.uid, name=word, states=live, limit=MAX_JOBS)
        found = found or self._engine.find_jobs(uid=caller.uid, name=word, limit=1)
        if not found:
            raise no_such_job(repr(plain(word, 60)))
        return sorted(found, key=lambda job: job.id)


def _several(word: str, jobs: Sequence[Job]) -> InvalidRequest:
    shown = [str(job.id) for job in (jobs if len(jobs) <= 6 else (*jobs[:3], jobs[-1]))]
    if len(jobs) > 6:
        shown.insert(3, "...")
    return InvalidRequest(
        f"{plain(word, 60)} means {len(jobs)} jobs: {', '.join(shown)}",
        field="job",
        hint="name one of them",
    )


def uid_of(engine: Engine, caller: Caller, name: str) -> int:
    """Return whose name that is: the caller's own, or of somebody who has been here. Raises InvalidRequest."""
    uid = caller.uid if name == caller.person.name else engine.uid_of(name)
    if uid is None:
        raise InvalidRequest(f"nobody called {name!r} has been here", field="user")
    return uid
