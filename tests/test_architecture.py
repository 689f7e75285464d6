"""The rooms of docs/architecture.md, read from the imports: no cycles, nothing reaches upwards."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A module may import from lower floors and from its own room (its own package).
FLOORS = (
    ("errors", "stats", "home", "peak", "pickles"),
    ("bounded", "seal"),
    ("spec", "facts", "rng", "device", "download", "unpack", "whole", "papers", "pictures"),
    ("record",),
    ("network", "claims", "request", "fingerprint"),
    ("threat", "defense", "results", "surroundings"),
    ("attack", "looks", "chain", "registry", "archive", "merge", "checkup", "resized"),
    ("data", "nets", "diffusion", "metrics", "guard"),
    ("zoo", "boards"),
    ("ranking", "beside"),
    ("classifiers", "flags", "analysis", "points"),
    ("attacks", "defenses", "tables", "reported"),
    ("claimed",),
    ("build", "evaluate", "render", "compare", "printed", "charts", "probe"),
    ("cost", "inventory", "shards", "page"),
    ("plan", "executors", "slices"),
    ("worker", "training", "wanted", "contract"),
    ("gate", "standin", "verify"),
    ("profile", "scenes"),
    ("outlook",),
    ("runner",),
    ("cli",),
    ("__main__",),
)
# The table tower meets the rest only in the result files; it never reaches torch.
TABLE_TOWER = {
    *("errors", "bounded", "seal", "whole", "spec", "facts", "record", "request", "results"),
    *("archive", "merge", "stats", "metrics", "boards"),
    *("flags", "ranking", "analysis", "tables", "render", "compare", "papers", "claims"),
    *("reported", "printed", "beside", "claimed", "page", "pictures", "charts"),
}
COMMANDS = (
    "bench.cli.table",
    "bench.cli.papers",
    "bench.cli.merge",
    "bench.cli.show_stored",
    "bench.cli.common",
)
"""Of the table tower."""
HEAVY = {"torch", "torchvision", "robustbench", "pyautoattack", "torchattacks", "skimage"}
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(p for top in ("bench", "defenses", "attacks") for p in (ROOT / top).rglob("*.py"))


def room(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] != "bench" else (parts[1] if len(parts) > 1 else "")


def imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(child for stmt in node.body for child in ast.walk(stmt))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "bench":
                yield from (f"bench.{alias.name}" for alias in node.names)
            else:
                yield node.module


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_down(path: Path) -> None:
    here = room(name_of(path))
    if not here:
        return
    assert here in FLOOR, f"room '{here}' has no floor: add it to FLOORS and docs/architecture.md"
    for target in imports(path):
        there = room(target)
        if target.split(".")[0] not in ("bench", "defenses", "attacks") or not there:
            continue
        assert there == here or FLOOR[there] < FLOOR[here], f"{name_of(path)} imports {target}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_table_tower_stands_alone(path: Path) -> None:
    name = name_of(path)
    if room(name) not in TABLE_TOWER and name not in COMMANDS:
        return
    for target in imports(path):
        assert target.split(".")[0] not in HEAVY, f"{name} imports {target}"
        if target.startswith("bench."):
            assert target in COMMANDS or room(target) in TABLE_TOWER, f"{name} imports {target}"


def test_no_import_cycles_between_modules() -> None:
    names = {name_of(path): path for path in modules()}
    edges = {
        name: {t for t in imports(path) if t in names and t != name} for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(names):
        visit(name, ())
