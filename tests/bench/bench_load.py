"""Fifty clients at once: each submits short jobs, lists the queue and follows its jobs' logs.

Targets (issue 4): 0 errors, 0 lost, 0 double leases, p99 of `ps` under 100 ms, the daemon under
200 MiB. The figures of the issue are 2,000 jobs in 10 minutes (`--seconds 600`); a shorter run keeps
that rate. Each client is a process of a person of its own, made for the run: root would be exempt from
the bounds that the daemon sets to people. Without root all clients are one person. Jobs are processes on eight simulated devices, each of which takes a lock on its device that
no other job may hold; with `--docker` they are containers (and the rate what the box's engine can start).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import math
import multiprocessing
import os
import pwd
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty

import psutil

from gpuboard.api.client import Client
from gpuboard.cli.quick import LIMIT
from gpuboard.errors import GpuboardError
from tests.support.box import ROOT, Box, people
from tests.support.dockerd import IMAGE, missing_parts, running_engine

CLIENTS = 50
JOBS_A_SECOND = {"process": 2050 / 600, "docker": 0.5}
"""A little more than the issue names, since clients begin one after another."""
LIST_EVERY_S = 1.0
DRAIN_S = 180
FOLLOW_S = 120
"""After the time is over: so long is a last job followed."""
MAX_P99_MS, MAX_RSS_MIB = 100, 200
CONFIG = """
[jobs]
runtimes = ["{runtime}"]
default_runtime = "{runtime}"
default_shm = "64M"
min_uid = 0
[docker]
host = "{host}"
network = "none"
[devices]
probe = "simulated"
scenario = "lab8"
"""
JOB = """
lock="$1/${CUDA_VISIBLE_DEVICES:-none}"
[ "$1" = / ] || { mkdir "$lock" || exit 99; echo "$GPUBOARD_JOB_ID" >> "$1/starts"; }
i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo "$GPUBOARD_JOB_ID line $i"; done
sleep "$2"; echo end
[ "$1" = / ] || rmdir "$lock"
exit "$3"
"""


@dataclass
class Tally:
    """What one process of clients saw."""

    accepted: dict[int, int] = field(default_factory=dict)
    """By job: the exit code that it must end with."""
    errors: list[str] = field(default_factory=list)
    torn_logs: list[int] = field(default_factory=list)
    list_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    """What the clients are to do."""

    socket: str
    runtime: str
    locks: str
    until: float
    """Monotonic seconds."""
    submit_every_s: float


class LoadClient:
    """One person at a terminal: a thread that submits and follows, and one that lists with `ps -a`."""

    def __init__(self, load: Load, tally: Tally, seed: int) -> None:
        self._load = load
        self._tally = tally
        self._random = random.Random(seed)
        self._client = Client(load.socket, timeout_s=60)

    def work(self) -> None:
        """Submit a job, follow its log to the end, wait; again until the time is over."""
        next_at = time.monotonic() + self._random.uniform(0, self._load.submit_every_s)
        while next_at < self._load.until:
            time.sleep(max(0.0, next_at - time.monotonic()))
            next_at += self._load.submit_every_s
            with self._counted("submit"):
                job = self._submit()
                self._follow(job)

    def _submit(self) -> int:
        code = self._random.choice((0, 0, 0, 3))
        seconds = f"{self._random.uniform(0.1, 1.5):.2f}"
        body = {
            "command": ["sh", "-c", JOB, "job", self._load.locks, seconds, str(code)],
            "runtime": self._load.runtime,
            "gpus": 1,
            "time_limit": "10m",
        }
        if self._load.runtime == "docker":
            body["image"] = IMAGE
        started = time.monotonic()
        job: int = self._client.post("/jobs", body)["ids"][0]
        self._tally.submit_ms.append(1000 * (time.monotonic() - started))
        self._tally.accepted[job] = code
        return job

    def _follow(self, job: int) -> None:
        text = b"".join(self._client.stream(f"/jobs/{job}/log", follow=True)).decode()
        lines = [f"{job} line {number}" for number in range(1, 21)]
        if text.splitlines() != [*lines, "end"]:
            self._tally.torn_logs.append(job)

    def list(self) -> None:
        """Look at the queue about once a second as `gpuboard ps -a` does: a connection, one request."""
        while time.monotonic() < self._load.until:
            time.sleep(LIST_EVERY_S * self._random.uniform(0.5, 1.5))
            with self._counted("ps"):
                started = time.monotonic()
                with contextlib.closing(Client(self._load.socket)) as fresh:
                    fresh.get("/jobs", mine=False, limit=LIMIT)
                self._tally.list_ms.append(1000 * (time.monotonic() - started))

    @contextlib.contextmanager
    def _counted(self, what: str):
        try:
            yield
        except (GpuboardError, OSError, ValueError, KeyError) as error:
            self._tally.errors.append(f"{what}: {type(error).__name__}: {error}")


def client(load: Load, number: int, uid: int | None, results: multiprocessing.Queue) -> None:
    """Be this client, as that person, until the time is over, and hand in what it saw."""
    if uid is not None:
        entry = pwd.getpwuid(uid)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(uid, uid, uid)
    tally = Tally()
    person = LoadClient(load, tally, number)
    acts = (person.work, person.list)
    threads = [threading.Thread(target=act, daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    for (
        thread
    ) in threads:  # a box too slow for the rate leaves a job to follow: it is looked up after
        thread.join(max(0.0, load.until + FOLLOW_S - time.monotonic()))
    results.put(tally)


class Yardstick:
    """How late this box wakes anybody, measured by a process of its own that only sleeps 10 ms.

    Where others keep the processors busy, no answer can come sooner: the figures of `ps` are to be read
    beside this one.
    """

    SLEEP_S = 0.01

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._results = context.Queue()
        self._stop = context.Event()
        self._process = context.Process(target=self._doze, args=(self._results, self._stop))
        self._process.start()

    @staticmethod
    def _doze(results: multiprocessing.Queue, stop) -> None:
        late_ms = []
        while not stop.is_set():
            started = time.monotonic()
            time.sleep(Yardstick.SLEEP_S)
            late_ms.append(1000 * (time.monotonic() - started - Yardstick.SLEEP_S))
        results.put(p99(late_ms))

    def stop(self) -> float:
        """Return the 99th percentile of the delays, in ms."""
        self._stop.set()
        found: float = self._results.get(timeout=30)
        self._process.join()
        return found


class Weight:
    """The daemon's memory, looked at each second; the highest counts."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.first = self.highest = self._process.memory_info().rss
        self.descriptors = 0
        self._began = sum(self._process.cpu_times()[:2]), time.monotonic()
        self.cpu_percent = 0.0
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self.highest = max(self.highest, self._process.memory_info().rss)
            self.descriptors = max(self.descriptors, self._process.num_fds())

    def stop(self) -> None:
        """Look no more."""
        cpu_s, at = self._began
        spent = sum(self._process.cpu_times()[:2]) - cpu_s
        self.cpu_percent = 100 * spent / (time.monotonic() - at)
        self._stop.set()
        self._thread.join()


def run_clients(load: Load, uids: Sequence[int | None]) -> Tally:
    """Run a client for each person; return what they saw together."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gpuboard.api.client", "tests.support.dockerd"])
    results = context.Queue()
    started = [
        context.Process(target=client, args=(load, number, uid, results))
        for number, uid in enumerate(uids)
    ]
    for process in started:
        process.start()
    whole = Tally()
    deadline = load.until + DRAIN_S
    for _ in started:
        try:
            part = results.get(timeout=max(1.0, deadline - time.monotonic()))
        except Empty:
            whole.errors.append("a process of clients did not come to an end")
            continue
        whole.accepted |= part.accepted
        for name in ("errors", "torn_logs", "list_ms", "submit_ms"):
            getattr(whole, name).extend(getattr(part, name))
    for process in started:
        process.join(5)
        process.kill()
    return whole


def lost_jobs(client: Client, accepted: dict[int, int]) -> list[str]:
    """Return accepted jobs that did not end by themselves with their own exit code."""
    deadline = time.monotonic() + DRAIN_S
    while client.get("/jobs", limit=1)["total"] and time.monotonic() < deadline:
        time.sleep(0.2)
    wrong = []
    for job, code in accepted.items():
        view = client.get(f"/jobs/{job}")["job"]
        if view["exit_code"] != code or view["state"] != ("failed" if code else "succeeded"):
            wrong.append(f"{job}: {view['state']} {view['exit_code']} ({view['reason']})")
    return wrong


def double_leases(state: Path, locks: Path) -> list[str]:
    """Return devices leased twice at one time by the record, and jobs that ran twice by their own."""
    with contextlib.closing(sqlite3.connect(state / "gpuboard.db")) as database:
        rows = database.execute(
            "SELECT device, granted_at, coalesce(released_at, 1 << 62), job_id FROM leases"
            " ORDER BY device, granted_at, id"
        ).fetchall()
    found = [
        f"{device}: jobs {one} and {two}"
        for (device, _, until, one), (other, since, _, two) in itertools.pairwise(rows)
        if device == other and since < until
    ]
    starts = locks / "starts"
    if starts.exists():
        counted = collections.Counter(starts.read_text().split())
        found += [f"job {job} started {count} times" for job, count in counted.items() if count > 1]
    return found


def p99(values: list[float]) -> float:
    """Return the 99th percentile, by nearest rank."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * 0.99) - 1] if ordered else math.inf


@contextlib.contextmanager
def clients_people() -> Iterator[Sequence[int | None]]:
    """Make a person for each client, for the block; without root they are all oneself."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        yield [None] * CLIENTS
        return
    with people(*(f"gbload{number}x" for number in range(CLIENTS))) as uids:
        yield uids


def report(tally: Tally, weight: Weight, lost: list[str], doubles: list[str], box_ms: float) -> int:
    """Print the figures against the targets; return 1 where one is missed."""
    tally.list_ms.sort()
    median = tally.list_ms[len(tally.list_ms) // 2] if tally.list_ms else math.inf
    rss_mib = weight.highest / 2**20
    print(f"{CLIENTS} clients, {len(tally.accepted)} jobs, {len(tally.list_ms)} lists")
    print(f"errors: {len(tally.errors)} (target 0)")
    print(f"lost or with a wrong end: {len(lost)}, torn logs: {len(tally.torn_logs)} (target 0)")
    print(f"double leases or starts: {len(doubles)} (target 0)")
    print(
        f"ps: p99 {p99(tally.list_ms):.1f} ms (target {MAX_P99_MS}), median {median:.1f},"
        f" worst {max(tally.list_ms, default=math.inf):.0f}; beside it a bare sleep's delay: p99"
        f" {box_ms:.1f} ms, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )
    print(f"submit: p99 {p99(tally.submit_ms):.1f} ms")
    print(
        f"daemon: {rss_mib:.0f} MiB at most (target {MAX_RSS_MIB}), {weight.first / 2**20:.0f} at"
        f" first; {weight.descriptors} descriptors; {weight.cpu_percent:.0f} % of a core"
    )
    for words in (*tally.errors[:5], *lost[:5], *doubles[:5], *tally.torn_logs[:5]):
        print(f"  {words}")
    is_good = not (tally.errors or lost or doubles or tally.torn_logs)
    return 0 if is_good and p99(tally.list_ms) < MAX_P99_MS and rss_mib < MAX_RSS_MIB else 1


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--docker", action="store_true")
    parser.add_argument("--rate", type=float, help="jobs a second, all clients together")
    options = parser.parse_args()
    runtime = "docker" if options.docker else "process"
    rate = options.rate or JOBS_A_SECOND[runtime]
    with contextlib.ExitStack() as stack:
        host = "unix:///run/docker.sock"
        if options.docker:
            if words := missing_parts():
                print(f"skipped: {words}")
                return 0
            host = stack.enter_context(running_engine()).host
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpuboard-load-")))
        folder.chmod(0o755)
        locks = folder / "locks"
        locks.mkdir()
        locks.chmod(0o1777)  # everybody's jobs leave their marks there
        (locks / "starts").touch()
        (locks / "starts").chmod(0o666)
        uids = stack.enter_context(clients_people())
        environment = {"PYTHONDONTWRITEBYTECODE": ""}
        box = Box(folder / "box", CONFIG.format(runtime=runtime, host=host), environment)
        box.start()
        stack.callback(box.stop)
        assert box.daemon is not None
        weight = Weight(box.daemon.pid)
        stack.callback(weight.stop)
        load = Load(
            socket=str(box.socket),
            runtime=runtime,
            locks="/" if options.docker else str(locks),
            until=time.monotonic() + options.seconds,
            submit_every_s=CLIENTS / rate,
        )
        yardstick = Yardstick()
        tally = run_clients(load, uids)
        weight.stop()
        box_ms = yardstick.stop()
        lost = lost_jobs(Client(str(box.socket)), tally.accepted)
        doubles = double_leases(box.state, locks)
        return report(tally, weight, lost, doubles, box_ms)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
