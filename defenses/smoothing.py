"""Randomized smoothing (Cohen et al. 2019): the class that most noisy copies of an image get.

Noise is added to the pixels before normalisation, as in the authors' code. What differs: images
are clipped to [0,1] after it, which belongs to the base classifier and leaves every certificate
as it is; and a close vote is decided instead of abstaining.
"""

from __future__ import annotations

from typing import Annotated

from bench.api import Context, defense
from bench.api.purifier import Traits
from bench.spec import Range
from defenses.controls import Gaussian


@defense(
    "smoothing",
    source="Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing",
    paper="Cohen et al. 2019",
    link="https://arxiv.org/abs/1902.02918",
    # sigma: what `noisy` was trained with (bench/training/recipes). runs: affordable here. Fetched
    # data: the defaults, of the paper's four levels the one that ADP compares with (Fig. 4).
    settings={"patches": {"sigma": 0.1, "runs": 32}, "digits": {"sigma": 0.25, "runs": 32}},
    traits=lambda settings: Traits(random=True, runs=int(settings["runs"]), vote="majority"),
)
def smoothing(
    context: Context,
    *,
    sigma: Annotated[float, Range(1e-6, 1)] = 0.25,
    runs: Annotated[int, Range(1, 100_000)] = 100,
) -> Gaussian:
    """Majority vote over noisy copies; meant for a classifier trained on noise (`@noisy`).

    `runs=100` is the number of draws by which the paper selects a class; its certificates use
    100,000.
    """
    return Gaussian(sigma)
