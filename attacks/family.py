"""Every attack of the PGD family as one expression, and what it costs.

Keyword defaults are the papers'; presets say how much of them is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from torch import Tensor

from attacks.gradients import (
    Blind,
    Bpda,
    Direction,
    Displacement,
    Eot,
    Exact,
    Gradient,
    Score,
    draws_of,
    surrogate,
)
from attacks.keep import Keep
from attacks.losses import LossName
from attacks.pgd import PGD, Start
from attacks.transfer import BASE, StaticBase
from bench.api import Runs, Same, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.spec import Later, Range, Settings

Count = Annotated[int, Range(1)]
Share = Annotated[float, Range(0, 1)]
Step = Annotated[float, Range(0)]
Begin = Literal["own", "base"]
"""At the image or a random point; `base`: once more, at the bare classifier's strongest points."""
SHORT = {"quick": {"steps": 10}}
SHORT_EOT = {"quick": {"steps": 10, "eot": 5}}


def no_purifier(settings: Settings, traits: Traits) -> str | None:
    """Without a purifier the bare classifier's gradient is the only one there is."""
    alone = traits.identity and not traits.random  # else the classifier draws: EOT asks more of it
    return "no purifier: duplicate of classifier-pgd" if alone else None


def bare(settings: Settings, traits: Traits) -> str | None:
    """Without a purifier it is classifier-pgd, apart from where that starts."""
    if no_purifier(settings, traits):
        return Same("no purifier", "classifier-pgd", apart=("random_start",))
    return None


def bare_twice(settings: Settings, traits: Traits) -> str | None:
    """Without a purifier it is classifier-pgd or bpda: there are no draws to average over."""
    if no_purifier(settings, traits):
        return Same("no purifier", "classifier-pgd", "bpda", apart=("random_start", "eot"))
    return None


def deterministic(settings: Settings, traits: Traits) -> str | None:
    """One draw says it all, so EOT adds nothing to bpda."""
    repeated = None if traits.random else Same("deterministic defense", "bpda", apart=("eot",))
    return bare_twice(settings, traits) or repeated


def no_direction(settings: Settings, traits: Traits) -> str | None:
    """Joint attacks follow the purifier's direction."""
    missing = None if traits.direction else "no purification direction: bpda attacks it"
    return no_purifier(settings, traits) or missing


def not_exact(settings: Settings, traits: Traits) -> str | None:
    """Autograd through `forward` would not be the gradient of what the defense computes."""
    missing = None if traits.exact else "no exact gradient: bpda and square attack it"
    return bare_twice(settings, traits) or missing


def no_surrogate(settings: Settings, traits: Traits) -> str | None:
    """Only a purifier with a differentiable stand-in can be attacked through one."""
    missing = None if traits.surrogate else "no surrogate: bpda and pgd-exact attack it"
    return no_purifier(settings, traits) or missing


def started(start: Begin) -> Start | None:
    """Where one more restart begins: the points of `transfer:source=base`."""
    return StaticBase() if start == BASE else None


def begun(settings: Settings) -> int:
    """How often a PGD begins."""
    return int(settings.get("restarts", 1)) + (settings.get("start") == BASE)


def choosing(settings: Settings, traits: Traits) -> int:
    """Runs per image of a PGD that tell which of its points is the best one."""
    steps, restarts = int(settings["steps"]), begun(settings)
    best = settings.get("keep") == "best"
    points = 1 + restarts * (steps if best else 1) if best or restarts > 1 else 0
    return points * draws_of(PGD.select, traits.random) * traits.runs


def looks(settings: Settings) -> int:
    """Gradients per image of a PGD, each over its EOT draws.

    One more than steps of each start where the highest loss is kept.
    """
    return (int(settings["steps"]) + (settings.get("keep") == "loss")) * begun(settings)


def drawn(settings: Settings, traits: Traits) -> int:
    """Runs per image of a PGD for its gradients: looks x EOT draws."""
    return looks(settings) * draws_of(int(settings.get("eot", 1)), traits.random)


def bpda_runs(settings: Settings, traits: Traits) -> Runs:
    """Every run without a gradient through the purifier."""
    return Runs(plain=choosing(settings, traits), bpda=drawn(settings, traits))


def exact_runs(settings: Settings, traits: Traits) -> Runs:
    """Every run with its gradient."""
    return Runs(plain=choosing(settings, traits), exact=drawn(settings, traits))


def surrogate_runs(settings: Settings, traits: Traits) -> Runs:
    """Every gradient through the stand-in; the defense itself only chooses."""
    return Runs(plain=choosing(settings, traits), surrogate=drawn(settings, traits))


def blind_runs(settings: Settings, traits: Traits) -> Runs:
    """The bare classifier's gradients; the defense itself only chooses."""
    return Runs(plain=choosing(settings, traits), blind=looks(settings))


@dataclass(frozen=True)
class Clean:
    """The images as they are."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Returns x [B,C,H,W] itself."""
        return Attacked(x)


@attack("clean", norms=("none",), knows="little")
def clean() -> Clean:
    """No attack."""
    return Clean()


@attack(
    "classifier-pgd",
    source="Yoon et al. 2021, Table 1",
    paper="Madry et al. 2018",
    link="https://arxiv.org/abs/1706.06083",
    settings=SHORT,
    cost=blind_runs,
    knows="blind",
)
def classifier_pgd(
    *,
    steps: Count = 40,
    step: Step = 0.25,
    random_start: bool = True,
    restarts: Count = 1,
    loss: LossName = "ce",
) -> PGD:
    """PGD on the bare classifier: the attacker knows of no purifier."""
    return PGD(Blind(loss), steps, step, random_start, restarts)


@attack(
    "bpda",
    paper="Athalye et al. 2018",
    link="https://arxiv.org/abs/1802.00420",
    settings=SHORT,
    skip=bare,
    cost=bpda_runs,
    knows="all",
    follows="bpda",
)
def bpda(
    *,
    steps: Count = 40,
    step: Step = 0.25,
    random_start: bool = False,
    restarts: Count = 1,
    keep: Keep = "last",
    loss: LossName = "ce",
) -> PGD:
    """PGD with the classifier's gradient at the purified image."""
    return PGD(Bpda(loss), steps, step, random_start, restarts, keep)


@attack(
    "bpda-eot",
    source="Yoon et al. 2021, section 5.1.2: 40 steps, 15 draws",
    paper="Athalye et al. 2018",
    link="https://arxiv.org/abs/1802.00420",
    settings=SHORT_EOT,
    skip=deterministic,
    cost=bpda_runs,
    knows="all",
    follows="bpda",
)
def bpda_eot(
    *,
    steps: Count = 40,
    eot: Count = 15,
    step: Step = 0.25,
    random_start: bool = False,
    restarts: Count = 1,
    keep: Keep = "last",
    loss: LossName = "ce",
) -> PGD:
    """BPDA averaged over the defense's randomness."""
    return PGD(Eot(Bpda(loss), eot), steps, step, random_start, restarts, keep)


At = Literal["purified", "x"]


def looking(at: At, loss: LossName, eot: int) -> Gradient:
    """The classifier's gradient at the purified image (BPDA, EOT), or at x."""
    return Eot(Bpda(loss), eot) if at == "purified" else Blind(loss)


def _score_runs(settings: Settings, traits: Traits) -> Runs:
    """The gradient's runs and one direction for each look."""
    runs = bpda_runs if settings["at"] == "purified" else blind_runs
    return replace(runs(settings, traits), direction=looks(settings))


def _full_runs(settings: Settings, traits: Traits) -> Runs:
    """The gradient's runs give the displacement too, unless they purify nothing."""
    if settings["at"] == "purified":
        return bpda_runs(settings, traits)
    return replace(blind_runs(settings, traits), purified=drawn(settings, traits))


@attack(
    "joint-score",
    source="Yoon et al. 2021, Table 1 and section 5.1.2",
    paper="Yoon et al. 2021",
    link="https://arxiv.org/abs/2106.06041",
    settings=SHORT_EOT,
    skip=no_direction,
    cost=_score_runs,
    knows="all",
)
def joint_score(
    *,
    steps: Count = 40,
    eot: Count = 15,
    step: Step = 0.25,
    weight: Share = 0.5,
    at: At = "purified",
    restarts: Count = 1,
    loss: LossName = "ce",
) -> PGD:
    """BPDA that also follows the score, to where purification would change little.

    at: the classifier's gradient at the purified image, as the paper's EOT runs need, or at x,
    as its Table 1 prints.
    """
    direction: Direction = Score()
    return PGD(
        looking(at, loss, eot), steps, step, restarts=restarts, direction=direction, weight=weight
    )


@attack(
    "joint-full",
    source="Yoon et al. 2021, Table 1 and section 5.1.2",
    paper="Yoon et al. 2021",
    link="https://arxiv.org/abs/2106.06041",
    settings=SHORT_EOT,
    skip=no_direction,
    cost=_full_runs,
    knows="all",
)
def joint_full(
    *,
    steps: Count = 40,
    eot: Count = 15,
    step: Step = 0.25,
    weight: Share = 0.5,
    at: At = "purified",
    restarts: Count = 1,
    loss: LossName = "ce",
) -> PGD:
    """BPDA that also follows the whole purification's displacement P(x) - x (`at`: joint-score)."""
    direction: Direction = Displacement(eot)
    return PGD(
        looking(at, loss, eot), steps, step, restarts=restarts, direction=direction, weight=weight
    )


@attack(
    "pgd-exact",
    source="Lee & Kim 2023: 200 steps, 20 draws; through the defense itself, not a surrogate",
    paper="Lee & Kim 2023",
    link="https://arxiv.org/abs/2303.09051",
    # ImageNet: 20 steps, as in their script.
    settings={
        "quick": {"steps": 10, "eot": 5},
        "standard": {"steps": 40, "eot": 10},
        "imagenet": {"steps": 20},
        "standard@imagenet": {"steps": 20},
    },
    skip=not_exact,
    cost=exact_runs,
    knows="all",
    follows="exact",
)
def pgd_exact(
    *,
    steps: Count = 200,
    eot: Count = 20,
    step: Step = 0.25,
    random_start: bool = False,
    restarts: Count = 1,
    keep: Keep = "last",
    loss: LossName = "ce",
    start: Annotated[Begin, Later()] = "own",
) -> PGD:
    """PGD with the gradient through the whole purification, averaged over its randomness.

    start=base: one more restart, from the points of `transfer:source=base`.
    """
    follow = Eot(Exact(loss), eot)
    return PGD(follow, steps, step, random_start, restarts, keep, start=started(start))


@attack(
    "pgd-surrogate",
    source="Zhang et al. 2023, section 4.2.2 and C.3: 20 steps, 20 draws; after Lee & Kim 2023",
    paper="Zhang et al. 2023",
    link="https://arxiv.org/abs/2307.04333",
    settings={"quick": {"steps": 10, "eot": 5}, "standard": {"eot": 10}},
    skip=no_surrogate,
    cost=surrogate_runs,
    knows="all",
)
def pgd_surrogate(
    *,
    steps: Count = 20,
    eot: Count = 20,
    step: Step = 0.25,
    random_start: bool = False,
    restarts: Count = 1,
    keep: Keep = "last",
    loss: LossName = "ce",
) -> PGD:
    """PGD with the gradient of a stand-in that the defense names, such as one-shot denoising."""
    return PGD(Eot(surrogate(loss), eot), steps, step, random_start, restarts, keep)
