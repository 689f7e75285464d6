"""The rooms of docs/architecture.md, read from the imports: which may use which, and no circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = {"errors", "facts", "spec", "stats", "threat"}
"""The loose files of bench/."""
USES = {
    "ground": "",
    "files": "ground",
    "compute": "ground",
    "literature": "files",
    "results": "files",
    "boards": "literature results",
    "report": "boards",
    "api": "compute files",
    "models": "api",
    "data": "api results",
    "attacks": "data models",
    "defenses": "data models",
    "plan": "attacks defenses literature",
    "measure": "plan",
    "contract": "measure",
    "training": "measure",
    "estimate": "training",
    "walkthrough": "measure report",
    "python": "measure report",
    "cli": "contract estimate walkthrough",
}
"""What a room may use: these, all that these may use, and itself."""
DOORS = ("bench", "bench.__main__")
HEAVY = {"torch", "torchvision", "robustbench", "pyautoattack", "torchattacks", "skimage"}


@cache
def allowed(room: str) -> frozenset[str]:
    below = (allowed(name) for name in USES[room].split())
    return frozenset({room}).union(*below)


def modules() -> list[Path]:
    return sorted(p for top in ("bench", "defenses", "attacks") for p in (ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in modules()}


def room(module: str) -> str:
    """`bench.files.paths` is in `files`, `bench.spec` on the ground, `attacks.pgd` in `attacks`."""
    top, *rest = module.split(".")
    if top != "bench":
        return top
    return "ground" if rest[0] in GROUND else rest[0]


def imports(path: Path) -> Iterator[str]:
    """What a module imports when it runs: our modules by their whole name, others as written."""
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
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES else node.module


def ours(path: Path) -> Iterator[str]:
    whole = (t for t in imports(path) if t.split(".")[0] in ("bench", "defenses", "attacks"))
    return (t for t in whole if t not in ("bench", name_of(path)))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_room_uses_what_it_may(path: Path) -> None:
    name = name_of(path)
    if name in DOORS:
        return
    here = room(name)
    assert here in USES, f"bench/{here} is no room: give it a line in USES and docs/architecture.md"
    for target in ours(path):
        assert room(target) in allowed(here), f"{name} imports {target}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_tables_never_reach_torch(path: Path) -> None:
    name = name_of(path)
    if name in DOORS or room(name) not in allowed("report"):
        return
    for target in imports(path):
        assert target.split(".")[0] not in HEAVY, f"{name} imports {target}"


def test_no_circles() -> None:
    edges = {name: set(ours(path)) & set(NAMES) for name, path in NAMES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_the_picture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    loose = {p.stem for p in (ROOT / "bench").glob("*.py")} - {"__init__", "__main__"}
    assert loose == GROUND
    for name in USES.keys() - {"ground"}:
        folder = f"`{name}/`"
        assert folder in text, f"docs/architecture.md has no line for {folder}"


def test_a_class_name_stands_once() -> None:
    trees = [ast.parse(path.read_text()) for path in modules()]
    names = [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [name for name in names if names.count(name) > 1] == []
