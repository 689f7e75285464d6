"""Networks of score-SDE (Song et al. 2021) under the names of EDM, whose DDPM++ is the same one.

Their `all_modules` is a flat list in the order of the forward pass, and so is EDM's, but that
attention is a module of its own there and part of a block here. EDM's published VP baseline is
one of these networks, converted by its authors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.models.nets import make
from bench.models.nets.songunet import SongUNet

LIST = "all_modules."
RESIDUAL = {"GroupNorm_0": "norm0", "Conv_0": "conv0", "Dense_0": "affine", "GroupNorm_1": "norm1"}
RESIDUAL |= {"Conv_1": "conv1", "Conv_2": "skip"}
"""Layers of a residual block there and here."""
MULTIPLES, ATTENDED, SIDE = (1, 2, 2, 2), (16,), 32
"""Of every network for CIFAR-10; their depth and width are read off the tensors."""
NARROW = {"model_channels": 4, "channel_mult_emb": 1}
"""A network of the same names in the same order that takes no memory."""


def arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of `edm-vp`, from the shapes; LookupError where it is none of these networks."""
    embedding, width = state[f"{LIST}0.weight"].shape
    residual = [key for key in state if key.endswith(".Conv_1.weight")]
    # A level has n blocks down and n+1 up; beside them two in the middle, and 2 per resampling.
    levels = len(MULTIPLES)
    blocks, rest = divmod(len(residual) - 2 - 2 * (levels - 1) - levels, 2 * levels)
    if rest or blocks < 1:
        raise LookupError(f"{len(residual)} residual blocks")
    return {
        "img_resolution": SIDE,
        "img_channels": state[f"{LIST}2.weight"].shape[1],
        "model_channels": width,
        "channel_mult": list(MULTIPLES),
        "channel_mult_emb": embedding // width,
        "num_blocks": blocks,
        "attn_resolutions": list(ATTENDED),
    }


def renamed(state: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a network of those sizes, as SongUNet names and shapes them.

    Raises:
        BenchError: they are not those of such a network.
    """
    network = make("edm-vp", {**sizes, **NARROW}).get_submodule("model")
    assert isinstance(network, SongUNet)
    places = _places(network)
    here: dict[str, Tensor] = {
        name: torch.full((1, 1, 2, 2), 0.25) for name, _ in network.named_buffers()
    }
    attended = ""
    try:
        for parts in _modules(state):
            if "NIN_0.W" in parts:
                here |= _attention(parts, attended)
                continue
            place = next(places)
            attended = place
            for key, value in parts.items():
                layer, _, kind = key.rpartition(".")
                here[".".join(p for p in (place, RESIDUAL[layer] if layer else "", kind) if p)] = (
                    value
                )
    except (StopIteration, LookupError, RuntimeError):
        raise BenchError("the tensors are not those of a network of score-SDE here") from None
    return here


def _places(network: SongUNet) -> Iterator[str]:
    """Where the modules of their list are here, in order."""
    yield from ("map_layer0", "map_layer1")
    for part in ("enc", "dec"):
        yield from (f"{part}.{name}" for name in network.get_submodule(part)._modules)


def _modules(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors of each module of the list, in order, without its number."""
    listed = [key for key in state if key.startswith(LIST)]

    def number(key: str) -> int:
        return int(key.split(".")[1])

    for _, keys in groupby(sorted(listed, key=number), number):
        yield {key.split(".", 2)[2]: state[key] for key in keys}


def _attention(parts: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """Their matrices [in,out] of q, k and v, as one kernel whose rows run q, k, v, q, k, v ..."""
    kernels = torch.stack([parts[f"NIN_{i}.W"].T for i in range(3)], 1)
    biases = torch.stack([parts[f"NIN_{i}.b"] for i in range(3)], 1)
    return {
        f"{place}.norm2.weight": parts["GroupNorm_0.weight"],
        f"{place}.norm2.bias": parts["GroupNorm_0.bias"],
        f"{place}.qkv.weight": kernels.flatten(0, 1)[:, :, None, None],
        f"{place}.qkv.bias": biases.flatten(),
        f"{place}.proj.weight": parts["NIN_3.W"].T[:, :, None, None],
        f"{place}.proj.bias": parts["NIN_3.b"],
    }
