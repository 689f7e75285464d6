"""The most bytes that tensors hold at one time: counted, whatever the device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Counts the bytes of the storages that are made inside; `most`: alive at one time."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.live = self.most = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and to say so torch would load its compiler: seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self._enter((args, kwargs), new=False)
        out = func(*args, **(kwargs or {}))
        self._enter(out, new=True)
        return out

    def _enter(self, tree: Any, new: bool) -> None:
        """What comes in was made outside, unless it is known; what comes out may be a view."""
        for leaf in tree_leaves(tree):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._known:
                    self._keep(storage, storage.nbytes() if new else 0)

    def _keep(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata

        def leave(_: weakref.ref[torch.UntypedStorage]) -> None:
            del self._known[key]
            self.live -= size

        self._known[key] = weakref.ref(storage, leave)
        self.live += size
        self.most = max(self.most, self.live)
