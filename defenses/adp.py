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
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bench.defense import Network, Purifier, Traits
from bench.registry import Context, defense
from bench.spec import Range, Settings
from bench.zoo.networks import rebuild

Score = Callable[[Tensor], Tensor]
# Chosen on validation images by bench/training/choose.py (leaderboards/choices-<data set>.txt); the
# paper takes sigma from the data's median pair distance.
SETTINGS: Mapping[str, Settings] = {
    "patches": {"rule": "fixed", "sigma": 0.09, "alpha": 0.03},
    "digits": {"sigma": 0.15},
}
WEIGHTS = {"unet": "score", "ncsnv2": "score-ncsnv2"}


@dataclass(frozen=True)
class Rule:
    """How x_0 moves to x_T: everything of the algorithm except its noise.

    inverse_grid: the authors' code undoes, after every step, a map x * 255/256 + 1/512 that it
    applied only once. It does so for stopped images too, until the whole batch has stopped.
    """

    steps: int = 10
    adaptive: bool = True
    alpha: float = 0.02
    lam: float = 0.05
    delta: float = 1e-3
    alpha_min: float = 1e-5
    alpha_max: float = 0.1
    negative: str = "max"
    stop: str = "alpha"
    tau: float = 1e-3
    clip: bool = True
    inverse_grid: bool = False

    def step_size(self, score: Score, x: Tensor, s: Tensor) -> Tensor:
        """alpha [B,1,1,1] at `x` with score `s` (Eq. 18), bounded; one more call of the network."""
        if not self.adaptive:
            return torch.full((len(x), 1, 1, 1), self.alpha, dtype=x.dtype, device=x.device)
        ahead = score(x + self.delta * s)
        # 1 - <s,s'>/<s,s> as <s,s-s'>/<s,s>: the same number with fewer digits lost.
        bend = _dot(s, s - ahead) / _dot(s, s).clamp_min(torch.finfo(x.dtype).tiny)
        alpha = self.lam * self.delta / bend
        if self.negative == "paper":
            return alpha.clamp(-self.alpha_max, self.alpha_max)
        if self.negative == "max":
            alpha = alpha.masked_fill(bend < 0, self.alpha_max)
        return alpha.clamp(self.alpha_min, self.alpha_max)

    def goes_on(self, alpha: Tensor, s: Tensor, step: int) -> Tensor:
        """Which images [B,1,1,1] have not reached the stopping rule before this step."""
        if self.stop == "alpha":
            return alpha > self.tau
        if self.stop == "norm" and step:
            return _dot(s, s) >= self.tau**2
        return torch.ones_like(alpha, dtype=torch.bool)

    def update(self, x: Tensor, s: Tensor, alpha: Tensor) -> Tensor:
        """One step from `x`; differentiable."""
        x = x + alpha * s
        if self.inverse_grid:
            x = x * (256 / 255) - 1 / 510
        return x.clamp(0, 1) if self.clip else x


Trail = list[tuple[Tensor, Tensor]]
"""(x_t before the step, alpha [B,1,1,1]) of every step that was taken."""


def walk(score: Score, x: Tensor, rule: Rule, trail: Trail, held: list[Tensor]) -> Tensor:
    """x_0 to x_T without a graph, appending to `trail`; step sizes already in `held` are reused.

    A stopped image has alpha 0. The loop ends when every image has stopped.
    """
    active = torch.ones(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
    for step in range(rule.steps):
        s = score(x)
        if step == len(held):
            alpha = rule.step_size(score, x, s)
            active = active & rule.goes_on(alpha, s, step)
            held.append(alpha * active)
        if not held[step].any():
            break
        trail.append((x, held[step]))
        x = rule.update(x, s, held[step])
    return x


class _Purify(torch.autograd.Function):
    """The chain with its gradient by a reverse walk: one network call recomputed per step.

    Only images and step sizes are stored, so memory does not grow with activations times steps.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, score: Score, rule: Rule, held: list[Tensor]) -> Tensor:
        trail: Trail = []
        end = walk(score, x, rule, trail, held)
        ctx.score, ctx.rule = score, rule
        ctx.save_for_backward(*(tensor for pair in trail for tensor in pair))
        return end.clone() if not trail else end

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        saved = ctx.saved_tensors
        parts = []
        for start in range(0, len(gradient), Network.chunk):
            part = slice(start, start + Network.chunk)
            g = gradient[part]
            for x, alpha in zip(saved[-2::-2], saved[::-2], strict=True):
                with torch.enable_grad():
                    x_t = x[part].detach().requires_grad_()
                    moved = ctx.rule.update(x_t, ctx.score(x_t), alpha[part])
                (g,) = torch.autograd.grad(moved, x_t, g)
            parts.append(g)
        return torch.cat(parts), None, None, None


def purify(score: Score, x: Tensor, rule: Rule, held: list[Tensor] | None = None) -> Tensor:
    """x_0 [B,C,H,W] to x_T; differentiable in x_0 with step sizes and stops as constants.

    `held` receives the step sizes [B,1,1,1] of every step; if it has them already, they are used.
    """
    held = [] if held is None else held
    if torch.is_grad_enabled() and x.requires_grad:
        end: Tensor = _Purify.apply(x, score, rule, held)
        return end
    with torch.no_grad():
        trail: Trail = []
        return walk(score, x, rule, trail, held)


def grid(x: Tensor) -> Tensor:
    """The map of the authors' code into its dequantised space."""
    return x * (255 / 256) + 1 / 512


class ADP(Purifier):
    """Noise, then the walk; `variant=code` in `adp` lists what the authors' code does besides."""

    def __init__(
        self, score: Network, rule: Rule, sigma: float, detect: float = 0.0, low: float = 0.2
    ) -> None:
        """detect: images with a score norm below it get `low` times the noise; 0 for none."""
        super().__init__()
        self.score, self.rule = score, rule
        self.sigma, self.detect, self.low = sigma, detect, low
        self._held: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """One purification with fresh noise, [B,C,H,W] in [0,1] to the same."""
        x_0 = self.start(x, torch.randn_like(x)) if self.sigma else self.start(x)
        return purify(self.score, x_0, self.rule, self._held).clamp(0, 1)

    def start(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_0 from images and standard normal noise like x; less noise for undetected images."""
        if noise is not None:
            level = torch.full((len(x), 1, 1, 1), self.sigma, dtype=x.dtype, device=x.device)
            if self.detect:
                level = level.masked_fill(self.score_norm(x) < self.detect, self.sigma * self.low)
            x = x + level * noise
        if self.rule.clip:
            x = x.clamp(0, 1)
        return grid(x) if self.rule.inverse_grid else x

    @torch.no_grad()
    def score_norm(self, x: Tensor) -> Tensor:
        """The norm of the score, [B,1,1,1] (supplement F)."""
        s = self.score(x)
        return _dot(s, s).sqrt()

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


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)


def _traits(settings: Settings) -> Traits:
    noisy = float(settings["sigma"]) > 0
    runs = int(settings["runs"]) if noisy else 1
    return Traits(random=noisy, exact=True, direction=True, runs=runs)


_CODE = {"code": "adaptive"}
"""The step rule of the authors' code, whatever `rule` a data set's table chose."""


def _calls(settings: Settings) -> dict[str, int]:
    adaptive = "adaptive" in (settings["rule"], _CODE.get(str(settings["variant"])))
    per_step = 2 if adaptive else 1
    detection = float(settings["detect"]) > 0 and float(settings["sigma"]) > 0
    return {"score": int(settings["steps"]) * per_step + detection}


def _gradient_calls(settings: Settings) -> dict[str, tuple[int, int]]:
    steps = int(settings["steps"])
    return {"score": (steps, steps)}


@defense(
    "adp",
    source="Yoon et al. 2021, Adversarial Purification with Score-based Generative Models",
    settings=SETTINGS,
    traits=_traits,
    calls=_calls,
    gradient_calls=_gradient_calls,
    direction_calls=lambda settings: {"score": 1},
    weights=lambda settings: (WEIGHTS[str(settings["network"])],),
)
def adp(
    context: Context,
    *,
    sigma: Annotated[float, Range(0, 1)] = 0.25,
    steps: Annotated[int, Range(1, 1000)] = 10,
    runs: Annotated[int, Range(1, 1000)] = 10,
    rule: Literal["adaptive", "fixed"] = "adaptive",
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
    network: Literal["unet", "ncsnv2"] = "unet",
) -> ADP:
    """Steps along a denoising score network after added noise, with adaptive step sizes.

    `sigma=0` is deterministic (one run). `detect` is the threshold on the score norm below which
    an image gets `dec_level` times the noise (supplement F). `variant=code` is the authors'
    repository: `negative=min`, and a contrast map whose inverse is repeated after every step.
    """
    code = variant in _CODE
    walk_rule = Rule(
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
    )
    score = context.network(rebuild(context.weights(WEIGHTS[network])), "score")
    return ADP(score, walk_rule, sigma, detect, dec_level)
