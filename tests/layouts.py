"""Published layouts as state dicts that take no memory, or hold random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

LAYOUTS = Path(__file__).parent / "golden" / "layouts"


def tensors_of(layout: str) -> dict[str, tuple[list[int], torch.dtype]]:
    """Shape and type of every tensor of a layout, in order."""
    tensors = json.loads((LAYOUTS / f"{layout}.json").read_text())["tensors"]
    return {k: (t["shape"], getattr(torch, t["dtype"])) for k, t in tensors.items()}


def hollow(layout: str) -> dict[str, Tensor]:
    """A state dict whose tensors repeat a single one."""
    return {
        key: torch.ones(1, dtype=dtype).expand(shape) if shape else torch.ones((), dtype=dtype)
        for key, (shape, dtype) in tensors_of(layout).items()
    }


def random(layout: str) -> dict[str, Tensor]:
    """Small random numbers; variances and scales of norms are near 1."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for key, (shape, dtype) in tensors_of(layout).items():
        near_one = key.endswith(("running_var", "weight_g", "gamma", "alpha")) or (
            len(shape) == 1 and key.endswith("weight")
        )
        noise = 0.02 * torch.randn(shape, generator=generator)
        value = torch.ones(shape) + noise if near_one else noise
        if key.endswith("resample_filter"):
            value = torch.full(shape, 0.25)
        found[key] = value.to(dtype)
    return found
