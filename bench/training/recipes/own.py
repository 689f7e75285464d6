"""Recipes that plug-ins declare (`bench.api.recipe`), as those of the project."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from bench.api.training import Named, Training
from bench.errors import BenchError, unknown
from bench.training.fit import OPTIMIZERS, SCHEDULES, Fit
from bench.training.recipes.recipe import Recipe

AT_ONCE = 256
"""Validation images on which the loss is taken together."""


def recipe(name: str, declared: Training) -> Recipe:
    """The recipe of weights `name`; BenchError for an optimiser or a schedule that is none."""
    if not isinstance(declared, Training):
        raise BenchError(f"recipe '{name}' gives {type(declared).__name__}, not bench.api.Training")
    for key, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        if (given := getattr(declared, key)) not in known:
            raise unknown(f"{key} of recipe '{name}'", given, known)
    settings = Fit(**{each.name: getattr(declared, each.name) for each in fields(Fit)})

    @torch.no_grad()
    def left(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        """The mean loss on the validation images."""
        parts = zip(torch.split(x, AT_ONCE), torch.split(y, AT_ONCE), strict=True)
        total = sum(declared.loss(network, a, b).item() * len(a) for a, b in parts)
        return {"loss": total / len(x)}

    named = declared.network if isinstance(declared.network, Named) else None
    return Recipe(
        named.name if named else name,
        named.arguments if named else {},
        declared.loss,
        settings,
        declared.merit or left,
        declared.augment,
        normalised=named is not None and named.standardised,
        half=declared.half,
        own=None if isinstance(declared.network, Named) else declared.network,
    )
