"""A trained network back from its file alone: the metadata say how to build it."""

from __future__ import annotations

import json

from torch import nn

from bench.errors import BenchError
from bench.nets import make
from bench.nets.normalised import Normalised
from bench.zoo.weights import Weights, load_into


def rebuild(weights: Weights) -> nn.Module:
    """The network in `weights`, frozen and in eval mode; takes [B,C,H,W] in [0,1].

    A classifier comes wrapped in its normalisation layer and gives logits [B,K]; a score network
    gives s(x) like x. Raises BenchError when the file does not say what it holds or does not fit.
    """
    facts = weights.metadata
    try:
        name, arguments = facts["network"], dict(json.loads(facts["arguments"]))
        layer = json.loads(facts.get("normalisation", "null"))
        normalisation = layer and [[float(v) for v in layer[key]] for key in ("mean", "std")]
    except (KeyError, TypeError, ValueError):
        raise BenchError(
            f"weights {weights.path} do not say which network they are of "
            "(metadata 'network' and 'arguments'); files written by bench train do"
        ) from None
    network = make(name, arguments)
    load_into(network, weights)
    if normalisation:
        network = Normalised(network, *normalisation)
    return network.eval().requires_grad_(False)
