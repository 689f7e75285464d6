"""Gradual noise scheduling (Lee & Kim 2023): several short purifications with growing noise.

`forward=30x4-50x2-125x2` is eight stages: four of 30 noise steps, two of 50, two of 125. Each is
denoised in as many steps as it has, or in those that `steps` lists in the same way (`1x4-5x4`, or
one number for all). The prediction is the majority of the runs. The paper's single schedule in the
manner of DiffPure is `forward=200,steps=5,attack_forward=200,attack_steps=5,runs=1`.

The surrogate is the same defense with the short lists `attack_forward` and `attack_steps`, which
the paper's attack differentiates in full. What differs from the authors' code: the result is
clipped to [0,1], and the noise is predicted by an EDM denoiser, not by a VP network. The exact
gradient of the whole schedule is this project's addition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain as concatenate
from typing import Annotated, Literal

import torch
from torch import Tensor

from bench.api import Context, defense
from bench.api.chain import Step
from bench.api.purifier import Network, Purifier, Traits
from bench.errors import BenchError
from bench.spec import Later, Range, Settings
from defenses import denoise
from defenses.denoise import Class, load, with_networks
from defenses.schedule import STEPS, noise_prediction, run, there_and_back

Schedule = tuple[tuple[int, int], ...]
"""(noise steps, denoising steps) of each stage."""

# Patches and digits: forward was chosen on validation images (leaderboards/choices-<data set>.txt);
# the steps are what a board can afford, 10 network calls a run instead of the paper's 470. The
# paper's CIFAR-10 is the default and stands for all fetched data but ImageNet, which it prints.
SETTINGS: Mapping[str, Settings] = {
    "imagenet": {"forward": "30x4-50x2-200x2", "attack_forward": "30-50-200"},
    "patches": {
        **{"forward": "15x4-25x2-50x2", "steps": "1x6-2x2"},
        **{"attack_forward": "15-25-50", "attack_steps": "1-1-2"},
    },
    "digits": {
        **{"forward": "50x4-80x2-150x2", "steps": "1x6-2x2"},
        **{"attack_forward": "50-80-150", "attack_steps": "1-1-2"},
    },
}
_ITEM = re.compile(r"([1-9]\d{0,8})(?:x([1-9]\d{0,8}))?")
MOST = 1000
"""Stages of a schedule."""


def numbers(key: str, text: str) -> list[int]:
    """`30x2-50` as [30, 30, 50].

    Raises:
        BenchError: anything else, or more than `MOST` numbers, naming the setting `key`.
    """
    found = [_ITEM.fullmatch(item) for item in text.split("-")]
    if not all(found):
        raise BenchError(f"gradual: {key}={text} is not a list such as 30x4-50x2-125x2")
    matches = [match for match in found if match]
    counts = [int(m[2] or 1) for m in matches]
    if sum(counts) > MOST:
        raise BenchError(f"gradual: {key}={text} has {sum(counts)} stages (at most {MOST})")
    return [int(m[1]) for m, count in zip(matches, counts, strict=True) for _ in range(count)]


def schedule(settings: Settings, prefix: str = "") -> Schedule:
    """The stages that the settings `forward` and `steps` (or `attack_...`) describe."""
    length_key, steps_key = f"{prefix}forward", f"{prefix}steps"
    lengths = numbers(length_key, str(settings[length_key]))
    text = str(settings[steps_key])
    steps = list(lengths) if text == "all" else numbers(steps_key, text)
    steps = steps * len(lengths) if len(steps) == 1 else steps
    if len(steps) != len(lengths):
        raise BenchError(
            f"gradual: {steps_key} lists {len(steps)} stages, {length_key} {len(lengths)}"
        )
    for length, count in zip(lengths, steps, strict=True):
        if not count <= length <= STEPS:
            raise BenchError(
                f"gradual: a stage of {length} noise and {count} denoising steps is not allowed "
                f"(at most {STEPS} of noise, and no more denoising than noise)"
            )
    return tuple(zip(lengths, steps, strict=True))


class Gradual(Purifier):
    """Stages of noise and denoising, one after the other, with an exact gradient."""

    def __init__(
        self, denoiser: Network, stages: Schedule, attack: Schedule, sampler: str = "ddpm"
    ) -> None:
        """`stages` of the defense, `attack` those of its surrogate."""
        super().__init__()
        self.prior = noise_prediction(denoiser)
        self.denoiser = denoiser
        self.stages, self.attack = stages, attack
        self.eta = 1.0 if sampler == "ddpm" else 0.0

    def forward(self, x: Tensor) -> Tensor:
        """One purification with fresh noise, [B,C,H,W] in [0,1] to the same."""
        return run(self.steps(self.stages, x), x)

    def surrogate(self, x: Tensor) -> Tensor:
        """The attack's shorter schedule, like `forward`."""
        return run(self.steps(self.attack, x), x)

    def steps(self, stages: Sequence[tuple[int, int]], x: Tensor) -> Iterator[Step]:
        """The chain of `stages` for images like `x`, with fresh noise."""
        return concatenate.from_iterable(
            there_and_back(self.prior, length, count, lambda: torch.randn_like(x), self.eta)
            for length, count in stages
        )


def _fits(settings: Settings, dataset: str) -> None:
    denoise.fits(settings, dataset)
    schedule(settings)
    schedule(settings, "attack_")


def _calls(settings: Settings) -> dict[str, int]:
    return {"denoiser": sum(count for _, count in schedule(settings))}


def _surrogate_calls(settings: Settings) -> dict[str, tuple[int, int]]:
    """Each step forward, and again when it is differentiated."""
    count = sum(count for _, count in schedule(settings, "attack_"))
    return {"denoiser": (2 * count, count)}


def _traits(settings: Settings) -> Traits:
    return Traits(random=True, surrogate=True, runs=int(settings["runs"]), vote="majority")


@defense(
    "gradual",
    source="Lee & Kim 2023, Robust Evaluation of Diffusion-Based Adversarial Purification",
    paper="Lee & Kim 2023",
    link="https://arxiv.org/abs/2303.09051",
    settings=with_networks(SETTINGS),
    traits=_traits,
    calls=_calls,
    gradient_calls=lambda settings: {n: (c, c) for n, c in _calls(settings).items()},
    surrogate_calls=_surrogate_calls,
    weights=denoise.weights,
    fits=_fits,
)
def gradual(
    context: Context,
    *,
    forward: str = "30x4-50x2-125x2",
    steps: str = "all",
    attack_forward: str = "30-50-125",
    attack_steps: str = "1-1-5",
    sampler: Literal["ddpm", "ddim"] = "ddpm",
    runs: Annotated[int, Range(1, 1000)] = 10,
    network: Annotated[Class, Later()] = "compact",
) -> Gradual:
    """Short diffusions and denoisings with growing noise, decided by the majority of the runs."""
    settings: Settings = {
        "forward": forward,
        "steps": steps,
        "attack_forward": attack_forward,
        "attack_steps": attack_steps,
    }
    stages, attack = schedule(settings), schedule(settings, "attack_")
    return Gradual(load(context, network), stages, attack, sampler)
