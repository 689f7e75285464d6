from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api.purifier import Defense, Network, Purifier, Traits, chunk_size
from bench.errors import BenchError


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"runs": 2.5}, {"vote": "mean"}])
def test_traits_that_no_prediction_can_be_made_by(wrong: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match=next(iter(wrong))):
        Traits(**wrong)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 12, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


class Noise(Purifier):
    traits = Traits(random=True, runs=4)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * torch.randn_like(x)


class Round(Purifier):
    traits = Traits(exact=False)

    def forward(self, x: Tensor) -> Tensor:
        return (2 * x).round() / 2


def defense(*purifiers: Purifier) -> Defense:
    return Defense(Network(Linear(), "classifier"), purifiers)


def x(batch: int = 5) -> Tensor:
    return torch.rand(batch, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def test_scores_are_the_log_of_the_mean_softmax_of_s_runs() -> None:
    d = defense(Noise())
    torch.manual_seed(3)
    scores = d.scores(x())
    torch.manual_seed(3)
    runs = d.classifier(d.purify(x().repeat(4, 1, 1, 1))).softmax(1).view(4, 5, 3)
    torch.testing.assert_close(scores.exp(), runs.mean(0))


def test_calls_count_images_forward_and_backward() -> None:
    d = defense()
    images = x(40).requires_grad_()
    torch.autograd.grad(d.logits(images).sum(), images)
    assert d.calls() == {"classifier": (40, 40)}
    d.predict(x(7))
    assert d.calls() == {"classifier": (47, 40)}


def test_parts_of_a_stack_that_share_a_network_name_are_both_counted() -> None:
    class Scored(Noise):
        def __init__(self) -> None:
            super().__init__()
            self.network = Network(nn.Identity(), "score")

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.network(x)
            return out

    d = defense(Scored(), Scored())
    d.logits(x())
    assert d.calls() == {"classifier": (5, 0), "score": (10, 0)}


def test_chunks_change_nothing() -> None:
    d = defense(Noise())
    results = []
    for size in (32, 64, 128):
        with chunk_size(size):
            torch.manual_seed(0)
            results.append(d.scores(x(100)))
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])
    with pytest.raises(BenchError, match="multiple of 32"), chunk_size(40):
        pass


def test_a_part_without_exact_gradient_passes_gradients_on() -> None:
    d = defense(Round())
    images = x().requires_grad_()
    (gradient,) = torch.autograd.grad(d.logits(images)[:, 0].sum(), images)
    weight = next(d.classifier.parameters())[0]
    torch.testing.assert_close(gradient.flatten(1), weight.expand(5, -1))
    assert torch.equal(d.purify(images).detach(), Round()(x()))


class Half(Purifier):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Nothing(Purifier):
    traits = Traits(identity=True)

    def forward(self, x: Tensor) -> Tensor:
        return x


class StandIn(Purifier):
    traits = Traits(exact=False, surrogate=True)

    def forward(self, x: Tensor) -> Tensor:
        return (2 * x).round() / 2

    def surrogate(self, x: Tensor) -> Tensor:
        return 3 * x


def gradient(d: Defense, output: Tensor, images: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(d.classifier(output)[:, 0].sum(), images)
    weight: Tensor = next(d.classifier.parameters())[0]
    return found.flatten(1) / weight


def test_a_stack_is_exact_where_any_part_is() -> None:
    assert defense(Round(), Half()).exact
    assert defense(Half(), Round()).exact
    assert not defense(Round(), Nothing()).exact
    assert defense(Nothing()).exact
    for d in (defense(Round(), Half()), defense(Half(), Round())):
        images = x().requires_grad_()
        torch.testing.assert_close(gradient(d, d.purify(images), images), torch.full((5, 12), 0.5))


def test_a_stack_is_as_random_and_long_as_its_parts() -> None:
    merged = Traits.merge([Noise.traits, StandIn.traits, Nothing.traits])
    assert merged == Traits(random=True, exact=True, surrogate=True, runs=4)
    assert Traits.merge([]) == Traits(identity=True)
    d = defense(Noise(), Round())
    assert (d.runs, d.random, d.exact) == (4, True, True)


def test_the_surrogate_of_a_stack_passes_gradients_on_where_a_part_has_none() -> None:
    d = defense(Round(), StandIn(), Half())
    images = x().requires_grad_()
    found = gradient(d, d.surrogate(images), images)
    torch.testing.assert_close(found, torch.full((5, 12), 1.5))


def test_nan_is_an_error_not_a_number() -> None:
    d = defense()
    with pytest.raises(BenchError, match="'classifier' gave NaN"):
        d.predict(x() * float("nan"))
