"""The state dict inside a file: of a network that was pickled whole, of a list, of an average.

What the publishers use is what one gets: NCSNv2's raw weights (as ADP does), the averaged ones of
score-SDE and of EDM. `part` asks for the other (`raw`, `ema`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from bench.api.context import Weights
from bench.errors import BenchError, plain
from bench.files.pickles import Made, Name
from bench.models.foreign import bundle
from bench.models.foreign.containers import PERSISTENT, TENSORS, WRAPPED, Unpacked, unpack
from bench.models.foreign.storages import UnreadableError
from bench.models.zoo.weights import PICKLED, SUFFIX, load_state, what_it_is

Choice = Literal["", "raw", "ema"]
CONTAINERS = ("state_dict", "model_state_dict", "net", "model", "ema")
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of names that DataParallel, torch.compile and the like put anywhere."""
OUTER = {"model", "network", "net"}
"""What classes around a network call it: parts that a name may begin with."""
UNUSED = "sub_block1."
"""A copy of block1 that the classes of AID-Purifier and TRADES carry and never call."""
DEEPEST, MOST_MODULES, MOST_TENSORS, MOST_PARTS = 50, 20_000, 100_000, 20
AVERAGES = "shadow_params"
"""Where score-SDE keeps its averages: a list, in the order of the parameters."""


@dataclass(frozen=True)
class Module:
    """A pickled module: its class, and its attributes that are numbers, texts or lists of them.

    aside: names of attributes that are tensors and no parameters or buffers.
    """

    kind: Name
    values: Mapping[str, Any]
    aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """The tensors of a file by name, without prefixes, and the class of the network if it says."""

    tensors: dict[str, Tensor]
    kind: str = ""
    modules: Mapping[str, Module] = field(default_factory=dict)
    """What a network that was pickled whole says of its modules, by their names."""


def read_state(weights: Weights, part: Choice = "") -> State:
    """The state dict in any file that was published, or in one of ours.

    Nothing that a file holds is ever run. Raises BenchError when it holds none, cannot be read, or
    wants to do more than hold tensors.
    """
    where = weights.path
    try:
        if where.suffix == SUFFIX:
            return State(_named(load_state(weights)))
        if where.suffix == bundle.SUFFIX:
            return State(_named(bundle.read(where)))
        with unpack(where) as file:
            found = _found(file, part)
    except OSError as error:
        raise BenchError(f"cannot read weights {where}: {error.strerror or error}") from None
    except UnreadableError as error:
        raise _unreadable(weights, str(error)) from None
    if not found.tensors:
        raise BenchError(
            f"weights {where} hold no state dict (names to tensors, bare or under "
            f"{', '.join(CONTAINERS)}; a network; or a list that begins with one)"
        )
    return found


def _unreadable(weights: Weights, reason: str) -> BenchError:
    """What the file is, as far as its beginning tells; else what stopped the reader."""
    what = PICKLED
    if weights.path.is_file() and weights.path.suffix not in (SUFFIX, bundle.SUFFIX):
        with weights.path.open("rb") as file:
            what = what_it_is(file.read(512))
    if what != PICKLED:
        return BenchError(f"cannot read weights {weights.path}: they are {what}, no checkpoint")
    return BenchError(f"cannot read weights {weights.path}: the file is {plain(reason, 200)}")


def _found(file: Unpacked, part: Choice) -> State:
    node = file.root
    if isinstance(node, list | tuple) and node:
        return _of_list(file, node, part)
    if isinstance(node, Mapping) and isinstance(node.get("ema"), Mapping):
        averages = node["ema"].get(AVERAGES)
        if isinstance(averages, list) and isinstance(node.get("model"), Mapping):
            raw = _collect(file, node["model"])
            return (
                raw
                if part == "raw"
                else replace(raw, tensors=_averaged(file, raw.tensors, averages))
            )
    if part == "ema" and not _is_network(_inside(node, "ema")):
        raise UnreadableError("a checkpoint without averaged weights (part=ema)")
    if not _is_network(node):
        node = next((i for key in CONTAINERS if _is_network(i := _inside(node, key))), node)
    return _collect(file, node)


def _of_list(file: Unpacked, nodes: list[Any] | tuple[Any, ...], part: Choice) -> State:
    """NCSNv2: weights, optimiser, epoch, step and, where they were kept, averaged weights."""
    raw = _collect(file, nodes[0])
    if part != "ema":
        return raw
    if len(nodes) < 5 or not isinstance(nodes[4], Mapping):
        raise UnreadableError("a checkpoint without averaged weights (part=ema)")
    # Averages are of parameters only; the noise levels are those of the raw weights.
    return replace(raw, tensors={**raw.tensors, **_collect(file, nodes[4]).tensors})


def _inside(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None


def _is_network(node: Any) -> bool:
    """Whether it is a state dict or a pickled module."""
    if isinstance(node, Mapping):
        return bool(node) and all(_is_tensor(value) for value in node.values())
    return _attributes(node) is not None


def _is_tensor(node: Any) -> bool:
    return isinstance(node, Made) and node.of in TENSORS | WRAPPED


def _attributes(node: Any) -> Mapping[str, Any] | None:
    """The attributes of a pickled module, or None of anything else."""
    if not isinstance(node, Made):
        return None
    state = node.state
    if node.of == PERSISTENT:
        described = node.arguments[0] if node.arguments else None
        state = _inside(described, "state")
    return state if isinstance(state, Mapping) and "_parameters" in state else None


def _collect(file: Unpacked, node: Any) -> State:
    """The tensors of a state dict or of a pickled module, in order."""
    if not _is_network(node):
        return State({})
    if isinstance(node, Mapping):
        if len(node) > MOST_TENSORS:
            raise UnreadableError("of more tensors than a network has")
        return State(_named({str(key): file.tensor(value) for key, value in node.items()}))
    modules = {stripped(f"{prefix}.").rstrip("."): _module(of) for prefix, of in _modules(node)}
    return State(_named(dict(_walk(file, node))), _kind(node), modules)


def _module(node: Made) -> Module:
    attributes = _attributes(node) or {}
    plain_ones = {k: v for k, v in attributes.items() if isinstance(k, str) and _is_plain(v)}
    tensors = (k for k, v in attributes.items() if isinstance(k, str) and _is_tensor(v))
    return Module(node.of, plain_ones, tuple(tensors))


def _is_plain(value: Any) -> bool:
    """A number, a text, or a few of them."""
    parts = value if isinstance(value, list | tuple) else (value,)
    return len(parts) <= MOST_PARTS and all(isinstance(v, int | float | str) for v in parts)


def _kind(node: Made) -> str:
    """The name of a module's class."""
    described = node.arguments[0] if node.of == PERSISTENT else {}
    name = described.get("class_name", node.of.name)
    return name if isinstance(name, str) else ""


def _walk(file: Unpacked, root: Any) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors as `state_dict` gives them: parameters, buffers, then the modules below."""
    for prefix, node in _modules(root):
        attributes = _attributes(node) or {}
        listed = attributes.get("_non_persistent_buffers_set")
        passing = {n for n in listed if isinstance(n, str)} if isinstance(listed, list) else set()
        for group in ("_parameters", "_buffers"):
            for name, value in _items(attributes.get(group)):
                if value is not None and name not in passing:
                    yield f"{prefix}{name}", file.tensor(value)


def _modules(root: Any) -> Iterator[tuple[str, Any]]:
    """Prefix and node of every module, in the order of `state_dict`."""
    waiting = [("", root, 0)]
    for _ in range(MOST_MODULES):
        if not waiting:
            return
        prefix, node, depth = waiting.pop()
        attributes = _attributes(node)
        if attributes is None or depth > DEEPEST:
            raise UnreadableError("damaged (a network of something else than modules)")
        yield prefix, node
        below = [item for item in _items(attributes.get("_modules")) if item[1] is not None]
        waiting += [(f"{prefix}{name}.", value, depth + 1) for name, value in reversed(below)]
    raise UnreadableError("of more modules than a network has")


def _items(group: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(group, Mapping):
        raise UnreadableError("damaged (a network of something else than modules)")
    yield from ((str(name)[:200], value) for name, value in group.items())


def _averaged(file: Unpacked, raw: dict[str, Tensor], averages: list[Any]) -> dict[str, Tensor]:
    """The averages under the names of the parameters, which come in the same order as in `raw`.

    Buffers have no average. Score-SDE's network has one, its noise levels.
    """
    names = [name for name in raw if name != "sigmas"]
    tensors = [file.tensor(value) for value in averages]
    shapes = [tensor.shape for tensor in tensors]
    if shapes != [raw[name].shape for name in names]:
        raise UnreadableError("a checkpoint whose averages are not those of its network")
    return {**raw, **dict(zip(names, tensors, strict=True))}


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes of wrappers and without what nothing uses."""
    if len(tensors) > MOST_TENSORS:
        raise UnreadableError("of more tensors than a network has")
    named: dict[str, Tensor] = {}
    first: dict[str, str] = {}
    for key, value in tensors.items():
        name = stripped(key)
        if name in first:
            both = f"'{plain(first[name])}' and '{plain(key)}'"
            raise UnreadableError(f"of two networks: {both} are both '{plain(name)}'")
        first[name] = key
        if not name.startswith(UNUSED):
            named[name] = value
    return named


def stripped(key: str) -> str:
    """The name of a tensor without what wrappers and outer classes put before it."""
    *parts, last = key.split(".")
    kept = [part for part in parts if part not in WRAPPERS]
    while kept and kept[0] in OUTER:
        del kept[0]
    return ".".join([*kept, last])
