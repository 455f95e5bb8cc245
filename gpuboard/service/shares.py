"""Fair share as it stands: what people and groups are charged, their rank, and what is left of quotas."""

from __future__ import annotations

from msgspec.structs import replace

from gpuboard.model.ids import Uid
from gpuboard.model.instants import iso
from gpuboard.model.person import Caller
from gpuboard.model.views.shares import GroupRow, UsageRow, UsageView
from gpuboard.model.world import PolicySettings, Quota
from gpuboard.policy.fairtree import lineage
from gpuboard.policy.quota import GPU_HOURS, RUNNING_GPUS, quota_of
from gpuboard.policy.usage import FairShare
from gpuboard.policy.week import Unit
from gpuboard.service.context import ServiceContext

_WEEK_MS = 7 * 86_400_000


def usage_view(context: ServiceContext, caller: Caller) -> UsageView:
    """Return usage of everybody, the heaviest first."""
    return _Shares(context).view(caller)


class _Shares:
    """What the rows are made from, read once."""

    def __init__(self, context: ServiceContext) -> None:
        engine = self._engine = context.engine
        self._context = context
        self._now = context.clock.now_ms()
        self._settings: PolicySettings = engine.policy_settings()
        self._usage = engine.usage()
        self._share = FairShare(self._usage, self._settings)
        self._week = engine.usage_since(self._now - _WEEK_MS)
        self._used_hours = engine.week_hours()
        self._running: dict[int, int] = {}
        shares = engine.shares()
        self._running_for: dict[tuple[int, str], int] = {}
        for device, lease in engine.leases().items():
            sharers = shares.get(device, (lease,))
            for uid in {one.uid for one in sharers}:
                self._running[uid] = self._running.get(uid, 0) + 1
            for whose in {(one.uid, engine.account_of(one)) for one in sharers}:
                self._running_for[whose] = self._running_for.get(whose, 0) + 1
        self._parents = {group.name: group.parent for group in self._settings.groups}

    def view(self, caller: Caller) -> UsageView:
        """Return all rows."""
        queued = self._engine.queued_by_person()
        charged = {(row.uid, row.account): row.device_seconds for row in self._usage}
        uids = (
            {uid for uid, _ in charged} | self._running.keys() | queued.keys() | self._week.keys()
        )
        rows = [*charged, *((Uid(uid), "") for uid in uids if uid not in {u for u, _ in charged})]
        total = sum(charged.values())
        people = [
            self._row(
                uid, account, charged.get((uid, account), 0.0), total, caller, queued.get(uid, 0)
            )
            for uid, account in rows
        ]
        people.sort(key=lambda row: (-row.device_seconds, row.uid, row.group))
        people = _told_once(people)
        some = self._share.rank(Uid(caller.uid), "")
        return UsageView(
            at=iso(self._now) or "",
            half_life_s=self._context.config.policy.half_life_s,
            people=people,
            groups=[self._group(group.name) for group in self._settings.groups],
            ranked=some.of if some is not None else 0,
        )

    def _row(  # noqa: PLR0917 (all six are needed, by one caller)
        self, uid: Uid, account: str, spent: float, total: float, caller: Caller, queued: int
    ) -> UsageRow:
        rank = self._share.rank(uid, account)
        return UsageRow(
            user=self._engine.person_of(uid),
            uid=uid,
            mine=uid == caller.uid,
            running_gpus=self._running_for.get((uid, account), 0)
            if self._parents
            else self._running.get(uid, 0),
            queued_jobs=queued,
            device_seconds=spent,
            share=spent / total if total > 0 else 0.0,
            factor=self._share.factor(uid, account),
            device_seconds_7d=self._week.get(uid, 0.0),
            group=account,
            rank=rank.place if rank is not None else None,
            quota_words=self._quota_words(
                uid, quota_of(self._settings, uid), self._running.get(uid, 0)
            ),
        )

    def _group(self, name: str) -> GroupRow:
        group = next(one for one in self._settings.groups if one.name == name)
        parts = [part for part in self._parents if name in lineage(self._parents, part)]
        running = sum(
            1 for lease in self._engine.leases().values() if self._engine.account_of(lease) in parts
        )
        quota = self._settings.group_quotas.get(name, Quota())
        return GroupRow(
            name=name,
            parent=group.parent,
            shares=group.shares,
            device_seconds=sum(row.device_seconds for row in self._usage if row.account in parts),
            running_gpus=running,
            quota_words=self._quota_words(name, quota, running),
        )

    def _quota_words(self, unit: Unit, quota: Quota, running: int) -> str:
        words = []
        if quota.running_gpus is not None:
            soft = " while others wait" if RUNNING_GPUS in quota.soft else ""
            words.append(f"{running} of {quota.running_gpus} GPUs{soft}")
        if quota.gpu_hours_per_week is not None:
            soft = " while others wait" if GPU_HOURS in quota.soft else ""
            used = f"{self._used_hours.get(unit, 0.0):.1f}".removesuffix(".0")
            words.append(f"{used} of {quota.gpu_hours_per_week} GPU-hours this week{soft}")
        return ", ".join(words)


def _told_once(people: list[UsageRow]) -> list[UsageRow]:
    """Return the rows with what is a person's, and no group's, on the first of theirs alone."""
    seen: set[int] = set()
    rows = []
    for row in people:
        is_first = row.uid not in seen
        seen.add(row.uid)
        rows.append(
            row if is_first else replace(row, queued_jobs=0, device_seconds_7d=0.0, quota_words="")
        )
    return rows
