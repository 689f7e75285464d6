"""Small networks in files as others write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.api import Context
from bench.api.images import DatasetInfo
from bench.measure import weights_used
from bench.models.nets import make

INFO = DatasetInfo("cifar10", "toy", (3, 32, 32), tuple("abcdefghij"), "linf:8/255")


def published(path: Path, network: nn.Module, prefix: str = "", container: str = "") -> Path:
    """The state dict of a network as a torch checkpoint."""
    state: Any = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save({container: state, "epoch": 3} if container else state, path)
    return path


def tiny(seed: int = 0, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    return make("wideresnet", {"depth": 10, "widen": 1, **changes}).eval()


def files_used(defense: str, context: Context) -> dict[str, str]:
    """The weight files of a defense; not the code of the toy data set, which is the test's own."""
    used = weights_used.weights_used(defense, None, context)
    return {name: sha256 for name, sha256 in used.items() if weights_used.is_file(name)}
