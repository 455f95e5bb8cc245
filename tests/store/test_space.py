"""A full disk: what is new is refused in time, what must be recorded still is, and reads go on."""

import os
import subprocess

import pytest

from gpuboard.errors import HostError, Unavailable
from gpuboard.store import Store
from gpuboard.store.space import BALLAST_BYTES
from tests.support.records import DEVICES, new_job, new_reservation


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, name="filler"):
    """Write until not a byte is free."""
    with open(folder / name, "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def record(store, count=1):
    with store.transaction() as tx:
        for n in range(count):
            tx.append_event(n, "job.ended", detail={"reason": "x" * 500})


def test_below_the_floor_nothing_new_is_taken_and_endings_are(state_dir):
    """Submissions and bookings are refused with the way out; leases are still closed."""
    store = Store(state_dir)
    with store.transaction() as tx:
        [job] = tx.insert_jobs([new_job()])
        tx.open_lease(DEVICES[0], job.owner.uid, job_id=job.id, granted_at=0, until_at=1)
    store.close()
    store = Store(state_dir, min_free_bytes=2**60)
    for new in (
        lambda tx: tx.insert_jobs([new_job()]),
        lambda tx: tx.insert_reservation(new_reservation()),
    ):
        with pytest.raises(Unavailable) as caught, store.transaction() as tx:
            new(tx)
        assert state_dir in caught.value.message
        assert "1048576T" not in caught.value.hint
    with store.transaction() as tx:
        assert tx.close_lease(DEVICES[0], 2)
        tx.save_job(job)
    store.close()


def test_the_ballast_is_real_private_and_not_loaded_without_room(state_dir):
    """Sixteen MiB that are there when they are needed; never the last ones."""
    Store(state_dir, min_free_bytes=2**60).close()
    assert not os.path.exists(f"{state_dir}/ballast")
    Store(state_dir).close()
    found = os.stat(f"{state_dir}/ballast")
    assert (found.st_size, found.st_mode & 0o777) == (BALLAST_BYTES, 0o600)
    assert found.st_blocks * 512 >= BALLAST_BYTES


def test_a_full_disk_loses_nothing_and_the_ballast_lets_endings_be_recorded(small_disk):
    """First a HostError and nothing changed, then room again for what must be written."""
    store = Store(str(small_disk), min_free_bytes=0)
    assert (small_disk / "ballast").exists()
    record(store)
    fill(small_disk)
    with pytest.raises(HostError) as caught:
        record(store, 5000)
    assert "full" in caught.value.message
    assert len(store.events_after(0, limit=10_000)) == 1
    assert not (small_disk / "ballast").exists()
    record(store, 100)
    assert store.checkpoint()
    assert len(store.events_after(0, limit=10_000)) == 101
    store.close()


def test_reads_go_on_while_the_disk_stays_full(small_disk):
    """Without ballast too: every write is refused, every read is answered, and room heals it."""
    store = Store(str(small_disk), min_free_bytes=0)
    record(store)
    store.room.drop_ballast()
    store.room = None  # the test's own: nobody loads it again
    fill(small_disk)
    for _ in range(3):
        with pytest.raises(HostError):
            record(store, 5000)
        assert len(store.events_after(0, limit=10_000)) == 1
    (small_disk / "filler").unlink()
    record(store)
    assert len(store.events_after(0)) == 2
    assert store.check_database() == "ok"
    store.close()


def test_a_daemon_starts_on_a_full_disk(small_disk):
    """The ballast goes overboard before the database is opened."""
    Store(str(small_disk), min_free_bytes=0).close()
    fill(small_disk)
    store = Store(str(small_disk), min_free_bytes=0)
    record(store)
    assert len(store.events_after(0)) == 1
    store.close()
