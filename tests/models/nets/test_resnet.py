"""ResNets: the sizes that their paper prints, and the shortcut that has no parameters."""

from __future__ import annotations

import pytest
import torch

from bench.models.nets.resnet import PaddedShortcut, ResNet


@pytest.mark.parametrize(
    ("blocks", "millions"), [(3, 0.27), (5, 0.46), (7, 0.66), (9, 0.85), (18, 1.7)]
)
def test_sizes_of_table_6(blocks: int, millions: float) -> None:
    with torch.device("meta"):
        network = ResNet((blocks,) * 3)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert f"{count:.2g}" == f"{millions:.2g}"


def test_resnet18_has_its_projections() -> None:
    with torch.device("meta"):
        network = ResNet((2, 2, 2, 2), 64, projection=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_173_962
    assert sum(name.endswith("shortcut.0.weight") for name in network.state_dict()) == 3


def test_a_padded_shortcut_takes_every_second_pixel_and_adds_zeros() -> None:
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    out = PaddedShortcut(2, 4, 2)(x)
    assert out.shape == (1, 4, 2, 2)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, 0].any()
    assert not out[:, 3].any()


def test_taps_lead_to_the_logits() -> None:
    torch.manual_seed(0)
    network = ResNet((1, 2, 1), 4).eval()
    x = torch.rand(2, 3, 8, 8)
    taps = network.features(x)
    assert list(taps) == ["conv1", "layer1.0", "layer2.0", "layer2.1", "layer3.0"]
    assert torch.equal(network.linear(taps["layer3.0"].mean((2, 3))), network(x))
    assert all((tap >= 0).all() for name, tap in taps.items() if name != "conv1")
