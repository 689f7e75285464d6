"""IGEBM's published networks (openai/ebm_code_release) under our names, their norms divided out.

TensorFlow keeps kernels as [height,width,in,out]. A kernel is divided by its largest singular
value, which one more step from the stored vector `_u` gives; a block's second one only where that
value is above 1. Kept in every file and asked by no network are biases `b`, class biases `cb` of
first convolutions, `fc_dense`, and attention, which is refused where a file uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor
from torch.nn import functional as F

SCOPE = "context_0/"
FIRST = f"{SCOPE}c1_pre/cweight"
"""In every file of theirs for images of 32 pixels."""


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as `IGEBM` names and shapes them.

    Raises LookupError or RuntimeError where they are not those of its networks.
    """
    state = {k.removeprefix(SCOPE): v for k, v in tensors.items() if k.startswith(SCOPE)}
    if state["atten/gamma"].any():
        raise LookupError("attention")
    found = {"stem.weight": _kernel(state, "c1_pre")}
    for number, block in enumerate(_blocks(state)):
        here, first, second = f"blocks.{number}", f"{block}_res_c1", f"{block}_res_c2"
        found[f"{here}.conv1.weight"] = _kernel(state, first)
        found[f"{here}.conv2.weight"] = _kernel(state, second, bounded=True)
        told = state[f"{second}/g"].dim() == 2
        scale = state[f"{second}/g"] + (state[f"{second}/cb"] if told else 0)
        shifts = state[f"{first}/gb"], state[f"{second}/gb"]
        for name, rows in zip(("shift1", "shift2", "scale"), (*shifts, scale), strict=True):
            found[f"{here}.{name}.weight"] = rows if told else rows[None]
        if f"{block}_res_adaptive/cweight" in state:
            found[f"{here}.bypass.weight"] = _kernel(state, f"{block}_res_adaptive")
    found["head.weight"], found["head.bias"] = state["fc5/wweight"].T, state["fc5/b"]
    return found


def _blocks(state: Mapping[str, Tensor]) -> Iterator[str]:
    """Names of the residual blocks in order, all of them."""
    names = {key.partition("_res_c1/")[0] for key in state if "_res_c1/" in key}
    ordered = ["res_optim", *(f"res_{number}" for number in range(1, len(names)))]
    if set(ordered) != names:
        raise LookupError("blocks")
    yield from ordered


def _kernel(state: Mapping[str, Tensor], name: str, *, bounded: bool = False) -> Tensor:
    """[out,in,height,width] over its spectral norm; `bounded`: over no less than 1."""
    kernel, u = state[f"{name}/cweight"], state[f"{name}/c_u"]
    flat = kernel.flatten(0, 2)
    v = F.normalize(u @ flat.T)
    norm = (v @ flat).norm()
    made: Tensor = kernel / (norm.clamp_min(1) if bounded else norm)
    return made.permute(3, 2, 0, 1)
