"""What a defense is, asked on a few images before it is measured: alone, together and again.

What nobody declared would be measured as something else: a random purifier without its trait is
judged once and attacked without EOT, and one that looks at an image's neighbours has no verdict
that is the image's own.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import eq
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bench.api.purifier import Defense, Purifier
from bench.compute import device, rng
from bench.compute.network import Network
from bench.errors import BenchError
from bench.measure.guard import guarded

IMAGES = 3
AGAIN = 16
"""Times that something is asked again which draws random numbers and says that it is not random."""
COPIES = (8, 32)
"""Of one image in a batch: if the first are answered alike, the second are asked too."""
OTHERWISE = 4
"""Answers, of AGAIN under other seeds, that have to differ from the most common one."""
BESIDE = 1e-3
"""How far, on average, neighbours may move what is made of an image, by rounding."""
ALONE = 1e-2
"""The same for another number of images, where a long walk may end elsewhere."""
_passed: WeakKeyDictionary[Defense, tuple[Tensor, Tensor]] = WeakKeyDictionary()
"""A few images, and what each defense said of them when it was new."""

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
    few = x = images()[:IMAGES]
    with guarded(name, defense=defense), rng.drawn_on_cpu(x.device):
        for purifier in defense.purifiers:
            x = of_purifier(purifier, x, name)
        of_classifier(defense.classifier, x, name)
    _passed[defense] = few, _answer(defense, few, name)


def require_unchanged(defense: Defense, name: str) -> None:
    """Refuse the verdicts on a defense that passed `require` and answers otherwise by now.

    Whatever it is that remembers (an iterator, a cache, a file, a thread): verdicts would depend on
    what was asked before.

    Raises:
        BenchError: it does.
    """
    few, before = _passed[defense]
    if not _equal(_answer(defense, few, name), before, few.device.type == "cpu"):
        raise BenchError(
            f"{name} gives something else than before its attack, from the same images and seed: "
            "it, or the attack, keeps something between calls; keep nothing"
        )


@torch.no_grad()
def _answer(defense: Defense, x: Tensor, name: str) -> Tensor:
    with guarded(name, defense=defense), rng.drawn_on_cpu(x.device), rng.seeded("probe", 0):
        return defense.logits(x)


@torch.no_grad()
def of_purifier(purifier: Purifier, x: Tensor, name: str) -> Tensor:
    """What a purifier makes of images x, after it was asked whether it is what it says.

    Raises:
        BenchError: as `require`.
    """
    traits, who = purifier.traits, f"{name}: {type(purifier).__name__}"

    def run(images: Tensor) -> Tensor:
        out: Tensor = purifier(images)
        _like(out, images, who)
        return out

    declare = "declare traits=lambda settings: Traits(random=True)"
    return _asked(run, x, who, declare, random=traits.random, followed=traits.exact)


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
        if not out.is_floating_point():
            raise BenchError(f"{name}: its classifier gives {out.dtype}; logits are floats")
        return out / out.abs().amax(1, keepdim=True).clamp_min(1)

    declare = "declare @classifier(..., random=True)"
    who = f"{name}: its classifier"
    return _asked(run, x, who, declare, random=network.random, followed=True)


def _asked(run: Run, x: Tensor, who: str, declare: str, *, random: bool, followed: bool) -> Tensor:
    exact = x.device.type == "cpu"
    out, start, end = _seeded(run, x, 0)
    for seed in range(1, AGAIN if start != end and not random else 2):
        again, _, stand = _seeded(run, x, seed)
        if not random and not _equal(again, out, exact):
            raise BenchError(f"{who} is random, two calls differ; {declare}")
        if any(map(eq, stand, end)):
            raise BenchError(
                f"{who} seeds a generator that attacks draw from too; never seed it, or hand a "
                "generator of your own to what draws (generator=...)"
            )
    if random and not _equal(_seeded(run, x, 0)[0], out, exact):
        raise BenchError(
            f"{who} gives something else under the same seed: draw from torch's own generator"
        )
    # What is drawn belongs to a place in the batch: only what draws nothing may be moved there.
    place = 0 if random or len(x) == 1 else 1
    others = torch.cat([x[:1], 1 - x[1:].flip(0)]).roll(place, 0)
    if _gap(_seeded(run, others, 0)[0][place], out[0]) > BESIDE:
        moved = " or at another place among them" if place else ""
        raise BenchError(f"{who} makes something else of an image beside other images{moved}")
    alone = _seeded(run, x[:1], 0)[0]
    if not random and _gap(alone, out[:1]) > ALONE:
        raise BenchError(f"{who} makes something else of an image that is alone")
    if followed and _gap(_followed(run, x[:1], alone), alone) > BESIDE:
        raise BenchError(
            f"{who} makes something else of an image where a gradient is followed, so that attacks "
            "do not see what is judged; never ask for requires_grad or torch.is_grad_enabled()"
        )
    if random and _draws_once(run, x[:1], exact):
        raise BenchError(
            f"{who} draws once for a whole batch: copies of an image are answered alike, so that "
            "EOT and votes would see one draw of many, and images are not independent; draw for "
            "each image (torch.randn_like(x), torch.rand(len(x), 1, 1, 1))"
        )
    return out


def _draws_once(run: Run, x: Tensor, exact: bool) -> bool:
    """Whether copies of image x [1,C,H,W] in one batch are alike, though calls differ."""
    for copies in COPIES:
        first, *others = _seeded(run, x.repeat(copies, 1, 1, 1), 0)[0]
        if not all(_equal(other, first, exact) for other in others):
            return False
    calls = [_seeded(run, x, seed)[0] for seed in range(AGAIN)]
    most = max(sum(_equal(one, other, exact) for other in calls) for one in calls)
    return len(calls) - most >= OTHERWISE


def _seeded(run: Run, x: Tensor, seed: int) -> tuple[Tensor, tuple[bytes, ...], tuple[bytes, ...]]:
    """What it makes of images, and where the generators stood before and after."""
    with rng.seeded("probe", seed):
        start = rng.standing()
        return run(x), start, rng.standing()


def _followed(run: Run, x: Tensor, without: Tensor) -> Tensor:
    """What it makes of images whose gradient is wanted; `without`, where no memory holds that."""
    try:
        with torch.enable_grad(), rng.seeded("probe", 0):
            return run(x.clone().requires_grad_()).detach()
    except Exception as error:
        if device.out_of_memory(error):
            return without
        raise


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
