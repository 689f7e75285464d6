"""The papers' own networks, for images that are fetched: one recipe per name of weights.

Lengths in the papers' epochs or steps, also where a GPU needs days for them. What no paper prints
is marked as ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.images import DatasetInfo
from bench.training import augment, avmixup, energy, likelihood, losses, merit
from bench.training.fit import Fit, Loss
from bench.training.recipes import edm, noisy
from bench.training.recipes.classifiers import with_cnn
from bench.training.recipes.published import Family, Paper, classifier, published
from bench.training.recipes.recipe import Recipe
from defenses.menet import completed, usvt

Full = Callable[[DatasetInfo, Paper], Recipe]
HELD_OUT = 512
"""Validation images of a figure of merit, and of one batch of them."""
AT_ONCE = 32
SIGMA = 0.25
"""Of `noisy`: what ADP compares with (Fig. 4), of the four levels of Cohen et al. 2019."""
LEFT = ((0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
"""Shares of pixels that ME-Net leaves in training (Yoon et al. 2021, Table 2)."""
SIGMAS = (0.05, 0.1, 0.25, 0.5)
"""Noise levels at which the denoising loss is reported."""


def by_parts(measure: merit.Merit) -> merit.Merit:
    """A figure of merit on so many validation images, in batches that fit any memory."""
    return merit.by_parts(measure, HELD_OUT, AT_ONCE)


def _classifier(info: DatasetInfo, data: Paper, family: Family, loss: Loss, fit: Fit) -> Recipe:
    """ADP and AID-Purifier feed their own networks raw images; the others' are standardised."""
    network, arguments = classifier(family, info)
    return Recipe(
        network,
        arguments,
        loss,
        fit,
        by_parts(merit.accuracy(data.eps)),
        data.augment,
        normalised=family in ("wrn28", "wrn70"),
    )


def _schedule(data: Paper) -> Fit:
    """The meliketoy repository's; for ADP's CNN the paper's Adam (A.3) and 20 epochs of ours."""
    if data.natural == "conv":
        return Fit(data.steps(20, 128), 128, lr=1e-3, schedule="constant")
    return _momentum(data.steps(200, 128), "wideresnet", decay=5e-4)


def _momentum(steps: int, schedule: str, decay: float, batch: int = 128) -> Fit:
    """The SGD of all papers: momentum .9, from a learning rate of .1."""
    return Fit(steps, batch, lr=0.1, optimizer="momentum", weight_decay=decay, schedule=schedule)


def natural(info: DatasetInfo, data: Paper) -> Recipe:
    """The papers' classifier trained on clean images (Zagoruyko & Komodakis 2016)."""
    return _classifier(info, data, data.natural, losses.natural, _schedule(data))


def wrn34(info: DatasetInfo, data: Paper) -> Recipe:
    """The natural classifier of AID-Purifier, which prints no schedule: that of `natural`."""
    return _classifier(info, data, "wrn34", losses.natural, _schedule(data))


def wrn70(info: DatasetInfo, data: Paper) -> Recipe:
    """The large natural classifier of DiffPure and ScoreOpt, as long as `natural` (ours)."""
    return _classifier(info, data, "wrn70", losses.natural, _schedule(data))


def augmix_classifier(info: DatasetInfo, data: Paper) -> Recipe:
    """WRN-40-2 as AugMix (Hendrycks et al. 2020, 4.1) trains it: 100 epochs under a cosine."""
    sizes = {"classes": len(info.classes), "channels": info.shape[0], "depth": 40, "widen": 2}
    fit = _momentum(data.steps(100, 128), "cosine", decay=5e-4)
    loss = losses.consistent(augment.augmix)
    return replace(natural(info, data), network="wideresnet", arguments=sizes, loss=loss, fit=fit)


def twin(info: DatasetInfo, data: Paper) -> Recipe:
    """`natural` from another seed."""
    return replace(natural(info, data), seed_offset=1)


def resnets() -> Iterator[tuple[str, Full]]:
    """ResNets for small images under the other papers' training, on standardised images (ours)."""
    trainings: dict[str, Full] = {"natural": natural, "madry": madry, "trades": trades}
    trainings |= {f"completed-{low}-{high}": partial(_completed, low, high) for low, high in LEFT}
    for depth, (name, training) in product((18, 56, 62), trainings.items()):
        yield f"resnet{depth}-{name}", partial(_resnet, depth=depth, training=training)


def _completed(low: float, high: float, info: DatasetInfo, data: Paper) -> Recipe:
    """`natural` on images of which ME-Net (Yang et al. 2019) leaves that share, and completes."""
    complete = usvt(0.8)

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        share = low + (high - low) * torch.rand(len(x), 1, 1, 1, device=x.device)
        seen = completed(x, (torch.rand_like(x) < share).to(x.dtype), complete)
        return losses.natural(module, seen, y)

    return replace(natural(info, data), loss=loss)


def _resnet(info: DatasetInfo, data: Paper, *, depth: int, training: Full) -> Recipe:
    arguments: dict[str, Any] = {"classes": len(info.classes), "channels": info.shape[0]}
    network = "resnet-projected"
    if depth != 18:  # He et al. 2016, 4.2: 6n + 2 layers
        network, arguments["blocks"] = "resnet", [(depth - 2) // 6] * 3
    return replace(training(info, data), network=network, arguments=arguments, normalised=True)


def vgg(info: DatasetInfo, data: Paper) -> Recipe:
    """VGG-19 with batch norm (Simonyan & Zisserman 2015) at half the learning rate (ours)."""
    recipe = natural(info, data)
    arguments = {"depth": 19, "classes": len(info.classes), "channels": info.shape[0]}
    return replace(recipe, network="vgg", arguments=arguments, fit=replace(recipe.fit, lr=0.05))


def cnn(info: DatasetInfo, data: Paper) -> Recipe:
    """The small CNN, where images are too small for VGG; its size is ours."""
    return with_cnn(natural(info, data), info)


def _adversarial(data: Paper, schedule: str, steps: int) -> Fit:
    """SGD of Madry et al. 2018 on CIFAR-10; on grey images their Adam for MNIST."""
    if data.robust == "conv":
        return Fit(100_000, 50, lr=1e-4, schedule="constant")
    return _momentum(steps, schedule, decay=2e-4)


def _inner(data: Paper) -> tuple[int, float]:
    """Steps of PGD in training, and how far they go together in units of eps.

    Madry et al.: 7 steps of 2/255 within 8/255, and 40 of .01 within .3 on MNIST.
    """
    return (40, 40 * 0.01 / 0.3) if data.eps > 0.1 else (7, 1.75)


def madry(info: DatasetInfo, data: Paper) -> Recipe:
    """Adversarial training against linf PGD (Madry et al. 2018): 80,000 steps."""
    steps, reach = _inner(data)
    loss = losses.madry(data.eps, steps, reach)
    return _classifier(info, data, data.robust, loss, _adversarial(data, "madry", 80_000))


def trades(info: DatasetInfo, data: Paper) -> Recipe:
    """TRADES with beta 6 (Zhang et al. 2019): 10 steps of .007 within .031, 76 epochs."""
    steps, reach = _inner(data) if data.eps > 0.1 else (10, 10 * 0.007 / 0.031)
    fit = _adversarial(data, "trades", data.steps(76, 128))
    loss = losses.trades(data.eps, beta=6.0, steps=steps, reach=reach)
    return _classifier(info, data, data.robust, loss, fit)


def lee(info: DatasetInfo, data: Paper) -> Recipe:
    """AVmixup (Lee et al. 2020): their CIFAR-10 numbers, 80,000 steps."""
    loss = avmixup.lee(data.eps)
    return _classifier(info, data, data.robust, loss, _adversarial(data, "madry", 80_000))


def noisy_classifier(info: DatasetInfo, data: Paper) -> Recipe:
    """`natural` on noisy images, as Cohen et al. 2019 train their ResNet-110: 90 epochs of 400s."""
    recipe = natural(info, data)
    fit = recipe.fit
    if data.natural != "conv":
        fit = _momentum(data.steps(90, 400), "thirds", decay=1e-4, batch=400)
    figures = by_parts(noisy.both_accuracies(SIGMA, data.eps))
    return replace(recipe, loss=noisy.augmented(SIGMA), merit=figures, fit=fit)


def score(info: DatasetInfo, data: Paper) -> Recipe:
    """NCSNv2 as Yoon et al. 2021 train it (Table 5, A.3): Adam at 1e-3, no average of weights."""
    begin, end, count = data.levels
    arguments = {
        "ngf": data.ngf,
        "num_classes": count,
        "sigma_begin": begin,
        "sigma_end": end,
        "image_size": info.shape[1],
        "channels": info.shape[0],
        "unit": True,
    }
    return Recipe(
        "ncsnv2",
        arguments,
        losses.denoising(begin, end, count),
        Fit(data.score_steps, 128, lr=1e-3, schedule="constant"),
        by_parts(merit.denoising(SIGMAS)),
        data.flips,
        normalised=False,
    )


def _around(info: DatasetInfo, data: Paper, how: augment.Augment, way: float) -> Recipe:
    """Around augmented images: ten times the smallest noise, 200,000 steps (Table 5)."""
    recipe = score(info, data)
    begin, end, count = data.levels
    arguments = dict(recipe.arguments) | {"sigma_end": 10 * end}
    loss = augment.denoising(how, way=way, begin=begin, end=10 * end, levels=count)
    fit = replace(recipe.fit, steps=200_000)
    return replace(recipe, arguments=arguments, loss=loss, fit=fit)


def score_dct(info: DatasetInfo, data: Paper) -> Recipe:
    """Around images without their smallest DCT coefficients (supplement C)."""
    return _around(info, data, augment.dct, way=1.0)


def score_augmix(info: DatasetInfo, data: Paper) -> Recipe:
    """Around AugMix images (supplement C)."""
    return _around(info, data, augment.augmix, way=0.5)


def edm_ddpmpp(info: DatasetInfo, data: Paper) -> Recipe:
    """DDPM++ as Karras et al. 2022 train it on CIFAR-10, without their augmentation pipeline.

    200 million images in batches of 512, lr 1e-3 after 10 million of warm-up, and an average of
    weights that forgets half of them in half a million. The augmentation labels of the published
    network stay in it and are never given.
    """
    channels, side, _ = info.shape
    arguments: dict[str, Any] = {"img_resolution": side, "img_channels": channels}
    if side == 28:  # which has no map of 16x16 to attend to
        arguments["attn_resolutions"] = [14]
    return Recipe(
        "edm-ddpmpp",
        arguments,
        edm.denoising(0.5),
        Fit(200_000_000 // 512, 512, lr=1e-3, schedule="warmup", ema=0.5 ** (512 / 500_000)),
        by_parts(edm.left(SIGMAS)),
        data.flips,
        normalised=False,
    )


def _energy(info: DatasetInfo, data: Paper, activation: str, loss: Loss, fit: Fit) -> Recipe:
    stages = round(math.log2(info.shape[1])) - 2
    return Recipe(
        "ebm",
        {"channels": info.shape[0], "width": 32, "stages": stages, "activation": activation},
        loss,
        fit,
        by_parts(energy.usefulness(steps=100, noise=0.01, levels=(0.03, 0.06))),
        data.flips,
        normalised=False,
    )


def ebm_igebm(info: DatasetInfo, data: Paper) -> Recipe:
    """The network of Hill, Mitchell & Zhu 2021 by contrastive divergence.

    As long as theirs (250,000 batches of 100); Adam throughout, where they end with SGD, averaged
    weights and walks that start at images are ours.
    """
    loss = energy.contrastive(steps=100, noise=0.01, spread=0.1, blur=0.02)
    fit = Fit(250_000, 100, lr=1e-4, schedule="constant", ema=0.999, clip=1.0)
    return _energy(info, data, "leaky", loss, fit)


def ebm(info: DatasetInfo, data: Paper) -> Recipe:
    """Its smooth form by score matching, which is this project's own; so is its length."""
    loss = energy.matching(rate=0.2, levels=(0.02, 0.3))
    return _energy(info, data, "silu", loss, Fit(50_000, 128, lr=1e-3, ema=0.999, clip=1.0))


def pixelcnn(info: DatasetInfo, data: Paper) -> Recipe:
    """PixelCNN++ as published: 160 filters, 40 for grey images; its length is ours."""
    arguments = {
        "nr_resnet": 5,
        "nr_filters": 160 if info.shape[0] == 3 else 40,
        "nr_logistic_mix": 10,
        "input_channels": info.shape[0],
        "levels": 256,
    }
    return Recipe(
        "pixelcnnpp",
        arguments,
        likelihood.bits,
        Fit(data.steps(200, 32), 32, lr=4e-4, schedule="constant", ema=0.9995, clip=1.0),
        by_parts(likelihood.held_out(data.eps)),
        data.flips,
        normalised=False,
    )


FULL: Mapping[str, Full] = {
    "natural": natural,
    "wrn34": wrn34,
    "wrn70": wrn70,
    "augmix": augmix_classifier,
    "madry": madry,
    "trades": trades,
    "lee": lee,
    "twin": twin,
    "vgg": vgg,
    "cnn": cnn,
    "noisy": noisy_classifier,
    "score-ncsnv2": score,
    "score-dct": score_dct,
    "score-augmix": score_augmix,
    "edm-ddpmpp": edm_ddpmpp,
    "ebm": ebm,
    "ebm-igebm": ebm_igebm,
    "pixelcnn": pixelcnn,
    **dict(resnets()),
}


def recipe(name: str, info: DatasetInfo) -> Recipe:
    """The recipe of `name`; KeyError where there is none."""
    return FULL[name](info, published(info))
