"""Losses that an attack climbs, per image and from logits or log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BenchError

Loss = Callable[[Tensor, Tensor], Tensor]
LossName = Literal["ce", "margin", "dlr", "pma"]
AnyLoss = Literal[LossName, "dlr-t"]
"""With those that need a target: their labels are [B,2], the right class and the one aimed at."""
Climbed = Literal[AnyLoss, "gap"]
"""With what no one sets: the plain difference of those two logits."""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of `logits` [B,K] at labels `y` [B], [B] >= 0."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Best wrong logit minus the right one, [B]; positive where broken (Carlini & Wagner 2017)."""
    index = y.unsqueeze(1)
    right = logits.gather(1, index).squeeze(1)
    return logits.scatter(1, index, float("-inf")).amax(1) - right


def probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """1 + highest wrong softmax - the right one, [B] from 0 to 2; above 1 where broken.

    PMA's loss (Xie et al. 2024): it looks at logits where they decide, as `margin` does, and weighs
    images and draws by how near they are to it. The 1 is that of all classes together: what is left
    has digits, and a gradient in every logit, where float32 rounds the right softmax to 1.
    """
    wrong = logits.log_softmax(1).scatter(1, y.unsqueeze(1), float("-inf")).exp()
    return wrong.amax(1) + wrong.sum(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio, [B]: the margin over the gap from first to third logit.

    Unchanged by shift and scale of the logits (Croce & Hein 2020, eq. 6).

    Raises:
        BenchError: fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise BenchError("loss=dlr needs at least 3 classes; use loss=ce or loss=margin")
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, goal: Tensor) -> Tensor:
    """The target's logit minus the right one over a gap of logits, [B] (Croce & Hein 2020, eq. 8).

    goal: [B,2], the right class and the target.

    Raises:
        BenchError: fewer than four classes.
    """
    if logits.shape[1] < 4:
        raise BenchError("loss=dlr-t needs at least 4 classes; use loss=ce or loss=margin")
    right, target = logits.gather(1, goal).unbind(1)
    top = logits.topk(4, dim=1).values
    return (target - right) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def gap(logits: Tensor, goal: Tensor) -> Tensor:
    """The target's logit minus the right one, [B]; goal as in `targeted_dlr`."""
    right, target = logits.gather(1, goal).unbind(1)
    return target - right


LOSSES: dict[Climbed, Loss] = {
    "ce": cross_entropy,
    "margin": margin,
    "dlr": dlr,
    "pma": probability_margin,
    "dlr-t": targeted_dlr,
    "gap": gap,
}


def expected_vote(loss: Climbed, losses: Tensor) -> tuple[Tensor, Tensor]:
    """What copies of an image lose a vote by: a loss [B], and the weight of each copy [draws,B].

    losses: of each copy, [draws,B]. A copy votes for the label with a chance: its softmax there,
    which is exp(-loss) of cross-entropy, and of a margin m the logistic 1 / (1 + exp(m)). The loss
    is minus the log of the mean of those chances, of a margin the log of the mean of what is left.
    A margin of probabilities is made of chances already: its mean.
    Its gradient is along the sum of weights times each copy's own; the weights sum to 1.
    """
    if loss == "pma":
        return losses.mean(0), torch.full_like(losses, 1 / len(losses))
    count = torch.tensor(float(len(losses)), device=losses.device).log()
    if loss == "ce":
        return count - (-losses).logsumexp(0), (-losses).softmax(0)
    wrong, right = F.logsigmoid(losses), F.logsigmoid(-losses)
    return wrong.logsumexp(0) - count, (wrong + right).softmax(0)


def climbed(loss: Climbed, logits: Tensor, y: Tensor) -> Tensor:
    """The loss, [B], of copies that it may write into."""
    return LOSSES[loss](logits.clone(), y.clone())
