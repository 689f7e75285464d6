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
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
import torch  # noqa: F401  # imported once, before the forks

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
    "tests/measure/test_judge.py",
    "tests/measure/test_looks.py",
    "tests/api/test_ball.py",
    "tests/api/test_purifier.py",
    "tests/test_published_cells.py",
    "tests/test_stats.py",
)
"""What may catch it."""
EQUIVALENT = ROOT / "tests" / "mutants_equivalent.txt"
"""Survivors that change no behaviour, or none that anybody could want tested: see there."""
CONTROL = "bench/api/ball.py"
"""What is also run unchanged."""
PROJECT = ("attacks", "defenses", "bench", "tests", "leaderboards")
LONGEST = 10.0
"""Seconds; a test that takes longer is not asked."""
SHARE = 20.0
"""Seconds of tests, as measured, that a mutant is shown at most."""

Code = tuple[str, str, int]
"""File, qualified name and first line of a function."""


class Watcher:
    """A pytest plug-in that notes which functions each test calls, and how long it takes."""

    def __init__(self) -> None:
        self.calls: dict[Code, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        found: set[CodeType] = set()

        def called(frame: FrameType, event: str, value: object) -> None:
            found.add(frame.f_code)

        began = time.perf_counter()
        sys.settrace(called)
        yield
        sys.settrace(None)
        self.seconds[item.nodeid] = time.perf_counter() - began
        for code in found:
            if code.co_filename.startswith(str(ROOT)):
                self.calls[key_of(code)].add(item.nodeid)


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
        code = 99
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
            return None if code == -signal.SIGXCPU else code
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def run_tests(names: Sequence[str], *plugins: object) -> int:
    """pytest's exit code."""
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "", *names]
    return int(pytest.main(arguments, plugins=list(plugins)))


def measured(path: Path) -> tuple[dict[Code, set[str]], dict[str, float]]:
    """Which tests call which functions, and their seconds; kept in `path`."""
    if not path.is_file():

        def watch() -> int:
            watcher = Watcher()
            there = [test for test in TESTS if (ROOT / test).exists()]
            arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *there]
            code = int(pytest.main(arguments, plugins=[watcher]))
            calls = [[*key, sorted(names)] for key, names in watcher.calls.items()]
            kept = {"calls": calls, "seconds": watcher.seconds, "failed": sorted(watcher.failed)}
            path.write_text(json.dumps(kept))
            return code

        path.parent.mkdir(parents=True, exist_ok=True)
        if (code := forked(watch, 3600)) not in (0, 1):
            sys.exit(f"the tests cannot be measured (pytest's exit code {code})")
    found = json.loads(path.read_text())
    failed = set(found["failed"])
    for name in sorted(failed):
        print(f"fails as it is, and is not asked: {name}")
    calls = {(f, q, n): set(names) - failed for f, q, n, names in found["calls"]}
    return calls, found["seconds"]


def asked(
    mutant: Mutant, calls: Mapping[Code, set[str]], seconds: Mapping[str, float]
) -> list[str]:
    """The tests that run what is changed, the fastest first, and no longer than SHARE in all."""
    there = [(q, first, names) for (f, q, first), names in calls.items() if f == mutant.file]
    inside = [names for _, first, names in there if first == mutant.function]
    found = set().union(*(inside or [names for _, _, names in there]))
    chosen, total = list[str](), 0.0
    for name in sorted(found, key=lambda name: seconds[name]):
        total += seconds[name]
        if seconds[name] <= LONGEST and (total <= SHARE or not chosen):
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
    for function in [each for each in gc.get_objects() if isinstance(each, FunctionType)]:
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


def outcome(mutant: Mutant, names: Sequence[str], seconds: float) -> str:
    """`caught`, `hangs` (caught too), or `survived`."""
    if not names:
        return "survived"

    def work() -> int:
        path = ROOT / mutant.file
        (exchange if mutant.function else import_again)(path, mutant.source)
        return run_tests(names)

    code = forked(work, int(15 + 3 * seconds))
    return "hangs" if code is None else "survived" if code == 0 else "caught"


def check_controls(calls: Mapping[Code, set[str]], seconds: Mapping[str, float]) -> None:
    """A source that is not changed, both ways: nothing may catch it, or every figure is void."""
    file = ROOT / CONTROL
    for function in (1, 0):
        mutant = Mutant(CONTROL, 0, function, "", file.read_text("utf-8"))
        names = asked(mutant, calls, seconds)
        if not names or outcome(mutant, names, sum(seconds[name] for name in names)) != "survived":
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
    parser.add_argument("--again", action="store_true", help="survivors once more")
    parser.add_argument("--results", type=Path, default=ROOT / ".bench" / "mutants")
    given = parser.parse_args()
    os.chdir(ROOT)
    kept = given.results / "outcomes.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    done = {(row["file"], row["change"], row["line"]): row for row in rows}
    if given.again:
        done = {key: row for key, row in done.items() if row["outcome"] != "survived"}
    import_everything()
    calls, seconds = measured(given.results / "calls.json")
    check_controls(calls, seconds)
    with kept.open("a") as out:
        for mutant in sample(given.count, given.seed):
            key = (mutant.file, mutant.change, mutant.line)
            if key in done or given.only not in f"{mutant.file} {mutant.change}":
                continue
            names = asked(mutant, calls, seconds)
            began = time.monotonic()
            found = outcome(mutant, names, sum(seconds[name] for name in names))
            row = dict(zip(("file", "change", "line"), key, strict=True)) | {"outcome": found}
            row |= {"tests": len(names), "seconds": round(time.monotonic() - began, 1)}
            done[key] = row
            print(json.dumps(row), file=out, flush=True)
            if found == "survived":
                print(f"{row['file']}:{row['line']} | {row['change']}", flush=True)
    print(report(list(done.values())))


def import_everything() -> None:
    """The project and its tests, so that a fork has nothing left to import."""
    there = [test for test in TESTS if (ROOT / test).exists()]
    sys.stdout.flush()
    quiet = ["-q", "-q", "-q", "--collect-only", "-p", "no:cacheprovider", "-p", "no:xdist", *there]
    if pytest.main(quiet):
        sys.exit("the tests cannot be collected")


if __name__ == "__main__":
    main()
