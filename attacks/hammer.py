"""DiffHammer: most runs cheaply, one run fully, chosen and weighted by expectation-maximisation.

Each step asks the defense for `draws` runs and their BPDA gradients. The run is selected along
whose gradient all of them lose most; each run then counts by how likely it is to be lost along that
direction. The weighted mean of all gradients, grafted onto the selected run, is pulled back through
the whole purifier once, with the random numbers of that run. What stands here is what the authors'
code does, which differs from the paper: the expectation is taken once, and without eps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.family import Count, Step
from attacks.gradients import Slope, classifier_slope, draws_of, pulled_back, voted
from attacks.losses import AnyLoss, expected_vote
from attacks.pgd import PGD, Followed, Strongest
from attacks.steps import Moves, Search
from attacks.strict import losses_of
from attacks.targets import Likeliest, aimed
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits, repeat
from bench.compute.replay import recorded, replayed
from bench.errors import BenchError
from bench.spec import Settings

SHARPNESS = 5.0
"""The authors' lambda: how fast the posterior turns."""
WINDOWS = (0.0, 0.22, 0.41, 0.57, 0.7, 0.8, 0.87, 0.93)
"""Checkpoints of the step size, as parts of the steps."""
FORWARD, RISING = 0.75, 0.75


def select(losses: Tensor, gradients: Tensor, threat: ThreatModel) -> Tensor:
    """The run whose direction raises the losses of all most, int64 [B].

    losses: [N,B]; gradients: [N,B,...], of each run.
    """
    flat = gradients.flatten(2)
    gains = torch.einsum("ibd,jbd->ijb", _units(flat, gradients, threat), flat)
    return F.elu(losses + threat.eps * gains).sum(1).argmax(0)


def weigh(losses: Tensor, gradients: Tensor, chosen: Tensor, threat: ThreatModel) -> Tensor:
    """How likely each run is lost along the direction of the chosen one, [N,B] from 0 to 1."""
    flat = gradients.flatten(2)
    units = _units(flat, gradients, threat)
    direction = units[chosen, torch.arange(len(chosen), device=chosen.device)]
    return torch.sigmoid(SHARPNESS * (losses + torch.einsum("bd,jbd->jb", direction, flat)))


def graft(gradients: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of the runs' gradients, [B,...]."""
    shares = weights / weights.sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    return (shares.view(*shares.shape, *[1] * (gradients.dim() - 2)) * gradients).sum(0)


def _units(flat: Tensor, gradients: Tensor, threat: ThreatModel) -> Tensor:
    """The steepest direction of each gradient, [N,B,D]."""
    return threat.steepest(gradients.flatten(0, 1)).view_as(flat)


@dataclass(frozen=True)
class Hammer:
    """The grafted gradient of `draws` runs, pulled back through one of them."""

    threat: ThreatModel
    draws: int
    loss: AnyLoss = "ce"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """`draws` runs with the classifier's gradient, one run with that of the purifier."""
        draws = draws_of(self.draws, defense.random)
        many, goal = repeat(x, draws), repeat(y, draws)
        with torch.no_grad(), recorded() as noise:
            z = defense.purify(many)
        passed, losses, logits = classifier_slope(defense, z, goal, self.loss)
        gradients, losses = passed.view(draws, *x.shape), losses.view(draws, -1)
        chosen = select(losses, gradients, self.threat)
        grafted = graft(gradients, weigh(losses, gradients, chosen, self.threat))
        start = x.detach().requires_grad_()
        rows = chosen * len(x) + torch.arange(len(x), device=x.device)
        with torch.enable_grad(), replayed(noise, rows, len(many)):
            run = defense.purify(start)
        _require_same(run, z[rows])
        loss = expected_vote(self.loss, losses)[0] if defense.copies else losses.mean(0)
        return Slope(
            pulled_back(run, start, grafted),
            loss,
            logits=logits.view(draws, len(x), -1).mean(0),
            decided=voted(defense, logits, draws),
            runs=losses,
            lost=(logits.argmax(1) != _label(goal)).view(draws, -1),
        )


def _require_same(run: Tensor, selected: Tensor) -> None:
    """Refuse a purifier whose run cannot be repeated from what torch drew, batch by batch.

    Raises:
        BenchError: the run is another than the selected one.
    """
    apart = (run.detach() - selected).abs().flatten(1).mean(1)
    if (apart > 1e-3).float().mean() > 0.1:  # rounding may turn single images where steps adapt
        raise BenchError(
            "the run that DiffHammer selected could not be repeated: the purifier draws random "
            "numbers per image or outside torch; draw them for the whole batch, by torch"
        )


def _label(goal: Tensor) -> Tensor:
    return goal if goal.dim() == 1 else goal[:, 0]


@dataclass(frozen=True)
class Hammering:
    """The authors' steps: APGD whose inertia stays with the start, along averaged gradients.

    Where a window of steps ends, every image goes back to its best point: that which any run of its
    look lost, then that of the highest mean loss.
    """

    def begin(self, search: Search) -> Moves:
        """Begins with the whole step."""
        return HammerWalk(search)


class HammerWalk:
    """The state of `Hammering`: best point, its gradient, the worst loss of every look."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.checks = {int(part * search.steps) for part in WINDOWS}
        self.step = search.x.new_full((len(search.x), 1, 1, 1), search.step)
        self.remembered, self.moves, self.checked = self.step.clone(), 0, 0
        self.mean = torch.zeros_like(search.x)
        self.worst: list[Tensor] = []

    def __call__(self, point: Tensor, slope: Slope) -> Tensor:
        """From `point` [B,C,H,W] and what was seen there to the next point, inside the ball."""
        runs = slope.loss[None] if slope.runs is None else slope.runs
        self.worst.append(runs.amax(0))
        self._remember(point, slope)
        if self.moves in self.checks and self.moves:
            self._check()
            point, slope = self.best.clone(), self._restarted(slope)
        return self._move(point, slope._replace(gradient=self._averaged(slope.gradient)))

    def _restarted(self, slope: Slope) -> Slope:
        """What is followed from the best points: their own gradient."""
        return slope._replace(gradient=self.seen.clone())

    def _averaged(self, gradient: Tensor) -> Tensor:
        """With those before, which weigh less and less of it and all the more together."""
        share = (self.moves + 1) ** -0.5
        self.mean = share * gradient + (1 - share) * self.mean
        return self.mean

    def _move(self, point: Tensor, slope: Slope) -> Tensor:
        search = self.search
        if not self.moves:
            self.start = point
        unit, eps = search.turn(point, slope), search.threat.eps
        ahead = search.threat.onto(point + self.step * eps * unit, search.x)
        share = FORWARD if self.moves else 1.0
        moved = point + share * (ahead - point) + (1 - share) * (point - self.start)
        self.moves += 1
        return search.threat.project(moved, search.x)

    def _remember(self, point: Tensor, slope: Slope) -> None:
        lost = torch.zeros_like(slope.loss, dtype=torch.bool)
        lost = lost if slope.lost is None else slope.lost.any(0)
        if not self.moves:
            self.best, self.seen = point.clone(), slope.gradient.clone()
            self.loss, self.lost = slope.loss.clone(), lost
            return
        better = (lost & ~self.lost) | ((slope.loss > self.loss) & (lost | ~self.lost))
        self.best[better], self.seen[better] = point[better], slope.gradient[better]
        self.loss, self.lost = torch.where(better, slope.loss, self.loss), self.lost | lost

    def _check(self) -> None:
        """Halve the step where the worst loss rose too seldom, or has not moved at this step."""
        window = torch.stack(self.worst[self.checked : self.moves + 1])
        rises = (window[1:] > window[:-1]).sum(0)
        still = (self.step == self.remembered).flatten() & (window[-1] == window[0])
        halved = (rises < RISING * (self.moves - self.checked)) | still
        self.remembered, self.checked = self.step.clone(), self.moves
        self.step = torch.where(halved.view(-1, 1, 1, 1), self.step / 2, self.step)


@dataclass(frozen=True)
class DiffHammer:
    """A search along grafted gradients for each of the losses; fresh draws choose between them."""

    losses: tuple[AnyLoss, ...]
    steps: int = 50
    draws: int = 10
    step: float = 2.0
    restarts: int = 1
    select: int = 20

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W] in [0,1] that climb the losses at labels y [B]."""
        searches = tuple(
            PGD(
                Hammer(threat, self.draws, loss),
                self.steps,
                self.step,
                True,
                self.restarts,
                targets=aimed(loss),
                rule=Hammering(),
            )
            for loss in self.losses
        )
        return Followed(Strongest(searches, self.select))(defense, x, y, threat)


def _runs(settings: Settings, traits: Traits) -> Runs:
    """Each look: its runs by BPDA, and one of the purifier alone with its gradient."""
    losses = losses_of(str(settings["losses"]))
    begun = len(losses) * int(settings["restarts"])
    looks = begun * (int(settings["steps"]) + 1)
    chosen = (1 + begun) * draws_of(int(settings["select"]), traits.random) * traits.runs
    ordered = draws_of(Likeliest.draws, traits.random) if "dlr-t" in losses else 0
    return Runs(
        plain=chosen + ordered,
        bpda=looks * draws_of(int(settings["draws"]), traits.random),
        pulled=looks,
    )


def _known(settings: Settings, dataset: str) -> None:
    """Losses that are none are an error before anything runs."""
    del dataset
    losses_of(str(settings["losses"]))


def _deterministic(settings: Settings, traits: Traits) -> str | None:
    """There is one run only, and it is the selected one."""
    return None if traits.random else "deterministic defense: duplicate of apgd:protocol=strict"


@attack(
    "apgd:protocol=diffhammer",
    source="DiffHammer (Wang et al. 2024), code: 50 steps, 10 runs, along CW, CE and DLR",
    settings={
        "quick": {"steps": 10, "draws": 5, "losses": "margin+ce", "select": PGD.select},
        "standard": {"losses": "margin+ce"},
    },
    skip=_deterministic,
    cost=_runs,
    fits=_known,
    knows="all",
    budget=("steps", "draws", "restarts"),
)
def apgd_diffhammer(
    *,
    steps: Count = 50,
    draws: Count = 10,
    step: Step = 2.0,
    restarts: Count = 1,
    select: Count = 20,
    losses: str = "margin+ce+dlr",
) -> DiffHammer:
    """APGD along the gradient of a selected run that the others weigh: one full backward a step.

    losses: one search each, of which fresh draws keep the best; margin is CW.
    """
    return DiffHammer(losses_of(losses), steps, draws, step, restarts, select)
