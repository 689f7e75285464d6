"""How far BPDA's gradient points where the exact one does: a diagnostic of both.

In each run the gradient of the classifier at the purified image is BPDA's, and the exact one is
that same vector pulled back through the purifier. So both are means over the same draws, which cost
no more than the exact gradient, and their angle is what the identity leaves out.
"""

from __future__ import annotations

from attacks.family import SHORT_EOT, Count, Step
from attacks.gradients import Eot, Exact, draws_of
from attacks.losses import LossName
from attacks.pgd import PGD, Followed
from bench.api import Runs, attack
from bench.api.purifier import Traits
from bench.spec import Settings
from bench.threat import PROBE


def _one_gradient(settings: Settings, traits: Traits) -> str | None:
    """Two gradients take a purifier, and one that has an exact one."""
    if traits.identity:
        return "no purifier: one gradient, nothing to compare"
    return None if traits.exact else "no exact gradient: nothing to compare with BPDA's"


def _runs(settings: Settings, traits: Traits) -> Runs:
    looks = int(settings["steps"]) + 1
    return Runs(exact=looks * draws_of(int(settings["eot"]), traits.random))


@attack(
    "gradient-cosine",
    source="BPDA: Athalye et al. 2018",
    paper="Athalye et al. 2018",
    link="https://arxiv.org/abs/1802.00420",
    settings=SHORT_EOT,
    skip=_one_gradient,
    cost=_runs,
    threat=lambda settings, ball: f"{PROBE}:{ball}",
    knows="all",
    aside="a diagnostic of BPDA, whose finding stands under the notes",
)
def gradient_cosine(
    *, steps: Count = 20, eot: Count = 20, step: Step = 0.25, loss: LossName = "ce"
) -> Followed:
    """The angle between the exact and BPDA's gradient on an exact search: in no worst case."""
    return Followed(PGD(Eot(Exact(loss, compare=True), eot), steps, step, keep="loss"))
