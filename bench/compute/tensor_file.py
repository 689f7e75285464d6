"""Tensors to the bytes of a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors
import safetensors.torch
from torch import Tensor


def packed(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The safetensors file of these tensors; equal contents give equal bytes."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    return _sorted_header(safetensors.torch.save(tensors, dict(metadata)))


def _sorted_header(content: bytes) -> bytes:
    """The same file with the keys of its header in order, which the library leaves to chance."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
