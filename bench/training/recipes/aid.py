"""Discriminators of AID-Purifier (Hwang et al. 2021), each on one frozen classifier.

SGD at .01 with momentum .9 and weight decay 2e-4, one epoch (Appendix A.3); the paper names no
settings of the PGD on the classifier, which takes those of the published code: the attack's eps,
twice that on TinyImageNet. `patches` follow the paper's rows of CIFAR-10, `digits` those of SVHN,
at an eighth of the width; one epoch of their data are several of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.api import OWNER, Base
from bench.api.images import DatasetInfo
from bench.errors import BenchError
from bench.models.nets.aid import PAPER, Trained, pooled
from bench.training import avmixup, merit
from bench.training.fit import Fit
from bench.training.recipes.published import published
from bench.training.recipes.recipe import SIZES, Recipe, flip

AddOn = Callable[[DatasetInfo, Base], Recipe]


class Printed(NamedTuple):
    """What the paper and its code set per data set (A.2, A.3 and the code's command lines)."""

    gamma: float
    size: float
    """Step of PGD, in units of its eps."""
    branch: int
    """Linear layers of a branch, 1024 wide; one less in the code."""
    trunk: tuple[int, ...]
    code_trunk: tuple[int, ...]
    code_used: tuple[int, ...] = (0, 2)
    """The two of four taps that the code looks at."""
    reach: float = 1.0
    """eps of PGD, in units of the attack's."""


WIDTH = 1024
CIFAR = Printed(1.5, 1 / 8, 3, (2048, 1024, 512), (2048, 1024, 512))
SVHN = Printed(2.0, 1 / 6, 2, (1024, 512), (2048, 1024), (0, 3))
ROWS: Mapping[str, Printed] = {
    "patches": CIFAR,
    "digits": SVHN,
    "cifar10": CIFAR,
    "cifar100": CIFAR._replace(size=1 / 4),
    "svhn": SVHN,
    "tinyimagenet": CIFAR._replace(size=1 / 16, code_used=(1, 2), reach=2.0),
}
STEPS = {"patches": 250, "digits": 150}
"""Of 128 images, on embedded data."""


def aid(info: DatasetInfo, base: Base, trained: Trained = PAPER) -> Recipe:
    """The paper's discriminator, or one of those that it compares with (Tables 14 and 15)."""
    row, taps, width = ROWS[info.source], _taps(base), _narrowed(info)
    used: tuple[str, ...] = (taps[0], taps[-1])
    if trained.taps != "ends":
        used = tuple(_four(base)[int(number) - 1] for number in trained.taps.split("+"))
    shape = {"width": width(WIDTH), "branch": row.branch, "trunk": [*map(width, row.trunk)]}
    return _recipe("aid", {**_maps(base, used, info), **shape}, info, base, trained)


VARIANTS: Mapping[str, AddOn] = {
    f"aid{trained.suffix}-{OWNER}": partial(aid, trained=trained) for trained in Trained.all()
}
"""By the name of their weights; the paper's is the first."""


def aid_code(info: DatasetInfo, base: Base) -> Recipe:
    """The published code's discriminator on all four maps, two of them blanked."""
    row, taps, width = ROWS[info.source], _four(base), _narrowed(info, 2)
    shape = {
        "width": width(WIDTH),
        "branch": row.branch - 1,
        "trunk": [*map(width, row.code_trunk)],
        "used": list(row.code_used),
    }
    return _recipe("aid-code", {**_maps(base, taps, info), **shape}, info, base)


def _narrowed(info: DatasetInfo, more: int = 1) -> Callable[[int], int]:
    """Published widths as they are; of compact networks an eighth, or `more` times less."""
    small = info.name in SIZES or info.images_of
    return lambda width: width // (8 * more) if small else width


def _taps(base: Base) -> tuple[str, ...]:
    taps = base.taps()
    if len(taps) < 2:
        raise BenchError(f"aid reads two maps of the classifier; '{base.part}' offers none")
    return taps


def _four(base: Base) -> tuple[str, ...]:
    taps = _taps(base)
    if len(taps) != 4:
        raise BenchError(f"aid needs 4 maps for that; classifier '{base.part}' offers {len(taps)}")
    return taps


@torch.no_grad()
def _maps(base: Base, taps: tuple[str, ...], info: DatasetInfo) -> dict[str, Any]:
    network = base.module()
    device = next(network.parameters()).device
    maps = pooled(network, torch.zeros(1, *info.shape, device=device), taps)
    return {"taps": list(taps), "widths": [h.shape[1] for h in maps]}


def _recipe(
    network: str, arguments: dict[str, Any], info: DatasetInfo, base: Base, trained: Trained = PAPER
) -> Recipe:
    row, classifier = ROWS[info.source], base.module()
    augment: Callable[[Tensor], Tensor] | None
    if info.name in SIZES:
        sizes = SIZES[info.name]
        eps, steps, augment = sizes.eps_merit, STEPS[info.name], flip if sizes.flips else None
        figures = _auroc(classifier, eps)
    else:
        data = published(info)
        eps, steps, augment = data.eps, data.steps(1, 128), data.augment
        figures = merit.by_parts(_auroc(classifier, eps), 512, 32)
    radius = row.reach * eps
    loss = avmixup.contrast(classifier)
    if trained.target == "adversarial":
        size, augmented = row.size * radius, trained.augment
        loss = avmixup.discriminate(classifier, radius, size, row.gamma, augment=augmented)
    return Recipe(
        network,
        arguments,
        loss,
        Fit(steps, lr=0.01, optimizer="momentum", weight_decay=2e-4, schedule="constant"),
        figures,
        augment,
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
