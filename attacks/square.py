"""Square: random search on the deployed scores, no gradient at all (Andriushchenko et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor

from attacks.gradients import draws_of, voted
from attacks.library import Scores, View, ball, quiet
from attacks.losses import margin
from attacks.select import Best
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Answer, Defense, Traits
from bench.facts import BUDGET
from bench.spec import Range, Settings

# A margin that the library reads as "not broken yet".
STANDING = 1e-6


@dataclass(frozen=True)
class Square:
    """The library's Square with `queries` queries per image.

    runs: purifications per query (0: the defense's own S; less is a cheaper proxy). One lucky draw
    of a random defense ends nothing: an image rests only when `confirm` fresh queries and then
    `confirm` fresh deployed predictions are all wrong.
    """

    queries: int = 5000
    runs: int = 0
    confirm: int = 4
    p_init: float = 0.8

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W]; those that are wrong already stay as they are."""
        best = Best(defense, x, y, self.confirm)
        queries = torch.full_like(y, best.select.draws)
        alive = best.alive
        if not len(alive):
            return Attacked(best.x, queries=queries)
        with quiet():
            search = _library(Scores(defense, self.runs), x, threat, self.queries, self.p_init)
            rounds = (self.runs,) * self.confirm + (0,) * self.confirm if defense.random else ()
            judge = _Judge(partial(defense.answer, runs=self.runs or None), best, rounds)
            search.margin_and_loss = judge
            asked, found = search.attack_single_run(x[alive], y[alive])
        best.offer(threat.project(found, x[alive]), alive)
        queries[alive] += asked.long() + judge.asked.to(x.device) + best.select.draws
        return Attacked(best.x, queries=queries)


class _Judge:
    """The library's margin and loss, but broken only where the fresh draws `rounds` agree.

    The loss keeps the query's own margin: it ranks candidates, while the margin ends the search.
    `asked` counts the confirming predictions per image, of those that are alive.
    """

    def __init__(
        self, answer: Callable[[Tensor], Answer], best: Best, rounds: tuple[int, ...]
    ) -> None:
        images = len(best.alive)
        self.answer, self.select, self.rounds = answer, best.select, rounds
        self.asked = torch.zeros(images, dtype=torch.long)
        self.standing = torch.arange(images)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        decided, scores = self.answer(x)
        loss = -margin(scores, y)
        margins = loss.clamp_min(STANDING)
        lucky = (decided != y).nonzero().squeeze(1)
        if not len(lucky):
            return margins, loss
        wrong, asked = self.select.wrong(x[lucky], y[lucky], self.rounds)
        self.asked[self.standing[lucky.cpu()]] += asked.cpu()
        margins[lucky[wrong]] = -STANDING
        # The library asks next for those whose margin stayed positive, in the same order.
        self.standing = self.standing[(margins > 0).cpu()]
        return margins, loss


@dataclass(frozen=True)
class Deployed:
    """The library's margin and loss of a deterministic defense; broken where it decides wrong."""

    view: View

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Margins and losses, [B] each, of images x [B,C,H,W] with labels y [B]."""
        logits = self.view(x)
        loss = -margin(logits, y)
        wrong = voted(self.view.defense, logits) != y
        return loss.clamp_min(STANDING).masked_fill(wrong, -STANDING), loss


def _library(scores: Scores, x: Tensor, threat: ThreatModel, queries: int, p_init: float) -> Any:
    """The library's search over images like x, whatever its margin and loss will be."""
    from pyautoattack.square import SquareAttack

    ways = {"n_queries": queries, "p_init": p_init, "resc_schedule": True}
    search = SquareAttack(scores, **ways, **ball(threat, x))
    search.init_hyperparam(x)
    return search


def _cost(settings: Settings, traits: Traits) -> Runs:
    """At most: an image that stands to the end, and luck that is refuted on the last draw."""
    runs = int(settings["runs"]) or traits.runs
    looks, confirm = int(settings["queries"]) + 1, int(settings["confirm"])
    return Runs(
        plain=looks * runs + 2 * draws_of(confirm, traits.random) * traits.runs,
        luck=looks * confirm * (runs + traits.runs) if traits.random else 0,
    )


@dataclass(frozen=True)
class Steady:
    """The library's Square to the last of `queries` queries: luck neither ends nor misleads it.

    passes: runs of a random defense that each query takes; a candidate is accepted where their mean
    softmax is better than that of the point before it.
    """

    queries: int = 1000
    passes: int = 20
    p_init: float = 0.8

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W], the last that was accepted."""
        scores = Scores(defense, draws_of(self.passes, defense.random))

        def standing(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            loss = -margin(scores(points), labels)
            return torch.full_like(loss, STANDING), loss

        with quiet():
            search = _library(scores, x, threat, self.queries, self.p_init)
            search.margin_and_loss = standing
            asked, found = search.attack_single_run(x, y)
        return Attacked(threat.project(found, x), queries=asked.long())


@attack(
    "square:protocol=strict",
    source="Andriushchenko et al. 2020; by the mean of 20 runs, without an early end",
    paper="Andriushchenko et al. 2020",
    link="https://arxiv.org/abs/1912.00049",
    settings={"quick": {"queries": 50, "passes": 5}, "standard": {"queries": 300, "passes": 10}},
    cost=lambda settings, traits: Runs(
        plain=(int(settings["queries"]) + 1) * draws_of(int(settings["passes"]), traits.random)
    ),
    knows="little",
    budget=(*BUDGET, "passes"),
)
def square_strict(
    *,
    queries: Annotated[int, Range(1)] = 1000,
    passes: Annotated[int, Range(1)] = 20,
    p_init: Annotated[float, Range(0.01, 1)] = 0.8,
) -> Steady:
    """Random search with squares that accepts what is better in the mean over several runs."""
    return Steady(queries, passes, p_init)


@attack(
    "square",
    paper="Andriushchenko et al. 2020",
    link="https://arxiv.org/abs/1912.00049",
    # Budgets of the presets are ours; runs=1 is a proxy of the deployed S-run prediction.
    settings={"quick": {"queries": 100, "runs": 1}, "standard": {"queries": 500, "runs": 1}},
    cost=_cost,
    knows="little",
)
def square(
    *,
    queries: Annotated[int, Range(1)] = 5000,
    runs: Annotated[int, Range(0)] = 0,
    confirm: Annotated[int, Range(1)] = 4,
    p_init: Annotated[float, Range(0.01, 1)] = 0.8,
) -> Square:
    """Random search with squares on the deployed scores."""
    return Square(queries, runs, confirm, p_init)
