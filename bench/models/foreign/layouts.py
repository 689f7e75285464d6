"""Published networks from their tensors alone: which network, how deep, how wide.

A state dict is recognised by its keys and its sizes are read off its shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.errors import BenchError, plain
from bench.models.foreign import igebm, score_sde, sizes
from bench.models.foreign.states import State

# Mean and standard deviation per channel of what published classifiers were trained on: the
# meliketoy repository (cifar10, cifar100), DeepMind's and RobustBench's (-dm), torchvision
# (imagenet), whose figures akamaster's ResNets for CIFAR-10 take too; kuangliu's take meliketoy's.
NORMALISATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]] | None] = {
    "none": None,
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar10-dm": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "cifar100-dm": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": ((0.1307,), (0.3081,)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
# What a layout's publisher normalises with, by (network, data set); anything else sees raw images.
USUAL = {
    ("wideresnet-meliketoy", "cifar10"): "cifar10",
    ("wideresnet-meliketoy", "cifar100"): "cifar100",
    **{
        (name, dataset): dataset
        for name in ("soap-resnet", "soap-resnet-rotation")
        for dataset in ("cifar10", "cifar100")
    },
    ("jem", "cifar10"): "half",
    ("wideresnet-dm", "cifar10"): "cifar10-dm",
    ("wideresnet-dm", "cifar100"): "cifar100-dm",
    ("resnet", "cifar10"): "imagenet",
    ("resnet-projected", "cifar10"): "cifar10",
    **{(name, "imagenet"): "imagenet" for name in ("vgg", "resnet-bottleneck")},
}
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How a network is recognised: the keys that tell it and its arguments from the shapes.

    prefix: what our wrapper puts before the published keys. kinds: the classes that a file may
    name, where the tensors alone do not tell the network; the first layout is that of a file that
    names none. activation: what its publishers put between the layers, where that is a matter of
    choice and not in the tensors.
    """

    keys: tuple[str, ...]
    arguments: Callable[[Tensors], dict[str, Any]]
    prefix: str = ""
    kinds: tuple[str, ...] = ()
    activation: str = ""


LAYOUTS: Mapping[str, Layout] = {
    "wideresnet": Layout(
        ("block1.layer.0.bn1.weight", "fc.weight"), sizes.robustbench, activation="relu"
    ),
    "jem": Layout(("f.layer1.0.conv1.weight", "class_output.weight"), sizes.jem),
    "nrp": Layout(("RRDB_trunk.0.RDB1.conv1.weight", "trunk_conv.weight"), sizes.nrp),
    "nrp-resg": Layout(("recon_trunk.0.conv1.weight", "conv_last.weight"), sizes.nrp_resg),
    "soap-resnet": Layout(
        ("layer2.0.shortcut.1.weight", "conv1.bias", "linear.weight"), sizes.soap_resnet
    ),
    "soap-resnet-rotation": Layout(
        ("resnet.layer2.0.shortcut.1.weight", "fc1.weight"), sizes.soap_rotation
    ),
    "soap-autoencoder": Layout(
        ("cls.weight", "conv4.weight", "fc2.weight"), sizes.soap_autoencoder
    ),
    "wideresnet-meliketoy": Layout(
        ("layer1.0.bn1.weight", "conv1.bias", "linear.weight"), sizes.meliketoy, activation="relu"
    ),
    "wideresnet-dm": Layout(
        ("init_conv.weight", "logits.weight"), sizes.deepmind, activation="swish"
    ),
    "resnet": Layout(
        ("bn1.weight", "layer1.0.bn2.weight", "layer3.0.conv1.weight", "linear.weight"),
        sizes.resnet,
        activation="relu",
    ),
    "resnet-projected": Layout(
        ("bn1.weight", "layer1.0.bn2.weight", "layer2.0.shortcut.0.weight", "linear.weight"),
        sizes.resnet_projected,
        activation="relu",
    ),
    "resnet-bottleneck": Layout(
        ("layer1.0.conv3.weight", "layer1.0.downsample.0.weight", "fc.weight"),
        sizes.bottlenecks,
        activation="relu",
    ),
    "vgg": Layout(("features.0.weight", "features.1.running_mean"), sizes.vgg, activation="relu"),
    "adp-simple-conv": Layout(
        ("conv2.weight", "fc1.weight", "fc2.weight"), sizes.simple_conv, activation="relu"
    ),
    "adp-simple-mlp": Layout(
        ("fc1.weight", "fc2.weight", "fc3.weight"), sizes.simple_mlp, activation="relu"
    ),
    "ncsnv2": Layout(("begin_conv.weight", "sigmas", "refine4.msf.convs.0.weight"), sizes.ncsnv2),
    "edm-ddpmpp": Layout(
        ("map_layer0.weight", "map_augment.weight"), sizes.song_unet, "model.", ("EDMPrecond",)
    ),
    "edm-vp": Layout(
        ("map_layer0.weight", "map_layer1.weight"), sizes.song_unet, "model.", ("VPPrecond",)
    ),
    "pixelcnnpp": Layout(("u_init.conv.weight_v", "nin_out.lin_a.weight_v"), sizes.pixelcnnpp),
    "guided": Layout(("time_embed.0.weight", "out.2.weight"), sizes.guided, "model."),
    "ebm": Layout(("f.0.weight", "f.2.weight", "f.4.weight"), sizes.ebm),
    "igebm": Layout(("stem.weight", "blocks.0.shift1.weight", "head.weight"), sizes.igebm),
}


@dataclass(frozen=True)
class Recognised:
    """A network, its arguments, and its tensors under the names of our class."""

    network: str
    arguments: dict[str, Any]
    tensors: dict[str, Tensor]


BY_CLASS = (
    "Name your own class after the file: none@file:{file}#mynet:Net is class Net of mynet.py, here "
    "or on PYTHONPATH, built without arguments (#mynet:Net,cifar10 normalises images first); or "
    'write a plug-in below it: @classifier("mine", weights=lambda settings: ("mine",)) def '
    'mine(context): return filled(Net(), context.weights("mine")); then --plugin mynet.py '
    "--defense none@mine --weights mine=FILE (CONTRIBUTING.md, A classifier)"
)
"""What to write for a network that nobody published."""


def recognise(state: State | Tensors, where: str) -> Recognised:
    """The published network that a state dict is of.

    Raises BenchError that names the layouts that are known.
    """
    found = state if isinstance(state, State) else State(dict(state))
    tensors = found.tensors
    if f"{score_sde.LIST}0.weight" in tensors:
        tensors, kind = _of_score_sde(tensors, where), "VPPrecond"
    elif igebm.FIRST in tensors:
        tensors, kind = _of_igebm(tensors, where), ""
    else:
        tensors, kind = _of_smoothing(tensors), found.kind
    for name, layout in LAYOUTS.items():
        named = kind in layout.kinds
        if not named and not (all(key in tensors for key in layout.keys) and _may_be(layout, kind)):
            continue
        try:
            arguments = layout.arguments(tensors)
        except (LookupError, TypeError, ValueError, ZeroDivisionError):  # of other dimensions
            continue
        if _sound(arguments):
            renamed = {layout.prefix + key: value for key, value in tensors.items()}
            return Recognised(name, arguments, renamed)
    first = plain(", ".join(list(tensors)[:3]), 200)
    raise BenchError(
        f"weights {where} are of no layout known here (keys {first} ...); known: "
        f"{', '.join(LAYOUTS)}, score-SDE's DDPM++, and files written by bench train. "
        + BY_CLASS.format(file=where)
    )


def _may_be(layout: Layout, kind: str) -> bool:
    """Whether a class that a file names leaves the layout open; a few name a network exactly."""
    exact = {name for other in LAYOUTS.values() for name in other.kinds}
    return kind not in exact


def _sound(arguments: Mapping[str, Any]) -> bool:
    """Whether every size is one, as far as sizes go."""
    free = {"hidden", "augment_dim", "attn_resolutions"}
    for key, value in arguments.items():
        parts = value if isinstance(value, list) else [value]
        if key not in free and (not parts or min(parts) <= 0):
            return False
    return True


def _of_smoothing(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cohen et al.'s ResNets behind their layer without tensors, under kuangliu's names."""
    if "1.layer2.0.downsample.0.weight" not in tensors:
        return tensors
    names = {key: key.removeprefix("1.").replace(".downsample.", ".shortcut.") for key in tensors}
    return {re.sub(r"^fc\.", "linear.", names[key]): value for key, value in tensors.items()}


def _of_score_sde(tensors: Tensors, where: str) -> dict[str, Tensor]:
    try:
        return score_sde.renamed(tensors, score_sde.arguments(tensors))
    except (LookupError, TypeError, ValueError, ZeroDivisionError, BenchError):
        raise BenchError(
            f"weights {where} are no DDPM++ of score-SDE for 32x32 images (another configuration "
            "of it?)"
        ) from None


def _of_igebm(tensors: Tensors, where: str) -> dict[str, Tensor]:
    try:
        return igebm.renamed(tensors)
    except (LookupError, RuntimeError):
        raise BenchError(
            f"weights {where} are none of IGEBM's networks of 6 or 9 blocks without attention"
        ) from None
