"""Networks under the names of their papers: plain modules that know no defense and no data set."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from bench.errors import BenchError, unknown

NETWORKS: Mapping[str, str] = {
    "wideresnet": "bench.nets.wideresnet:WideResNet",
    "wideresnet-meliketoy": "bench.nets.wideresnet_meliketoy:MelikeToyWideResNet",
    "wideresnet-dm": "bench.nets.dm_wideresnet:DMWideResNet",
    "vgg": "bench.nets.vgg:VGG",
    "adp-simple-conv": "bench.nets.adp_simple:SimpleConv",
    "adp-simple-mlp": "bench.nets.adp_simple:SimpleMLP",
    "cnn": "bench.nets.cnn:CNN",
    "aid": "bench.nets.aid:Discriminator",
    "aid-code": "bench.nets.aid:CodeDiscriminator",
    "unet": "bench.nets.unet:ScoreUNet",
    "ncsnv2": "bench.nets.ncsnv2:NCSNv2",
    "edm": "bench.nets.edm:compact",
    "edm-ddpmpp": "bench.nets.edm:ddpmpp",
    "edm-vp": "bench.nets.edm:baseline_vp",
    "guided": "bench.nets.guided:guided",
    "ebm": "bench.nets.ebm:EBM",
    "pixelcnnpp": "bench.nets.pixelcnnpp:PixelCNNpp",
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
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BenchError(
            f"network '{name}' cannot be built with {dict(arguments)}: {reason}"
        ) from None
    assert isinstance(network, nn.Module)
    return network
