from __future__ import annotations

import pytest
import torch

from attacks.gradients import Blind, Bpda, Eot, Exact, Gradient
from attacks.targets import Likeliest, Nearest
from bench.api import find_attack
from bench.api.purifier import Defense, Network
from bench.errors import BenchError
from bench.spec import parse_part
from tests.tiny import Linear, Noise

LOGITS = torch.tensor([3.0, 2.0, 1.0, 1.5])


def first_targets(pull: list[float], gradient: Gradient) -> tuple[list[int], list[int]]:
    """Of an image whose logits are LOGITS, each of which climbs by `pull` along its own pixel."""
    weight = torch.diag(torch.tensor(pull, dtype=torch.float32)).view(4, 1, 2, 2)
    classifier = Network(Linear(weight, LOGITS), "classifier")
    defense = Defense(classifier, [Noise(1e-4)])
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.long)
    torch.manual_seed(0)
    likely, near = Likeliest()(defense, x, y), Nearest(gradient)(defense, x, y)
    assert (likely[..., 0] == 0).all()
    assert (near[..., 0] == 0).all()
    assert torch.equal(near[:, 0], near[:, 1])
    return likely[:, 0, 1].tolist(), near[:, 0, 1].tolist()


@pytest.mark.parametrize("gradient", [Blind("gap"), Eot(Bpda("gap"), 3), Eot(Exact("gap"), 3)])
def test_malt_aims_at_the_nearest_boundary_of_a_linear_classifier(gradient: Gradient) -> None:
    """Gaps of 1, 2 and 1.5 that close by 8, 1 and 2 a unit lie at 1/8, 2 and 3/4."""
    assert first_targets([0, 8, 1, 2], gradient) == ([1, 3, 2], [1, 3, 2])
    # By 1, 64 and 2: at 1, 1/32 and 3/4.
    assert first_targets([0, 1, 64, 2], gradient) == ([1, 3, 2], [2, 3, 1])


@pytest.mark.parametrize(
    ("text", "preset"),
    [
        ("apgd:aim=malt", "paper"),
        ("apgd:protocol=strict,aim=malt", "standard"),
        ("transfer:source=base,attack=cw", "paper"),
        ("transfer:attack=deepfool,step=0.1", "paper"),
    ],
)
def test_a_setting_that_changes_nothing_is_refused(text: str, preset: str) -> None:
    """It would be another name for the same figure."""
    part = parse_part(text)
    with pytest.raises(BenchError, match=r"aim=malt|source=base|no step"):
        find_attack(part.name).resolve(part, "cifar10", preset)
