"""AutoAttack (Croce & Hein 2020): the library where it is sound, our variant where it is not.

The library drops an image after one wrong prediction. Against a random defense that counts luck
as a break, so there an image stays alive until fresh draws agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from attacks.apgd import no_gradient
from attacks.gradients import draws_of
from attacks.library import LOGGER, GradientMode, View, ball, quiet
from attacks.select import Best
from attacks.square import Deployed
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.facts import BUDGET
from bench.spec import Range, Settings, joined_names

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
# What each loss needs: DLR reads the third logit, its targeted form the fourth.
CLASSES = {"apgd-ce": 2, "apgd-dlr": 3, "apgd-t": 4, "fab-t": 2, "square": 2}
LARGER = 5
"""From so many steps on the library, which goes through two larger balls, has one for the last."""


@dataclass(frozen=True)
class AutoAttack:
    """`attacks` of the library on deterministic defenses; APGD-CE and APGD-DLR on random ones.

    attacks: `standard`, or names joined by `+`. steps, targets, queries: their budgets.
    random_steps, eot, confirm: steps, draws per gradient and agreeing fresh draws for random
    defenses. gradient: what the library sees of the purifiers (docs/semantics.md); of
    `blind` not even that they are there. Within l1 APGD-CE has the library's 5 restarts.
    """

    attacks: str = "standard"
    steps: int = 100
    targets: int = 9
    queries: int = 5000
    random_steps: int = 100
    eot: int = 20
    confirm: int = 4
    gradient: GradientMode | Literal["blind"] = "bpda"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W]; unbroken ones may stay as they are."""
        if self.gradient == "blind":
            return replace(self, gradient="exact")(Defense(defense.classifier), x, y, threat)
        view = View(defense, self.gradient)
        with quiet() as seed, torch.no_grad():
            classes = view(x[:1]).shape[1]
            found = (
                self._random(view, x, y, threat, classes)
                if defense.random
                else self._library(view, x, y, threat, (classes, seed))
            )
        return Attacked(threat.project(found, x))

    def _library(
        self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, setup: tuple[int, int]
    ) -> Tensor:
        from pyautoattack import AutoAttack as Library
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

        classes, seed = setup
        names = [name for name in names_of(self.attacks) if classes >= CLASSES[name]]
        targets = min(self.targets, classes - 1)
        adversary = Library(view, attacks=names, seed=seed, version="custom", **ball(threat, x))
        adversary.verbose = False
        # APGD derives its checkpoints from the number of steps when it is made.
        common = {**ball(threat, x), "n_iter": self.steps, "logger": adversary.logger}
        sparse = threat.norm == "l1"  # whose version of the library begins in larger balls
        common["use_largereps"] = sparse and self.steps >= LARGER
        adversary.apgd = APGDAttack(view, n_restarts=5 if sparse else 1, **common)
        adversary.apgd_targeted = APGDAttack_targeted(view, n_target_classes=targets, **common)
        adversary.fab.n_iter, adversary.fab.n_restarts = self.steps, 1
        adversary.fab.n_target_classes = targets
        adversary.square.n_queries = self.queries
        adversary.square.margin_and_loss = Deployed(view)
        found: Tensor = adversary.run_standard_evaluation(x, y, batch_size=len(x))[0]
        return found

    def _random(
        self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, classes: int
    ) -> Tensor:
        from pyautoattack.autopgd_base import APGDAttack

        best = Best(view.defense, x, y, self.confirm)
        for loss in ("ce", "dlr"):
            alive = best.alive
            if not len(alive) or classes < CLASSES[f"apgd-{loss}"]:
                continue
            search: Any = APGDAttack(
                view,
                n_iter=self.random_steps,
                eot_iter=self.eot,
                loss=loss,
                logger=quiet_logger(),
                **ball(threat, x),
            )
            search.init_hyperparam(x)
            highest, _, _, lucky = search.attack_single_run(x[alive], y[alive])
            for candidate in (highest, lucky):
                best.offer(threat.project(candidate, x[alive]), alive)
        return best.x


def names_of(attacks: str) -> tuple[str, ...]:
    """`standard` or names joined by `+` to names of the library's attacks.

    Raises:
        BenchError: a name that the library does not have.
    """
    if attacks == "standard":
        return STANDARD
    return joined_names(attacks, CLASSES, "part of autoattack", "autoattack: attacks", "standard")


def quiet_logger() -> Any:
    """The library's logger, which `quiet` has silenced."""
    import logging

    return logging.getLogger(LOGGER)


def _cost(settings: Settings, traits: Traits) -> Runs:
    """At most, for an image that stays alive to the end; one more run counts the classes."""
    if settings["gradient"] == "blind":
        # Of a random defense it may be the classifier that draws.
        both = [_runs(settings, Traits()), *([_runs(settings, traits)] if traits.random else [])]
        plain, graded = (max(runs) for runs in zip(*both, strict=True))
        return Runs(classified=plain, blind=graded)
    plain, graded = _runs(settings, traits)
    exact = settings["gradient"] == "exact"
    return Runs(plain=plain, exact=graded) if exact else Runs(plain=plain, bpda=graded)


def _runs(settings: Settings, traits: Traits) -> tuple[int, int]:
    """Runs without and with gradient."""
    if traits.random:
        graded = 2 * (int(settings["random_steps"]) + 1) * int(settings["eot"])
        # The images as they are, and two candidates of each loss.
        plain = 1 + 5 * draws_of(int(settings["confirm"]), True) * traits.runs
    else:
        asked = [_asked(name, settings) for name in names_of(str(settings["attacks"]))]
        # Before its attacks the library looks 5 + 1 + 1 times for signs of trouble, then scores.
        plain = 1 + 8 + sum(plain for plain, _ in asked)
        graded = sum(graded for _, graded in asked)
    return plain, graded


def _asked(name: str, settings: Settings) -> tuple[int, int]:
    """Runs (without, with) gradient of one of the library's attacks, first and last look too."""
    steps, targets = int(settings["steps"]), int(settings["targets"])
    if name == "square":
        return 4 + int(settings["queries"]), 0
    if name == "fab-t":
        return 2 + targets * (steps + 3), targets * steps
    if name == "apgd-t":
        return 2 + targets, targets * (steps + 1)
    return 2, steps + 1


@attack(
    "autoattack",
    source="Croce & Hein 2020; random defenses: APGD-CE and APGD-DLR with EOT",
    paper="Croce & Hein 2020",
    link="https://arxiv.org/abs/2003.01690",
    settings={
        "quick": {
            "attacks": "apgd-ce+apgd-t+square",
            "steps": 10,
            "targets": 3,
            "queries": 100,
            "random_steps": 10,
            "eot": 5,
            "confirm": 2,
        },
        "standard": {"random_steps": 50, "eot": 5},
    },
    skip=no_gradient,
    cost=_cost,
    knows=lambda settings: "blind" if settings["gradient"] == "blind" else "mixed",
    budget=(*BUDGET, "random_steps"),
)
def autoattack(
    *,
    attacks: str = "standard",
    steps: Annotated[int, Range(1)] = 100,
    targets: Annotated[int, Range(1)] = 9,
    queries: Annotated[int, Range(1)] = 5000,
    random_steps: Annotated[int, Range(1)] = 100,
    eot: Annotated[int, Range(1)] = 20,
    confirm: Annotated[int, Range(1)] = 4,
    gradient: Literal["blind", "bpda", "exact"] = "bpda",
) -> AutoAttack:
    """The library's ensemble; against random defenses a sound variant of its `rand` version.

    gradient=blind: on the bare classifier, whatever stands in front of it.
    """
    names_of(attacks)
    return AutoAttack(attacks, steps, targets, queries, random_steps, eot, confirm, gradient)
