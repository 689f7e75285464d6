"""Common corruptions with the constants of CIFAR-10-C (Hendrycks and Dietterich, 2019).

`KINDS` are the fifteen of the paper, `EXTRA` the four held-out ones. What differs from
the published files is listed in docs/data.md.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

from bench.errors import BenchError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]
    """A batch [B,H,W,3] in [0,1], or one map of it."""

KINDS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
EXTRA = ("speckle_noise", "gaussian_blur", "saturate", "spatter")
SEVERITIES = (1, 2, 3, 4, 5)

_FAMILY = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "spatter": ("spatter",),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
_SIDE = 32
"""The constants are in pixels of CIFAR-10."""
_SMALL = 24


def corrupt(x: Tensor, kind: str, severity: int) -> Tensor:
    """`x` [B,C,H,W] in [0,1], C of 1 or 3, corrupted: same shape, on the grid k/255.

    Randomness is NumPy's global generator. An image of fewer than 24 pixels a side is enlarged
    by the whole number that brings it to 32 or more (bilinear, corrected so that averaging gives
    the image again), corrupted there and averaged back: the constants keep their meaning. One
    channel is corrupted as three equal ones and averaged.

    Raises:
        BenchError: unknown kind or severity, or a number of channels other than 1 and 3.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F

    if kind not in KINDS + EXTRA:
        raise unknown("corruption", kind, KINDS + EXTRA)
    if severity not in SEVERITIES:
        raise BenchError(f"corruption severity {severity} is not one of 1, 2, 3, 4, 5")
    channels = x.shape[1]
    if channels not in (1, 3):
        raise BenchError(f"corruptions need 1 or 3 channels, not {channels}")
    side = min(x.shape[2:])
    factor = -(-_SIDE // side) if side < _SMALL else 1
    large = x.detach().cpu().double().expand(-1, 3, -1, -1)
    if factor > 1:
        smooth = F.interpolate(large, scale_factor=factor, mode="bilinear", align_corners=False)
        # Averaging back must give x where nothing is corrupted, not a blurred x.
        lost = large - F.avg_pool2d(smooth, factor)
        large = smooth + F.interpolate(lost, scale_factor=factor, mode="nearest")
    image = (large.clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy() / 255
    # The published files hold truncated bytes; the margin keeps k/255*255 from falling to k-1.
    levels = np.floor(np.clip(_function(kind)(image, severity), 0, 1) * 255 + 1e-6)
    out = torch.from_numpy(levels).permute(0, 3, 1, 2)
    if factor > 1:
        out = F.avg_pool2d(out, factor)
    if channels == 1:
        out = out.mean(1, keepdim=True)
    return (out.round() / 255).to(x)


def _function(kind: str) -> Callable[[Array, int], Array]:
    family = next(name for name, kinds in _FAMILY.items() if kind in kinds)
    module = import_module(f"{__name__}.{family}")
    return cast("Callable[[Array, int], Array]", getattr(module, kind))
