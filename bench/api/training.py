"""Networks of plug-ins that `bench train` trains, by a recipe of a few lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.api.images import DatasetInfo


@dataclass(frozen=True)
class Named:
    """A network of `bench/models/nets` by its name there, with the arguments of its constructor.

    It sees images less the training images' mean, over their deviation, unless `standardised` is
    false, and `bench.models.zoo.networks.rebuild` gives it back, which takes images in [0,1].
    """

    name: str
    arguments: Mapping[str, Any]
    standardised: bool = True


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network of one's own is made from training images.

    network(): a new one, on images [B,C,H,W] in [0,1]; or one of the project's, by name.
    loss(network, images, labels): a scalar, in training mode. optimizer: adam, adamw, sgd,
    momentum; schedule: onecycle, cosine, constant. ema: of the weights, 0 for none; clip: the
    norm of a gradient, 0 for none. merit(network, validation images, labels): figures that are
    stored with the weights; without it the loss. half: the file holds 16 bits a number.
    """

    network: Callable[[], nn.Module] | Named
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    steps: int
    batch: int = 128
    lr: float = 2e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "onecycle"
    ema: float = 0.0
    clip: float = 0.0
    augment: Callable[[Tensor], Tensor] | None = None
    merit: Callable[[nn.Module, Tensor, Tensor], dict[str, float]] | None = None
    half: bool = False


Maker = Callable[["DatasetInfo"], Training]
TRAINED: dict[str, Maker] = {}
"""By the name of the weights."""


def recipe(name: str) -> Callable[[Maker], Maker]:
    """Declare `bench train NAME`: the function below says, for a data set, how it is done."""

    def declare(make: Maker) -> Maker:
        known = TRAINED.get(name)
        if known and (known.__module__, known.__qualname__) != (make.__module__, make.__qualname__):
            raise BenchError(f"recipe '{name}' is already registered by {known.__module__}")
        TRAINED[name] = make
        return make

    return declare
