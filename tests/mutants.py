"""Mutation testing of what makes a number: `make mutants`, or `python -m tests.mutants --help`.

A mutant is one small change of the source: a number scaled, a comparison turned, a clamp dropped.
It is caught when one of the tests that run the changed function fails or does not end. Everything
is imported once; each mutant is a fork in which the code of the changed functions is exchanged, or,
where the change is outside of functions, the project is imported again. Results are kept in a
file, a line for each mutant, so that a run resumes.
"""

from __future__ import annotations

import argparse
import gc
import importlib.machinery
import json
import os
import random
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
import torch._dynamo  # noqa: F401  # what optimisers import late, once before the forks

from tests.mutations import Mutant, mutants_of

ROOT = Path(__file__).parents[1]
SOURCES = (
    "attacks",
    "defenses",
    "bench/boards/flags",
    "bench/api/ball.py",
    "bench/threat.py",
    "bench/measure/judge.py",
    "bench/boards/metrics.py",
    "bench/stats.py",
    "bench/compute/rng.py",
)
"""What is changed: files and folders."""
TESTS = (
    "tests/attacks",
    "tests/defenses",
    "tests/boards",
    "tests/compute/test_rng.py",
    "tests/data/test_points.py",
    "tests/data/test_stored_corruptions.py",
    "tests/measure/test_judge.py",
    "tests/measure/test_looks.py",
    "tests/api/test_ball.py",
    "tests/api/test_purifier.py",
    "tests/plan/test_cost.py",
    "tests/test_frozen.py",
    "tests/test_published_cells.py",
    "tests/test_stats.py",
    "tests/training/test_choose.py",
)
"""What may catch it."""
EQUIVALENT = ROOT / "tests" / "mutants_equivalent.txt"
"""Survivors that change no behaviour, or none that anybody could want tested: see there."""
CONTROL = "bench/api/ball.py"
"""What is also run unchanged."""
PROJECT = ("attacks", "defenses", "bench", "tests", "leaderboards")
LONGEST = 10.0
"""Seconds; a test that takes longer is not asked."""
HANGS = 40
"""Seconds of a core after which a mutant hangs."""
BROKEN = 99
"""The exit code of a fork that is at fault itself."""
READERS = (
    "tests/test_frozen.py",
    "tests/test_published_cells.py",
    "tests/training/test_choose.py",
    *(f"tests/{each}/test_settings.py" for each in ("attacks", "defenses")),
)
"""Tests of settings: what they read is there when they are collected, so that they call nothing."""

Code = tuple[str, str, int]
"""File, qualified name and first line of a function."""


class Outcomes:
    """A pytest plug-in that notes which tests failed."""

    def __init__(self) -> None:
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


class Loop:
    """A pytest plug-in that does `work` with the collected tests instead of running them."""

    def __init__(self, work: Callable[[Tests], None]) -> None:
        self.work = work

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.work(Tests({item.nodeid: item for item in session.items}))
        return True


class Tests:
    """The collected tests, run in forks of this process."""

    def __init__(self, items: Mapping[str, pytest.Item]) -> None:
        self.items = items

    def pass_(self, names: Sequence[str]) -> bool:
        """Run tests up to the first that fails: whether none does."""
        outcomes = Outcomes()
        chosen = [self.items[name] for name in names if name in self.items]
        for item, after in zip_longest(chosen, chosen[1:]):
            item.config.pluginmanager.register(outcomes)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            item.config.pluginmanager.unregister(outcomes)
            if outcomes.failed:
                return False
        return True

    def watch(self, names: Sequence[str]) -> dict[str, Any]:
        """Which functions these tests call, how long it takes, and which fail as they are."""
        calls: dict[Code, set[str]] = defaultdict(set)
        seconds, failed = dict[str, float](), list[str]()
        for name in names:
            codes_called: set[CodeType] = set()

            def called(
                frame: FrameType, event: str, value: object, into: set[CodeType] = codes_called
            ) -> None:
                into.add(frame.f_code)

            began = time.process_time()
            sys.settrace(called)
            if not self.pass_([name]):
                failed.append(name)
            sys.settrace(None)
            seconds[name] = time.process_time() - began
            for code in codes_called:
                if code.co_filename.startswith(str(ROOT)):
                    calls[key_of(code)].add(name)
        kept = [[*key, sorted(names)] for key, names in calls.items()]
        return {"calls": kept, "seconds": seconds, "failed": failed}


def key_of(code: CodeType) -> Code:
    """Where a function is."""
    path = os.path.relpath(code.co_filename, ROOT)
    return path, code.co_qualname, code.co_firstlineno


def forked(work: Callable[[], int], seconds: int) -> int | None:
    """The exit code of `work` in a process of its own, silent; None where it did not end.

    It has so many seconds of a core, and ten times as long by the clock.
    """
    child = os.fork()
    if not child:
        code = BROKEN
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            code = work()
        finally:
            os._exit(code)
    until = time.monotonic() + 10 * seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            if code == BROKEN:
                sys.exit("a fork broke outside of the tests")
            return None if code == -signal.SIGXCPU else code
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def measured(path: Path, tests: Tests) -> tuple[dict[Code, set[str]], dict[str, float]]:
    """Which tests call which functions, and their seconds; kept in `path`."""
    nothing: dict[str, Any] = {"calls": [], "seconds": {}, "failed": []}
    kept = json.loads(path.read_text()) if path.is_file() else nothing
    if new := [name for name in tests.items if name not in kept["seconds"]]:

        def watch() -> int:
            more = tests.watch(new)
            kept["seconds"] |= more["seconds"]
            for part in ("calls", "failed"):
                kept[part] += more[part]
            path.write_text(json.dumps(kept))
            return 0

        if forked(watch, 3600) != 0:
            sys.exit("the tests cannot be measured")
        kept = json.loads(path.read_text())
    failed = set(kept["failed"]) & set(tests.items)
    for name in sorted(failed):
        print(f"fails as it is, and is not asked: {name}")
    calls: dict[Code, set[str]] = defaultdict(set)
    for file, function, line, names in kept["calls"]:
        calls[file, function, line] |= set(names) & set(tests.items) - failed
    return calls, {name: each for name, each in kept["seconds"].items() if name in tests.items}


def asked(
    mutant: Mutant,
    calls: Mapping[Code, set[str]],
    seconds: Mapping[str, float],
    tests: Tests,
    share: float,
) -> list[str]:
    """The tests that run what is changed, no longer than `share` seconds in all.

    Those of the file's own name go first, then the fastest. What is outside of functions is
    settings mostly: whoever reads settings is asked first.
    """
    there = [(q, first, names) for (f, q, first), names in calls.items() if f == mutant.file]
    inside = [names for _, first, names in there if first == mutant.function]
    called = set().union(*(inside or [names for _, _, names in there]))
    own = f"/test_{Path(mutant.file).stem}"
    readers = [
        name
        for name in ([] if mutant.function else tests.items)
        if name.startswith(READERS) or own in name
    ]
    chosen, total = readers, 0.0
    for name in sorted(called - set(readers), key=lambda name: (own not in name, seconds[name])):
        if seconds[name] <= LONGEST and (total + seconds[name] <= share or not chosen):
            total += seconds[name]
            chosen.append(name)
    return chosen


def codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    """All code inside of a module's."""
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield (part.co_qualname, part.co_firstlineno), part
            yield from codes(part)


def exchange(path: Path, source: str) -> None:
    """Give every function that `path` made the code that `source` has for it."""
    new = dict(codes(compile(source, str(path), "exec")))
    for function in [each for each in gc.get_objects() if type(each) is FunctionType]:
        code = function.__code__
        if code.co_filename == str(path):
            changed = new.get((code.co_qualname, code.co_firstlineno))
            if changed is not None and changed.co_freevars == code.co_freevars:
                function.__code__ = changed


def import_again(path: Path, source: str) -> None:
    """Forget the project's modules, so that they are imported with `source` for `path`."""
    for name in list(sys.modules):
        if name.partition(".")[0] in PROJECT:
            del sys.modules[name]
    whole = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: Any, name: str) -> Any:
        if loader.get_filename(name) == str(path):
            return compile(source, str(path), "exec")
        return whole(loader, name)

    setattr(importlib.machinery.SourceFileLoader, whole.__name__, get_code)


def outcome(mutant: Mutant, names: Sequence[str], tests: Tests) -> str:
    """`caught`, `hangs` (caught too), or `survived`."""
    if not names:
        return "survived"

    def work() -> int:
        path = ROOT / mutant.file
        if mutant.function:
            exchange(path, mutant.source)
            return 0 if tests.pass_(names) else 1
        import_again(path, mutant.source)
        arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "", *names]
        return int(pytest.main(arguments))

    code = forked(work, HANGS)
    return "hangs" if code is None else "survived" if code == 0 else "caught"


def check_controls(names: Sequence[str], tests: Tests) -> None:
    """A source that is not changed, both ways: nothing may catch it, or every figure is void."""
    for function in (1, 0):
        mutant = Mutant(CONTROL, 0, function, "", (ROOT / CONTROL).read_text("utf-8"))
        if not names or outcome(mutant, names, tests) != "survived":
            sys.exit(f"{CONTROL} unchanged fails its tests in a fork: no mutant can be judged")


def files() -> list[Path]:
    """Every source file that is changed."""
    found = [ROOT / name for name in SOURCES]
    return sorted(
        file for each in found for file in ([each] if each.is_file() else each.rglob("*.py"))
    )


def sample(count: int, seed: int) -> list[Mutant]:
    """So many mutants, in turn from each file, drawn by `seed`."""
    rows = []
    for file in files():
        every = list(mutants_of(file.relative_to(ROOT).as_posix(), file.read_text("utf-8")))
        random.Random(f"{seed} {file.name}").shuffle(every)
        # A file gives as many as it has for its size: one in six, and three at least.
        rows += [(place / max(3, len(every) / 6), each) for place, each in enumerate(every)]
    rows.sort(key=lambda row: row[0])
    return [each for _, each in rows[:count]]


def equivalents() -> dict[tuple[str, str], str]:
    """(file's name, change) -> why a survivor is none."""
    found = {}
    for line in EQUIVALENT.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            file, change, reason = (part.strip() for part in line.split("|"))
            found[file, change] = reason
    return found


def report(done: Sequence[Mapping[str, Any]]) -> str:
    """The figures, and every survivor that is not explained."""
    known = equivalents()
    lost = [row for row in done if row["outcome"] == "survived"]
    open_ = [row for row in lost if (Path(row["file"]).name, row["change"]) not in known]
    counted = len(done) - (len(lost) - len(open_))
    caught = len(done) - len(lost)
    lines = [f"{row['file']} | {row['change']} | line {row['line']}" for row in open_]
    share = f"{100 * caught / counted:.1f} %" if counted else "-"
    lines.append(
        f"{len(done)} mutants, {caught} caught, {len(lost) - len(open_)} change nothing, "
        f"{len(open_)} survive: {share} of those that change behaviour are caught"
    )
    return "\n".join(lines)


def main() -> None:
    """Run what is not in the results yet, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="mutants whose file or change holds this")
    parser.add_argument("--share", type=float, default=20.0, help="seconds of tests for a mutant")
    parser.add_argument("--again", action="store_true", help="survivors once more")
    parser.add_argument("--results", type=Path, default=ROOT / ".bench" / "mutants")
    given = parser.parse_args()
    os.chdir(ROOT)
    kept = given.results / "outcomes.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    done = {(row["file"], row["change"], row["line"]): row for row in rows}
    if given.again:
        known = equivalents()
        done = {
            key: row
            for key, row in done.items()
            if row["outcome"] != "survived" or (Path(row["file"]).name, row["change"]) in known
        }

    def work(tests: Tests) -> None:
        calls, seconds = measured(given.results / "calls.json", tests)
        check_controls([name for name in seconds if name.startswith("tests/api/test_ball")], tests)
        with kept.open("a") as out:
            for mutant in sample(given.count, given.seed):
                key = (mutant.file, mutant.change, mutant.line)
                if key in done or given.only not in f"{mutant.file} {mutant.change}":
                    continue
                names = asked(mutant, calls, seconds, tests, given.share)
                began = time.monotonic()
                row = dict(zip(("file", "change", "line"), key, strict=True))
                row |= {"outcome": outcome(mutant, names, tests), "tests": len(names)}
                row |= {"seconds": round(time.monotonic() - began, 1)}
                done[key] = row
                print(json.dumps(row), file=out, flush=True)
                if row["outcome"] == "survived":
                    print(f"{mutant.file}:{mutant.line} | {mutant.change}", flush=True)
        print(report(list(done.values())))

    given.results.mkdir(parents=True, exist_ok=True)
    there = [test for test in TESTS if (ROOT / test).exists()]
    sys.exit(pytest.main(["-q", "-s", "-p", "no:cacheprovider", *there], plugins=[Loop(work)]))


if __name__ == "__main__":
    main()
