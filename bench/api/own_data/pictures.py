"""One picture from a file or a library, as bytes of the shape that a data set has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.errors import BenchError, plain

if TYPE_CHECKING:
    from PIL.Image import Image

    from bench.api.own_data.dealt import Pixels

Shape = tuple[int, int, int]
Change = Callable[["Image"], Any]
"""What is made of each picture first (a crop, a new size): a picture to a picture."""
MOST_PIXELS = 50_000_000
"""Of one picture; photographs have some 20 million."""
GREY = {"1", "L", "LA"}
COLOUR = {"P", "RGB", "RGBA", "CMYK", "YCbCr", *GREY}


def shape_of(picture: Image, change: Change | None, where: str) -> Shape:
    """(C, H, W) of a picture once it is changed: one channel where it is grey.

    Raises:
        BenchError: more pixels than any photograph, or numbers of more than 8 bits.
    """
    if picture.width * picture.height > MOST_PIXELS:
        raise BenchError(f"{where} has {picture.width} x {picture.height} pixels")
    shown = changed(picture, change, where)
    if shown.mode not in COLOUR:
        raise BenchError(f"{where} is of mode {plain(shown.mode)}; save it with 8 bits a channel")
    return (1 if shown.mode in GREY else 3, shown.height, shown.width)


def changed(picture: Image, change: Change | None, where: str) -> Image:
    """The picture, or what `change` makes of it; an error of `change` names the picture."""
    from PIL.Image import Image as Picture

    if change is None:
        return picture
    try:
        made = change(picture)
    except Exception as error:
        raise BenchError(f"change= fails on {where}: {plain(error, 200)}") from None
    if not isinstance(made, Picture):
        raise BenchError(f"change= gives {type(made).__name__}, not an image of Pillow")
    return made


def as_bytes(picture: Image, shape: Shape, change: Change | None, where: str) -> Pixels:
    """The pixels of a picture, uint8 [C,H,W].

    Grey pictures fill three equal channels where the data set has three.

    Raises:
        BenchError: another shape.
    """
    import numpy as np

    require_shape(shape_of(picture, change, where), shape, where)
    shown = changed(picture, change, where).convert("L" if shape[0] == 1 else "RGB")
    pixels = np.asarray(shown, np.uint8)
    return pixels[None] if shape[0] == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def require_shape(found: Shape, shape: Shape, where: str) -> None:
    """Raise BenchError where a picture is of another size, or in colour where grey is said."""
    if found[1:] != shape[1:]:
        raise BenchError(
            f"{where} is {found[1]}x{found[2]}, not {shape[1]}x{shape[2]}: images need one size "
            "(change= may crop and resize them)"
        )
    if found[0] > shape[0]:
        raise BenchError(f"{where} is in colour, the others are grey; say shape=(3, H, W)")


def checked(shape: Shape) -> Shape:
    """A shape as it was typed: (1 or 3, height, width)."""
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise BenchError(f"shape={shape} is not (1 or 3, height, width)")
    return (int(shape[0]), int(shape[1]), int(shape[2]))


def opened(path: Path, content: IO[bytes] | None = None) -> Image:
    """A picture of a file, of which only the head is read yet; whoever opens it closes it.

    content: what was read of the file, where it was.

    Raises:
        BenchError: no picture, named.
    """
    from PIL import Image as Files

    try:
        return Files.open(content or path, formats=("PNG", "JPEG"))
    # Whatever a damaged file makes of its reader, it is a damaged file.
    except Exception as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> BenchError:
    """The error for a file that is no picture."""
    reason = plain(" ".join(str(error).split()) or type(error).__name__, 200)
    return BenchError(f"{plain(path, 200)} cannot be read as PNG or JPEG: {reason}")
