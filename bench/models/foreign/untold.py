"""What changes a network but is no tensor: its activation, its epsilons, its own normalisation.

A network that was pickled whole says it, and it is used or refused. A bare state dict does not: the
choice is typed, or it is the publishers' and counts as assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from bench.errors import BenchError, plain
from bench.models.foreign.layouts import LAYOUTS, Recognised
from bench.models.foreign.states import Module, State

CHOICES = ("relu", "swish")
"""Activations that can be named."""
OPEN = {"wideresnet-dm"}
"""Networks that are built with either; the others have that of their layout."""
ACTIVATIONS: Mapping[str, str] = {
    **{"ReLU": "relu", "SiLU": "swish", "Swish": "swish", "_Swish": "swish"},
    **{
        kind: kind.lower()
        for kind in (
            *("LeakyReLU", "PReLU", "RReLU", "ReLU6", "ELU", "CELU", "SELU", "GELU", "Mish"),
            *("Softplus", "Hardswish", "Hardtanh", "Tanh", "Sigmoid"),
        )
    },
}
"""Classes of modules, and what they compute."""
COMPARED = ("kernel_size", "stride", "dilation", "groups", "padding_mode", "ceil_mode", "p")
"""Attributes that must be the same. Margins are not: some networks pad before a convolution."""
PASSIVE = ("Dropout", "Dropout2d", "Identity", "Flatten")
"""Layers that do nothing here: networks are measured in eval mode."""
NORMALISING = ("mean", "std", "mu", "sigma")


def chosen(found: Recognised, state: State, activation: str, where: str) -> tuple[Recognised, str]:
    """The network with its activation, and what was assumed of it ("activation swish assumed").

    activation: as typed, or nothing. Raises BenchError where file, type and network disagree.
    """
    usual = LAYOUTS[found.network].activation
    told = sorted(
        {ACTIVATIONS[name] for m in state.modules.values() if (name := m.kind.name) in ACTIVATIONS}
    )
    if not usual:
        if activation:
            raise BenchError(f"weights {where} are of '{found.network}', which has its activation")
        return found, ""
    if activation and told and told != [activation]:
        raise BenchError(f"weights {where} say activation {' and '.join(told)}, not {activation}")
    kinds = [activation] if activation else told or [usual]
    allowed = CHOICES if found.network in OPEN else (usual,)
    if len(kinds) > 1 or kinds[0] not in allowed:
        raise BenchError(
            f"weights {where} are of '{found.network}' with activation {' and '.join(kinds)}; it "
            f"is built with {' or '.join(allowed)} here"
        )
    if kinds[0] != usual:
        found = replace(found, arguments={**found.arguments, "activation": kinds[0]})
    return found, "" if activation or told else f"activation {usual} assumed"


def take_over(network: nn.Module, state: State, where: str, *, normalised: bool) -> None:
    """Give `network` the epsilons of the pickled one; refuse other differences that are told.

    normalised: whether it was typed what images are normalised with.
    """
    ours = dict(network.named_modules())
    for name, module in state.modules.items():
        own = [key for key in NORMALISING if key in module.values or key in module.aside]
        if own and not normalised:
            raise BenchError(
                f"weights {where}: its {plain(module.kind.name)} has a '{own[0]}' of its own that "
                "may normalise images; say what does: PATH#NAME (such as #none, #cifar10)"
            )
        if name in ours:
            _take_over(ours[name], module, f"weights {where}: '{plain(name)}'")


def _take_over(ours: nn.Module, module: Module, what: str) -> None:
    kind = type(ours).__name__
    theirs = module.kind.name
    leaf = not list(ours.children()) and type(ours).__module__.startswith("torch.nn")
    if not leaf or not module.kind.module.startswith("torch.nn"):
        return
    if kind in PASSIVE or theirs in PASSIVE:
        return
    if kind != theirs:
        raise BenchError(f"{what} is a {plain(theirs)}, here it is a {kind}")
    for key in COMPARED:
        if key in module.values and _pair(module.values[key]) != _pair(getattr(ours, key, None)):
            said, here = plain(module.values[key]), getattr(ours, key, None)
            raise BenchError(f"{what} has {key}={said}, here it has {here}")
    if isinstance(ours, nn.modules.batchnorm._BatchNorm):
        eps = module.values.get("eps", ours.eps)
        if not isinstance(eps, float) or not 0 < eps < 1:
            raise BenchError(f"{what} has eps={plain(eps)}, which is no small number")
        ours.eps = eps


def _pair(value: Any) -> Any:
    """`2` and `(2, 2)` are the same size."""
    return tuple(value) if isinstance(value, list | tuple) else (value, value)
