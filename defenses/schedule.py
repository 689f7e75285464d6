"""Variance-preserving diffusion (Ho et al. 2020; Song et al. 2021) on an EDM denoiser.

Images are in [-1,1]: x_t = sqrt(a) x_0 + sqrt(1-a) n with a, here called `level`, the product of
all 1 - beta up to t. Divided by sqrt(a), x_t is x_0 plus noise of sigma = sqrt((1-a)/a), which is
how Karras et al. 2022 write the same process and what the denoiser D(x, sigma) is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from bench.api.chain import Step, chain

STEPS = 1000
BETA_FIRST, BETA_LAST = 1e-4, 0.02
"""beta of the first and of the last of 1000 steps, linear in between (Ho et al. 2020, 4)."""
TIME_END = 1e-5
"""Where the reverse SDE stops; its time is 1 after 1000 steps (Nie et al. 2022)."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_0 + sigma n, sigma [B,1,1,1]) -> estimate of x_0 in [-1,1]."""
Prior = Callable[[Tensor, float], Tensor]
"""(x_t [B,C,H,W], level a) -> estimate of the noise n in it."""
Jump = tuple[float, float]
"""Levels before and after a step back."""


@cache
def _levels() -> tuple[float, ...]:
    betas = torch.linspace(BETA_FIRST, BETA_LAST, STEPS, dtype=torch.float64)
    return tuple((1 - betas).cumprod(0).tolist())


def level(t: int) -> float:
    """a after step t, 0 to 999; 1 at t = -1, the clean image."""
    return 1.0 if t == -1 else _levels()[t]


def level_at(time: float) -> float:
    """a of the continuous process at `time` in [0,1] (Song et al. 2021, Eq. 29 and 33)."""
    first, last = STEPS * BETA_FIRST, STEPS * BETA_LAST
    return math.exp(-time * first - time**2 * (last - first) / 2)


def sigma(a: float) -> float:
    """Noise against the image at level `a`, the denoiser's argument."""
    return math.sqrt((1 - a) / a)


def noise_prediction(denoiser: Denoiser) -> Prior:
    """The denoiser as an estimate of the noise in x_t."""

    def predict(x: Tensor, a: float) -> Tensor:
        scaled = x / math.sqrt(a)
        levels = torch.full((len(x), 1, 1, 1), sigma(a), dtype=x.dtype, device=x.device)
        return (scaled - denoiser(scaled, levels)) / sigma(a)

    return predict


def clean_prediction(x: Tensor, noise: Tensor, a: float) -> Tensor:
    """x_0 from x_t and the (estimated) noise in it."""
    return (x - math.sqrt(1 - a) * noise) / math.sqrt(a)


def diffuse(x: Tensor, a: float, noise: Tensor) -> Tensor:
    """x_t from x_0 and standard normal noise."""
    return math.sqrt(a) * x + math.sqrt(1 - a) * noise


def deviation(jump: Jump) -> float:
    """DDPM's noise on the way back from one level to another: the smaller of its two choices."""
    a, b = jump
    return math.sqrt((1 - a / b) * (1 - b) / (1 - a))


def ancestral(prior: Prior, x: Tensor, jump: Jump, noise: Tensor, eta: float = 1.0) -> Tensor:
    """One step back between two levels: DDPM for eta 1, DDIM for eta 0 (Song et al. 2021b)."""
    a, b = jump
    fresh = eta * deviation(jump)
    n = prior(x, a)
    kept = math.sqrt(1 - b - fresh**2)
    return math.sqrt(b) * clean_prediction(x, n, a) + kept * n + fresh * noise


def euler(prior: Prior, x: Tensor, time: float, dt: float, noise: Tensor) -> Tensor:
    """One Euler-Maruyama step back in time of the reverse VP-SDE (Nie et al. 2022, Eq. 5)."""
    beta = STEPS * (BETA_FIRST + time * (BETA_LAST - BETA_FIRST))
    a = level_at(time)
    drift = beta * (x / 2 - prior(x, a) / math.sqrt(1 - a))
    return x + dt * drift + math.sqrt(beta * dt) * noise


def visited(length: int, steps: int) -> list[int]:
    """The `steps` times t at which noise of `length` steps is denoised, descending.

    They are equally spaced, length - 1 the first (Lee & Kim 2023).
    """
    return [round(length * k / steps) - 1 for k in range(steps, 0, -1)]


def jumps(length: int, steps: int) -> list[Jump]:
    """Every step back from `length` steps of noise to the clean image."""
    return list(pairwise(level(t) for t in [*visited(length, steps), -1]))


def noising(a: float, noise: Tensor) -> Step:
    """`diffuse` as a step of a chain; `noise` is of the whole batch."""
    return lambda x, rows: diffuse(x, a, noise[rows])


def there_and_back(
    prior: Prior, length: int, steps: int, draw: Callable[[], Tensor], eta: float = 1.0
) -> Iterator[Step]:
    """Noise of `length` steps, then `steps` ancestral ones back; `draw` gives noise for each."""

    def back(jump: Jump, noise: Tensor) -> Step:
        return lambda x, rows: ancestral(prior, x, jump, noise[rows], eta)

    yield noising(level(length - 1), draw())
    for jump in jumps(length, steps):
        yield back(jump, draw())


def run(steps: Iterable[Step], x: Tensor) -> Tensor:
    """Images in [0,1] through a chain that works in [-1,1], clipped at its end.

    A state may have more channels than an image; those of the image come first.
    """
    return _unit(chain(steps, 2 * x - 1, _unit))


def _unit(x: Tensor) -> Tensor:
    return ((x + 1) / 2).clamp(0, 1)
