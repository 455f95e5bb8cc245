"""Company on a device: the leases of jobs that share one, and what each is charged for.

A device's sharers pay for it together, in proportion to their budgets (see `policy.sharing`).
Whenever one comes or goes the leases of the others are closed and opened anew in the same
transaction, so that each row of the database has one charge for all of its span.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gpuboard.engine.change import Change, NewLease
from gpuboard.engine.ledger import Ledger
from gpuboard.model.reservation import Lease, Share


def join(ledger: Ledger, change: Change, new: NewLease, budget: int, capacity_bytes: int) -> None:
    """Let a change open a lease with a budget, beside those that share its device already."""
    present = ledger.shares_of(new.device)
    total = budget + _total(present)
    _divide(change, present, total)
    share = Share(budget, capacity_bytes, budget / total)
    change.opened.append(replace(new, share=share))


def leave(ledger: Ledger, change: Change, lease: Lease) -> None:
    """Let a change close the lease of one that shares a device; the others pay for it from now on."""
    change.closed_shares.append(lease)
    rest = [other for other in ledger.shares_of(lease.device) if other.id != lease.id]
    _divide(change, rest, _total(rest))


def extend(ledger: Ledger, change: Change, lease: Lease, until_at: int) -> None:
    """Let a change give the lease of one that shares a device another end (ms)."""
    if lease.share is not None:
        most = _most(ledger.shares_of(lease.device))
        _reopen(change, lease, lease.share.part, most, until_at)


def _divide(change: Change, leases: Sequence[Lease], total: int) -> None:
    """Close the leases and open them anew, each charged by its budget against `total`."""
    for lease in leases:
        if lease.share is not None:
            part = lease.share.memory_bytes / total
            _reopen(change, lease, part, _most(leases), lease.until_at)


def _reopen(change: Change, lease: Lease, part: float, capacity_bytes: int, until_at: int) -> None:
    if lease.share is None:
        return
    share = Share(lease.share.memory_bytes, capacity_bytes, part)
    new = NewLease(
        lease.device,
        lease.uid,
        lease.job_id,
        lease.reservation_id,
        until_at,
        lease.attempt,
        share,
    )
    change.closed_shares.append(lease)
    change.opened.append(new)


def _total(leases: Iterable[Lease]) -> int:
    return sum(lease.share.memory_bytes for lease in leases if lease.share is not None)


def _most(leases: Iterable[Lease]) -> int:
    """Return what the budgets may come to: the most that was so when one of these was granted.

    The configuration may have changed since; whoever is there stays within what was allowed then.
    """
    return max(lease.share.capacity_bytes for lease in leases if lease.share is not None)
