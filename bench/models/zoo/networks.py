"""A network back from its file alone: ours say how to build it, published ones are recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.api.context import Weights
from bench.errors import BenchError, plain, unknown
from bench.files.bounded import json_of
from bench.models.foreign import own_class, untold
from bench.models.foreign.layouts import LAYOUTS, NORMALISATIONS, USUAL, Recognised, recognise
from bench.models.foreign.states import read_state, stripped
from bench.models.nets import make
from bench.models.nets.normalised import Normalised
from bench.models.zoo.weights import load_state

SLACK = 1_000_000
"""Numbers that a network may have besides those of its file."""
LEAST = 50
"""Numbers that a tensor counts for at least: a million empty layers are no network either."""
COUNTER = "num_batches_tracked"
"""How many batches a BatchNorm was trained on: torch keeps it since 0.4.1, and nothing reads it."""
N = TypeVar("N", bound=nn.Module)


def normalised(
    network: nn.Module,
    mean: Sequence[float],
    std: Sequence[float],
    channels: int | None,
    where: str,
) -> nn.Module:
    """`network` behind its normalisation layer; `where` is the file that it came from.

    Raises BenchError unless there is one mean and one positive std for each of `channels` (None:
    not known), which broadcasting would otherwise hide.
    """
    if len(mean) != len(std) or len(mean) != (channels or len(mean)) or not all(s > 0 for s in std):
        raise BenchError(
            f"weights {where} cannot be normalised with mean {[*mean]} and std {[*std]}: one mean "
            f"and one positive std for each of {channels or 'the'} channels are needed"
        )
    return Normalised(network, mean, std)


def rebuild(weights: Weights, normalisation: str = "", activation: str = "") -> nn.Module:
    """The network in `weights`, frozen and in eval mode; takes [B,C,H,W] in [0,1].

    A file of ours says what it is; a published one is recognised by its tensors. A classifier
    comes wrapped in its normalisation layer and gives logits [B,K]; a score network gives s(x)
    like x. normalisation: a name of NORMALISATIONS for a published classifier; without one, what
    its publisher uses on the data set. activation: likewise, where the tensors leave it open; what
    nobody said is named in the network's `assumed`. Raises BenchError when the file does not say
    what it holds, does not fit, or is of no known layout.
    """
    if normalisation and normalisation not in NORMALISATIONS:
        raise unknown("normalisation", normalisation, NORMALISATIONS)
    if "network" not in weights.metadata:
        made = _published(weights, normalisation, activation)
    elif normalisation or activation:
        raise BenchError(
            f"weights {weights.path} say how they are normalised and built; drop what follows '#'"
        )
    else:
        made = _ours(weights)
    return made.eval().requires_grad_(False)


def filled(module: N, weights: Weights) -> N:
    """A network of one's own with the tensors of a file, frozen and in eval mode.

    The file is one of `bench train`, a state dict or a checkpoint that holds one; nothing in it is
    run. Raises BenchError that names the first tensor that does not fit.
    """
    if not weights.untrained:
        # A file is read without the prefixes of wrappers, which may be names of this very class.
        names = {stripped(key): key for key in module.state_dict()}
        tensors = read_state(weights).tensors
        renamed = {names.get(key, key): tensor for key, tensor in tensors.items()}
        fit_into(module, renamed, str(weights.path))
    return module.eval().requires_grad_(False)


def of_class(weights: Weights, name: str, normalisation: str = "") -> nn.Module:
    """The network that `module:Class` builds, with the tensors of a file, frozen, in eval mode.

    normalisation: a name of NORMALISATIONS, where the class expects normalised images.
    Raises BenchError where it cannot be built, or the file's tensors are not its own.
    """
    network = filled(own_class.built(name), weights)
    layer = NORMALISATIONS[normalisation or "none"]
    made = normalised(network, *layer, None, str(weights.path)) if layer else network
    return made.eval().requires_grad_(False)


def _ours(weights: Weights) -> nn.Module:
    facts = weights.metadata
    try:
        name, arguments = facts["network"], dict(json_of(facts["arguments"]))
        layer = json_of(facts.get("normalisation", "null"))
        normalisation = layer and [[float(v) for v in layer[key]] for key in ("mean", "std")]
    except (KeyError, TypeError, ValueError):
        raise BenchError(
            f"weights {weights.path} do not say which network they are of "
            "(metadata 'network' and 'arguments'); files written by bench train do"
        ) from None
    if weights.untrained:
        network = _untrained(name, arguments, weights.untrained)
    else:
        state = load_state(weights)
        where = str(weights.path)
        with _AtMost(2 * sum(tensor.numel() for tensor in state.values()) + SLACK, where):
            network = make(name, arguments)
        fit_into(network, state, where)
    if normalisation:
        mean, std = normalisation
        network = normalised(network, mean, std, arguments.get("channels"), str(weights.path))
    return network


def _untrained(name: str, arguments: Mapping[str, Any], values: str) -> nn.Module:
    if values == "random":
        return make(name, arguments)
    if values == "shapes":
        with torch.device("meta"):
            return make(name, arguments)
    with _Unset():
        network = make(name, arguments)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.detach().zero_()
    return network


class _Unset(TorchFunctionMode):
    """Random initial values are not drawn inside: they take longer than all the rest."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        drawn = func in (Tensor.normal_, Tensor.uniform_)
        if drawn or getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _published(weights: Weights, normalisation: str, activation: str) -> nn.Module:
    where = str(weights.path)
    state = read_state(weights)
    found, assumed = untold.chosen(recognise(state, where), state, activation, where)
    network = build(found, where)
    untold.take_over(network, state, where, normalised=bool(normalisation))
    usual = USUAL.get((found.network, weights.metadata.get("dataset", "")), "none")
    layer = NORMALISATIONS[normalisation or usual]
    channels = found.arguments.get("channels")
    made = normalised(network, *layer, channels, where) if layer else network
    if not normalisation and LAYOUTS[found.network].activation:  # a classifier
        assumed = ", ".join(filter(None, (assumed, f"normalisation {usual} assumed")))
    if assumed:
        made.assumed = assumed  # type: ignore[assignment]  # torch takes it for a module
    return made


def assumed(network: nn.Module) -> str:
    """What nobody said of a network that `rebuild` gave and was taken for granted, or nothing."""
    return str(getattr(network, "assumed", ""))


def build(found: Recognised, where: str) -> nn.Module:
    """A published network with its tensors, without a normalisation layer.

    Its sizes were read off a file that anyone may have made, so that it may not grow larger than
    the tensors that it is for.
    """
    with _AtMost(2 * sum(tensor.numel() for tensor in found.tensors.values()) + SLACK, where):
        network = make(found.network, found.arguments)
    fit_into(network, found.tensors, where)
    return network


class _AtMost(TorchFunctionMode):
    """Inside the block, new tensors hold at most so many numbers together."""

    def __init__(self, numbers: int, where: str) -> None:
        super().__init__()
        self.left, self.where = numbers, where

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        if function in (torch.empty, torch.zeros, torch.randn, torch.full):
            self.left -= max(
                made.numel(), LEAST
            )  # not written to yet, so not taken from memory either
            if self.left < 0:
                raise BenchError(
                    f"weights {self.where} do not fit: their shapes ask for a network that is "
                    "larger than they are"
                )
        return made


def rebuild_as(weights: Weights, what: str, *classes: type[N]) -> N:
    """As `rebuild`, and of one of `classes`, which a message calls `what` ("a score network")."""
    made = rebuild(weights)
    if not isinstance(made, classes):
        inside = made.network if isinstance(made, Normalised) else made
        raise BenchError(
            f"weights {weights.path} hold a {type(inside).__name__}; here {what} is needed"
        )
    return made


def fit_into(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into `module`; every key and shape must fit. `where` is what they are called.

    Plain numbers only: an imaginary part or a scale would be lost in silence. Files from before
    torch counted batches lack that count alone. Raises BenchError that names the first key that is
    missing, superfluous or of another shape.
    """
    wanted = module.state_dict()
    counts = {k: v for k, v in wanted.items() if k.rpartition(".")[2] == COUNTER}
    state = {**counts, **state}
    for key in [*wanted, *state]:
        if key not in state:
            problem = f"'{key}' is missing"
        elif key not in wanted:
            problem = f"'{plain(key)}' is not part of the network"
        elif state[key].shape != wanted[key].shape:
            problem = (
                f"'{key}' is {[*state[key].shape]} where the network has {[*wanted[key].shape]}"
            )
        elif odd := _odd(state[key], wanted[key]):
            problem = f"'{key}' is {odd}"
        else:
            continue
        raise BenchError(f"weights {where} do not fit {type(module).__name__}: {problem}")
    module.load_state_dict(state)


def _odd(given: Tensor, wanted: Tensor) -> str:
    """What keeps a tensor from being copied number by number, or nothing."""
    if given.is_meta:
        return "without content (a tensor of the device 'meta')"
    if given.layout != wanted.layout:
        return f"of the layout {given.layout}, not {wanted.layout}"
    if wanted.is_floating_point() and not given.is_floating_point():
        return f"of the type {given.dtype}, not {wanted.dtype}"
    return ""
