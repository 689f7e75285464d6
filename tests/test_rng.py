from __future__ import annotations

import random

import numpy as np
import torch

from bench import rng


def sample() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_streams_depend_on_work_name_and_draw_only() -> None:
    def drawn(work: str, name: str, draw: int) -> tuple[float, float, float]:
        with rng.work(work), rng.stream(name, draw):
            return sample()

    first = drawn("cell/0", "judge", 1)
    torch.rand(7)
    assert drawn("cell/0", "judge", 1) == first
    others = [
        drawn("cell/1", "judge", 1),
        drawn("cell/0", "select", 1),
        drawn("cell/0", "judge", 2),
    ]
    assert all(a != b for other in others for a, b in zip(first, other, strict=True))


def test_a_stream_leaves_the_outer_generators_as_they_were() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    expected = sample()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    with rng.stream("attack"):
        sample()
    assert sample() == expected
