"""What a defense is, asked on a few images before it is measured: alone, together and again.

What nobody declared would be measured as something else: a random purifier without its trait is
judged once and attacked without EOT, and one that looks at an image's neighbours has no verdict
that is the image's own.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

import torch
from torch import Tensor

from bench.api.purifier import Defense, Purifier
from bench.compute import rng
from bench.compute.network import Network
from bench.errors import BenchError
from bench.measure.guard import guarded

IMAGES = 3
AGAIN = 16
"""Times that something is asked again which draws random numbers and says that it is not random."""
BESIDE = 1e-3
"""How far, on average, neighbours may move what is made of an image, by rounding."""
ALONE = 1e-2
"""The same for another number of images, where a long walk may end elsewhere."""
_passed: WeakSet[Defense] = WeakSet()

Run = Callable[[Tensor], Tensor]


@torch.no_grad()
def require(defense: Defense, images: Callable[[], Tensor], name: str) -> None:
    """Refuse a defense that is something else than it declares, once for each that was built.

    images(): [B,C,H,W] in [0,1], of which a few are taken. name: of the defense, for the message.

    Raises:
        BenchError: what it does, and the trait to declare.
    """
    if defense in _passed:
        return
    x = images()[:IMAGES]
    with guarded(name, defense=defense), rng.drawn_on_cpu(x.device):
        for purifier in defense.purifiers:
            x = of_purifier(purifier, x, name)
        of_classifier(defense.classifier, x, name)
    _passed.add(defense)


@torch.no_grad()
def of_purifier(purifier: Purifier, x: Tensor, name: str) -> Tensor:
    """What a purifier makes of images x, after it was asked whether it is what it says.

    Raises:
        BenchError: as `require`.
    """

    def run(images: Tensor) -> Tensor:
        out: Tensor = purifier(images)
        _like(out, images, f"{name}: {type(purifier).__name__}")
        return out

    declare = "declare traits=lambda settings: Traits(random=True)"
    return _asked(run, x, f"{name}: {type(purifier).__name__}", purifier.traits.random, declare)


@torch.no_grad()
def of_classifier(network: Network, x: Tensor, name: str) -> Tensor:
    """What a classifier says of images x, after it was asked whether it is what it says.

    Raises:
        BenchError: as `require`.
    """

    def run(images: Tensor) -> Tensor:
        out: Tensor = network(images)
        if out.dim() != 2 or len(out) != len(images):
            raise BenchError(
                f"{name}: its classifier gives shape {tuple(out.shape)} for {len(images)} images"
            )
        return out / out.abs().amax(1, keepdim=True).clamp_min(1)

    declare = "declare @classifier(..., random=True)"
    return _asked(run, x, f"{name}: its classifier", network.random, declare)


def _asked(run: Run, x: Tensor, who: str, random: bool, declare: str) -> Tensor:
    with rng.seeded("probe", 0):
        start = torch.get_rng_state()
        out = run(x)
        drew = not torch.equal(start, torch.get_rng_state())
    exact = x.device.type == "cpu"
    for seed in range(1, AGAIN if drew and not random else 2):
        if not random and not _equal(_seeded(run, x, seed), out, exact):
            raise BenchError(f"{who} is random, two calls differ; {declare}")
    if random and not _equal(_seeded(run, x, 0), out, exact):
        raise BenchError(
            f"{who} gives something else under the same seed: draw from torch's own generator"
        )
    others = torch.cat([x[:1], 1 - x[1:].flip(0)])
    if _gap(_seeded(run, others, 0)[:1], out[:1]) > BESIDE:
        raise BenchError(f"{who} makes something else of an image beside other images")
    alone = _seeded(run, x[:1], 0)
    if not random and _gap(alone, out[:1]) > ALONE:
        raise BenchError(f"{who} makes something else of an image that is alone")
    return out


def _seeded(run: Run, x: Tensor, seed: int) -> Tensor:
    with rng.seeded("probe", seed):
        return run(x)


def _like(out: Tensor, x: Tensor, who: str) -> None:
    if not isinstance(out, Tensor) or out.shape != x.shape or out.dtype != x.dtype:
        what = f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise BenchError(f"{who} gives {what} for images {x.dtype} {tuple(x.shape)}")
    if not out.isfinite().all():
        raise BenchError(f"{who} gives NaN or infinite pixels")
    if out.min() < 0 or out.max() > 1:
        raise BenchError(
            f"{who} gives pixels from {float(out.min()):.4g} to {float(out.max()):.4g}; they lie "
            "in [0,1]: clamp them"
        )


def _equal(one: Tensor, other: Tensor, exact: bool) -> bool:
    return torch.equal(one, other) if exact else _gap(one, other) <= BESIDE


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
