"""Networks under the names of their papers: plain modules that know no defense and no data set."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from bench.errors import BenchError, unknown

NETWORKS: Mapping[str, str] = {
    "wideresnet": "bench.nets.wideresnet:WideResNet",
    "wideresnet-meliketoy": "bench.nets.wideresnet_meliketoy:WideResNet",
    "cnn": "bench.nets.cnn:CNN",
    "unet": "bench.nets.unet:ScoreUNet",
    "ncsnv2": "bench.nets.ncsnv2:NCSNv2",
}


def make(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network `name` with its constructor's `arguments`, randomly initialised.

    Raises BenchError for an unknown name or arguments that the network does not take.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    module, _, attribute = NETWORKS[name].partition(":")
    network_class = getattr(import_module(module), attribute)
    try:
        network = network_class(**arguments)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"network '{name}' cannot be built with {dict(arguments)}: {error}"
        ) from None
    assert isinstance(network, nn.Module)
    return network
