"""A digest of all that a built network computes with, whatever it was built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


def fingerprint(built: object) -> str:
    """The sha256 of every tensor, array and kind of layer that an object holds, however deep.

    Plain numbers of layers (BatchNorm's eps) count as they show themselves; counters do not.
    """
    total = hashlib.sha256()
    for piece in _pieces(built, set()):
        total.update(len(piece).to_bytes(8, "little") + piece)
    return total.hexdigest()


def _pieces(held: object, seen: set[int]) -> Iterator[bytes]:
    if id(held) in seen or isinstance(held, type | str | bytes | int | float):
        return
    seen.add(id(held))
    if isinstance(held, torch.Tensor):
        plain = held.detach().cpu().contiguous()
        yield f"{plain.dtype} {tuple(plain.shape)}".encode()
        yield plain.flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(held, np.ndarray):
        yield f"{held.dtype} {held.shape}".encode()
        yield held.tobytes()
    elif isinstance(held, dict):
        for key, value in held.items():
            inside = list(_pieces(value, seen))
            yield from ([str(key).encode(), *inside] if inside else [])
    elif isinstance(held, list | tuple | set):
        for value in held:
            yield from _pieces(value, seen)
    elif isinstance(held, nn.Module):
        yield f"{type(held).__qualname__}({held.extra_repr()})".encode()
        yield from _pieces(vars(held), seen)
    elif hasattr(held, "__dict__") and type(held).__module__ != "builtins" and not callable(held):
        yield from _pieces(vars(held), seen)
