"""Company on a device: the leases of jobs that share one, and what each is charged for.

A device's sharers pay for it together, in proportion to their budgets (see `policy.sharing`).
Whenever one comes or goes the leases of the others are closed and opened anew in the same
transaction, so that each row of the database has one charge for all of its span.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

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


def extend(change: Change, lease: Lease, until_at: int) -> None:
    """Let a change give the lease of one that shares a device another end (ms)."""
    change.closed_shares.append(lease)
    change.opened.append(_anew(lease, until_at=until_at))


def _divide(change: Change, leases: Iterable[Lease], total: int) -> None:
    """Close the leases and open them anew, each charged by its budget against `total`."""
    for lease in leases:
        if lease.share is None:
            continue
        change.closed_shares.append(lease)
        share = msgspec.structs.replace(lease.share, part=lease.share.memory_bytes / total)
        change.opened.append(replace(_anew(lease), share=share))


def _anew(lease: Lease, until_at: int | None = None) -> NewLease:
    """Return what opens the same lease again."""
    return NewLease(
        lease.device,
        lease.uid,
        lease.job_id,
        lease.reservation_id,
        lease.until_at if until_at is None else until_at,
        lease.attempt,
        lease.share,
    )


def _total(leases: Iterable[Lease]) -> int:
    return sum(lease.share.memory_bytes for lease in leases if lease.share is not None)
