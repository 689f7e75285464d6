"""Guided diffusion's U-Net and its wrapper: closed forms, and the schedule's own levels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.models.nets import make
from bench.models.nets.guided import Attention, DiscreteVP, Residual, positions
from defenses.schedule import STEPS, level, noise_prediction, sigma

SMALL: dict[str, Any] = {
    **{"model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_levels": [1]},
    "num_head_channels": 32,
}


def test_levels_of_the_schedule_have_their_steps_as_labels() -> None:
    wrapper = DiscreteVP(torch.nn.Identity())
    for t in (0, 1, 99, 500, STEPS - 1):
        assert wrapper.step(torch.tensor(sigma(level(t)))).item() == pytest.approx(t, abs=1e-3)
    between = math.sqrt(sigma(level(10)) * sigma(level(11)))
    assert wrapper.step(torch.tensor(between)).item() == pytest.approx(10.5, abs=1e-3)
    assert wrapper.step(torch.tensor([1e-9, 1e9])).tolist() == [0, STEPS - 1]
    assert "ladder" not in wrapper.state_dict()


def test_the_wrapper_gives_back_the_networks_noise() -> None:
    """x_t of the discrete process goes in unscaled, with its step, and the noise comes out."""
    torch.manual_seed(0)
    network = make("guided", {"side": 16, **SMALL}).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, t = torch.randn(2, 3, 16, 16), 300
    out = noise_prediction(network)(x, level(t))
    direct = network.get_submodule("model")(x, torch.full((2,), float(t)))
    torch.testing.assert_close(out, direct, atol=2e-4, rtol=1e-3)


def test_positions_are_cosines_then_sines() -> None:
    t = torch.tensor([0.0, 7.0])
    e = positions(t, 8)
    assert e[0].tolist() == [1.0] * 4 + [0.0] * 4
    assert e[1, 0].item() == pytest.approx(math.cos(7))
    assert e[1, 5].item() == pytest.approx(math.sin(7 * 10_000 ** (-1 / 4)))


def test_residuals_start_as_their_skip_and_scale_by_the_embedding() -> None:
    block, e = Residual(32, 32, 8), torch.randn(2, 8)
    x = torch.randn(2, 32, 4, 4)
    assert torch.equal(block(x, e), x)
    up, down = Residual(32, 32, 8, "up"), Residual(32, 32, 8, "down")
    assert torch.equal(up(x, e)[..., ::2, ::2], x)
    torch.testing.assert_close(down(x, e)[0, 0, 0, 0], x[0, 0, :2, :2].mean())
    # With one constant second convolution, the output is that of scale and shift alone.
    torch.nn.init.dirac_(block.get_parameter("out_layers.3.weight"))
    linear = block.emb_layers[1]
    scale, shift = linear(torch.nn.functional.silu(e)).chunk(2, 1)
    norm = torch.nn.functional.group_norm(block.in_layers(x), 32)
    wanted = x + torch.nn.functional.silu(
        norm * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    )
    torch.testing.assert_close(block(x, e), wanted, atol=1e-5, rtol=1e-4)


def test_attention_is_that_of_separate_heads() -> None:
    torch.manual_seed(0)
    layer = Attention(64, 32)
    torch.nn.init.normal_(layer.get_parameter("proj_out.weight"))
    x = torch.randn(2, 64, 3, 3)
    qkv = layer.qkv(torch.nn.functional.group_norm(x.flatten(2), 32))
    heads = []
    for part in qkv.split(96, 1):
        q, k, v = part.split(32, 1)
        out = torch.nn.functional.scaled_dot_product_attention(*(a.mT for a in (q, k, v)))
        heads.append(out.mT)
    wanted = x + layer.proj_out(torch.cat(heads, 1)).view(x.shape)
    torch.testing.assert_close(layer(x, torch.zeros(2, 1)), wanted, atol=1e-4, rtol=1e-4)


def test_gradients_and_second_ones_reach_the_image() -> None:
    network = make("guided", SMALL).get_submodule("model")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(1, 3, 8, 8).requires_grad_()
    (g,) = torch.autograd.grad(network(x, torch.ones(1)).square().sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), x)
    assert torch.isfinite(h).all()
    assert h.abs().max() > 0


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(BenchError, match="heads of 48 channels do not divide 64"):
        make("guided", {**SMALL, "num_head_channels": 48})
