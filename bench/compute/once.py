"""What is computed once for a network and kept: points that depend on it and on images alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from weakref import WeakKeyDictionary

from torch import Tensor, nn

MOST = 256 << 20
"""Bytes kept for one network; what was asked for longest ago goes first."""
_kept: WeakKeyDictionary[nn.Module, OrderedDict[Hashable, Tensor]] = WeakKeyDictionary()


def once(network: nn.Module, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """`make()`, or a copy of what it gave for this very network and `key` before."""
    kept = _kept.setdefault(network, OrderedDict())
    if key not in kept:
        kept[key] = make().detach().clone()
    kept.move_to_end(key)
    found = kept[key].clone()
    while sum(points.nbytes for points in kept.values()) > MOST:
        kept.popitem(last=False)
    return found
