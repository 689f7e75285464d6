"""Networks in published layouts against the packages that publish them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.models.foreign import layouts
from bench.models.nets import make
from bench.models.nets.normalised import Normalised
from bench.models.zoo import robustbench


@pytest.mark.parametrize("activation", ["swish", "relu"])
def test_deepminds_wideresnet_is_the_one_of_robustbench(activation: str) -> None:
    robustbench.load()
    from robustbench.model_zoo.architectures import dm_wide_resnet as theirs

    torch.manual_seed(0)
    function = {"swish": theirs.Swish, "relu": nn.ReLU}[activation]
    reference = theirs.DMWideResNet(num_classes=10, depth=10, width=2, activation_fn=function)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            for buffer, low, high in (("running_mean", -1, 1), ("running_var", 0.5, 2)):
                nn.init.uniform_(module.get_buffer(buffer), low, high)
    made = make("wideresnet-dm", {"depth": 10, "width": 2, "activation": activation}).eval()
    made.load_state_dict(reference.state_dict())
    layer = layouts.NORMALISATIONS["cifar10-dm"]
    assert layer is not None
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(
        Normalised(made, *layer)(x), reference.eval()(x), atol=1e-5, rtol=1e-5
    )


def test_vgg_is_torchvisions_and_hands_out_its_maps() -> None:
    from torchvision.models import vgg11_bn

    torch.manual_seed(0)
    reference = vgg11_bn(weights=None).features.eval()
    made = make("vgg", {"depth": 11, "classes": 10}).eval()
    state = {f"features.{k}": v for k, v in reference.state_dict().items()}
    assert made.load_state_dict(state, strict=False).unexpected_keys == []
    x = torch.rand(2, 3, 32, 32)
    wrapped = Normalised(made, [0.0] * 3, [1.0] * 3)
    maps = wrapped.features(x)
    assert [f.shape[2] for f in maps.values()] == [16, 8, 4, 2, 1]
    torch.testing.assert_close(maps["stage5"], reference(x))
    last = made.get_submodule("classifier")
    torch.testing.assert_close(wrapped(x), last(reference(x).flatten(1)))
