"""The `config.yml` beside NCSNv2's checkpoints: nested Namespaces, read as dictionaries.

The file was written by YAML's unsafe dumper. Its tags of Namespace, tuple and device are mapped to
plain values here; any other tag of a Python object is refused, and nothing is ever constructed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError, plain
from bench.files.bounded import content_of

NAME = "config.yml"
LARGEST, MOST_NODES = 200_000, 10_000
"""Bytes and values of a configuration."""
PYTHON = "tag:yaml.org,2002:python/"
# Our argument, and where NCSNv2's configuration has it.
PLACES = {
    "ngf": ("model", "ngf"),
    "num_classes": ("model", "num_classes"),
    "channels": ("data", "channels"),
}


def read(path: Path) -> dict[str, Any]:
    """The configuration as dictionaries, lists and plain values.

    Raises:
        BenchError: it is none, or has tags of other objects.
    """
    try:
        node = yaml.compose(content_of(path, LARGEST), yaml.SafeLoader)
        found = _plain(node, path, [MOST_NODES])
    # A scalar that is not of its tag ends in whatever its reader makes of it.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        reason = plain(" ".join(str(error).split()), 120)
        raise BenchError(f"{path} is no configuration ({reason})") from None
    if not isinstance(found, dict):
        raise BenchError(f"{path} is no configuration (no names to values)")
    return found


def _plain(node: Any, path: Path, left: list[int]) -> Any:
    """A node's value; aliases are followed, so that the number of values is bounded."""
    left[0] -= 1
    if left[0] < 0:
        raise BenchError(f"{path} has more values than a configuration")
    tag = str(getattr(node, "tag", ""))
    kind = tag.removeprefix(PYTHON)
    if kind != tag and not kind.startswith(ALLOWED):
        raise BenchError(f"{path} has an object of '{plain(kind)}', which is not made")
    if isinstance(node, yaml.MappingNode):
        items = ((_plain(k, path, left), _plain(v, path, left)) for k, v in node.value)
        return {str(key): value for key, value in items}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(value, path, left) for value in node.value]
    if isinstance(node, yaml.ScalarNode):
        return yaml.SafeLoader("").construct_object(node) if kind == tag else node.value
    return None


ALLOWED = ("object:argparse.Namespace", "tuple", "object/apply:torch.device", "unicode", "str")


def compare(checkpoint: Path, arguments: Mapping[str, Any]) -> None:
    """Raise BenchError where a configuration beside the checkpoint contradicts its tensors."""
    path = checkpoint.with_name(NAME)
    if "ngf" not in arguments or not path.is_file():
        return
    settings = read(path)
    for argument, (group, key) in PLACES.items():
        inside = settings.get(group)
        said = inside.get(key) if isinstance(inside, dict) else None
        if said is not None and said != arguments.get(argument):
            raise BenchError(
                f"{path} says {group}.{key}={plain(said)}, "
                f"{checkpoint.name} has {arguments[argument]}"
            )
