"""The networks of our own: shapes, symmetry of sizes, and where they start."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.models.nets import NETWORKS, make
from bench.models.nets.normalised import Normalised
from bench.models.nets.wideresnet import WideResNet


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("side", [16, 20])
def test_unet_answers_like_its_input_and_starts_silent(stem_stride: int, side: int) -> None:
    network = make("unet", {"channels": 2, "widths": [4, 6, 8], "stem_stride": stem_stride})
    x = torch.rand(3, 2, side, side)
    torch.testing.assert_close(network(x), torch.zeros_like(x))


def test_unet_sees_the_whole_image() -> None:
    torch.manual_seed(0)
    network = make("unet", {"channels": 1, "widths": [4, 6, 8]})
    torch.nn.init.normal_(network.get_parameter("head.weight"))
    x = torch.rand(1, 1, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 0, 0], x)
    assert (gradient != 0).all()


def test_images_of_a_batch_do_not_meet() -> None:
    torch.manual_seed(0)
    networks: dict[str, dict[str, Any]] = {
        "unet": {"channels": 1, "widths": [4, 6], "blocks": [1, 1]},
        "ncsnv2": {"ngf": 4, "channels": 1, "num_classes": 3, "sigma_begin": 1.0},
        "wideresnet": {"depth": 10, "widen": 1, "channels": 1, "stem_stride": 2},
        "cnn": {"width": 4, "channels": 1},
        "earlypool": {"widths": [4, 6], "stem": 3, "channels": 1},
    }
    for name, arguments in networks.items():
        network = make(name, arguments).eval()
        x = torch.rand(4, 1, 16, 16)
        torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-5, rtol=1e-5)


def test_normalisation_is_a_layer_of_the_classifier() -> None:
    plain = WideResNet(depth=10, widen=1, channels=3).eval()
    wrapped = Normalised(plain, [0.4, 0.5, 0.6], [0.2, 0.25, 0.5]).eval()
    x = torch.rand(2, 3, 16, 16)
    by_hand = (x - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.25, 0.5]
    ).view(3, 1, 1)
    torch.testing.assert_close(wrapped(x), plain(by_hand))
    taps = wrapped.features(x)
    assert list(taps) == ["conv1", "block1.0", "block2.0", "block3.0"]
    assert taps["block3.0"].shape == (2, 64, 4, 4)


def test_unknown_network_and_arguments_are_one_line() -> None:
    with pytest.raises(BenchError, match="did you mean 'wideresnet'"):
        make("wideresnt", {})
    with pytest.raises(BenchError, match="unet"):
        make("unet", {"depth": 3})
    assert set(NETWORKS) >= {"wideresnet", "wideresnet-meliketoy", "cnn", "unet", "ncsnv2"}
