"""What a board says besides its numbers: title, prose, published figures, how to fill it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.resources import files

from bench.errors import BenchError
from bench.files.bounded import toml_of
from bench.literature.claims import Literature, literature


@dataclass(frozen=True)
class BoardSpec:
    """What a board says besides its numbers: `leaderboards/boards/<data set>.toml`.

    published: what the papers and others say, which stands beside the numbers. how: the lines that
    fill an empty board.
    """

    title: str
    prose: tuple[str, ...] = ()
    published: Literature = field(default_factory=Literature)
    how: tuple[str, ...] = ()

    @property
    def measured_alone(self) -> BoardSpec:
        """The same without anything that was published."""
        return replace(self, published=Literature())


def spec_names() -> list[str]:
    """The data sets that have a committed board."""
    names = (path.name for path in (files("leaderboards") / "boards").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_spec(dataset: str) -> BoardSpec:
    """The committed spec of a data set's board, or a plain one where there is none."""
    path = files("leaderboards") / "boards" / f"{dataset}.toml"
    if not path.is_file():
        return BoardSpec(f"{dataset}: purification measured", (), literature(dataset))
    try:
        data = toml_of(path.read_text(encoding="utf-8"))
        how = tuple(data.get("how", ()))
        return BoardSpec(data["title"], tuple(data["prose"]), literature(dataset), how)
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"board spec {dataset}.toml is damaged: {error}") from None


def how_to_run(dataset: str) -> str:
    """The line that fills an empty board."""
    return f"bench run --defense adp --attacks all --dataset {dataset}"
