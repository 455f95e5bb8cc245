"""The safety report: each number of the catalogue is tried, and what was not tried is not green."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.safety.catalogue import ATTACKS, FAULTS, Trial
from tests.safety.report import Outcome, drawn, table

TESTS = Path(__file__).resolve().parents[1]
_TEST = re.compile(r"^\s*(?:async )?def test_(attack|fault)_(\d+)_", re.MULTILINE)


def test_every_number_of_the_catalogue_has_a_test():
    """And no test takes a number that is not there."""
    found = {
        (kind, int(number))
        for path in TESTS.rglob("test_*.py")
        for kind, number in _TEST.findall(path.read_text())
    }
    catalogue = {("attack", trial.number) for trial in ATTACKS}
    catalogue |= {("fault", trial.number) for trial in FAULTS}
    assert found == catalogue
    assert [trial.number for trial in ATTACKS] == list(range(1, len(ATTACKS) + 1))
    assert [trial.number for trial in FAULTS] == list(range(1, len(FAULTS) + 1))


@pytest.mark.parametrize(
    ("verdicts", "row"),
    [
        (("ok", "ok"), ("ok", "saw ok")),
        (("ok", "skipped"), ("partly", "saw ok; saw skipped")),
        (("ok", "skipped", "RED"), ("RED", "saw RED")),
        (("skipped",), ("skipped", "saw skipped")),
        ((), ("NO TEST", "")),
    ],
)
def test_a_row_is_as_good_as_the_worst_of_its_tests(
    verdicts: tuple[str, ...], row: tuple[str, str]
):
    """One that could not be run here says so, beside those that could."""
    said = [Outcome("test_fault_01_x", verdict, f"saw {verdict}") for verdict in verdicts]
    [made] = table("fault", [Trial(1, "tried", "expected")], {"here": {("fault", 1): said}})
    assert (made.verdicts, made.seen) == ((row[0],), row[1])
    assert made.is_red == (row[0] not in ("ok", "partly"))


@pytest.mark.parametrize(
    ("verdict", "column", "words", "is_red"),
    [
        ("ok", "ok", "saw this", False),
        ("RED", "RED", "saw this; 26.1: saw that", True),
        ("skipped", "skipped", "saw this; 26.1: saw that", True),
        ("", "-", "saw this", False),
    ],
)
def test_a_second_engine_has_a_column_of_its_own(
    verdict: str, column: str, words: str, *, is_red: bool
):
    """What no engine takes part in is tried once."""
    here = {("fault", 1): [Outcome("test_fault_01_x", "ok", "saw this")]}
    there = {("fault", 1): [Outcome("test_fault_01_x", verdict, "saw that")]} if verdict else {}
    trials = [Trial(1, "tried", "expected")]
    [made] = table("fault", trials, {"here": here, "26.1": there})
    assert (made.verdicts, made.seen, made.is_red) == (("ok", column), words, is_red)
    assert "26.1" in next(drawn([made], ["here", "26.1"], 120))
