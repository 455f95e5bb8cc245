"""The store against plain SQLite on the same disk: 1,000 submissions, each durable by itself."""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpuboard.store import Store
from tests.support.records import new_job

COUNT = 1000


def spent_ms(act: Callable[[], object]) -> float:
    """Return how long one call took, in milliseconds."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def plain(folder: Path) -> Callable[[], None]:
    """Return a submission of a row and an event to two bare tables, WAL and FULL: the least that durability costs here."""
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, spec TEXT)")
    connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, job INTEGER)")

    def submit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        job = connection.execute("INSERT INTO job (spec) VALUES (?)", ("x" * 300,)).lastrowid
        connection.execute("INSERT INTO event (job) VALUES (?)", (job,))
        connection.execute("COMMIT")

    return submit


def main() -> None:
    """Print medians, sums and the ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(str(folder / "state"))

        def submit() -> None:
            with store.transaction() as tx:
                [job] = tx.insert_jobs([new_job()])
                tx.append_event(1, "job.submitted", job_id=job.id, uid=job.owner.uid)

        submit_plainly = plain(folder)
        # in turn, so that whatever else the machine does hits both
        pairs = [(spent_ms(submit), spent_ms(submit_plainly)) for _ in range(COUNT)]
        ours, bare = zip(*pairs, strict=True)
        began = time.perf_counter()
        with store.transaction() as tx:
            tx.insert_jobs([new_job()] * 10_000)
        at_once = time.perf_counter() - began
        began = time.perf_counter()
        loaded = len(store.load_live_jobs())
        load_s = time.perf_counter() - began
        store.close()
    print(
        f"{COUNT} durable submissions: store {sum(ours) / 1000:.2f} s (median {statistics.median(ours):.2f} ms,"
        f" worst {max(ours):.1f}), plain SQLite {sum(bare) / 1000:.2f} s: {sum(ours) / sum(bare):.1f}x"
    )
    print(
        f"10,000 jobs in one transaction: {at_once:.2f} s; {loaded} live jobs loaded in {load_s:.2f} s"
    )


if __name__ == "__main__":
    main()
