"""Files of torch in every container that was published: zip, the older stream, bare pickles.

`unpack` gives a file's tree without running anything of it; `Unpacked.tensor` fetches the tensors
that are wanted. No tensor takes more memory than its file has bytes, and no file gives more.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from bench.files.pickles import Made, Name, PickleError, Reference, parse
from bench.models.foreign.storages import Nowhere, Storages, Stream, UnreadableError, Zip

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The first two pickles of the older stream."""
MOST_COPIES, MOST_DIMENSIONS = 4, 8
"""AID's files hold overlapping copies of a classifier, up to four."""
MOST_WRAPPERS = 4
"""Calls around one tensor: a Variable in a Parameter."""
LONGEST_KEY = 200
"""Characters of a storage's key, which is a number or an address."""
BOX = Name("torch.storage", "_load_from_bytes")
"""A storage in a bare pickle: a file of torch as bytes."""
CODED = Name("_codecs", "encode")
"""How bytes are written in pickles of protocol 2."""
PERSISTENT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")
"""How EDM's pickles hold a network: its class as text, which nothing here reads, and its state."""
TENSORS = {Name("torch._utils", f"_rebuild_tensor{suffix}") for suffix in ("", "_v2", "_v3")}
WRAPPED = {
    Name("torch._utils", "_rebuild_parameter"),
    Name("torch._utils", "_rebuild_parameter_with_state"),
    Name("torch.nn.parameter", "Parameter"),
    Name("torch.autograd.variable", "Variable"),
}
"""Calls whose first argument is the tensor."""
# Besides these, what describes numbers and sizes, which nothing here reads.
HARMLESS = {
    *(Name(module, "scalar") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *(Name(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *(Name("torch", kind) for kind in ("Size", "device")),
    *(Name("numpy", kind) for kind in ("dtype", "ndarray")),
    *(Name("collections", kind) for kind in ("defaultdict", "Counter", "deque")),
    *(Name(module, "Namespace") for module in ("argparse", "types")),
    *(CODED, Name("dnnlib.util", "EasyDict"), Name("torch.serialization", "_get_layout")),
}
NEEDED = {BOX, PERSISTENT} | TENSORS | WRAPPED | HARMLESS
DTYPES: Mapping[str, torch.dtype] = {
    **{"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"BoolStorage": torch.bool, "UntypedStorage": torch.uint8},
}


class Unpacked:
    """A file's tree, and its tensors on request."""

    def __init__(self, root: Any, storages: Storages, size: int, depth: int) -> None:
        """`size`: bytes of the file, which bound all that comes out of it."""
        self.root, self.size, self.depth = root, size, depth
        self._storages, self._known = storages, dict[str, Tensor]()
        self._boxes, self._opened, self._given = dict[int, Tensor](), 0, 0

    def tensor(self, node: Any) -> Tensor:
        """The tensor that a node of the tree describes, on the CPU; it may share its storage.

        Raises:
            UnreadableError: it lies outside its storage, repeats itself, or is of no plain type.
        """
        for _ in range(MOST_WRAPPERS):
            if isinstance(node, Made) and node.of in WRAPPED and node.arguments:
                node = node.arguments[0]
        if not isinstance(node, Made) or node.of not in TENSORS or len(node.arguments) < 4:
            raise UnreadableError("of tensors of an unknown kind")
        storage, offset, size, stride = node.arguments[:4]
        return self._view(self.flat(storage), offset, _plain(size), _plain(stride))

    def flat(self, storage: Any) -> Tensor:
        """All numbers of a storage."""
        if isinstance(storage, Made) and storage.of == BOX:
            if id(storage) not in self._boxes:
                self._boxes[id(storage)] = self._boxed(storage.arguments)
            return self._boxes[id(storage)]
        key = storage.key if isinstance(storage, Reference) else None
        if not isinstance(key, tuple) or not _is_storage(key):
            raise UnreadableError("damaged (a tensor without a storage)")
        dtype, name = _dtype(key[1]), _text(key[2])
        if name not in self._known:
            self._known[name] = self._storages.numbers(name, dtype)
        flat = self._known[name]
        if flat.dtype != dtype:
            raise UnreadableError("damaged (one storage of two types)")
        if len(key) > 5 and key[5] is not None:  # a part: (its own key, first number, count)
            if not isinstance(key[5], tuple) or len(key[5]) != 3:
                raise UnreadableError("damaged (a part of a storage that is none)")
            first, count = _plain(key[5][1:3])
            return flat[first : first + count]
        return flat

    def _boxed(self, arguments: tuple[Any, ...]) -> Tensor:
        content = arguments[0] if arguments else None
        if isinstance(content, Made) and content.of == CODED and content.arguments:
            text = content.arguments[0]
            content = text.encode("latin1", "replace") if isinstance(text, str) else None
        if not isinstance(content, bytes | bytearray) or self.depth:
            raise UnreadableError("damaged (a storage inside of a storage)")
        self._opened += len(content)
        if self._opened > MOST_COPIES * self.size:
            raise UnreadableError("of storages that are larger than itself")
        inside = _unpack(io.BytesIO(content), len(content), self.depth + 1)
        return inside.flat(inside.root)

    def _view(self, flat: Tensor, offset: Any, size: list[int], stride: list[int]) -> Tensor:
        (start,) = _plain([offset])
        if len(size) != len(stride):
            raise UnreadableError("damaged (sizes that do not fit)")
        numbers = math.prod(size)
        last = start + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if numbers and (last >= len(flat) or numbers > len(flat)):
            raise UnreadableError("damaged (a tensor reaches beyond its storage)")
        self._given += numbers * flat.element_size()
        if self._given > MOST_COPIES * self.size:
            raise UnreadableError("of tensors that are larger than itself")
        return flat.as_strided(size, stride, start) if numbers else flat.new_empty(size)


def _dtype(kind: Any) -> torch.dtype:
    if not isinstance(kind, Name):
        raise UnreadableError("damaged (a storage without a type)")
    if kind.name not in DTYPES:
        raise UnreadableError(f"of tensors of the type {kind}")
    return DTYPES[kind.name]


def _text(key: Any) -> str:
    """The key of a storage. Anything else than a short text may be nested without end."""
    if isinstance(key, int) and 0 <= key < 2**64:
        return str(key)
    if isinstance(key, str) and len(key) <= LONGEST_KEY:
        return key
    raise UnreadableError("damaged (the key of a storage is no short text)")


def _plain(values: Any) -> list[int]:
    """Sizes, strides and offsets: a few whole numbers that are not negative."""
    if isinstance(values, Made) and values.arguments:
        values = values.arguments[0]
    if not isinstance(values, list | tuple) or len(values) > MOST_DIMENSIONS:
        raise UnreadableError("damaged (sizes that are no numbers)")
    if not all(isinstance(v, int) and 0 <= v < 2**48 for v in values):
        raise UnreadableError("damaged (sizes that are no numbers)")
    return [int(v) for v in values]


def may_call(name: Name) -> bool:
    """Whether a checkpoint needs that call; it is recorded and not made in either case."""
    return name in NEEDED


@contextmanager
def unpack(path: Path) -> Iterator[Unpacked]:
    """The tree of a file of torch, or of a pickle with tensors, while the block lasts.

    Raises:
        UnreadableError: it is none, damaged, or wants to call what no tensor needs.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        yield _unpack(file, path.stat().st_size, 0)


def _unpack(content: IO[bytes], size: int, depth: int) -> Unpacked:
    start = content.read(512)
    content.seek(0)
    try:
        if start.startswith(b"PK"):
            zipped = Zip(content, size)
            return Unpacked(parse(zipped.pickle(), may_call), zipped, size, depth)
        if start[257:262] == b"ustar":
            raise UnreadableError("a tar file, as torch wrote them before 2017")
        root = parse(content, may_call)
        if root != MAGIC:
            return Unpacked(root, Nowhere(), size, depth)
        return _stream(content, size, depth)
    except PickleError as error:
        raise UnreadableError(str(error)) from None


def _stream(content: IO[bytes], size: int, depth: int) -> Unpacked:
    """What follows the magic number: protocol, machine, the tree, the keys, the storages."""
    references: list[Reference] = []
    protocol, machine = parse(content, may_call), parse(content, may_call)
    if protocol != PROTOCOL or not isinstance(machine, dict) or not machine.get("little_endian"):
        raise UnreadableError("of an unknown protocol, or of a machine of the other byte order")
    root = parse(content, may_call, references)
    keys = parse(content, may_call)
    if not isinstance(keys, list):
        raise UnreadableError("damaged (its storages have no names)")
    types = {_text(r.key[2]): _dtype(r.key[1]) for r in references if _is_storage(r.key)}
    names = [_text(key) for key in keys]
    if missing := [name for name in names if name not in types]:
        raise UnreadableError(f"damaged (nothing is said of the storage {missing[0][:40]})")
    order = [(name, types[name]) for name in names]
    return Unpacked(root, Stream(content, size, order), size, depth)


def _is_storage(key: Any) -> bool:
    return isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage"
