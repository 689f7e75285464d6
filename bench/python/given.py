"""Networks, purifiers and images that a Python session holds, under names of the grammar.

Each name is `my-` and its class. A digest of its tensors, plain attributes, code and traits is a
setting of the name, and so a part of every record; a name or a function that the code uses may
change without it, which is why nothing that is held here outlives one call (`held`).
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench import api
from bench.api import Context
from bench.api.images import Dataset, DatasetInfo, Images
from bench.api.purifier import Purifier, Traits
from bench.compute.fingerprint import fingerprint
from bench.errors import BenchError, told
from bench.measure import build

PURIFIER = "purifier"
"""The name under which the calls of a given network that purifies are counted."""
THREAT = "linf:8/255"
_HELD: dict[str, nn.Module] = {}
"""By digest, for the time of a call."""


@contextmanager
def held() -> Iterator[None]:
    """For one call: what is given before it or after it is not what is measured in it."""
    _let_go()
    try:
        yield
    finally:
        _let_go()


def _let_go() -> None:
    _HELD.clear()
    build.forget()


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
    name, kept = _name(module), _keep(module)

    def factory(context: Context, *, digest: str = kept) -> nn.Module:
        """A network of this Python session."""
        return _given(digest)

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
    declared = traits or (module.traits if isinstance(module, Purifier) else _seen(module, shape))
    name, kept = _name(module), _keep(module, repr(declared))
    network = any(True for _ in module.parameters())
    counted = network and not isinstance(module, Purifier) and not declared.random

    def factory(context: Context, *, digest: str = kept) -> Purifier:
        """A purifier of this Python session."""
        made = _given(digest)
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


def images(given: Any, model: nn.Module | str) -> str:
    """The name of a data set of test images alone, which are copied.

    given: (x, y), images [N,C,H,W] as floats in [0,1] or bytes, and labels [N], whole numbers from
    0 on. model: a module, whose logits say how many classes there are, or a name: then the labels.

    Raises:
        BenchError: not of that form.
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise BenchError(f"data are a name or a pair (images, labels), not {type(given).__name__}")
    pixels, labels = _pixels(_tensor(given[0])), _labels(_tensor(given[1]))
    if len(pixels) != len(labels):
        raise BenchError(f"{len(pixels)} images and {len(labels)} labels")
    count = int(labels.max()) + 1 if isinstance(model, str) else _classes_of(model, pixels[:1])
    if int(labels.max()) >= count:
        raise BenchError(f"label {int(labels.max())}, and the classifier has {count} classes")
    name = f"my-images-{fingerprint([pixels, labels])[:8]}-{count}"
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


def _classes_of(model: nn.Module, one: Tensor) -> int:
    out = _tried(model, one, "classifier")
    if out.dim() != 2:
        raise BenchError(f"the classifier gives {tuple(out.shape)}, not logits [B,K]")
    return int(out.shape[1])


def _tried(module: nn.Module, x: Tensor, what: str, seed: int = 0) -> Tensor:
    """What a copy of a module makes of images, the session's random numbers being as before."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            out = _copy(module).cpu().eval()(x)
    except Exception as error:
        raise BenchError(f"the {what} does not take an image: {told(error)}") from None
    if not isinstance(out, Tensor):
        raise BenchError(f"the {what} gives {type(out).__name__}, not a tensor")
    return out


def _copy(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:
        name = type(module).__name__
        raise BenchError(f"{name} cannot be copied, so not measured: {told(error)}") from None


def _tensor(values: Any) -> Tensor:
    try:
        return torch.as_tensor(values)
    except Exception as error:
        raise BenchError(f"neither a tensor nor an array: {told(error)}") from None


def _pixels(x: Tensor) -> Tensor:
    if x.dim() != 4 or not len(x):
        raise BenchError(f"images are {tuple(x.shape)}, not [N,C,H,W]")
    if x.dtype == torch.uint8:
        x = x.float() / 255
    x = x.detach().cpu().to(torch.float32, copy=True)
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
    """What a module shows of itself on two images: random, and whether autograd reaches them."""
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    outs = [_tried(module, x, "purifier", seed) for seed in range(4)]
    random = any(not torch.equal(outs[0], out) for out in outs[1:])
    gradient = None
    if outs[0].requires_grad:
        (gradient,) = torch.autograd.grad(outs[0].sum(), x, allow_unused=True)
    return Traits(random=random, exact=gradient is not None)


def _name(module: nn.Module) -> str:
    word = re.sub(r"[^a-z0-9]+", "-", type(module).__name__.lower()).strip("-")
    return f"my-{word or 'module'}"


def _keep(module: nn.Module, more: str = "") -> str:
    """Hold a copy of a module; the digest that names it."""
    found = hashlib.sha256(f"{fingerprint(module)}\n{more}".encode())
    for name, part in module.named_modules():
        found.update(f"{name} {_plain(part)}\n{_source(type(part))}".encode())
    digest = found.hexdigest()[:16]
    _HELD[digest] = _copy(module)
    return digest


def _plain(module: nn.Module) -> dict[str, Any]:
    """The attributes that are no tensors: numbers, words."""
    kinds = int | float | str | bytes | bool | complex
    return {k: v for k, v in vars(module).items() if isinstance(v, kinds) and k != "training"}


def _source(kind: type) -> str:
    """The code of a class that is none of torch's; nothing where Python cannot tell it."""
    if kind.__module__.partition(".")[0] in ("torch", "torchvision"):
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def _given(digest: str) -> nn.Module:
    if digest not in _HELD:
        raise BenchError(f"no module with digest {digest} is given in this call of bench.evaluate")
    return copy.deepcopy(_HELD[digest])
