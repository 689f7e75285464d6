"""The arguments of a network from the shapes of its tensors, for every published layout.

Each function takes a state dict and raises LookupError, TypeError or ZeroDivisionError where the
tensors are not those of its network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

State = Mapping[str, Tensor]
Arguments = dict[str, Any]


def count(state: State, prefix: str) -> int:
    """How many modules are numbered directly below `prefix`."""
    return len({k[len(prefix) :].partition(".")[0] for k in state if k.startswith(prefix)})


def robustbench(state: State) -> Arguments:
    """WideResNet as RobustBench and AID-Purifier have it."""
    return {
        "depth": 6 * count(state, "block1.layer.") + 4,
        "widen": len(state["block1.layer.0.conv1.weight"]) // 16,
        "classes": len(state["fc.weight"]),
        "channels": state["conv1.weight"].shape[1],
    }


def meliketoy(state: State) -> Arguments:
    """WideResNet of the meliketoy repository, which ADP uses."""
    return {
        "depth": 6 * count(state, "layer1.") + 4,
        "widen": len(state["layer1.0.conv1.weight"]) // 16,
        "classes": len(state["linear.weight"]),
        "channels": state["conv1.weight"].shape[1],
    }


def jem(state: State) -> Arguments:
    """JEM's WideResNet without normalisation."""
    return {
        "depth": 6 * count(state, "f.layer1.") + 4,
        "widen": len(state["f.layer1.0.conv1.weight"]) // 16,
        "classes": len(state["class_output.weight"]),
        "channels": state["f.conv1.weight"].shape[1],
    }


def nrp(state: State) -> Arguments:
    """NRP's dense purifier; a file decides how many blocks it has."""
    width, channels = state["conv_first.weight"].shape[:2]
    growth = len(state["RRDB_trunk.0.RDB1.conv1.weight"])
    blocks = count(state, "RRDB_trunk.")
    return {"channels": channels, "width": width, "blocks": blocks, "growth": growth}


def nrp_resg(state: State) -> Arguments:
    """NRP's small residual purifier."""
    width, channels = state["conv_first.weight"].shape[:2]
    return {"channels": channels, "width": width, "blocks": count(state, "recon_trunk.")}


def soap_resnet(state: State) -> Arguments:
    """SOAP's small residual network, of stages `layer1`, `layer2` ... ."""
    stages = len({m[1] for key in state if (m := re.match(r"layer(\d)\.0\.conv1\.weight", key))})
    return {
        "classes": len(state["linear.weight"]),
        "channels": state["conv1.weight"].shape[1],
        "widths": [len(state[f"layer{i + 1}.0.conv1.weight"]) for i in range(stages)],
        "blocks": count(state, "layer1."),
    }


def soap_rotation(state: State) -> Arguments:
    """The same with a second head."""
    inside = "resnet."
    return soap_resnet({k[len(inside) :]: v for k, v in state.items() if k.startswith(inside)})


def soap_autoencoder(state: State) -> Arguments:
    """SOAP's convolutional auto-encoder for 28x28 images."""
    hidden = state["cls.weight"].shape[1]
    classes, channels = len(state["cls.weight"]), state["conv1.weight"].shape[1]
    return {"classes": classes, "channels": channels, "hidden": hidden}


def deepmind(state: State) -> Arguments:
    """WideResNet of DeepMind."""
    return {
        "depth": 6 * count(state, "layer.0.block.") + 4,
        "width": len(state["layer.0.block.0.conv_0.weight"]) // 16,
        "classes": len(state["logits.weight"]),
        "channels": state["init_conv.weight"].shape[1],
    }


def resnet(state: State) -> Arguments:
    """ResNet for small images, whose shortcuts have no tensors."""
    if any(".shortcut." in key for key in state):
        raise LookupError("shortcut")
    return resnet_projected(state)


def resnet_projected(state: State) -> Arguments:
    """ResNet for small images, whose shortcuts are convolutions."""
    stages = sum(f"layer{i}.0.conv1.weight" in state for i in range(1, 9))
    return {
        "blocks": [count(state, f"layer{i + 1}.") for i in range(stages)],
        "width": len(state["conv1.weight"]),
        "classes": len(state["linear.weight"]),
        "channels": state["conv1.weight"].shape[1],
    }


def bottlenecks(state: State) -> Arguments:
    """ResNet of torchvision for photographs."""
    return {
        "blocks": [count(state, f"layer{stage}.") for stage in range(1, 5)],
        "width": len(state["layer1.0.conv2.weight"]),
        "classes": len(state["fc.weight"]),
    }


def vgg(state: State) -> Arguments:
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


def simple_conv(state: State) -> Arguments:
    """ADP's small classifier for 28x28 images."""
    return {
        "classes": len(state["fc2.weight"]),
        "channels": state["conv1.weight"].shape[1],
        "size": 4 * round((state["fc1.weight"].shape[1] / 64) ** 0.5),
    }


def simple_mlp(state: State) -> Arguments:
    """ADP's linear layers for 28x28 images."""
    return {"classes": len(state["fc3.weight"]), "pixels": state["fc1.weight"].shape[1]}


def ncsnv2(state: State) -> Arguments:
    """The noise levels come with the tensors."""
    first = state["begin_conv.weight"]
    levels = state["sigmas"]
    return {
        **{"ngf": len(first), "channels": first.shape[1], "num_classes": len(levels)},
        **{"sigma_begin": float(levels[0]), "sigma_end": float(levels[-1])},
    }


def song_unet(state: State) -> Arguments:
    """DDPM++ under the names of EDM."""
    sides = _sides(state)
    embedding, width = state["map_layer0.weight"].shape
    widths = [len(state[f"enc.{side}x{side}_block0.conv1.weight"]) for side in sides]
    blocks = {k.split(".")[1] for k in state if k.startswith(f"enc.{sides[0]}x{sides[0]}_block")}
    augment = state.get("map_augment.weight")
    label = state.get("map_label.weight")
    return {
        "img_resolution": sides[0],
        "img_channels": state[f"enc.{sides[0]}x{sides[0]}_conv.weight"].shape[1],
        "model_channels": width,
        "channel_mult": [w // width for w in widths],
        "channel_mult_emb": embedding // width,
        "num_blocks": len(blocks),
        "attn_resolutions": [s for s in sides if f"enc.{s}x{s}_block0.qkv.weight" in state],
        "augment_dim": 0 if augment is None else augment.shape[1],
        **({} if label is None else {"label_dim": label.shape[1]}),
    }


def _sides(state: State) -> list[int]:
    """The resolutions of an encoder, largest first."""
    found = {m[1] for key in state if (m := re.match(r"enc\.(\d{1,5})x\1_", key))}
    return sorted(map(int, found), reverse=True)


def pixelcnnpp(state: State) -> Arguments:
    """PixelCNN++; images have one or three channels."""
    outputs = len(state["nin_out.lin_a.weight_v"])
    channels = state["u_init.conv.weight_v"].shape[1] - 1  # beside the plane of ones
    return {
        "nr_resnet": count(state, "up_layers.0.u_stream."),
        "nr_filters": len(state["u_init.conv.weight_v"]),
        "nr_logistic_mix": outputs // (10 if channels == 3 else 3),
        "input_channels": channels,
    }


def ebm(state: State) -> Arguments:
    """Hill et al.'s energy: two convolutions beside the stages, an activation between them."""
    first = state["f.0.weight"]
    return {"channels": first.shape[1], "width": len(first), "stages": count(state, "f.") - 2}


def igebm(state: State) -> Arguments:
    """IGEBM's networks of three widths: 6 blocks, or 9, in whose wider form the stem is narrower.

    Told a class, the one of 9 blocks alone ends with a leaky ReLU.
    """
    first = state["stem.weight"]
    each, rest = divmod(count(state, "blocks."), 3)
    if rest:
        raise LookupError("blocks")
    widths = [len(state[f"blocks.{each * i}.conv1.weight"]) for i in range(3)]
    classes = len(state["blocks.0.shift1.weight"])
    leaky = each == 3 and len(first) == widths[0] and classes > 1
    return {
        **{"channels": first.shape[1], "classes": classes, "stem": len(first), "each": each},
        **{"widths": widths, "published": True},
        **({"leaky": True} if leaky else {}),
    }


def guided(state: State) -> Arguments:
    """Guided diffusion's U-Net at ImageNet's depth, whatever its width."""
    first = state["input_blocks.0.0.weight"]
    return {"channels": first.shape[1], "model_channels": len(first)}
