"""Defenses without weights: every network of the right class and shape, with values of no use.

What a network costs does not depend on its values. So a defense is built by the same code as ever,
from files that only say which network they would hold, and each network is watched the first time
it is called: by `bench plan` for memory and for time. Until all of them were called the others give
zeros, so that a purification takes no time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from bench import api
from bench.api import OWNER, Context
from bench.api.context import Weights
from bench.api.images import DatasetInfo
from bench.api.purifier import CLASSIFIER, Defense, Network, Purifier
from bench.errors import BenchError
from bench.measure import build
from bench.models.zoo.entries import offered
from bench.models.zoo.weights import FILE, ROBUSTBENCH, find
from bench.spec import DEFAULT_CLASSIFIER, Part, parse_defense
from bench.training import needs
from bench.training.names import names
from bench.training.recipes import Recipe, add_on, recipe

Values = Literal["random", "zeros", "shapes"]
Call = Callable[..., Tensor]
Watch = Callable[[str, nn.Module, Call, tuple[Tensor, ...]], Tensor]
"""(name of a network, the network, how it is called, its arguments for one batch) -> its answer."""
META = torch.device("meta")
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class StandIns(Context):
    """A context whose weights are of no use; `watch` sees the first call of every network."""

    watch: Watch | None = None
    seen: list[_Watched] = field(default_factory=list)

    def network(
        self, module: nn.Module, name: str, call: Call | None = None, **more: Any
    ) -> Network:
        """As in `Context`; watched where anybody watches."""
        placed = module.to(self.device)
        if self.watch is not None:
            call = _Watched(partial(self.watch, name, placed, call or placed), self.seen)
            if name != CLASSIFIER:
                self.seen.append(call)
        return super().network(placed, name, call, **more)


class Enough(Exception):  # noqa: N818  # it is no error
    """Every network of the purifiers has been called: the rest of a run shows nothing more."""


class _Watched:
    """Passes the first call on; others get zeros of that shape, which depend on their input.

    Raises Enough at a second call, once all in `others` have had their first.
    """

    def __init__(
        self, watch: Callable[[tuple[Tensor, ...]], Tensor], others: list[_Watched]
    ) -> None:
        self.watch, self.others = watch, others
        self.shape: tuple[int, ...] | None = None

    def __call__(self, x: Tensor, *more: Tensor) -> Tensor:
        if self.shape is None:
            self.shape = tuple(self.watch((x, *more)).shape[1:])
        elif all(other.shape is not None for other in self.others):
            raise Enough
        still = 0 * x.flatten(1).sum(1)
        zeros = torch.zeros(len(x), *self.shape, dtype=x.dtype, device=x.device)
        return zeros + still.view(-1, *[1] * len(self.shape))


def context(
    dataset: str, device: torch.device | str, watch: Watch | None = None, values: Values = "random"
) -> StandIns:
    """Stand-ins for a data set's networks, on `device`; without `watch` they compute."""
    info = api.find_dataset(dataset).info
    if info is None:
        raise BenchError(f"data set '{dataset}' is registered without its facts (info=...)")
    device = torch.device(device)

    def train() -> Tensor:
        raise BenchError("stand-ins have no training images")

    @cache
    def weights(name: str) -> Weights:
        return replace(_weights(name, info, made), untrained=values)

    shape, classes = info.shape, len(info.classes)
    made = StandIns(info.name, shape, classes, device, weights, train)
    return made if watch is None else replace(made, watch=watch)


def defense(spec: str, context: StandIns) -> Defense:
    """The defense of a spec built of stand-ins, without the parts that call no network; not kept.

    Raises:
        BenchError: weights of which nobody says what network they hold.
    """
    parsed = parse_defense(spec)
    network = classifier(parsed.classifier, context)
    behind = build.behind(parsed.classifier, context, network.module)
    parts = [part for part in parsed.parts if calls_networks(part, context.dataset)]
    return Defense(network, [build.purifier(part, behind) for part in parts])


def classifier(part: Part, context: StandIns) -> Network:
    """The bare classifier, under its name."""
    return context.network(build.classifier(part, context), CLASSIFIER)


def purifier(part: Part, behind: Part, context: StandIns) -> Purifier:
    """One part of a defense; the classifier behind it is built where it asks for it."""
    return build.purifier(part, build.behind(behind, context))


def calls_networks(part: Part, dataset: str) -> bool:
    """Whether a purifier declares any call of a network."""
    plugin = api.find_defense(part.name)
    return bool(plugin.calls(dict(plugin.resolve(part, dataset).settings)))


def _recipe(name: str, info: DatasetInfo, context: Context) -> Recipe | None:
    """The recipe of weights, which says what network they hold; None where there is none.

    `context` gives the classifiers that add-ons belong to.
    """
    if name in names(info):
        return recipe(name, info)
    need = needs.add_ons(info.name).get(name)
    if need is None or need.classifier is None:
        return None
    return add_on(need.recipe, info, build.behind(need.classifier, context).behind)


def _weights(name: str, info: DatasetInfo, context: Context) -> Weights:
    """Facts without a file, unless the name is that of a file."""
    if name.startswith((FILE, ROBUSTBENCH)):
        return find(info.name, name)
    described = _recipe(name, info, context)
    entry = next((entry for entry in offered(info.name, name) if entry.network), None)
    if described is not None:
        facts = _facts(described.network, described.arguments)
        if described.normalised:
            ones = [1.0] * info.shape[0]
            facts["normalisation"] = json.dumps({"mean": [0.5] * len(ones), "std": ones})
    elif entry is not None:
        facts = _facts(entry.network, entry.arguments)
    else:
        raise BenchError(f"nobody says which network the weights '{name}' of {info.name} hold")
    if name in needs.add_ons(info.name):
        facts["classifier_sha256"] = ""
    return Weights(name, Path(name), "", facts)


def _facts(network: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    return {"network": network, "arguments": json.dumps(dict(arguments))}


def together(
    spec: str, dataset: str, measure: Callable[[Part | None, Part], Mapping[str, T]]
) -> dict[str, T]:
    """What `measure(part, classifier)` finds of every part of a defense and of its classifier.

    A part with weights that are not the classifier's own is measured in front of the default one,
    so that it is measured once. None stands for the classifier alone.
    """
    parsed, default = parse_defense(spec), Part(DEFAULT_CLASSIFIER)
    found: dict[str, T] = {}
    for typed in parsed.parts:
        plugin = api.find_defense(typed.name)
        part = plugin.resolve(typed, dataset)
        if calls_networks(part, dataset):
            needed = plugin.weights(dict(part.settings))
            own = not needed or any(OWNER in name for name in needed)
            found |= measure(part, parsed.classifier if own else default)
    return found | dict(measure(None, parsed.classifier))


def visit(part: Part | None, behind: Part, context: StandIns, x: Tensor) -> None:
    """Have a purifier's networks, or the classifier's, called."""
    with torch.no_grad(), suppress(Enough):
        if part is None:
            classifier(behind, context)(x)
        else:
            purifier(part, behind, context)(x)
