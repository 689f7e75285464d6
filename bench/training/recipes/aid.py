"""Discriminators of AID-Purifier (Hwang et al. 2021), each on one frozen classifier.

SGD at .01 with momentum .9 and weight decay 2e-4 (Appendix A.3); the paper names no settings of the
PGD on the classifier, which takes the attack's eps as the published code does. `patches` follow the
paper's rows of CIFAR-10, `digits` those of SVHN, at an eighth of the width. One epoch of their data
are several of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.data.base import DatasetInfo
from bench.errors import BenchError
from bench.nets.aid import pooled
from bench.registry import Base
from bench.training import avmixup, merit
from bench.training.fit import Fit
from bench.training.recipes.recipe import Recipe, Sizes, flip

AddOn = Callable[[DatasetInfo, Sizes, Base], Recipe]
WIDTH = 128


class Row(NamedTuple):
    """What the paper and its code set per data set (A.2, A.3 and the code's command lines)."""

    gamma: float
    size: float
    """Step of PGD, in units of eps."""
    steps: int
    """Of 128 images."""
    branch: int
    trunk: tuple[int, ...]
    code_branch: int
    code_trunk: tuple[int, ...]
    code_used: tuple[int, ...]
    """The two of four taps that the code looks at."""


CIFAR = Row(1.5, 1 / 8, 250, 3, (2 * WIDTH, WIDTH, WIDTH // 2), 2, (256, 128, 64), (0, 2))
SVHN = Row(2.0, 1 / 6, 150, 2, (WIDTH, WIDTH // 2), 1, (256, 128), (0, 3))
ROWS = {"patches": CIFAR, "digits": SVHN}


def aid(info: DatasetInfo, sizes: Sizes, base: Base) -> Recipe:
    """The paper's discriminator on the classifier's first map and its last."""
    row, taps = ROWS[info.name], _taps(base)
    used = (taps[0], taps[-1])
    shape = {"width": WIDTH, "branch": row.branch, "trunk": list(row.trunk)}
    return _recipe("aid", {**_maps(base, used, info), **shape}, info, sizes, base)


def aid_code(info: DatasetInfo, sizes: Sizes, base: Base) -> Recipe:
    """The published code's discriminator, half as wide, on all four maps, two of them blanked."""
    row, taps = ROWS[info.name], _taps(base)
    if len(taps) != 4:
        raise BenchError(f"aid-code needs 4 maps; classifier '{base.part}' offers {len(taps)}")
    shape = {
        "width": WIDTH // 2,
        "branch": row.code_branch,
        "trunk": [width // 2 for width in row.code_trunk],
        "used": list(row.code_used),
    }
    return _recipe("aid-code", {**_maps(base, taps, info), **shape}, info, sizes, base)


def _taps(base: Base) -> tuple[str, ...]:
    taps = base.taps()
    if len(taps) < 2:
        raise BenchError(f"aid reads two maps of the classifier; '{base.part}' offers none")
    return taps


@torch.no_grad()
def _maps(base: Base, taps: tuple[str, ...], info: DatasetInfo) -> dict[str, Any]:
    network = base.module()
    device = next(network.parameters()).device
    maps = pooled(network, torch.zeros(1, *info.shape, device=device), taps)
    return {"taps": list(taps), "widths": [h.shape[1] for h in maps]}


def _recipe(
    network: str, arguments: dict[str, Any], info: DatasetInfo, sizes: Sizes, base: Base
) -> Recipe:
    row, eps, classifier = ROWS[info.name], sizes.eps_merit, base.module()
    return Recipe(
        network,
        arguments,
        avmixup.discriminate(classifier, eps, row.size * eps, row.gamma),
        Fit(row.steps, lr=0.01, optimizer="momentum", weight_decay=2e-4, schedule="constant"),
        _auroc(classifier, eps),
        flip if sizes.flips else None,
        normalised=False,
    )


def _auroc(classifier: nn.Module, eps: float) -> merit.Merit:
    def clean(module: nn.Module, x: Tensor) -> Tensor:
        taps, sign = module.taps, module.clean
        assert isinstance(taps, tuple)
        assert isinstance(sign, int)
        logit: Tensor = sign * module(pooled(classifier, x, taps)).flatten()
        return logit

    return merit.detection(classifier, clean, eps)
