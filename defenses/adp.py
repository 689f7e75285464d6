"""Adaptive Denoising Purification (Yoon et al. 2021, Algorithm 1) and its exact gradient.

x_0 = x + sigma * noise, then T steps x_t = x_(t-1) + alpha * s(x_(t-1)) along a score network
s(x) that answers in units of the noise; S runs, mean of the softmax.

What differs from the print, each under its own setting:
- `delta` is 1e-3, not 1e-5, with which float32 leaves `1 - cos` in Eq. 18 no digits.
- `alpha_min`, `alpha_max` bound the step (Eq. 18 divides by a number near 0).
- `negative`: where the score grows along itself Eq. 18 asks for a step backwards. `max` takes the
  longest step, `min` the shortest (which stops the image), `paper` goes backwards.
- `stop`: the text (3.2) and the authors' code stop an image when alpha falls to tau (`alpha`),
  Algorithm 1 when the norm of its score does (`norm`).
- `clip`: the text clips to [0,1] after the noise and the code after every step as well; `false` is
  Algorithm 1 as printed, where only the result is clipped.
- `rule=fixed` is the single tuned step of footnote 1, which the paper uses without noise.

Its relatives, under settings of their own:
- `rule=decay`: step sizes fall from alpha to alpha/100 by one factor per step (supplement C: .08
  to 8e-4), whatever tau is.
- `rule=langevin`: Eq. 6, from which the paper departs: no noise before the walk, some in each step.
  With the score s(x)/sigma at the level sigma and a step of 2 alpha sigma it reads
  x_t = x_(t-1) + alpha s(x_(t-1)) + sqrt(2 alpha sigma) n, so that alpha means what it means
  elsewhere; Eq. 6 as printed, with s in the place of -dE/dx, is sigma 1 and half its alpha.
- `network=dct`, `augmix`, `rotation`: score networks trained on augmented images (supplement C),
  and both in turn, one per step, beginning with DCT. The print does not say whether its "10 times
  in rotation" counts the steps of both or of each; here `steps` counts both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from bench.api import Context, defense
from bench.api.purifier import Network, Purifier, Traits
from bench.api.watch import passed
from bench.errors import BenchError
from bench.models.nets.ncsnv2 import NCSNv2
from bench.models.nets.unet import ScoreUNet
from bench.models.zoo.networks import rebuild_as
from bench.spec import Range, Settings
from defenses.adp_walk import Rotation, StepRule, dot, grid, purify

LAST = 0.01
"""The last step of `rule=decay` as a share of the first (supplement C: 8e-4 of .08)."""
PAPER: Settings = {"network": "ncsnv2"}
"""Section 5: NCSNv2, sigma .25, lambda .05, S = 10, tau .001; the rest are the defaults."""
# Networks of ours: chosen on validation images by bench/training/choose.py
# (leaderboards/choices-<data set>.txt); the paper takes sigma from the data's median pair distance.
# Printed: CIFAR-10 (Tables 2 and 3, BPDA 40+EOT), CIFAR-100 (Table 9: sigma .25, .05), MNIST and
# Fashion-MNIST (Table 9, by section 5's sigma). Nobody printed the others: CIFAR-10's settings.
SETTINGS: Mapping[str, Settings] = {
    "patches": {"rule": "fixed", "sigma": 0.09, "alpha": 0.03},
    "digits": {"sigma": 0.15},
    "cifar10-compact": {"rule": "fixed", "sigma": 0.12, "alpha": 0.04},
    **{name: PAPER for name in ("cifar10", "cifar100", "mnist", "fashionmnist")},
    **{name: PAPER for name in ("svhn", "tinyimagenet", "imagenet")},
}
WEIGHTS = {
    "unet": ("score",),
    "ncsnv2": ("score-ncsnv2",),
    "dct": ("score-dct",),
    "augmix": ("score-augmix",),
    "rotation": ("score-dct", "score-augmix"),
}

SCORES = ("a score network", ScoreUNet, NCSNv2)


class ADP(Purifier):
    """Noise, then the walk; `variant=code` in `adp` lists what the authors' code does besides."""

    def __init__(
        self,
        score: Network | Rotation,
        rule: StepRule,
        sigma: float,
        detect: float = 0.0,
        low: float = 0.2,
    ) -> None:
        """detect: images with a score norm below it get `low` times the noise; 0 for none."""
        super().__init__()
        self.score, self.rule = score, rule
        self.sigma, self.detect, self.low = sigma, detect, low
        self._held: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """One purification with fresh noise, [B,C,H,W] in [0,1] to the same."""
        x_0 = self.start(x, torch.randn_like(x)) if self.sigma else self.start(x)
        noise = None
        if self.rule.heat:
            noise = torch.randn(self.rule.steps, *x.shape, dtype=x.dtype, device=x.device)
        return purify(self.score, x_0, self.rule, self._held, noise).clamp(0, 1)

    def one_step(self, x: Tensor) -> Tensor:
        """The noise and the first step."""
        first = replace(self.rule, steps=1)
        return ADP(self.score, first, self.sigma, self.detect, self.low).forward(x)

    def start(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_0 from images and standard normal noise like x; less noise for undetected images."""
        if noise is not None:
            level = torch.full((len(x), 1, 1, 1), self.sigma, dtype=x.dtype, device=x.device)
            if self.detect:
                level = level.masked_fill(self.score_norm(x) < self.detect, self.sigma * self.low)
            x = x + level * noise
            passed(x)
            if self.rule.clip:
                x = x.clamp(0, 1)
        return grid(x) if self.rule.inverse_grid else x

    @torch.no_grad()
    def score_norm(self, x: Tensor) -> Tensor:
        """The norm of the score, [B,1,1,1] (supplement F)."""
        s = self.score(x)
        return dot(s, s).sqrt()

    @torch.no_grad()
    def direction(self, x: Tensor) -> Tensor:
        """The score at x (joint attack, Table 1)."""
        s: Tensor = self.score(x)
        return s

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Inside the block every run uses the step sizes of the first: for finite differences."""
        self._held = []
        try:
            yield
        finally:
            self._held = None


def _traits(settings: Settings) -> Traits:
    walks_in_noise = settings["rule"] == "langevin" and settings["variant"] not in _CODE
    still = walks_in_noise and float(settings["alpha"]) == 0  # its noise comes with its steps
    noisy = float(settings["sigma"]) > 0 and not still
    if settings["rule"] == "langevin" and float(settings["detect"]) > 0:
        raise BenchError(
            "adp: detect lowers the noise before the walk, which rule=langevin does not add"
        )
    runs = int(settings["runs"]) if noisy else 1
    return Traits(random=noisy, exact=True, direction=True, one_step=True, runs=runs)


_CODE = {"code": "adaptive"}
"""The step rule of the authors' code, whatever `rule` a data set's table chose."""


def _names(settings: Settings) -> tuple[str, ...]:
    """Under which names the networks count their calls, in the order of their turns."""
    weights = WEIGHTS[str(settings["network"])]
    return weights if len(weights) > 1 else ("score",)


def _turns(settings: Settings) -> dict[str, int]:
    """How many of the steps are each network's."""
    names, steps = _names(settings), int(settings["steps"])
    return {name: len(range(i, steps, len(names))) for i, name in enumerate(names)}


def _adaptive(settings: Settings) -> bool:
    return "adaptive" in (settings["rule"], _CODE.get(str(settings["variant"])))


def _idle(settings: Settings) -> dict[str, str]:
    """What the rule of steps in use, and noise that there is not, never look at."""
    idle: dict[str, str] = {}
    if _adaptive(settings):
        idle["alpha"] = "adaptive steps are as long as Eq. 18 says"
    else:
        own = ("lam", "delta", "alpha_min", "alpha_max", "negative")
        idle |= dict.fromkeys(own, f"it is of rule=adaptive, not of rule={settings['rule']}")
    if settings["variant"] in _CODE:
        idle["negative"] = "variant=code has negative=min"
        if settings["rule"] != "adaptive":
            idle["rule"] = "variant=code is adaptive"
    if not settings["detect"]:
        idle["dec_level"] = "detect=0 detects nothing"
    if not settings["sigma"]:
        idle |= dict.fromkeys(("runs", "detect", "dec_level"), "sigma=0 has no noise")
    return idle


def _calls(settings: Settings) -> dict[str, int]:
    per_step = 2 if _adaptive(settings) else 1
    detection = float(settings["detect"]) > 0 and float(settings["sigma"]) > 0
    calls = {name: steps * per_step for name, steps in _turns(settings).items()}
    calls[_names(settings)[0]] += detection
    return calls


def _gradient_calls(settings: Settings) -> dict[str, tuple[int, int]]:
    return {name: (steps, steps) for name, steps in _turns(settings).items()}


@defense(
    "adp",
    source="Yoon et al. 2021, Adversarial Purification with Score-based Generative Models",
    paper="Yoon et al. 2021",
    link="https://arxiv.org/abs/2106.06041",
    settings=SETTINGS,
    traits=_traits,
    idle=_idle,
    calls=_calls,
    gradient_calls=_gradient_calls,
    direction_calls=lambda settings: {_names(settings)[0]: 1},
    weights=lambda settings: WEIGHTS[str(settings["network"])],
)
def adp(
    context: Context,
    *,
    sigma: Annotated[float, Range(0, 1)] = 0.25,
    steps: Annotated[int, Range(1, 1000)] = 10,
    runs: Annotated[int, Range(1, 1000)] = 10,
    rule: Literal["adaptive", "fixed", "decay", "langevin"] = "adaptive",
    alpha: Annotated[float, Range(0, 1)] = 0.02,
    lam: Annotated[float, Range(0, 1)] = 0.05,
    delta: Annotated[float, Range(1e-12, 1)] = 1e-3,
    alpha_min: Annotated[float, Range(0, 1)] = 1e-5,
    alpha_max: Annotated[float, Range(0, 10)] = 0.1,
    negative: Literal["max", "min", "paper"] = "max",
    stop: Literal["alpha", "norm", "none"] = "alpha",
    tau: Annotated[float, Range(0)] = 1e-3,
    clip: bool = True,
    detect: Annotated[float, Range(0)] = 0.0,
    dec_level: Annotated[float, Range(0, 1)] = 0.2,
    variant: Literal["paper", "code"] = "paper",
    network: Literal["unet", "ncsnv2", "dct", "augmix", "rotation"] = "unet",
) -> ADP:
    """Steps along a denoising score network after added noise, with adaptive step sizes.

    `sigma=0` is deterministic (one run). `detect` is the threshold on the score norm below which
    an image gets `dec_level` times the noise (supplement F). `variant=code` is the authors'
    repository: `negative=min`, and a contrast map whose inverse is repeated after every step.
    `rule=langevin` adds `sigma` inside the walk instead of before it.
    """
    code = variant in _CODE
    heat = sigma if rule == "langevin" and not code else 0.0
    walk_rule = StepRule(
        steps=steps,
        adaptive=rule == "adaptive" or code,
        alpha=alpha,
        lam=lam,
        delta=delta,
        alpha_min=alpha_min,
        alpha_max=alpha_max,
        negative="min" if code else negative,
        stop=stop,
        tau=tau,
        clip=clip,
        inverse_grid=code,
        decay=LAST if rule == "decay" and not code else 1.0,
        heat=heat,
    )
    scores = [
        # Eq. 18 is a finite difference: fewer digits than float32's would leave none of it.
        context.network(
            rebuild_as(context.weights(weights), *SCORES), name, exact=walk_rule.adaptive
        )
        for weights, name in zip(WEIGHTS[network], _names({"network": network}), strict=True)
    ]
    score = scores[0] if len(scores) == 1 else Rotation(scores)
    return ADP(score, walk_rule, 0.0 if heat else sigma, detect, dec_level)
