"""Discriminators of AID-Purifier (Hwang et al.), and how they stand on a classifier.

All look at maps of a classifier, pooled over the image, and answer one logit per image. The
paper's says "adversarial" (Eq. 1), the published code's says "clean"; `clean` is the sign that
leads to clean images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from bench.models.nets.normalised import has_features

Taps = Literal["ends", "1", "2", "3", "4", "1+2", "1+3", "2+3", "2+4", "3+4"]
"""Which of a classifier's four maps are read, from its input on; `ends`: the first and the last."""
Augment = Literal["avmixup", "av", "mixup", "none"]
"""What it is trained on: images between the clean one and the vertex (`avmixup`) or the adversarial
one (`mixup`), or the ends alone."""
Task = Literal["adversarial", "contrastive"]
"""What it tells from clean images: adversarial ones, or maps of two images."""


class Trained(NamedTuple):
    """How a discriminator of the paper's form was made; its defaults are those of the paper."""

    taps: Taps = "ends"
    augment: Augment = "avmixup"
    target: Task = "adversarial"

    @property
    def suffix(self) -> str:
        """What the name of its weights has before the classifier: nothing, `-taps23`, `-none`."""
        taps = "" if self.taps == "ends" else f"taps{self.taps.replace('+', '')}"
        pairs = zip(self[1:], Trained()[1:], strict=True)
        rest = (value for value, usual in pairs if value != usual)
        return "".join(f"-{change}" for change in (taps, *rest) if change)

    @property
    def reason(self) -> str:
        """Why there is none such, or nothing."""
        if self.target == "contrastive" and len(self.taps) == 1:
            return "target=contrastive pairs two maps"
        if self.target == "contrastive" and self.augment != Trained().augment:
            return "target=contrastive sees no adversarial images to mix with"
        return ""

    @classmethod
    def all(cls) -> Iterator[Trained]:
        """Every one that there can be, the paper's first."""
        every = (cls(*choices) for choices in product(*map(get_args, (Taps, Augment, Task))))
        return (each for each in every if not each.reason)


PAPER = Trained()


class Discriminator(nn.Module):
    """The paper's (Table 5): one branch of linear layers per map, joined into a trunk; no norms.

    Logit [B,1] of the probability that an image is adversarial.
    """

    clean = -1

    def __init__(
        self,
        taps: Sequence[str] = ("conv1", "block3.4"),
        widths: Sequence[int] = (16, 640),
        width: int = 1024,
        branch: int = 2,
        trunk: Sequence[int] = (1024, 512),
    ) -> None:
        """`taps`: names of the maps, `widths`: their channels; `branch` layers of `width` each.

        Defaults are those of SVHN; the other data sets have one layer more before and after the
        branches meet. Initial values are those of the published code, the paper names none.
        """
        super().__init__()
        self.taps = tuple(taps)
        self.branches = nn.ModuleList(_linears([c, *[width] * branch]) for c in widths)
        self.trunk = _linears([width * len(self.taps), *trunk])
        self.last = nn.Linear(trunk[-1], 1)
        _initialise(self, self.last)

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """Pooled maps [B,C_i], in the order of `taps`, to logits [B,1]."""
        joined = torch.cat([f(h) for f, h in zip(self.branches, pooled, strict=True)], 1)
        logits: Tensor = self.last(self.trunk(joined))
        return logits


def _linears(widths: Sequence[int]) -> nn.Sequential:
    layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class CodeDiscriminator(nn.Module):
    """The published code's: four branches with batch norms, of which two see nothing.

    A map outside of `used` is multiplied by 0 and still goes through its branch, which therefore
    adds a constant and is trained with the rest. Logit [B,1] of the probability of being clean.
    """

    clean = 1

    def __init__(
        self,
        taps: Sequence[str] = ("conv1", "block1.4", "block2.4", "block3.4"),
        widths: Sequence[int] = (16, 160, 320, 640),
        used: Sequence[int] = (0, 2),
        *,
        width: int = 1024,
        branch: int = 2,
        trunk: Sequence[int] = (2048, 1024, 512),
    ) -> None:
        """Defaults are those of CIFAR-10; SVHN uses maps 0 and 3, branch 1, trunk (2048, 1024)."""
        super().__init__()
        self.taps, self.used = tuple(taps), frozenset(used)
        for i, channels in enumerate(widths, 1):
            setattr(self, f"encoder_{i}", _Encoder([channels, *[width] * branch]))
        joined = [width * len(self.taps), *trunk]
        self.block_seq = nn.Sequential(nn.Identity(), *_normed(joined))
        self.fc = nn.Linear(trunk[-1], 1)
        _initialise(self, self.fc)

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """Pooled maps [B,C_i], in the order of `taps`, to logits [B,1]."""
        branches = []
        for i, h in enumerate(pooled):
            seen = h if i in self.used else h * 0
            branches.append(self.get_submodule(f"encoder_{i + 1}")(seen[:, :, None, None]))
        logits: Tensor = self.fc(self.block_seq(torch.cat(branches, 1)).flatten(1))
        return logits


class _Encoder(nn.Module):
    """One branch under the published names."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.block_seq = nn.Sequential(*_normed(widths))

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.block_seq(h)
        return out


def _normed(widths: Sequence[int]) -> list[nn.Sequential]:
    return [
        nn.Sequential(nn.Conv2d(a, b, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)
    ]


def _initialise(module: nn.Module, last: nn.Linear) -> None:
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d) and part is not last:
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    nn.init.zeros_(last.bias)


def pooled(classifier: nn.Module, x: Tensor, taps: Sequence[str]) -> list[Tensor]:
    """The classifier's maps of those names, [B,C_i] after global average pooling."""
    assert has_features(classifier)
    maps = classifier.features(x)
    return [maps[name].mean((2, 3)) for name in taps]


class OnClassifier(nn.Module):
    """A discriminator on its classifier: images [B,C,H,W] in [0,1] to logits [B,1]."""

    def __init__(
        self, classifier: nn.Module, discriminator: Discriminator | CodeDiscriminator
    ) -> None:
        """`classifier` gives the maps that `discriminator` names."""
        super().__init__()
        self.classifier, self.discriminator = classifier, discriminator

    def forward(self, x: Tensor) -> Tensor:
        """One pass through the classifier's maps, one through the discriminator."""
        logits: Tensor = self.discriminator(pooled(self.classifier, x, self.discriminator.taps))
        return logits
