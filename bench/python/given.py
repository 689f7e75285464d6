"""Networks, purifiers and images that a Python session holds, under names of the grammar.

Each name is `my-` and its class; what it holds is told apart by a digest, which is a setting of
the name and so a part of every record.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench import api
from bench.api import Context
from bench.api.images import Dataset, DatasetInfo, Images
from bench.api.purifier import Purifier, Traits
from bench.compute.fingerprint import fingerprint
from bench.errors import BenchError

PURIFIER = "purifier"
"""The name under which the calls of a given network that purifies are counted."""
THREAT = "linf:8/255"
_HELD: dict[str, nn.Module] = {}
"""By digest."""


def classifier(module: nn.Module) -> str:
    """The name of a classifier, a module from images [B,C,H,W] in [0,1] to logits [B,K].

    A copy of it is measured, in eval mode.

    Raises:
        BenchError: no module.
    """
    if not isinstance(module, nn.Module):
        raise BenchError(
            f"a classifier is a torch module or a name such as 'natural', not "
            f"{type(module).__name__}"
        )
    name, held = _name(module), _keep(module)

    def factory(context: Context, *, digest: str = held) -> nn.Module:
        """A network of this Python session."""
        return _held(digest)

    api.classifier(name)(factory)
    return name


def purifier(module: nn.Module, traits: Traits | None, shape: tuple[int, int, int]) -> str:
    """The name of a purifier, a module from images [B,C,H,W] in [0,1] to the same.

    traits: what it is; without them a `bench.Purifier` says so itself, and any other module is
    looked at: random where two calls differ, exact where autograd reaches its input.

    Raises:
        BenchError: no module, or one that does not take images of that shape.
    """
    if not isinstance(module, nn.Module):
        raise BenchError(
            f"a purifier is a torch module or a name such as 'adp', not {type(module).__name__}"
        )
    name, held = _name(module), _keep(module)
    declared = traits or (module.traits if isinstance(module, Purifier) else _seen(module, shape))
    counted = not isinstance(module, Purifier) and not declared.random

    def factory(context: Context, *, digest: str = held) -> Purifier:
        """A purifier of this Python session."""
        made = _held(digest)
        if isinstance(made, Purifier):
            return made
        return Wrapped(context.network(made, PURIFIER) if counted else made)

    api.defense(
        name,
        traits=lambda settings: declared,
        calls=lambda settings: {PURIFIER: 1} if counted else {},
    )(factory)
    return name


class Wrapped(Purifier):
    """Any module that makes images of images, as a purifier."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """What the module makes of `x`, [B,C,H,W] in [0,1]."""
        out: Tensor = self.module(x)
        return out


def images(x: Any, y: Any, classes: int) -> str:
    """The name of a data set of these test images alone.

    x: [N,C,H,W], floats in [0,1] or bytes. y: [N] whole numbers from 0 on. classes: of the
    classifier, or 0 for as many as the labels show.

    Raises:
        BenchError: not of that form.
    """
    pixels, labels = _pixels(torch.as_tensor(x)), _labels(torch.as_tensor(y))
    if len(pixels) != len(labels):
        raise BenchError(f"{len(pixels)} images and {len(labels)} labels")
    count = classes or int(labels.max()) + 1
    if int(labels.max()) >= count:
        raise BenchError(f"label {int(labels.max())}, and the classifier has {count} classes")
    name = f"my-images-{fingerprint([pixels, labels])[:8]}"
    _, channels, height, width = pixels.shape
    info = DatasetInfo(
        name=name,
        title=f"{len(labels)} images given in Python",
        shape=(channels, height, width),
        classes=tuple(map(str, range(count))),
        threat=THREAT,
        published=len(labels),
        subset="test",
    )

    def load(split: str) -> Images:
        if split != "test":
            raise BenchError(f"of images given in Python there are only test images, no {split}")
        return Images(pixels, labels, torch.arange(len(labels)))

    def factory() -> Dataset:
        """Images of this Python session."""
        return Dataset(info, load)

    api.dataset(name, info=info)(factory)
    return name


def classes_of(model: nn.Module | str, x: Any) -> int:
    """How many logits a module gives; 0 of what is only named."""
    if isinstance(model, str):
        return 0
    one = _pixels(torch.as_tensor(x)[:1])
    with torch.no_grad():
        out = copy.deepcopy(model).cpu().eval()(one)
    if not isinstance(out, Tensor) or out.dim() != 2:
        raise BenchError("the classifier gives no logits [B,K]")
    return int(out.shape[1])


def _pixels(x: Tensor) -> Tensor:
    if x.dim() != 4 or not len(x):
        raise BenchError(f"images are {tuple(x.shape)}, not [N,C,H,W]")
    if x.dtype == torch.uint8:
        x = x.float() / 255
    x = x.detach().cpu().float()
    if not (x.min() >= 0 and x.max() <= 1):
        raise BenchError(
            f"pixels from {float(x.min()):.4g} to {float(x.max()):.4g}; they lie in [0,1], and "
            "normalisation is a layer of the classifier"
        )
    return x


def _labels(y: Tensor) -> Tensor:
    if y.dim() != 1 or y.is_floating_point() or (len(y) and int(y.min()) < 0):
        raise BenchError(f"labels are {y.dtype} {tuple(y.shape)}, not whole numbers [N] from 0 on")
    return y.detach().cpu().long()


def _seen(module: nn.Module, shape: Sequence[int]) -> Traits:
    """What a module shows of itself on two grey images."""
    asked = copy.deepcopy(module).cpu().eval()
    x = torch.full((2, *shape), 0.5).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        try:
            outs = [asked(x) for _ in range(4)]
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise BenchError(f"the purifier does not take an image: {reason}") from None
    random = any(not torch.equal(outs[0], out) for out in outs[1:])
    return Traits(random=random, exact=bool(outs[0].requires_grad))


def _name(module: nn.Module) -> str:
    return "my-" + re.sub(r"[^a-z0-9]+", "-", type(module).__name__.lower()).strip("-")


def _keep(module: nn.Module) -> str:
    digest = fingerprint(module)[:16]
    _HELD[digest] = copy.deepcopy(module)
    return digest


def _held(digest: str) -> nn.Module:
    if digest not in _HELD:
        raise BenchError(f"no network with digest {digest} was given in this Python session")
    return copy.deepcopy(_HELD[digest])
