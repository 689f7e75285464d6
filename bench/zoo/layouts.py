"""Published classifiers from their tensors alone: which network, how deep, how wide.

A state dict is recognised by its keys and its sizes are read off its shapes. Checkpoints of torch
are read with weights only: no code that a file may hold is ever run.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError, unknown
from bench.nets import make
from bench.zoo.networks import fit_into, normalised, rebuild
from bench.zoo.weights import PICKLED, SUFFIX, Weights, load_state, what_it_is

State = Mapping[str, Tensor]

# Mean and standard deviation per channel of what published classifiers were trained on: the
# meliketoy repository (cifar10, cifar100), DeepMind's and RobustBench's (-dm), torchvision.
NORMALISATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]] | None] = {
    "none": None,
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar10-dm": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "cifar100-dm": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": ((0.1307,), (0.3081,)),
}
# What a layout's publisher normalises with, by (network, data set); anything else sees raw images.
USUAL = {
    ("wideresnet-meliketoy", "cifar10"): "cifar10",
    ("wideresnet-meliketoy", "cifar100"): "cifar100",
    ("wideresnet-dm", "cifar10"): "cifar10-dm",
    ("wideresnet-dm", "cifar100"): "cifar100-dm",
    ("vgg", "imagenet"): "imagenet",
}
CONTAINERS = ("state_dict", "model_state_dict", "net", "model")
PREFIXES = ("module.", "model.")
# A copy of block1 that the classes of AID-Purifier and TRADES carry and never call.
UNUSED = "sub_block1."


def classifier(weights: Weights, dataset: str, normalisation: str = "") -> nn.Module:
    """The classifier in any file, frozen, [B,C,H,W] in [0,1] to logits.

    A file written by `bench train` says what it is; another is recognised by its tensors.
    normalisation: a name of NORMALISATIONS; without one, what the file says or what its publisher
    uses on `dataset`. Raises BenchError when the file is of neither kind.
    """
    if normalisation and normalisation not in NORMALISATIONS:
        raise unknown("normalisation", normalisation, NORMALISATIONS)
    if "network" in weights.metadata:
        if normalisation:
            raise BenchError(
                f"weights {weights.path} say how they are normalised; drop '#{normalisation}'"
            )
        return rebuild(weights)
    state = read_state(weights)
    name, arguments = recognise(state, str(weights.path))
    network = make(name, arguments)
    fit_into(network, state, str(weights.path))
    layer = NORMALISATIONS[normalisation or USUAL.get((name, dataset), "none")]
    if layer is not None:
        network = normalised(network, *layer, arguments.get("channels"), str(weights.path))
    return network.eval().requires_grad_(False)


def read_state(weights: Weights) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a torch checkpoint, without prefixes or unused parts."""
    content: Any = load_state(weights) if weights.path.suffix == SUFFIX else _unpickled(weights)
    if isinstance(content, list | tuple) and content:
        content = content[0]
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not content:
        raise BenchError(
            f"weights {weights.path} hold no state dict (names to tensors, bare or under "
            f"{', '.join(CONTAINERS)})"
        )
    return {
        key: value
        for key, value in ((_stripped(str(k)), v) for k, v in content.items())
        if not key.startswith(UNUSED)
    }


def _unpickled(weights: Weights) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(weights.path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (what := _what_is_at(weights)) != PICKLED or "truncated" in str(error):
            raise _unreadable(weights, what) from None
        raise BenchError(
            f"weights {weights.path} hold more than tensors and were not opened: unpickling them "
            "could run code; save the state dict alone"
        ) from None
    except (RuntimeError, OSError, EOFError, LookupError, ValueError) as error:
        raise _unreadable(weights, _what_is_at(weights), error) from None


def _what_is_at(weights: Weights) -> str:
    with weights.path.open("rb") as file:
        return what_it_is(file.read(512))


def _unreadable(weights: Weights, what: str, error: Exception | None = None) -> BenchError:
    """What the file is, as far as its beginning tells; else what torch says of it."""
    reason = " ".join(str(error or "it ends too early").split())[:100]
    return BenchError(
        f"cannot read weights {weights.path}: "
        + (f"they are {what}, no checkpoint" if what != PICKLED else f"damaged ({reason})")
    )


def _stripped(key: str) -> str:
    while key.startswith(PREFIXES):
        key = key.partition(".")[2]
    return key


def recognise(state: State, where: str) -> tuple[str, dict[str, Any]]:
    """Network and arguments of a published classifier by its keys and shapes.

    Raises BenchError that names the layouts that are known.
    """
    for name, (keys, arguments) in LAYOUTS.items():
        if all(key in state for key in keys):
            try:
                sizes = arguments(state)
            except (LookupError, TypeError, ZeroDivisionError):  # tensors of other dimensions
                continue
            if min(size for key, size in sizes.items() if key != "hidden") > 0:
                return name, sizes
    first = ", ".join(list(state)[:3])
    raise BenchError(
        f"weights {where} are of no layout known here (keys {first} ...); known: "
        f"{', '.join(LAYOUTS)}, and files written by bench train"
    )


def _count(state: State, prefix: str) -> int:
    """How many modules are numbered directly below `prefix`."""
    return len({k[len(prefix) :].partition(".")[0] for k in state if k.startswith(prefix)})


def _robustbench(state: State) -> dict[str, Any]:
    return {
        "depth": 6 * _count(state, "block1.layer.") + 4,
        "widen": len(state["block1.layer.0.conv1.weight"]) // 16,
        "classes": len(state["fc.weight"]),
        "channels": state["conv1.weight"].shape[1],
    }


def _meliketoy(state: State) -> dict[str, Any]:
    return {
        "depth": 6 * _count(state, "layer1.") + 4,
        "widen": len(state["layer1.0.conv1.weight"]) // 16,
        "classes": len(state["linear.weight"]),
        "channels": state["conv1.weight"].shape[1],
    }


def _dm(state: State) -> dict[str, Any]:
    return {
        "depth": 6 * _count(state, "layer.0.block.") + 4,
        "width": len(state["layer.0.block.0.conv_0.weight"]) // 16,
        "classes": len(state["logits.weight"]),
        "channels": state["init_conv.weight"].shape[1],
    }


def _vgg(state: State) -> dict[str, Any]:
    """Convolutions count towards the depth with three linear layers, whatever the head."""
    convolutions = sum(v.dim() == 4 for k, v in state.items() if k.startswith("features."))
    first = state["features.0.weight"]
    single = "classifier.weight" in state
    flat = state["classifier.weight" if single else "classifier.0.weight"].shape[1]
    last = state["classifier.weight" if single else "classifier.6.weight"]
    return {
        "depth": convolutions + 3,
        "classes": len(last),
        "channels": first.shape[1],
        "width": len(first),
        "hidden": 0 if single else len(state["classifier.0.weight"]),
        "pool": round((flat / (8 * len(first))) ** 0.5),
    }


def _simple_conv(state: State) -> dict[str, Any]:
    return {
        "classes": len(state["fc2.weight"]),
        "channels": state["conv1.weight"].shape[1],
        "size": 4 * round((state["fc1.weight"].shape[1] / 64) ** 0.5),
    }


def _simple_mlp(state: State) -> dict[str, Any]:
    return {"classes": len(state["fc3.weight"]), "pixels": state["fc1.weight"].shape[1]}


LAYOUTS: Mapping[str, tuple[tuple[str, ...], Callable[[State], dict[str, Any]]]] = {
    "wideresnet": (("block1.layer.0.bn1.weight", "fc.weight"), _robustbench),
    "wideresnet-meliketoy": (("layer1.0.bn1.weight", "conv1.bias", "linear.weight"), _meliketoy),
    "wideresnet-dm": (("init_conv.weight", "logits.weight"), _dm),
    "vgg": (("features.0.weight", "features.1.running_mean"), _vgg),
    "adp-simple-conv": (("conv2.weight", "fc1.weight", "fc2.weight"), _simple_conv),
    "adp-simple-mlp": (("fc1.weight", "fc2.weight", "fc3.weight"), _simple_mlp),
}
"""By network: the keys that tell it, and its arguments from the shapes."""
