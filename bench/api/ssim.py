"""How alike two images look: the structural similarity index (Wang et al. 2004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5
"""Side and width, in pixels, of the Gaussian window; smaller images have a smaller one."""
C1, C2 = 0.01**2, 0.03**2
"""What keeps the quotients finite, for pixels in [0,1]."""


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """The mean of the index over pixels and channels of images [B,C,H,W] in [0,1], [B].

    1 for equal images, lower where luminance, contrast or structure differ. Each pixel is the
    centre of a window; outside, the border goes on, so that changes at the border count too.
    """
    side = (min(WINDOW, *x.shape[2:]) - 1) // 2 * 2 + 1
    places = torch.arange(side, device=x.device, dtype=x.dtype) - (side - 1) / 2
    line = (-places.square() / (2 * SIGMA**2)).softmax(0)
    window = (line[:, None] * line).expand(x.shape[1], 1, side, side)

    def mean(values: Tensor) -> Tensor:
        wide = F.pad(values, [side // 2] * 4, "replicate")
        return F.conv2d(wide, window, groups=x.shape[1])

    a, b = mean(x), mean(y)
    spread = mean(x * x) - a * a + mean(y * y) - b * b
    together = mean(x * y) - a * b
    index = (2 * a * b + C1) * (2 * together + C2) / ((a * a + b * b + C1) * (spread + C2))
    return index.flatten(1).mean(1)
