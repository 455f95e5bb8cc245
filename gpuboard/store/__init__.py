"""The record: SQLite, WAL, synchronous=FULL, one connection on one thread.

    store = Store(state_dir)                     # HostError: newer, damaged, not ours, missing
    with store.transaction() as tx:              # BEGIN IMMEDIATE; all or nothing, durable
        [job] = tx.insert_jobs([job])            # jobs with their new ids; arrays get array_id
        tx.append_event(now, "job.submitted", job_id=job.id, uid=job.owner.uid)

Writes (in a transaction only, else StateError):
    insert_jobs(jobs) -> list[Job]; save_job(job)
    insert_reservation(r) -> Reservation; save_reservation(r)
    open_lease(device, uid, *, job_id, reservation_id=None, granted_at, until_at, attempt=1) -> Lease
    close_lease(device, released_at) -> bool; extend_lease(device, until_at) -> bool
    save_drain(Drain); remove_drain(device) -> bool
    insert_blackout(Blackout) -> Blackout; cancel_blackout(id, at) -> bool
    insert_notice(Notice) -> Notice; clear_notices(at) -> int
    append_event(at, kind, *, job_id, reservation_id, device, uid, detail) -> int
    add_hours(list[DeviceHour]); forget_hours(before_at) -> int
    save_usage(list[UsageRow]); upsert_person(person, seen_at); set_state(key, value | None)
Reads:
    get_job(id) -> Job | None; load_live_jobs(); last_job(uid); jobs_by_token(uid, token) -> list[Job]
    find_jobs(...) as engine.protocol; recent_runs(uid, gpus, limit_s, n=2) -> list[int] (seconds)
    get_reservation(id); live_reservations(); reservations_between(from_at, until_at)
    live_leases(); leases_between(from_at, until_at); drains(); blackouts(now); notices(now)
    events_after(id, limit, job_id); attempt_made(job_id, attempt) -> Made; last_event_id(); get_person(uid); people()
    load_usage() -> list[UsageRow]; charged_since(since_at, now) -> {uid: s}; get_state(key)
Care (the first six on any thread):
    state() -> DatabaseView; past(from_at, until_at) -> Past
    named_leases(from_at, until_at) -> [(Lease, the job's name)]
    backup(path); backup_daily(name) -> path; check_database() -> "ok" | complaint
    checkpoint() -> bool; newest_backup() -> path | ""; close()
"""

from gpuboard.store.database import Store
from gpuboard.store.people import UsageRow

__all__ = ["Store", "UsageRow"]
