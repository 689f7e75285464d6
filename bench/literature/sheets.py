"""The papers' printed tables as data: what was printed, and what would measure it. No torch.

`leaderboards/tables/<paper>-<NN>.toml` holds one printed table in the print's order. Fields that
say what a cell is (`Target`) stand on the table, a column, a row or a cell; the nearest wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from typing import Any

from bench.errors import BenchError, unknown
from bench.files.bounded import toml_of

FULL = "paper"
"""The preset whose budgets are the papers'."""
PAPERS = {
    "adp": "Yoon, Hwang & Lee 2021, Adversarial Purification with Score-based Generative Models",
    "aid": "Hwang et al. 2021, AID-Purifier",
    "scoreopt": "Zhang, Luo & Zhang 2023, Enhancing Adversarial Robustness via Score-Based "
    "Optimization",
}
TITLES = {"adp": "ADP", "aid": "AID-Purifier", "scoreopt": "ScoreOpt"}
"""What the papers' methods are called."""
TEST_IMAGES = {
    **dict.fromkeys(("cifar10", "cifar100", "tinyimagenet", "mnist", "fashionmnist"), 10_000),
    "svhn": 26_032,
    "imagenet": 50_000,
}
"""Images of the published test sets."""
EXTERNAL = "external"
"""The file of figures that others measured."""
OWN = "threats"
"""The file of the attacks whose threat is none of a printed table's balls."""
STAR = "*"
PRINTED = re.compile(r"(?P<value>-?\d[\d,]*\.?\d*)(?:\s*±\s*(?P<std>\d+\.?\d*))?(?P<star>\*?)")
"""A number as printed: its value, a deviation, and the papers' star for a borrowed one."""


@dataclass(frozen=True)
class Target:
    """What measures a printed number, in the words of a run.

    metric: `accuracy`, `protocol` (the attack's own verdict), a summary (`average`, `minimum`, ...)
    of the columns `over` of its row or of `parts` that the print has no columns of, or what no run
    measures. only: why it is only reported. lacks: what there is none of here, where that is why,
    as `defense NAME`, `attack NAME` or `classifier NAME`, which may have settings.
    """

    dataset: str = ""
    subset: str = ""
    threat: str = ""
    preset: str = ""
    defense: str = ""
    attack: str = ""
    metric: str = "accuracy"
    over: tuple[int, ...] = ()
    parts: tuple[Target, ...] = ()
    only: str = ""
    lacks: str = ""
    borrowed: bool = False

    @property
    def measurable(self) -> bool:
        """Whether some run gives this number."""
        return not self.only

    @property
    def runs(self) -> tuple[Target, ...]:
        """What runs measure it: itself, or its parts; none where it is of other cells."""
        return () if self.over or self.only else self.parts or (self,)


@dataclass(frozen=True)
class PrintedCell:
    """One printed number. row, column: places in the print, from 1.

    printed: the text itself; value, std: of it, None where it is no number (`-`, a setting).
    """

    row: int
    column: int
    printed: str
    value: float | None
    std: float | None
    target: Target
    note: str = ""

    @property
    def borrowed(self) -> bool:
        """The paper took the number from another one."""
        return self.target.borrowed or self.printed.endswith(STAR)


@dataclass(frozen=True)
class Head:
    """A row's label columns, and the section of the print that it stands in."""

    labels: tuple[str, ...]
    group: str = ""

    def __str__(self) -> str:
        return " / ".join(label for label in (self.group, *self.labels) if label)


@dataclass(frozen=True)
class Note:
    """A footnote of ours, to a place or to the whole table (0, 0)."""

    text: str
    row: int = 0
    column: int = 0


@dataclass(frozen=True)
class Sheet:
    """One printed table. cells: row-major, one for each row and column."""

    paper: str
    table: str
    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[Head, ...]
    cells: tuple[PrintedCell, ...]
    notes: tuple[Note, ...] = ()

    @property
    def name(self) -> str:
        """`scoreopt-01`, as its file is called."""
        return sheet_name(self.paper, self.table)

    def line(self, row: int) -> tuple[PrintedCell, ...]:
        """The cells of row `row` (from 1)."""
        width = len(self.columns)
        return self.cells[(row - 1) * width : row * width]

    def numbers(self) -> Iterator[PrintedCell]:
        """The cells that hold a number."""
        return (cell for cell in self.cells if cell.value is not None)


@dataclass(frozen=True)
class External:
    """A figure that somebody else measured of a published defense: percent, with its conditions.

    What is not known of it is empty.

    method, base, under: defense, classifier and attack in the words of the source. defense, attack:
    what comes nearest here, on `subset` with `preset`; no attack where nothing does. beside: the
    defense whose printed numbers it stands beside, if any.
    """

    paper: str
    by: str
    source: str
    dataset: str
    threat: str
    value: str
    method: str
    defense: str = ""
    subset: str = ""
    n: int = 0
    base: str = ""
    under: str = ""
    attack: str = ""
    metric: str = "accuracy"
    beside: str = ""
    preset: str = FULL


def images(dataset: str, subset: str) -> int:
    """How many images a subset holds: `512`, `first-1000`, `test`; 0 where it is not known."""
    if subset == "test":
        return TEST_IMAGES.get(dataset, 0)
    number = subset.removeprefix("first-")
    return int(number) if number.isdigit() else 0


def sheet_name(paper: str, table: str) -> str:
    """`11a` of `aid` is `aid-11a`, `1` is `aid-01`."""
    number = re.match(r"\d+", table)
    return f"{paper}-{table.zfill(2 + len(table) - len(number[0]))}" if number else ""


def names(paper: str = "") -> list[str]:
    """The tables that are here, of one paper or of all, in order."""
    if paper and paper not in PAPERS:
        raise unknown("paper", paper, [*PAPERS, "all"])
    found = (entry.name for entry in (files("leaderboards") / "tables").iterdir())
    sheets = (name.removesuffix(".toml") for name in found if name.endswith(".toml"))
    wanted = [name for name in sheets if name.partition("-")[0] in ((paper,) if paper else PAPERS)]
    return sorted(wanted)


def load(paper: str, table: str) -> Sheet:
    """One table of a paper."""
    known = names(paper)
    name = sheet_name(paper, table)
    if name not in known:
        short = [known_name.partition("-")[2].lstrip("0") for known_name in known]
        halves = [name for name in short if table.isdigit() and name.rstrip("abc") == table]
        if halves:
            raise BenchError(f"table {table} of paper '{paper}' is in parts: {', '.join(halves)}")
        raise unknown(f"table of paper '{paper}'", table, short)
    return _read(name)


def sheets(paper: str = "") -> list[Sheet]:
    """Every table of a paper, or of all."""
    return [_read(name) for name in names(paper)]


@cache
def externals() -> tuple[External, ...]:
    """Figures that others measured, with their conditions."""
    data = _toml(EXTERNAL)
    try:
        return tuple(External(**entry) for entry in data.get("figure", ()))
    except TypeError as error:
        raise BenchError(f"tables/{EXTERNAL}.toml is damaged: {error}") from None


@cache
def no_ball() -> Mapping[str, str]:
    """Attack -> its threat, where that is none of the balls that a printed table is of."""
    return _toml(OWN)


@cache
def _read(name: str) -> Sheet:
    data = _toml(name)
    try:
        sheet = _sheet(data)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BenchError(f"tables/{name}.toml is damaged: {error}") from None
    if sheet.name != name:
        raise BenchError(f"tables/{name}.toml is damaged: it says that it is {sheet.name}")
    return sheet


def _toml(name: str) -> dict[str, Any]:
    path = files("leaderboards") / "tables" / f"{name}.toml"
    try:
        return toml_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"tables/{name}.toml is damaged: {error}") from None


def _sheet(data: Mapping[str, Any]) -> Sheet:
    columns, rows = data["column"], data["row"]
    own = {(entry["row"], entry["column"]): entry for entry in data.get("cell", ())}
    cells = []
    for r, row in enumerate(rows, 1):
        if len(row["cells"]) != len(columns):
            raise ValueError(f"row {r} has {len(row['cells'])} cells, not {len(columns)}")
        for c, (column, printed) in enumerate(zip(columns, row["cells"], strict=True), 1):
            here = own.pop((r, c), {})
            cells.append(_cell(r, c, printed, _target(data, column, row, here), here))
    if own:
        raise ValueError(f"no cell {', '.join(map(str, own))}")
    return Sheet(
        paper=data["paper"],
        table=str(data["table"]),
        title=data["title"],
        source=data["source"],
        columns=tuple(column["head"] for column in columns),
        rows=tuple(Head(tuple(row["head"]), row.get("group", "")) for row in rows),
        cells=tuple(cells),
        notes=tuple(Note(**note) for note in data.get("note", ())),
    )


def _target(*layers: Mapping[str, Any]) -> Target:
    """The nearest layer that has a field wins; what has no way to be measured says so."""
    known = [field.name for field in fields(Target)]
    merged = {key: layer[key] for layer in layers for key in known if key in layer}
    inside = {key: value for key, value in merged.items() if key not in ("parts", "metric")}
    parts = tuple(Target(**{**inside, **part}) for part in merged.get("parts", ()))
    whole = {"over": tuple(merged.get("over", ())), "parts": parts}
    target = Target(**{**merged, **whole})
    if not all(run.defense and run.attack for run in target.runs):
        raise ValueError("a cell that says neither what measures it nor why nothing does")
    return target


def _cell(
    row: int, column: int, printed: str, target: Target, own: Mapping[str, Any]
) -> PrintedCell:
    match = PRINTED.fullmatch(printed)
    value, std = (match["value"], match["std"]) if match else (None, None)
    if value is None and target.measurable:
        target = replace(target, only="not printed")
    return PrintedCell(
        row,
        column,
        printed,
        None if value is None else float(value.replace(",", "")),
        None if std is None else float(std),
        target,
        own.get("note", ""),
    )
