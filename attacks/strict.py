"""The searches of the group `strict`: what a reviewer asks of one who reports robustness.

Gradients go through every part of a defense that has an exact one and past every other part as in
BPDA; the record says which it was. Each restart hands over its point of the highest mean loss, and
fresh draws choose between restarts.
"""

from __future__ import annotations

from typing import Annotated, get_args

from attacks.family import Begin, Count, Step, begun, started
from attacks.gradients import Eot, Exact, draws_of
from attacks.losses import AnyLoss, LossName
from attacks.pgd import PGD, Followed, Strongest
from attacks.steps import Auto
from attacks.targets import CANDIDATES, Aim, Likeliest, aimed, check
from bench.api import Runs, attack
from bench.api.purifier import Traits
from bench.spec import Later, Settings, Value, joined_names

SOURCE = "after Croce et al. 2022 and Lee & Kim 2023"
QUICK: dict[str, Value] = {"steps": 10, "eot": 5, "restarts": 1, "select": 4}


ALLOWED: tuple[AnyLoss, ...] = (*get_args(LossName), "dlr-t")


def losses_of(text: str) -> tuple[AnyLoss, ...]:
    """Names of losses joined by `+`.

    Raises:
        BenchError: a name that is none, or one twice.
    """
    names = joined_names(text, ALLOWED, "loss", "losses")
    return tuple(loss for name in names for loss in ALLOWED if loss == name)


def _runs(settings: Settings, traits: Traits) -> Runs:
    """Every search looks once more than it steps; each restart and the image are chosen between."""
    losses = losses_of(str(settings.get("losses", settings.get("loss"))))
    restarts = len(losses) * begun(settings)
    chosen = (1 + restarts) * draws_of(int(settings["select"]), traits.random) * traits.runs
    ordered = draws_of(Likeliest.draws, traits.random) if "dlr-t" in losses else 0
    compared = CANDIDATES if ordered and settings.get("aim") == "malt" else 0
    looks = restarts * (int(settings["steps"]) + 1) + compared
    return Runs(plain=chosen + ordered, exact=looks * draws_of(int(settings["eot"]), traits.random))


def _known(settings: Settings, dataset: str) -> None:
    """Losses that are none are an error before anything runs, and targets that none has."""
    del dataset
    check(str(settings["aim"]), losses_of(str(settings["losses"])))


@attack(
    "pgd:protocol=strict",
    source=f"{SOURCE}: 200 steps, 20 draws",
    paper="Croce et al. 2022",
    link="https://arxiv.org/abs/2202.13711",
    settings={"quick": QUICK, "standard": {"steps": 100, "restarts": 1, "start": "own"}},
    cost=_runs,
    knows="all",
)
def pgd_strict(
    *,
    steps: Count = 200,
    eot: Count = 20,
    step: Step = 0.25,
    restarts: Count = 3,
    start: Begin = "base",
    select: Count = 20,
    loss: LossName = "ce",
) -> Followed:
    """PGD through the whole defense from random points and from the classifier's strongest."""
    follow = Eot(Exact(loss), eot, spread=True)
    search = PGD(follow, steps, step, True, restarts, start=started(start))
    return Followed(Strongest((search,), select))


@attack(
    "apgd:protocol=strict",
    source=f"{SOURCE}: 100 steps, CE, CW and targeted DLR",
    paper="Croce et al. 2022",
    link="https://arxiv.org/abs/2202.13711",
    settings={
        "quick": {**QUICK, "start": "own", "losses": "ce+margin"},
        "standard": {"steps": 50, "restarts": 1, "start": "own", "losses": "ce+margin"},
    },
    cost=_runs,
    fits=_known,
    knows="all",
)
def apgd_strict(
    *,
    steps: Count = 100,
    eot: Count = 20,
    step: Step = 2.0,
    restarts: Count = 3,
    start: Begin = "base",
    select: Count = 20,
    losses: str = "ce+margin+dlr-t",
    aim: Annotated[Aim, Later()] = "likeliest",
) -> Followed:
    """APGD through the whole defense along each of `losses`, the strongest point of all.

    losses=margin is CW; with dlr-t restart i aims at the i-th likeliest wrong class, with
    aim=malt at the i-th nearest by MALT.
    """
    searches = (
        PGD(
            Eot(Exact(loss), eot, spread=True),
            steps,
            step,
            True,
            restarts,
            targets=aimed(loss, aim, Eot(Exact("gap"), eot)),
            rule=Auto(),
            start=started(start),
        )
        for loss in losses_of(losses)
    )
    return Followed(Strongest(tuple(searches), select))
