"""A small generator and critic for Defense-GAN (Samangouei et al. 2018; Gulrajani et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


class WGAN(nn.Module):
    """z [B,latent] to images [B,channels,side,side] in [0,1]; beside it the critic that taught it.

    `stages` times the generator doubles the side and the critic halves it. Activations are smooth,
    so that a descent on z has an exact gradient.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        side: int = 32,
        latent: int = 128,
        width: int = 32,
        stages: int = 3,
    ) -> None:
        """`width`: channels at the full side, doubled at each stage below.

        Raises:
            ValueError: a side that cannot be halved so often.
        """
        super().__init__()
        if side % (1 << stages):
            raise ValueError(f"side {side} cannot be halved {stages} times")
        self.latent = latent
        self.generator = nn.Sequential(*_up(channels, side >> stages, latent, width, stages))
        self.critic = nn.Sequential(*_down(channels, side >> stages, width, stages))

    def forward(self, z: Tensor) -> Tensor:
        """Images of latent vectors."""
        images: Tensor = self.generator(z)
        return images

    def judged(self, x: Tensor) -> Tensor:
        """The critic's value [B], higher for what it takes for an image."""
        value: Tensor = self.critic(x)
        return value[:, 0]


def _up(channels: int, start: int, latent: int, width: int, stages: int) -> Iterator[nn.Module]:
    deep = width << stages
    yield nn.Linear(latent, deep * start * start)
    yield nn.Unflatten(1, (deep, start, start))
    for stage in range(stages, 0, -1):
        yield nn.SiLU()
        yield nn.Upsample(scale_factor=2)
        yield nn.Conv2d(width << stage, width << (stage - 1), 3, padding=1)
    yield nn.SiLU()
    yield nn.Conv2d(width, channels, 3, padding=1)
    yield nn.Sigmoid()


def _down(channels: int, end: int, width: int, stages: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(channels, width, 3, padding=1)
    for stage in range(stages):
        yield nn.LeakyReLU(0.2)
        yield nn.Conv2d(width << stage, width << (stage + 1), 4, stride=2, padding=1)
    yield nn.LeakyReLU(0.2)
    yield nn.Flatten()
    yield nn.Linear((width << stages) * end * end, 1)
