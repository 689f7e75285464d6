"""FreqPure (Pei et al. 2025): a diffusion that keeps the image's own low frequencies.

Noise of `t` steps is taken back in `steps` DDPM ones, as in `gradual`. At each of them the spectrum
of the estimated clean image is exchanged near its centre: amplitudes within `amplitude` cells
become those of the image that came in, and phases within `phase` cells are brought to within
`delta` of its own.

Paper (the default) and published code (`variant=code`) differ: the code takes for the image that
came in a one-step reconstruction of it from `reference` steps of fresh noise, at every step anew;
and it replaces phases instead of projecting them, so that `delta` has no effect. Differences of
phases are taken around the circle here, which neither does. Of both is kept: what is left after the
exchange is the absolute value, which folds negative pixels; the noise that the step back goes on
with is that predicted before the exchange; and cells are counted from the lower middle, so that the
disc of an odd image is one cell off its zero frequency.

All stages are alike (`rounds`). The surrogate is the code's attack: the same with one step. The
noise is predicted by an EDM denoiser, not by a VP network. Cells do not grow with images: those of
small ones are the 32-pixel settings in proportion, chosen by nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor

from bench.api import Context, defense
from bench.api.chain import Step
from bench.api.purifier import Network, Purifier, Traits
from bench.errors import BenchError
from bench.spec import Range, Settings
from defenses import denoise
from defenses.denoise import Class, load, with_networks
from defenses.schedule import (
    Jump,
    Prior,
    clean_prediction,
    deviation,
    diffuse,
    level,
    noise_prediction,
    run,
    visited,
)

TINY = 1e-20
SMALL: Settings = {"t": 50, "steps": 5, "amplitude": 3.0, "phase": 3.0, "runs": 4}
SETTINGS: Mapping[str, Settings] = {
    "patches": SMALL,
    "digits": {**SMALL, "t": 100, "amplitude": 2.0, "phase": 2.0},
    "cifar10-compact": {"t": 100, "steps": 5, "runs": 4},
    "imagenet": {"t": 50, "steps": 5, "rounds": 8},
}


def disc(image: Tensor, radius: float) -> Tensor:
    """Which cells of an image's centred spectrum lie within `radius`, bool [H,W]; none below 0."""
    sides = image.shape[2:]
    rows, columns = (torch.arange(n, device=image.device) - (n + 1) // 2 for n in sides)
    return (rows[:, None] ** 2 + columns**2).double().sqrt() <= radius


def exchange(
    estimate: Tensor, reference: Tensor, amplitude: float, phase: float, delta: float | None
) -> Tensor:
    """Images [B,C,H,W] in [-1,1], the spectrum's centre from the reference, to the same.

    delta: how far phases near the centre may stay from the reference's; None replaces them.
    """
    own, other = (_spectrum(((x + 1) / 2).clamp(0, 1)) for x in (estimate, reference))
    size, direction = own.abs(), _unit(own)
    near = disc(estimate, amplitude)
    size = torch.where(near, other.abs(), size)
    aim = _unit(other)
    if delta is not None:
        turn = (direction * aim.conj()).angle().clamp(-delta, delta)
        aim = aim * torch.polar(torch.ones_like(turn), turn)
    direction = torch.where(disc(estimate, phase), aim, direction)
    image: Tensor = torch.fft.ifft2(torch.fft.ifftshift(size * direction, (2, 3))).abs()
    return 2 * image.clamp(0, 1) - 1


def _spectrum(x: Tensor) -> Tensor:
    """Zero frequency in the middle."""
    centred: Tensor = torch.fft.fftshift(torch.fft.fft2(x), (2, 3))
    return centred


def _unit(z: Tensor) -> Tensor:
    """The direction of complex numbers; 1 where they are 0."""
    size = z.abs()
    return torch.where(size > TINY, z / size.clamp(min=TINY), torch.ones_like(z))


class FreqPure(Purifier):
    """Stages of noise and steps back, each with an exchange; the gradient goes through all."""

    def __init__(
        self,
        denoiser: Network | None,
        stages: Sequence[tuple[int, int]],
        *,
        amplitude: float,
        phase: float,
        delta: float | None,
        reference: int | None = None,
        eta: float = 1.0,
        prior: Prior | None = None,
    ) -> None:
        """stages: (noise steps, steps back) of each. delta: as in `exchange`.

        reference: steps of noise behind which the image that came in is estimated; None takes it
        as it is. prior: in place of the denoiser's.
        """
        super().__init__()
        self.denoiser, self.stages = denoiser, stages
        if denoiser is None and prior is None:
            raise BenchError("freqpure: neither a denoiser nor a prior")
        self.prior = prior if denoiser is None else noise_prediction(denoiser)
        self.amplitude, self.phase, self.delta = amplitude, phase, delta
        self.reference, self.eta = reference, eta

    def forward(self, x: Tensor) -> Tensor:
        """One purification with fresh noise, [B,C,H,W] in [0,1] to the same."""
        return run(self.steps(self.stages, x), x)

    def surrogate(self, x: Tensor) -> Tensor:
        """One step back in each stage."""
        return run(self.steps([(length, 1) for length, _ in self.stages], x), x)

    def steps(self, stages: Sequence[tuple[int, int]], x: Tensor) -> Iterator[Step]:
        """The chain for images like `x`; a stage's input travels in its channels behind it."""
        channels = x.shape[1]

        def begin(a: float, n: Tensor) -> Step:
            return lambda z, rows: torch.cat([diffuse(z, a, n[rows]), z], 1)

        def back(jump: Jump, seen: Tensor | None, n: Tensor) -> Step:
            def step(z: Tensor, rows: slice) -> Tensor:
                now, given = z[:, :channels], z[:, channels:]
                there = None if seen is None else seen[rows]
                return torch.cat([self._back(now, given, jump, there, n[rows]), given], 1)

            return step

        for length, count in stages:
            yield begin(level(length - 1), torch.randn_like(x))
            for jump in pairwise(level(t) for t in [*visited(length, count), -1]):
                seen = None if self.reference is None else torch.randn_like(x)
                yield back(jump, seen, torch.randn_like(x))
            yield lambda z, rows: z[:, :channels]

    def _back(self, x: Tensor, given: Tensor, jump: Jump, seen: Tensor | None, n: Tensor) -> Tensor:
        """One step back; `seen` is noise for the reference, `n` that of the step."""
        a, b = jump
        assert self.prior is not None
        predicted = self.prior(x, a)
        clean = self.exchanged(clean_prediction(x, predicted, a), given, seen)
        fresh = self.eta * deviation(jump)
        return math.sqrt(b) * clean + fresh * n + math.sqrt(1 - b - fresh**2) * predicted

    def exchanged(self, clean: Tensor, given: Tensor, seen: Tensor | None) -> Tensor:
        """The estimate after the exchange with what came in."""
        if self.reference is not None and seen is not None:
            assert self.prior is not None
            a = level(self.reference)
            noisy = diffuse(given, a, seen)
            given = clean_prediction(noisy, self.prior(noisy, a), a)
        return exchange(clean, given, self.amplitude, self.phase, self.delta)


def _fits(settings: Settings, dataset: str) -> None:
    denoise.fits(settings, dataset)
    if int(settings["steps"]) > int(settings["t"]):
        raise BenchError(f"freqpure: steps={settings['steps']} are more than t={settings['t']}")


def _count(settings: Settings, steps: int) -> int:
    each = 2 if settings["variant"] == "code" else 1
    return int(settings["rounds"]) * steps * each


def _calls(settings: Settings) -> dict[str, int]:
    return {"denoiser": _count(settings, int(settings["steps"]))}


def _surrogate_calls(settings: Settings) -> dict[str, tuple[int, int]]:
    return {"denoiser": (2 * _count(settings, 1), _count(settings, 1))}


@defense(
    "freqpure",
    source="Pei et al. 2025, Diffusion-based Adversarial Purification from the Perspective of "
    "the Frequency Domain",
    paper="Pei et al. 2025",
    link="https://arxiv.org/abs/2505.01267",
    groups={"competitors": ("freqpure",)},
    settings=with_networks(SETTINGS),
    traits=lambda settings: Traits(
        random=True, surrogate=True, runs=int(settings["runs"]), vote="majority"
    ),
    calls=_calls,
    gradient_calls=lambda settings: {n: (c, c) for n, c in _calls(settings).items()},
    surrogate_calls=_surrogate_calls,
    weights=denoise.weights,
    fits=_fits,
    idle=lambda settings: (
        {"delta": "variant=code replaces phases"}
        if settings["variant"] == "code"
        else {"reference": "it is of variant=code"}
    ),
)
def freqpure(
    context: Context,
    *,
    t: Annotated[int, Range(1, 1000)] = 1000,
    steps: Annotated[int, Range(1, 1000)] = 100,
    rounds: Annotated[int, Range(1, 100)] = 1,
    amplitude: Annotated[float, Range(-1, 1000)] = 10.0,
    phase: Annotated[float, Range(-1, 1000)] = 10.0,
    delta: Annotated[float, Range(0, 4)] = 0.3,
    reference: Annotated[int, Range(0, 999)] = 50,
    runs: Annotated[int, Range(1, 1000)] = 10,
    variant: Literal["paper", "code"] = "paper",
    network: Class = "compact",
) -> FreqPure:
    """DDPM purification whose estimates keep low frequencies of the image that came in.

    `amplitude` and `phase` are radii in cells of the spectrum; `reference` is of `variant=code`.
    """
    code = variant == "code"
    return FreqPure(
        load(context, network),
        [(t, steps)] * rounds,
        amplitude=amplitude,
        phase=phase,
        delta=None if code else delta,
        reference=reference if code else None,
    )
