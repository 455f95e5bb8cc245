"""The journal: the only writer. One change, one durable transaction; then memory follows.

Usage is settled here too: whenever the number of devices that a person holds changes, what they
owe so far is written in the same transaction. Between two changes it is a closed formula, so a
crash neither loses nor doubles a charge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from gpuboard.engine.change import Change, NewEvent, NewLease
from gpuboard.engine.clock import Clock
from gpuboard.engine.crash import CrashPoints
from gpuboard.engine.dependencies import Standing, standing
from gpuboard.engine.ledger import Account, Ledger
from gpuboard.errors import StateError
from gpuboard.model.ids import JobId, Uid
from gpuboard.model.job import Job, JobState
from gpuboard.model.reservation import Blackout, Lease, Notice, Reservation
from gpuboard.model.world import Promise
from gpuboard.policy.usage import charge
from gpuboard.policy.week import WEEK_MS
from gpuboard.runtimes.protocol import Observed, RunState
from gpuboard.store.database import Store
from gpuboard.store.people import AccountUsageRow, UsageRow

_HEAD = "head"
_FILL_HEAD = "fill_head"
_PROMISES = "promises"
_INCARNATION = "incarnation."
_OPENED = "opened"
_promises = msgspec.json.Decoder(tuple[Promise, ...])


class Journal:
    """Commits changes to the store and shows them in the ledger."""

    def __init__(
        self, store: Store, ledger: Ledger, clock: Clock, crash: CrashPoints, half_life_s: int
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._crash = crash
        self.half_life_s = half_life_s
        self._incarnations: dict[str, str] = {}
        self.opened: frozenset[str] = frozenset()
        """Attempts (by runtime name) that were seen able to open their devices."""
        self._predictions: dict[tuple[int, int, int], int | None] = {}
        self.events_written: Counter[str] = Counter()
        """How many events of each kind were written since the daemon began."""

    # writing

    def commit(self, change: Change) -> None:
        """Make a change true: durably first, then in memory."""
        now = self._clock.now_ms()
        self._crash(f"{change.name}.before")
        accounts = self._settled(change, now)
        group_accounts = self._settled_groups(change, now)
        with self._store.transaction() as store:
            for device in change.closed:
                if not store.close_lease(device, now):
                    raise StateError(f"device {device} has no lease to close")
            for lease in change.closed_shares:
                if not store.close_share(lease.id, now):
                    raise StateError(f"lease {lease.id} of a shared device is over already")
            for job in change.jobs.values():
                store.save_job(job)
            for reservation in change.reservations.values():
                store.save_reservation(reservation)
            opened = [
                store.open_lease(
                    new.device,
                    new.uid,
                    job_id=new.job_id,
                    reservation_id=new.reservation_id,
                    granted_at=now,
                    until_at=new.until_at,
                    attempt=new.attempt,
                    share=new.share,
                )
                for new in change.opened
            ]
            store.save_usage(
                [UsageRow(Uid(uid), a.device_seconds, a.at) for uid, a in accounts.items()]
            )
            if group_accounts:
                store.save_account_usage(
                    [
                        AccountUsageRow(Uid(uid), account, a.device_seconds, a.at)
                        for (uid, account), a in group_accounts.items()
                    ]
                )
            for device, until_at in change.extended.items():
                store.extend_lease(device, until_at)
            for drain in change.drained:
                store.save_drain(drain)
            for device in change.resumed:
                store.remove_drain(device)
            self._write_events(change.events, now)
        self._crash(f"{change.name}.after")
        self._ledger.group_accounts.update(group_accounts)
        self._count_week(change, now)
        self._show(change, opened, accounts)

    def _count_week(self, change: Change, now: int) -> None:
        for device in change.closed:
            lease = self._ledger.leases[device]
            self._ledger.week.add(lease.uid, self._ledger.account_of(lease), lease.granted_at, now)
        goes_on = {new.job_id for new in change.opened if new.share is not None}
        for lease in change.closed_shares:  # a quota counts a job that shares as one device
            job = self._ledger.holding.get(lease.job_id) if lease.job_id is not None else None
            if job is not None and job.id not in goes_on:
                since_at = job.leased_at or lease.granted_at
                self._ledger.week.add(lease.uid, self._ledger.account_of(lease), since_at, now)

    def _show(self, change: Change, opened: list[Lease], accounts: dict[int, Account]) -> None:
        ledger = self._ledger
        for device in change.closed:
            del ledger.leases[device]
        for lease in change.closed_shares:
            ledger.close_share(lease)
        for lease in opened:
            ledger.open_lease(lease)
        for device, until_at in change.extended.items():
            lease = ledger.leases[device]
            ledger.leases[device] = msgspec.structs.replace(lease, until_at=until_at)
        for reservation in change.reservations.values():
            self._show_reservation(reservation)
        for job in change.jobs.values():
            if job.state.is_final:
                self._predictions.pop((job.owner.uid, job.spec.gpus, job.spec.limit_s), None)
            ledger.put_job(job, self._predicted_s(job))
        for job in change.jobs.values():
            if job.state.is_final:
                ledger.meet(job.id, job.state)
        ledger.accounts.update(accounts)
        for drain in change.drained:
            ledger.drains[drain.device] = drain
        for device in change.resumed:
            ledger.drains.pop(device, None)
        ledger.revision += 1

    def _show_reservation(self, reservation: Reservation) -> None:
        if reservation.ended_at is None:
            self._ledger.reservations[reservation.id] = reservation
        else:
            self._ledger.reservations.pop(reservation.id, None)

    def _settled(self, change: Change, now: int) -> dict[int, Account]:
        """Return what those whose holding changes owe at `now`."""
        ledger = self._ledger
        uids = {ledger.leases[device].uid for device in change.closed if device in ledger.leases}
        uids |= {lease.uid for lease in change.closed_shares}
        uids |= {new.uid for new in change.opened}
        return {uid: self._settled_account(uid, now) for uid in sorted(uids)}

    def _settled_account(self, uid: int, now: int) -> Account:
        account = self._ledger.accounts.get(uid, Account(0.0, now))
        held = self._ledger.held_by(uid)
        return Account(charge(account.device_seconds, held, account.at, now, self.half_life_s), now)

    def _settled_groups(self, change: Change, now: int) -> dict[tuple[int, str], Account]:
        """Return what people owe at `now` for the groups for which their holding changes."""
        ledger = self._ledger
        held: dict[tuple[int, str], float] = {}
        for live in ledger.every_lease():
            account = ledger.account_of(live)
            if account:
                whose = (live.uid, account)
                held[whose] = held.get(whose, 0) + live.devices_charged
        changing = {
            (lease.uid, ledger.account_of(lease))
            for device in change.closed
            if (lease := ledger.leases.get(device)) is not None
        }
        changing |= {(lease.uid, ledger.account_of(lease)) for lease in change.closed_shares}
        changing |= {(new.uid, self._account_of_new(change, new)) for new in change.opened}
        settled = {}
        for uid, account in sorted(changing):
            if account:
                known = ledger.group_accounts.get((uid, account), Account(0.0, now))
                owed = charge(
                    known.device_seconds,
                    held.get((uid, account), 0),
                    known.at,
                    now,
                    self.half_life_s,
                )
                settled[uid, account] = Account(owed, now)
        return settled

    def _account_of_new(self, change: Change, new: NewLease) -> str:
        if new.job_id is not None:
            job = change.jobs.get(new.job_id) or self._ledger.jobs.get(new.job_id)
            if job is not None and job.owner.uid == new.uid:
                return job.spec.account
        if new.reservation_id is None:
            return ""
        booking = change.reservations.get(new.reservation_id)
        booking = booking or self._ledger.reservations.get(new.reservation_id)
        return booking.account if booking is not None else ""

    def _write_events(self, events: Iterable[NewEvent], now: int) -> None:
        for event in events:
            self.events_written[event.kind] += 1
            self._store.append_event(
                now,
                event.kind,
                job_id=event.job_id,
                reservation_id=event.reservation_id,
                device=event.device,
                uid=event.uid,
                detail=event.detail,
            )

    def submit(self, jobs: Sequence[Job]) -> list[Job]:
        """Insert new jobs, all or none, and return them with their ids."""
        with self._committing("submit") as store:
            placed = store.insert_jobs(jobs)
            for job in placed:
                store.append_event(
                    job.submitted_at,
                    "job.submitted",
                    job_id=job.id,
                    uid=job.owner.uid,
                    detail={"gpus": job.spec.gpus, "limit_s": job.spec.limit_s},
                )
        for job in placed:
            self._enqueue(job)
        self._ledger.revision += 1
        return placed

    def book(self, reservation: Reservation, **detail: str | int) -> Reservation:
        """Insert a booking and return it with its id."""
        return self.book_series([reservation], **detail)[0]

    def book_series(
        self, reservations: Sequence[Reservation], **detail: str | int
    ) -> list[Reservation]:
        """Insert bookings as one; those with a rule name the first of them as their series."""
        series: list[Reservation] = []
        with self._committing("booking.create") as store:
            for reservation in reservations:
                first = series[0].id if series else None
                placed = store.insert_reservation(
                    msgspec.structs.replace(reservation, series_id=first)
                )
                if reservation.rule and first is None:
                    placed = msgspec.structs.replace(placed, series_id=placed.id)
                    store.save_reservation(placed)
                series.append(placed)
                self._write_booked(store, placed, detail)
        for placed in series:
            self._ledger.names[placed.owner.uid] = placed.owner.name
            self._ledger.reservations[placed.id] = placed
        self._ledger.revision += 1
        return series

    def _write_booked(
        self, store: Store, placed: Reservation, detail: dict[str, str | int]
    ) -> None:
        store.append_event(
            placed.created_at,
            "reservation.created",
            reservation_id=placed.id,
            uid=placed.owner.uid,
            detail={
                "gpus": placed.gpus,
                "from_at": placed.from_at,
                "until_at": placed.until_at,
                **detail,
            },
        )

    @contextmanager
    def _committing(self, name: str) -> Iterator[Store]:
        """Give a transaction with the crash points `name`.before and .after at its sides."""
        self._crash(f"{name}.before")
        with self._store.transaction() as store:
            yield store
        self._crash(f"{name}.after")

    def announce(self, blackout: Blackout, by: str) -> Blackout:
        """Insert a maintenance window and return it with its id."""
        now = self._clock.now_ms()
        with self._committing("blackout") as store:
            placed = store.insert_blackout(blackout)
            store.append_event(
                now,
                "admin.blackout",
                detail={
                    "id": placed.id,
                    "from_at": placed.from_at,
                    "until_at": placed.until_at,
                    "by": by,
                    "note": placed.note,
                },
            )
        self._ledger.blackouts[placed.id] = placed
        self._ledger.revision += 1
        return placed

    def call_off(self, blackout_id: int, by: str) -> bool:
        """Take a maintenance window back; False when there is none."""
        now = self._clock.now_ms()
        with self._committing("blackout.called_off") as store:
            was_there = store.cancel_blackout(blackout_id, now)
            if was_there:
                store.append_event(
                    now, "admin.blackout_cancelled", detail={"id": blackout_id, "by": by}
                )
        self._ledger.blackouts.pop(blackout_id, None)
        self._ledger.revision += 1
        return was_there

    def notify(self, notice: Notice | None, by: str) -> Notice | None:
        """Publish a notice, or (None) take all back."""
        now = self._clock.now_ms()
        with self._committing("notice") as store:
            placed = store.insert_notice(notice) if notice is not None else None
            if placed is None:
                store.clear_notices(now)
            store.append_event(
                now, "admin.notice", detail={"by": by, "text": placed.text if placed else ""}
            )
        if placed is None:
            self._ledger.notices.clear()
        else:
            self._ledger.notices[placed.id] = placed
        self._ledger.revision += 1
        return placed

    def keep_head(self, head: JobId | None) -> None:
        """Remember the sticky head of the queue."""
        if head == self._ledger.head:
            return
        with self._committing("head") as store:
            store.set_state(_HEAD, None if head is None else str(head))
        self._ledger.head = head

    def keep_fill_head(self, head: JobId | None) -> None:
        """Remember the head of the preemptible jobs."""
        if head == self._ledger.fill_head:
            return
        with self._committing("fill_head") as store:
            store.set_state(_FILL_HEAD, None if head is None else str(head))
        self._ledger.fill_head = head

    def keep_promises(self, promises: tuple[Promise, ...]) -> None:
        """Remember the starts promised to jobs of promised classes."""
        if promises == self._ledger.promises:
            return
        with self._committing("promises") as store:
            store.set_state(_PROMISES, msgspec.json.encode(promises).decode() if promises else None)
        self._ledger.promises = promises

    def keep_incarnation(self, runtime: str, incarnation: str) -> None:
        """Remember which incarnation of a runtime's engine the attempts were last seen under."""
        if self.incarnation(runtime) == incarnation:
            return
        with self._committing("incarnation") as store:
            store.set_state(f"{_INCARNATION}{runtime}", incarnation)
        self._incarnations[runtime] = incarnation

    def incarnation(self, runtime: str) -> str:
        """Return what was remembered last; empty for nothing."""
        if runtime not in self._incarnations:
            self._incarnations[runtime] = self._store.get_state(f"{_INCARNATION}{runtime}") or ""
        return self._incarnations[runtime]

    def keep_opened(self, names: frozenset[str]) -> None:
        """Remember which attempts could open their devices."""
        with self._committing("opened") as store:
            store.set_state(_OPENED, " ".join(sorted(names)) or None)
        self.opened = names

    # reading

    def load(self) -> None:
        """Fill the ledger from the database."""
        ledger, store, now = self._ledger, self._store, self._clock.now_ms()
        ledger.names = {person.uid: person.name for person in store.people()}
        for row in store.load_usage():
            ledger.accounts[row.uid] = Account(row.device_seconds, row.at)
        for reservation in store.live_reservations():
            ledger.reservations[reservation.id] = reservation
        ledger.blackouts = {b.id: b for b in store.blackouts(now)}
        ledger.drains = {d.device: d for d in store.drains()}
        ledger.notices = {n.id: n for n in store.notices(now)}
        head = store.get_state(_HEAD)
        ledger.head = JobId(int(head)) if head is not None else None
        fill_head = store.get_state(_FILL_HEAD)
        ledger.fill_head = JobId(int(fill_head)) if fill_head is not None else None
        self.opened = frozenset((store.get_state(_OPENED) or "").split())
        promises = store.get_state(_PROMISES)
        ledger.promises = _promises.decode(promises) if promises is not None else ()
        for owed in store.load_account_usage():
            ledger.group_accounts[owed.uid, owed.account] = Account(owed.device_seconds, owed.at)
        for held in store.released_since(now - WEEK_MS):
            ledger.week.add(*held)
        jobs = store.load_live_jobs()
        for job in jobs:
            ledger.jobs[job.id] = job
        for job in jobs:
            self._enqueue(job)
        for lease in store.live_leases():
            ledger.open_lease(lease)
        self.check()

    def _enqueue(self, job: Job) -> None:
        if job.state is JobState.QUEUED and job.spec.depends_on:
            unmet = [
                d.job_id
                for d in job.spec.depends_on
                if (state := self.state_of(d.job_id)) is not None
                and standing(d, state) is Standing.OPEN
            ]
            self._ledger.depend(job.id, unmet)
        self._ledger.put_job(job, self._predicted_s(job))

    def check(self) -> None:
        """Raise StateError when leases and jobs contradict each other (SAFETY.md C6, I1-I4)."""
        for lease in self._ledger.every_lease():
            if lease.job_id is None:
                if lease.reservation_id not in self._ledger.reservations:
                    raise StateError(f"device {lease.device} is leased to a booking that is over")
                continue
            job = self._ledger.holding.get(lease.job_id)
            if job is None or lease.device not in job.devices:
                raise StateError(
                    f"device {lease.device} is leased to job {lease.job_id}, which is not there"
                )
        for job in self._ledger.holding.values():
            if len(self._ledger.leases_of(job.id)) != len(job.devices):
                raise StateError(f"job {job.id} runs without the leases of its devices")

    def state_of(self, job_id: JobId) -> JobState | None:
        """Return the state of a job, live or ended; None when there is none."""
        job = self._ledger.jobs.get(job_id) or self._store.get_job(job_id)
        return job.state if job is not None else None

    def is_ours(self, job_id: JobId, attempt: int, seen: Observed) -> bool:
        """Whether what a runtime shows under an attempt's name is that attempt, by the record.

        One that has run was committed by its handle before its start went out. One that was only
        created may have come of a create whose answer was lost: it bears the hash of its intent.
        """
        job = self._ledger.jobs.get(job_id) or self._store.get_job(job_id)
        if job is None or not 1 <= attempt <= job.attempt:
            return False
        if attempt == job.attempt and job.handle == seen.handle:
            return True
        made = self._store.attempt_made(job_id, attempt)
        if seen.state is RunState.CREATED:
            return bool(made.spec_hash) and made.spec_hash == seen.spec_hash
        return made.handle == seen.handle

    def _predicted_s(self, job: Job) -> int | None:
        """Return the mean of the last two runs of the same person, width and limit (s)."""
        if job.state is not JobState.QUEUED:
            return None
        key = (job.owner.uid, job.spec.gpus, job.spec.limit_s)
        if key not in self._predictions:
            runs = self._store.recent_runs(*key)
            self._predictions[key] = round(sum(runs) / len(runs)) if runs else None
        return self._predictions[key]
