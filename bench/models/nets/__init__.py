"""Networks under the names of their papers: plain modules that know no defense and no data set."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from bench.errors import BenchError, unknown

NETWORKS: Mapping[str, str] = {
    "wideresnet": "bench.models.nets.wideresnet:WideResNet",
    "wideresnet-meliketoy": "bench.models.nets.wideresnet_meliketoy:MelikeToyWideResNet",
    "wideresnet-dm": "bench.models.nets.dm_wideresnet:DMWideResNet",
    "jem": "bench.models.nets.jem:JEMWideResNet",
    "nrp": "bench.models.nets.nrp:NRPDense",
    "nrp-resg": "bench.models.nets.nrp:NRPResidual",
    "disco": "bench.models.nets.disco:Disco",
    "igebm": "bench.models.nets.igebm:IGEBM",
    "magnet": "bench.models.nets.magnet:MagNetAutoencoder",
    "wgan": "bench.models.nets.wgan:WGAN",
    "soap-resnet": "bench.models.nets.soap:SoapResNet",
    "soap-resnet-rotation": "bench.models.nets.soap:SoapRotation",
    "soap-autoencoder": "bench.models.nets.soap:SoapAutoEncoder",
    "resnet": "bench.models.nets.resnet:ResNet",
    "resnet-projected": "bench.models.nets.resnet:projected",
    "resnet-bottleneck": "bench.models.nets.bottleneck:bottlenecks",
    "vgg": "bench.models.nets.vgg:VGG",
    "adp-simple-conv": "bench.models.nets.adp_simple:SimpleConv",
    "adp-simple-mlp": "bench.models.nets.adp_simple:SimpleMLP",
    "cnn": "bench.models.nets.cnn:CNN",
    "earlypool": "bench.models.nets.earlypool:EarlyPool",
    "aid": "bench.models.nets.aid:Discriminator",
    "aid-code": "bench.models.nets.aid:CodeDiscriminator",
    "unet": "bench.models.nets.unet:ScoreUNet",
    "ncsnv2": "bench.models.nets.ncsnv2:NCSNv2",
    "edm": "bench.models.nets.edm:compact",
    "edm-ddpmpp": "bench.models.nets.edm:ddpmpp",
    "edm-vp": "bench.models.nets.edm:baseline_vp",
    "guided": "bench.models.nets.guided:guided",
    "ebm": "bench.models.nets.ebm:EBM",
    "pixelcnnpp": "bench.models.nets.pixelcnnpp:PixelCNNpp",
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
