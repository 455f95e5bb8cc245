"""`make safety-report`: runs the test of every attack and fault, and prints a row for each.

It fails when a number has no test, a red one, or only ones that were skipped; one of which some were
skipped is told as partly tried. `--only attack` or
`--only fault` takes one of the lists; `--quiet` prints the table alone.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.safety.catalogue import ATTACKS, FAULTS, Trial

ROOT = Path(__file__).resolve().parents[2]
LISTS = {"attack": ATTACKS, "fault": FAULTS}
_NAME = re.compile(r"test_(attack|fault)_(\d+)_")


class Outcome(NamedTuple):
    """What one test said."""

    test: str
    verdict: str
    """`ok`, `RED` or `skipped`."""
    seen: str


class Row(NamedTuple):
    """One line of the table."""

    kind: str
    trial: Trial
    verdict: str
    """`ok`, `partly` (some of its tests could not be run here), `RED`, `skipped` or `NO TEST`."""
    seen: str


def main(arguments: list[str] | None = None) -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="safety-report", description=__doc__)
    parser.add_argument("--only", choices=tuple(LISTS))
    parser.add_argument("--quiet", action="store_true", help="the table alone")
    parser.add_argument("paths", nargs="*", default=["tests"], help="where to look for tests")
    asked = parser.parse_args(arguments)
    kinds = [asked.only] if asked.only else list(LISTS)
    outcomes = run_tests(kinds, asked.paths, quiet=asked.quiet)
    rows = [row for kind in kinds for row in table(kind, LISTS[kind], outcomes)]
    width = max(100, shutil.get_terminal_size((170, 40)).columns)
    print("\n".join(drawn(rows, width)))
    red = [row for row in rows if row.verdict not in ("ok", "partly")]
    part = [row for row in rows if row.verdict == "partly"]
    tried = f", {len(part)} of them only partly tried here" if part else ""
    print(f"\n{len(rows) - len(red)} of {len(rows)} as expected{tried}" + _named(red))
    return 1 if red else 0


def run_tests(
    kinds: Iterable[str], paths: list[str], *, quiet: bool
) -> dict[tuple[str, int], list[Outcome]]:
    """Run the tests that carry a number and return what each number's tests said."""
    wanted = " or ".join(f"test_{kind}_" for kind in kinds)
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-k", wanted, f"--junitxml={record}", *paths],
            cwd=ROOT,
            check=False,
            stdout=subprocess.DEVNULL if quiet else sys.stderr,
        )
        if not record.exists():
            raise SystemExit("the tests could not be run")
        return by_number(ET.parse(record))


def by_number(record: ET.ElementTree) -> dict[tuple[str, int], list[Outcome]]:
    """Return the outcomes in pytest's record by kind and number."""
    found: dict[tuple[str, int], list[Outcome]] = defaultdict(list)
    for case in record.iter("testcase"):
        name = case.get("name", "")
        match = _NAME.match(name)
        if match:
            found[match[1], int(match[2])].append(_outcome(name, case))
    return found


def _outcome(name: str, case: ET.Element) -> Outcome:
    said = [p.get("value", "") for p in case.iter("property") if p.get("name") == "seen"]
    for tag in ("failure", "error"):
        fault = case.find(tag)
        if fault is not None:
            words = (fault.get("message") or "").strip().splitlines() or [tag]
            return Outcome(name, "RED", f"{name}: {words[0]}")
    skipped = case.find("skipped")
    if skipped is not None:
        return Outcome(name, "skipped", f"not run: {skipped.get('message', '')}")
    return Outcome(name, "ok", "; ".join(said))


def table(
    kind: str, trials: Iterable[Trial], outcomes: dict[tuple[str, int], list[Outcome]]
) -> Iterator[Row]:
    """Yield a row for each number: the worst verdict of its tests, and what they saw."""
    for trial in trials:
        said = outcomes.get((kind, trial.number), [])
        verdicts = {outcome.verdict for outcome in said}
        worst = next((v for v in ("RED", "ok", "skipped") if v in verdicts), "NO TEST")
        words = dict.fromkeys(o.seen for o in said if o.seen and o.verdict == worst)
        silent = f"{len(said)} test{'' if len(said) == 1 else 's'} passed" if worst == "ok" else ""
        if verdicts == {"ok", "skipped"}:
            worst = "partly"
            words.update(dict.fromkeys(o.seen for o in said if o.verdict == "skipped"))
        yield Row(kind, trial, worst, "; ".join(words) or silent)


def drawn(rows: Iterable[Row], width: int) -> Iterator[str]:
    """Yield the table's lines, its cells wrapped."""
    fixed = len("attack 00 | NO TEST | ") + 6
    wide = (width - fixed) * 2 // 7
    widths = (9, wide, wide, width - fixed - 2 * wide, 7)
    yield _line(("", "tried", "expected", "seen", ""), widths)
    yield _line(tuple("-" * size for size in widths), widths)
    for row in rows:
        cells = (f"{row.kind} {row.trial.number:02}", row.trial.tried, row.trial.expected)
        wrapped = [
            textwrap.wrap(cell, size) or [""]
            for cell, size in zip((*cells, row.seen, row.verdict), widths, strict=True)
        ]
        for number in range(max(len(lines) for lines in wrapped)):
            yield _line([c[number] if number < len(c) else "" for c in wrapped], widths)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return " | ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)).rstrip()


def _named(rows: list[Row]) -> str:
    if not rows:
        return ""
    return "; not: " + ", ".join(f"{r.kind} {r.trial.number} ({r.verdict})" for r in rows)


if __name__ == "__main__":
    raise SystemExit(main())
