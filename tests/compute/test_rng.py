from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.compute import rng
from tests.accelerator import NAME, installed


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


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "randn": lambda x: torch.randn(3, *x.shape, dtype=x.dtype, device=x.device),
    "rand": lambda x: torch.rand(len(x), 1, device=x.device),
    "randint": lambda x: torch.randint(5, (len(x),), device=x.device),
    "randperm": lambda x: torch.randperm(len(x), device=x.device),
    "randn_like": torch.randn_like,
    "randint_like": lambda x: torch.randint_like(x, 2),
    "uniform_": lambda x: torch.empty_like(x).uniform_(-1, 1),
    "exponential_": lambda x: torch.empty(4, 5, device=x.device).exponential_(),
    "bernoulli": torch.bernoulli,
    "multinomial": lambda x: torch.multinomial(x.flatten(1), 2),
    "normal": lambda x: torch.normal(x, 0.1),
    "channels last": lambda x: torch.randn_like(x.contiguous(memory_format=torch.channels_last)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))
def test_draws_for_a_device_are_the_cpus(
    draw: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    expected, following = draw(x), torch.rand(())
    with installed(monkeypatch):
        torch.manual_seed(1)
        moved = x.to(NAME)
        with rng.drawn_on_cpu(moved.device):
            found = draw(moved)
        assert found.device.type == NAME
        assert torch.equal(found.cpu(), expected)
        assert torch.equal(torch.rand(()), following)
        assert not torch.equal(draw(moved).cpu(), expected)


def test_on_the_cpu_nothing_is_redirected() -> None:
    assert isinstance(rng.drawn_on_cpu(torch.device("cpu")), nullcontext)


def test_seeds_are_those_of_every_published_record() -> None:
    """Another number here measures every board anew."""
    assert rng.seed_of("patches/adp", "attack", 0) == 8925681131245438197
    with rng.work("patches/adp"), rng.stream("attack"):
        named = torch.rand(1)
    torch.manual_seed(8925681131245438197)
    assert torch.equal(named, torch.rand(1))
