"""Do the tests bite? Small faults are put into the modules that matter; a test has to fail.

    python -m experiments.mutants                          # goes on where it was stopped
    python -m experiments.mutants --only=defenses --again  # the survivors of a room once more

A driver of our own: mutmut and cosmic-ray start a process a mutant, and importing JAX and compiling
anew takes minutes each, where a child of a process that has the libraries in memory takes seconds.

A mutant counts as killed if one of the tests that cover its module fails, crashes or hangs. One
that cannot be told from the original is left out, and `mutation/harmless.py` says why.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.result_file import FOLDER, ResultFile, host
from experiments.mutation import harmless, operators, trial
from experiments.mutation.covered import TESTS

RESULTS = FOLDER / "mutants.json"
PACKAGE = trial.ROOT / "safeclip_jax"
LIBRARIES = (
    "jax", "flax.linen", "optax", "orbax.checkpoint", "grain", "scipy.stats", "scipy.ndimage",
    "scipy.sparse.csgraph", "sklearn.mixture", "sklearn.linear_model", "sklearn.ensemble",
    "sklearn.neighbors", "sklearn.isotonic", "sklearn.pipeline", "sklearn.feature_extraction.text",
    "PIL.Image", "tokenizers", "ml_collections", "hypothesis", "hypothesis.strategies", "pytest",
    "xdist", "torch", "matplotlib.cbook",
)  # fmt: skip
LEAST_SECONDS, TIMES_SLOWER = 60, 4


@dataclass(frozen=True)
class Change:
    """A mutant that is to be tried.

    Attributes:
      module: below `safeclip_jax/`, without `.py`.
      number: of the module's mutants.
      line, text: see `operators.Mutant`.
    """

    module: str
    number: int
    line: int
    text: str

    @property
    def key(self) -> tuple[str, str]:
        return self.module, self.text

    def tree(self) -> ast.Module:
        for number, mutant in enumerate(operators.mutants(_source(self.module))):
            if number == self.number:
                return mutant.tree
        raise IndexError(self.number)


def _source(module: str) -> str:
    return (PACKAGE / f"{module}.py").read_text()


def all_changes(module: str) -> list[Change]:
    """Every mutant of a module, of equal ones the first."""
    found: dict[str, Change] = {}
    for number, mutant in enumerate(operators.mutants(_source(module))):
        found.setdefault(mutant.change, Change(module, number, mutant.line, mutant.change))
    return list(found.values())


def chosen(count: int, seed: int, modules: Iterable[str]) -> list[Change]:
    """So many mutants, drawn; of each module in proportion to what it has, of each at least one."""
    of_module = {module: all_changes(module) for module in modules}
    total = sum(map(len, of_module.values()))
    found = []
    for module, changes in of_module.items():
        share = min(len(changes), max(1, round(count * len(changes) / total)))
        drawn = random.Random(f"{seed} {module}").sample(changes, share)
        found += sorted(drawn, key=lambda change: change.number)
    return found


def row_of(change: Change, outcome: str) -> dict[str, Any]:
    row = {"kind": "mutant", "module": change.module, "line": change.line, "change": change.text}
    why = harmless.reason(change.module, change.text) if outcome == "survived" else None
    return row | {"outcome": outcome} | ({"harmless": why} if why else {})


def tried(changes: Sequence[Change], limits: Mapping[str, float], jobs: int) -> Iterator[dict]:
    """A row for each mutant, as its tests end; so many run at a time."""
    waiting, running = list(reversed(changes)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            change = waiting.pop()
            name = f"safeclip_jax.{change.module.replace('/', '.')}"
            limit = limits[change.module]
            running[change] = trial.start(TESTS[change.module], limit, {name: change.tree()})
        time.sleep(0.05)
        for change, at_work in list(running.items()):
            if (outcome := at_work.outcome()) is not None:
                del running[change]
                at_work.clean_up()
                yield row_of(change, outcome)


def unchanged(modules: Iterable[str], jobs: int) -> dict[str, float]:
    """Runs the tests of the modules as they are; how long those of a mutant may take, in seconds.

    Exits if one of them fails.
    """
    waiting = list(dict.fromkeys(TESTS[module] for module in modules))
    running: dict[tuple[str, ...], trial.Trial] = {}
    seconds = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            running[tests] = trial.start(tests := waiting.pop(0), 3600)
        time.sleep(0.05)
        for tests, at_work in list(running.items()):
            if (outcome := at_work.outcome()) is not None:
                del running[tests]
                seconds[tests] = at_work.seconds
                print(f"{at_work.seconds:6.1f} s, {outcome}: {tests[0]}", flush=True)
                if outcome != "survived":
                    sys.exit(f"{outcome} fails without a mutant; see {at_work.folder}")
                at_work.clean_up()
    return {m: max(LEAST_SECONDS, TIMES_SLOWER * seconds[TESTS[m]]) for m in modules}


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each room and one for all; `share` of those that are not harmless, in %."""
    found = []
    rooms = sorted({row["module"].partition("/")[0] for row in rows})
    for room in [*rooms, "all"]:
        mine = [row for row in rows if room == "all" or row["module"].startswith(f"{room}/")]
        outcomes = Counter(
            "harmless" if "harmless" in row else
            "survived" if row["outcome"] == "survived" else "killed"
            for row in mine
        )  # fmt: skip
        told = len(mine) - outcomes["harmless"]
        found.append({
            "kind": "room", "room": room, "mutants": len(mine), "killed": outcomes["killed"],
            "harmless": outcomes["harmless"], "survived": outcomes["survived"],
            "share": 100 * outcomes["killed"] / max(told, 1),
        })  # fmt: skip
    return found


def known(path: Path) -> list[dict[str, Any]]:
    """The mutants of an earlier run; what is called harmless is decided anew."""
    if not path.exists():
        return []
    rows = [row for row in json.loads(path.read_text())["rows"] if row["kind"] == "mutant"]
    anew = []
    for row in rows:
        row.pop("harmless", None)
        why = (
            harmless.reason(row["module"], row["change"]) if row["outcome"] == "survived" else None
        )
        anew.append(row | ({"harmless": why} if why else {}))
    return anew


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--count", type=int, default=320, help="mutants of all modules")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--only", default="", help="the modules whose name starts so")
    parser.add_argument("--again", action="store_true", help="survivors once more")
    parser.add_argument("--list", action="store_true", help="show the choice and run nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    changes = chosen(args.count, args.seed, TESTS)
    wanted = {change.key for change in changes}
    done = {
        (row["module"], row["change"]): row
        for row in known(args.out)
        if (row["module"], row["change"]) in wanted
        and not (args.again and row["outcome"] == "survived" and "harmless" not in row
                 and row["module"].startswith(args.only))
    }  # fmt: skip
    left = [c for c in changes if c.key not in done and c.module.startswith(args.only)]
    if args.list:
        print(*(f"{c.module}:{c.line} {c.text}" for c in left), sep="\n")
        return
    trial.warm_up(LIBRARIES)
    limits = unchanged(dict.fromkeys(c.module for c in left), args.jobs)
    file = ResultFile(args.out)
    file.rows.extend(done.values())
    for row in tried(left, limits, args.jobs):
        file.add(row | {"device": host()})
    place = {change.key: number for number, change in enumerate(changes)}
    mutants = sorted(file.rows, key=lambda row: place[row["module"], row["change"]])
    file.rows[:] = [*mutants, *(of_rooms := summary(mutants))]
    file.add(file.rows.pop() | {"device": host()})
    print(markdown.table([{k: str(v) for k, v in row.items()} for row in of_rooms]))


if __name__ == "__main__":
    main()
