"""Fair Tree: people are ranked by what their groups had, then by what they had in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuboard.model.world import Group, JobClass, PolicySettings, Usage, World
from gpuboard.policy.fairtree import FairTree
from gpuboard.policy.queue import ServingOrder, WaitingQueue
from gpuboard.policy.usage import FairShare
from tests.support.policy_facts import MINUTE, box, job

DAY_S = 86_400


def places(usage: list[Usage], *groups: Group) -> dict[tuple[int, str], int]:
    tree = FairTree(usage, groups)
    return {(row.uid, row.account): tree.rank(row.uid, row.account).place for row in usage}


def test_all_of_a_group_that_had_less_come_before_all_of_one_that_had_more():
    """A person who used nothing is behind one who used much, where their groups say so."""
    usage = [
        Usage(1, 90.0, account="vision"),
        Usage(2, 0.0, account="vision"),
        Usage(3, 20.0, account="robots"),
        Usage(4, 1.0, account="robots"),
    ]
    assert places(usage, Group("vision"), Group("robots")) == {
        (4, "robots"): 1, (3, "robots"): 2, (2, "vision"): 3, (1, "vision"): 4,
    }  # fmt: skip


def test_shares_say_what_is_much():
    """Of two groups that used as much, the one with more shares comes first."""
    usage = [Usage(1, 50.0, account="a"), Usage(2, 50.0, account="b")]
    assert places(usage, Group("a", shares=1), Group("b", shares=2))[2, "b"] == 1


def test_a_tree_is_compared_level_by_level():
    """At the first level at which two people differ, and nowhere else: the page's own example."""
    groups = [Group("lab"), Group("p12", "lab"), Group("p16", "lab"), Group("other")]
    usage = [
        Usage(1, 60.0, account="p12"),
        Usage(2, 30.0, account="p16"),
        Usage(3, 80.0, account="other"),
    ]
    # lab used 90 of 170 and other 80: other first; then p16 before p12.
    assert places(usage, *groups) == {(3, "other"): 1, (2, "p16"): 2, (1, "p12"): 3}


def test_ties_share_a_rank():
    """Equal siblings have one rank; equal groups are walked as one; a person ties a group's first."""
    usage = [Usage(n, 0.0, account="a") for n in (1, 2)] + [Usage(3, 0.0, account="b")]
    assert set(places(usage, Group("a"), Group("b")).values()) == {1}
    mixed = [
        Usage(1, 30.0, account="a"),
        Usage(2, 20.0, account="a"),
        Usage(3, 50.0),
        Usage(4, 900.0),
    ]
    found = places(mixed, Group("a"))
    # group a and person 3 used 50 each: 3 has the rank of the group's first, 2
    assert found == {(2, "a"): 1, (3, ""): 1, (1, "a"): 3, (4, ""): 4}


def test_somebody_in_two_groups_has_two_ranks():
    """What a person used for one group is not held against them in another."""
    usage = [Usage(1, 90.0, account="a"), Usage(1, 0.0, account="b"), Usage(2, 10.0, account="b")]
    found = places(usage, Group("a"), Group("b"))
    assert found[1, "b"] < found[1, "a"]


def test_a_newcomer_is_as_the_first_of_their_group():
    """Somebody without usage gets no better rank than their group's."""
    tree = FairTree(
        [Usage(1, 90.0, account="a"), Usage(2, 1.0, account="b")], [Group("a"), Group("b")]
    )
    assert tree.rank(7, "b").place == 1
    assert tree.rank(7, "a").place == 2


def test_without_groups_nothing_changes():
    """F is the classic one, whatever group a job was charged to."""
    share = FairShare([Usage(1, 100.0), Usage(2, 100.0)], PolicySettings())
    assert share.factor(1, "gone") == 0.5
    assert share.rank(1) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "b", "a1", "gone"]), st.sampled_from([0.0, 1.0, 5.0])),
        min_size=1,
        max_size=12,
    )
)
def test_ranks_are_a_ranking(rows):
    """Everybody has a rank of 1..n, the first has F = 1, and the order of rows is irrelevant."""
    groups = [Group("a"), Group("b", shares=2), Group("a1", "a")]
    usage = [Usage(n, used, account=account) for n, (account, used) in enumerate(rows)]
    found = places(usage, *groups)
    assert min(found.values()) == 1
    assert max(found.values()) <= len(rows)
    # a rank is one more than how many are strictly before
    assert all(
        place <= 1 + sum(other < place for other in found.values()) for place in found.values()
    )
    assert places(usage[::-1], *groups[::-1]) == found
    assert FairTree(usage, groups).rank(usage[0].uid, usage[0].account).factor <= 1.0


def test_the_order_of_jobs_goes_by_the_rank():
    """The virtual submit time uses F of the tree: D * rank / people."""
    settings = PolicySettings(priority_window_s=4 * DAY_S, groups=(Group("a"), Group("b")))
    usage = (Usage(1, 9.0, account="a"), Usage(2, 1.0, account="b"))
    order = ServingOrder(box(1, usage=usage, settings=settings))
    assert order.lead_ms(2, "b") == 4 * DAY_S * 1000
    assert order.lead_ms(1, "a") == 2 * DAY_S * 1000


def test_a_class_counts_as_submitted_earlier():
    """key = submitted_at - D * F - B: a boost of ten minutes passes nine minutes, not eleven."""
    settings = PolicySettings(
        priority_window_s=0, classes={"urgent": JobClass(boost_s=600), "plain": JobClass()}
    )
    world = box(1, settings=settings)
    jobs = [
        job(1, class_name="plain", submitted_at=0),
        job(2, class_name="plain", submitted_at=2 * MINUTE),
        job(3, class_name="urgent", submitted_at=11 * MINUTE),
    ]
    assert WaitingQueue(jobs).serving_order(world, 20 * MINUTE) == [1, 3, 2]


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(["", "low", "high"]), st.integers(1, 3)),
        max_size=30,
    )
)
def test_a_job_is_passed_only_by_those_submitted_less_than_d_and_b_later(rows):
    """P5 with classes: overtaking is bounded by D plus what the other's class has more of B."""
    settings = PolicySettings(
        priority_window_s=30 * 60,
        classes={"low": JobClass(boost_s=60), "high": JobClass(boost_s=1200)},
    )
    boosts = {"": 0, "low": 60_000, "high": 1_200_000}
    usage = (Usage(1, 5.0), Usage(2, 1.0))
    world: World = box(1, usage=usage, settings=settings)
    jobs = [
        job(n, uid=uid, submitted_at=at * MINUTE, class_name=name)
        for n, (at, name, uid) in enumerate(rows, 1)
    ]
    queue = WaitingQueue(jobs)
    order = [queue.get(job_id) for job_id in queue.serving_order(world, 300 * MINUTE)]
    for place, passed in enumerate(order):
        for passing in order[:place]:
            more = boosts[passing.class_name] - boosts[passed.class_name]
            assert passing.submitted_at <= passed.submitted_at + 30 * MINUTE + more
