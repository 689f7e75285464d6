"""Discriminators of AID-Purifier: ours from their file, published ones from their tensors.

A published checkpoint does not say which data set or classifier it is of. It carries copies of the
classifier's layers, though, and those must be the layers of the classifier that it is put on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.api.context import Weights
from bench.errors import BenchError
from bench.models.foreign.states import read_state
from bench.models.nets.aid import CodeDiscriminator, Discriminator
from bench.models.nets.normalised import Normalised
from bench.models.zoo.networks import fit_into, rebuild_as

# Which two of the four taps the authors' command lines leave on.
USED = {"svhn": (0, 3), "tinyimagenet": (1, 2)}
USED_ELSEWHERE = (0, 2)
OWN = ("encoder_", "block_seq.", "fc.")
KINDS: Mapping[str, tuple[type[Discriminator | CodeDiscriminator], str]] = {
    "paper": (Discriminator, "the paper's discriminator"),
    "code": (CodeDiscriminator, "the published code's discriminator (variant=code)"),
}
# The longest of the four copies, by the index of its parts.
COPY, PARTS = "net4.", ("conv1", "block1", "block2", "block3")


def discriminator(
    weights: Weights, classifier: nn.Module, taps: Sequence[str], dataset: str, variant: str
) -> Discriminator | CodeDiscriminator:
    """The discriminator in `weights` for a classifier that offers the maps `taps`, frozen.

    `variant` of AID-Purifier: `paper` or `code`. Raises BenchError when the file holds something
    else, also the discriminator of the other variant, or needs maps that are not offered, or is a
    published one that carries the layers of another classifier.
    """
    kind, what = KINDS[variant]
    made: Discriminator | CodeDiscriminator
    if "network" in weights.metadata:
        made = rebuild_as(weights, what, kind)
    elif kind is CodeDiscriminator:
        made = _published(weights, classifier, taps, dataset)
    else:
        raise BenchError(f"weights {weights.path} do not say what they hold; here {what} is needed")
    if missing := sorted(set(made.taps) - set(taps)):
        raise BenchError(
            f"weights {weights.path} read the map '{missing[0]}' of a classifier; this one offers "
            f"{', '.join(taps) or 'none'}"
        )
    return made.eval().requires_grad_(False)


def _published(
    weights: Weights, classifier: nn.Module, taps: Sequence[str], dataset: str
) -> CodeDiscriminator:
    state = read_state(weights).tensors
    own = {key: value for key, value in state.items() if key.startswith(OWN)}
    first = [own.get(f"encoder_{i}.block_seq.0.0.weight") for i in range(1, len(PARTS) + 1)]
    widths = [weight.shape[1] for weight in first if weight is not None]
    if len(widths) != len(PARTS) or len(taps) != len(PARTS):
        raise BenchError(
            f"weights {weights.path} are no discriminator of four branches for a classifier with "
            f"four taps (branches: {len(widths)}, taps: {len(taps)})"
        )
    _require_same(state, classifier, weights)
    made = CodeDiscriminator(
        taps,
        widths,
        USED.get(dataset, USED_ELSEWHERE),
        width=len(own["encoder_1.block_seq.0.0.weight"]),
        branch=len(_layers(own, "encoder_1.block_seq.")),
        trunk=_layers(own, "block_seq."),
    )
    fit_into(made, own, str(weights.path))
    return made


def published_parts(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """What is kept of a published file: its own tensors and one copy of the classifier's.

    The copy only tells whose discriminator it is; nothing loads it into a classifier. Raises
    BenchError unless there are both.
    """
    kept = {key: value for key, value in state.items() if key.startswith((*OWN, COPY))}
    for needed in ("encoder_1.block_seq.0.0.weight", "fc.weight", f"{COPY}0.weight"):
        if needed not in kept:
            raise BenchError(f"{where} is no discriminator of AID-Purifier: '{needed}' is missing")
    return kept


def _layers(state: Mapping[str, Tensor], prefix: str) -> list[int]:
    """The widths of the linear layers numbered below `prefix`, in order."""
    rows = {
        int(key.removeprefix(prefix).partition(".")[0]): len(value)
        for key, value in state.items()
        if key.startswith(prefix) and key.endswith(".0.weight")
    }
    return [rows[i] for i in sorted(rows)]


def _require_same(state: Mapping[str, Tensor], classifier: nn.Module, weights: Weights) -> None:
    """The classifier's layers that came with the file must be those of `classifier`."""
    inside = classifier.network if isinstance(classifier, Normalised) else classifier
    ours = inside.state_dict()
    theirs = {}
    for key, value in state.items():
        if key.startswith(COPY):
            part, _, rest = key.removeprefix(COPY).partition(".")
            theirs[f"{PARTS[int(part)]}.{rest}"] = value
    equal = (k in ours and torch.equal(ours[k].cpu(), v) for k, v in theirs.items())
    if not theirs or not all(equal):
        raise BenchError(
            f"weights {weights.path} belong to another classifier: the layers of it that they "
            "carry are not those of this one"
        )
