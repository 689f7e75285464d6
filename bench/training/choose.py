"""Chooses the settings of purifiers and of the cheap controls, on validation images only.

    python -m bench.training.choose --dataset patches

It writes nothing: it prints every candidate and the chosen one, which a person carries into the
settings tables of `defenses/`. The printed tables are `leaderboards/choices-<data set>.txt`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Context
from bench.api.ball import ThreatModel
from bench.data.subsets import in_order, load_subset
from bench.measure import build
from bench.measure.judge import evaluate
from bench.results.store import SHARD
from bench.training.candidates import FILTERS, PURIFIERS

FLOOR = 12.0
RULE = f"""\
The rule, fixed before the first run: of the candidates of one defense, those whose clean accuracy
is within {FLOOR:g} points of the best candidate's; of these the largest mean over the attacks;
a tie goes to the one named first."""

ATTACKS = {
    "blind": "classifier-pgd:steps=40",
    "bpda": "bpda-eot:steps=12,eot=3",
    "exact": "pgd-exact:steps=10,eot=2",
}
"""Short forms of the board's attacks."""
QUIET = {**ATTACKS, "bpda": "bpda:steps=12", "exact": "pgd-exact:steps=10,eot=1"}
"""The same without draws, for defenses without noise."""


@dataclass(frozen=True)
class Candidate:
    """A candidate with its accuracies in percent; `robust` by attack, only where it applies."""

    spec: str
    clean: float
    robust: Mapping[str, float]

    @property
    def mean(self) -> float:
        """The mean over its attacks."""
        return sum(self.robust.values()) / len(self.robust)

    def __str__(self) -> str:
        cells = "".join(
            f"{self.robust[name]:8.1f}" if name in self.robust else f"{'-':>8}" for name in ATTACKS
        )
        return f"{self.spec:<54}{self.clean:8.1f}{cells}{self.mean:8.1f}"


def choose(rows: list[Candidate]) -> Candidate:
    """The rule above."""
    floor = max(row.clean for row in rows) - FLOOR
    return max((row for row in rows if row.clean >= floor), key=lambda row: row.mean)


def measure(spec: str, x: Tensor, y: Tensor, threat: ThreatModel, context: Context) -> Candidate:
    """One candidate on validation images, shard by shard, one judge draw each."""
    defense = build.defense(spec, context)
    attacks = dict(ATTACKS if defense.random else QUIET)
    if not defense.exact:
        del attacks["exact"]

    def accuracy(attack: str, ball: ThreatModel) -> float:
        made, correct = build.attack(attack, context), 0.0
        for start in range(0, len(x), SHARD):
            rows = slice(start, start + SHARD)
            key = f"choose/{context.dataset}/{spec}/{attack}/{start}"
            outcome = evaluate(defense, made, x[rows], y[rows], ball, draws=1, key=key)
            correct += float(outcome.correct.float().sum())
        return 100 * correct / len(x)

    clean = accuracy("clean", ThreatModel("none", 0.0))
    return Candidate(spec, clean, {name: accuracy(text, threat) for name, text in attacks.items()})


def main(arguments: list[str]) -> None:
    """Print the candidates of every defense and the chosen ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=sorted(FILTERS), default="patches")
    parser.add_argument("--images", type=int, default=128, help="purifiers look at half")
    parser.add_argument("--only", nargs="+", default=(), metavar="DEFENSE")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    context = build.context(asked.dataset)
    subset = load_subset(asked.dataset, "validation")
    subset = in_order(subset, build.dataset(asked.dataset))
    index = list(range(min(asked.images, len(subset))))
    images = build.dataset(asked.dataset).take(subset.split, subset.index[: len(index)])
    threat = ThreatModel.parse(build.dataset(asked.dataset).info.threat)
    print(f"{asked.dataset}: the first {len(index)} images of the subset `validation`, {threat};")
    print(f"purifiers: the first {len(index) // 2}")
    print(f"attacks: {', '.join(ATTACKS.values())}")
    print(f"on defenses without noise: {', '.join(QUIET.values())}")
    print(f"{RULE}\n")
    print(f"{'':<54}{'clean':>8}{''.join(f'{name:>8}' for name in ATTACKS)}{'mean':>8}")
    for name, specs in {**FILTERS[asked.dataset], **PURIFIERS[asked.dataset]}.items():
        if not asked.only or name in asked.only:
            rows = []
            chosen = index[: len(index) // 2] if name in PURIFIERS[asked.dataset] else index
            for spec in specs:
                rows.append(measure(spec, images.x[chosen], images.y[chosen], threat, context))
                print(rows[-1], flush=True)
            print(f"chosen: {choose(rows).spec}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
