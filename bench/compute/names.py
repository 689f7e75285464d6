"""What may be typed for a device, a precision and a chunk, judged before torch is there."""

from __future__ import annotations

from typing import Literal, get_args

from bench.errors import BenchError, unknown

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
KINDS = ("cpu", "cuda", "mps")
CHUNKS = {"cuda": 256}
"""Images per network call where a CPU's 32 would leave the device idle; halved out of memory."""


def spelled(text: str, precision: str = "float32") -> None:
    """Refuse what no machine has: whether this one does, `bench.compute.device` knows.

    Raises:
        BenchError: a word that is no device, an unknown precision, or TF32 elsewhere than on CUDA.
    """
    for word in (word.strip() for word in text.split(",")):
        kind, colon, number = word.partition(":")
        if kind not in KINDS or (colon and not (kind == "cuda" and number.isdecimal())):
            raise unknown("device", word, (*KINDS, "cuda:N"))
        meant(precision, kind)


def meant(precision: str, device: str) -> Precision:
    """The precision of that name, if a device of this kind may have it.

    Raises:
        BenchError: an unknown precision, or TF32 elsewhere than on CUDA.
    """
    asked = next((known for known in PRECISIONS if known == precision), None)
    if asked is None:
        raise unknown("precision", precision, PRECISIONS)
    if asked == "tf32" and device.partition(":")[0] != "cuda":
        raise BenchError(f"precision tf32 exists on CUDA devices only, not on '{device}'")
    return asked


def chunk(device: str, asked: int | None = None) -> int:
    """Images per network call: those asked for, else what suits the device.

    Raises:
        BenchError: not a positive multiple of 32 (a shard).
    """
    images = CHUNKS.get(device.partition(":")[0], 32) if asked is None else asked
    if images <= 0 or images % 32:
        raise BenchError(f"chunk {images} is not a positive multiple of 32")
    return images
