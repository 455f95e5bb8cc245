"""`make safety-report`: runs the test of every attack and fault, and prints a row for each.

It fails when a number has no test, a red one, or only ones that were skipped; one of which some were
skipped is told as partly tried. `--only attack` or `--only fault` takes one of the lists; `--quiet`
prints the table alone. `--engine here --engine 26.1` tries what an engine takes part in on both, this
box's and Debian 13's, with a column for each.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.safety.catalogue import ATTACKS, FAULTS, Trial

ROOT = Path(__file__).resolve().parents[2]
LISTS = {"attack": ATTACKS, "fault": FAULTS}
HERE = "here"
ENGINES = (HERE, "26.1")
_NAME = re.compile(r"test_(attack|fault)_(\d+)_")


class Outcome(NamedTuple):
    """What one test said."""

    test: str
    verdict: str
    """`ok`, `RED` or `skipped`."""
    seen: str


Said = dict[tuple[str, int], list[Outcome]]
"""By kind and number: what its tests said."""


class Row(NamedTuple):
    """One line of the table."""

    kind: str
    trial: Trial
    verdicts: tuple[str, ...]
    """By engine: `ok`, `partly` (some of its tests could not be run here), `RED`, `skipped`, `NO TEST`;
    on the second `-` where no engine takes part."""
    seen: str

    @property
    def is_red(self) -> bool:
        """Whether it is not as expected on one of the engines."""
        return not {*self.verdicts} <= {"ok", "partly", "-"}


def main(arguments: list[str] | None = None) -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="safety-report", description=__doc__)
    parser.add_argument("--only", choices=tuple(LISTS))
    parser.add_argument("--quiet", action="store_true", help="the table alone")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="this one, or both")
    parser.add_argument("paths", nargs="*", default=["tests"], help="where to look for tests")
    asked = parser.parse_args(arguments)
    kinds = [asked.only] if asked.only else list(LISTS)
    engines = asked.engine or [os.environ.get("GPUBOARD_SAFETY_ENGINE") or HERE]
    said = {
        engine: run_tests(kinds, asked.paths, engine, is_second=bool(number), quiet=asked.quiet)
        for number, engine in enumerate(engines)
    }
    rows = [row for kind in kinds for row in table(kind, LISTS[kind], said)]
    width = max(100, shutil.get_terminal_size((170, 40)).columns)
    print("\n".join(drawn(rows, engines, width)))
    red = [row for row in rows if row.is_red]
    part = [row for row in rows if "partly" in row.verdicts]
    tried = f", {len(part)} of them only partly tried here" if part else ""
    print(f"\n{len(rows) - len(red)} of {len(rows)} as expected{tried}" + _named(red))
    return 1 if red else 0


def run_tests(
    kinds: Iterable[str], paths: list[str], engine: str, *, is_second: bool, quiet: bool
) -> Said:
    """Run the tests that carry a number and return what each number's tests said.

    `is_second`: only those in which the engine takes part.
    """
    wanted = " or ".join(f"test_{kind}_" for kind in kinds)
    where = ["-m", "engine", "tests/safety"] if is_second else paths
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-k", wanted, f"--junitxml={record}", *where],
            cwd=ROOT,
            check=False,
            stdout=subprocess.DEVNULL if quiet else sys.stderr,
            env={**os.environ, "GPUBOARD_SAFETY_ENGINE": "" if engine == HERE else engine},
        )
        if not record.exists():
            raise SystemExit("the tests could not be run")
        return by_number(ET.parse(record))


def by_number(record: ET.ElementTree) -> Said:
    """Return the outcomes in pytest's record by kind and number."""
    found: Said = defaultdict(list)
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


def table(kind: str, trials: Iterable[Trial], said: Mapping[str, Said]) -> Iterator[Row]:
    """Yield a row for each number: by engine the worst verdict of its tests, and what they saw."""
    for trial in trials:
        verdicts, words = [], []
        for engine, outcomes in said.items():
            verdict, seen = judged(outcomes.get((kind, trial.number), []))
            is_first = not verdicts
            verdicts.append(verdict if is_first or verdict != "NO TEST" else "-")
            if is_first or verdict in ("RED", "partly", "skipped"):
                words.append(seen if is_first else f"{engine}: {seen}")
        yield Row(kind, trial, tuple(verdicts), "; ".join(filter(None, words)))


def judged(said: Sequence[Outcome]) -> tuple[str, str]:
    """Return the worst verdict of a number's tests, and what they saw."""
    verdicts = {outcome.verdict for outcome in said}
    worst = next((v for v in ("RED", "ok", "skipped") if v in verdicts), "NO TEST")
    words = dict.fromkeys(o.seen for o in said if o.seen and o.verdict == worst)
    silent = f"{len(said)} test{'' if len(said) == 1 else 's'} passed" if worst == "ok" else ""
    if verdicts == {"ok", "skipped"}:
        worst = "partly"
        words.update(dict.fromkeys(o.seen for o in said if o.verdict == "skipped"))
    return worst, "; ".join(words) or silent


def drawn(rows: Iterable[Row], engines: Sequence[str], width: int) -> Iterator[str]:
    """Yield the table's lines, its cells wrapped."""
    last = [7] * len(engines)
    free = width - 9 - sum(last) - 3 * (3 + len(last))
    wide = free * 2 // 7
    widths = (9, wide, wide, free - 2 * wide, *last)
    names = engines if len(engines) > 1 else [""]
    yield _line(("", "tried", "expected", "seen", *names), widths)
    yield _line(tuple("-" * size for size in widths), widths)
    for row in rows:
        cells = (f"{row.kind} {row.trial.number:02}", row.trial.tried, row.trial.expected)
        wrapped = [
            textwrap.wrap(cell, size) or [""]
            for cell, size in zip((*cells, row.seen, *row.verdicts), widths, strict=True)
        ]
        for number in range(max(len(lines) for lines in wrapped)):
            yield _line([c[number] if number < len(c) else "" for c in wrapped], widths)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return " | ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)).rstrip()


def _named(rows: list[Row]) -> str:
    if not rows:
        return ""
    return "; not: " + ", ".join(
        f"{r.kind} {r.trial.number} ({'/'.join(r.verdicts)})" for r in rows
    )


if __name__ == "__main__":
    raise SystemExit(main())
