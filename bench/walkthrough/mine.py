"""Mutual information of two samples, estimated by a network (MINE, Belghazi et al. 2018).

A small network T is trained to raise mean T(a,b) over pairs that belong together less log mean
exp T(a,b') over pairs that do not (Donsker & Varadhan), which mutual information bounds from above
for every T. On the pairs that T is trained on this can be driven far above it when they are few:
the value here is that of pairs which T has not seen. Where T tells all of those apart, that value
grows on and on: no more is counted than the log of how many wrong pairs there are, which is what so
many can show (McAllester & Stratos 2020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.compute.rng import seeded

STEPS, EVERY = 300, 10
"""Of training, and after how many the value of unseen pairs is taken."""
WIDTH, RATE = 64, 2e-3
SHIFTS = 16
"""Wrong partners that each unseen sample is paired with."""


def information(a: Tensor, b: Tensor, seed: int = 0) -> float:
    """A lower bound in nats of the mutual information of the pairs (a[i], b[i]), [N,D] and [N,E].

    A network is trained on each half of the pairs and its value taken on the other; of the means
    of both after every few steps the largest counts, 0 before the first one.
    """
    with seeded("mine", seed), torch.enable_grad(), torch.inference_mode(mode=False):
        parts = torch.randperm(len(a)).chunk(2)
        halves = [(a[part].clone().float(), b[part].clone().float()) for part in parts]
        both = _unseen(halves[0], halves[1]) + _unseen(halves[1], halves[0])
    return max(0.0, (both / 2).max().item())


def _unseen(seen: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """The values of the pairs `other` while a network is trained on `seen`."""
    a, b = (_like(v, v) for v in seen)
    far_a, far_b = (_like(v, s) for v, s in zip(other, seen, strict=True))
    last = nn.Linear(WIDTH, 1)
    nn.init.zeros_(last.weight)
    first = nn.Linear(a.shape[1] + b.shape[1], WIDTH)
    network = nn.Sequential(first, nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), last)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    found = []
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                shifts = range(1, min(SHIFTS, len(far_a) - 1) + 1)
                most = math.log(len(far_a) * len(shifts))
                found.append(_value(network, far_a, far_b, shifts).clamp_max(most))
        shift = int(torch.randint(1, len(a), ()))
        optimizer.zero_grad()
        torch.autograd.backward(-_value(network, a, b, range(shift, shift + 1)))
        optimizer.step()
    return torch.stack(found)


def _value(network: nn.Module, a: Tensor, b: Tensor, shifts: range) -> Tensor:
    """Donsker and Varadhan's difference, wrong partners by cyclic shifts."""
    right = network(torch.cat([a, b], 1))
    wrong = torch.cat([network(torch.cat([a, b.roll(shift, 0)], 1)) for shift in shifts])
    value: Tensor = right.mean() - (wrong.flatten().logsumexp(0) - math.log(len(wrong)))
    return value


def _like(values: Tensor, seen: Tensor) -> Tensor:
    """In units of the mean and the deviation of what is seen, within 10 of them."""
    spread = seen.std(0)
    units = torch.where(spread > 1e-6, spread, 1.0)
    return ((values - seen.mean(0)) / units).clamp(-10, 10)
