from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from bench.compute.rng import seeded
from bench.data.corruptions import EXTRA, KINDS, SEVERITIES, corrupt
from bench.data.patches import patches
from bench.errors import BenchError

GOLDEN = load_file(Path(__file__).parents[1] / "golden" / "corruptions.safetensors")
KNOWN = [kind for kind in KINDS + EXTRA if kind in GOLDEN]
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")


def _corrupt(x: Tensor, kind: str, severity: int) -> Tensor:
    with seeded("test", kind):
        return corrupt(x, kind, severity)


def test_the_fifteen_kinds() -> None:
    assert len(KINDS) == 15
    assert set(KINDS) - set(KNOWN) == {"impulse_noise", "motion_blur", "snow", "frost"}


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("kind", KNOWN)
def test_reference_image_is_reproduced(kind: str, severity: int) -> None:
    x = torch.from_numpy(GOLDEN["image"]).permute(2, 0, 1)[None].float() / 255
    with seeded("golden"):
        np.random.seed(1000 * severity + 323)
        ours = corrupt(x, kind, severity)[0].permute(1, 2, 0)
    difference = (ours * 255).round() - torch.from_numpy(GOLDEN[kind][severity - 1]).float()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 16, 16), (3, 3, 16, 16), (1, 3, 28, 40)])
@pytest.mark.parametrize("kind", KINDS + EXTRA)
def test_shape_range_and_rounding(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for severity in SEVERITIES:
        out = _corrupt(x, kind, severity)
        assert out.shape == x.shape
        assert out.dtype == x.dtype
        assert out.min() >= 0
        assert out.max() <= 1
        assert torch.equal((out * 255).round() / 255, out)


@pytest.mark.parametrize("kind", [*NOISES, "contrast", "brightness", "fog", "snow", "motion_blur"])
def test_damage_grows_with_severity(kind: str) -> None:
    x = patches().images("validation").x[:128]
    damage = [(_corrupt(x, kind, s) - x).abs().mean().item() for s in SEVERITIES]
    assert damage == sorted(damage)
    assert damage[0] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides_everything(kind: str) -> None:
    x = patches().images("validation").x[:4]
    assert torch.equal(_corrupt(x, kind, 3), _corrupt(x, kind, 3))


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("snow", "frost", "fog")])
def test_a_flat_image_stays_flat_on_average(kind: str) -> None:
    flat = torch.full((8, 3, 32, 32), 128 / 255)
    expected = 0.5 + (0.05 if kind == "brightness" else 0)
    assert _corrupt(flat, kind, 1).mean() == pytest.approx(expected, abs=0.01)


def test_small_images_average_back_where_nothing_is_corrupted() -> None:
    # The blur of severity 1 is nearly nothing; enlarging alone must not blur the image.
    x = 0.25 + patches().images("validation").x[:64] / 2
    assert (_corrupt(x, "defocus_blur", 1) - x).abs().mean() < 0.004


def test_motion_blur_streaks_to_one_side() -> None:
    x = torch.zeros(1, 3, 33, 33)
    x[..., 16, 16] = 1
    out = _corrupt(x, "motion_blur", 5)[0, 0]
    assert out[:, 17:].sum() == 0
    assert out[:, :16].sum() > 0
    assert out.sum().item() == pytest.approx(1, abs=0.1)


def test_mistakes_are_named() -> None:
    x = torch.rand(1, 3, 32, 32)
    with pytest.raises(BenchError, match="did you mean 'fog'"):
        corrupt(x, "fogg", 1)
    with pytest.raises(BenchError, match="severity 6"):
        corrupt(x, "fog", 6)
    with pytest.raises(BenchError, match="channels, not 2"):
        corrupt(x[:, :2], "fog", 1)
