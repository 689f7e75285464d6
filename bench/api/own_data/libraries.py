"""Data sets of torchvision and of Hugging Face's `datasets`, by name. Nothing is fetched here.

Both are read from where the library keeps them; the error says how it downloads them.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.api.images import Dataset, DatasetInfo
from bench.api.own_data.dealt import WHOLE
from bench.api.own_data.pictures import Change, Shape
from bench.api.own_data.shelves import LibraryPart, from_shelves, whole_numbers
from bench.errors import BenchError, plain, told, unknown
from bench.files.paths import data_root

PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
"""By split, what libraries call it."""
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
EXTRA = "huggingface"
SPOTS = 9
"""Rows, spread from the first to the last, whose labels are compared with those kept apart."""


def from_torchvision(
    name: str,
    of: str,
    *,
    threat: str,
    root: str | Path = "",
    arguments: Mapping[str, Any] | None = None,
    shape: Shape | None = None,
    classes: Sequence[str] = (),
    title: str = "",
    threats: Sequence[str] = (),
    draws: int = 10,
    change: Change | None = None,
) -> Dataset:
    """The data set `name` from torchvision's class `of` (`EuroSAT`), which lies in `root`.

    Without root, in the data root. arguments: what the class is given besides. Parts are those that
    the class has (`train=`, `split=`), else its images are dealt. The rest is as in `from_folder`.

    Raises:
        BenchError: no such class, or its files are not there; the command that downloads them.
    """
    try:
        shelves, known = _of_torchvision(
            of, Path(root).expanduser() if root else data_root(), arguments
        )
        info = DatasetInfo(
            name, title or of, (0, 0, 0), tuple(classes), threat, tuple(threats), draws
        )
        return from_shelves(shelves, info, known, shape, change)
    except BenchError as error:
        raise _of(name, error) from None


def from_huggingface(
    name: str,
    of: str,
    *,
    threat: str,
    image: str = "image",
    label: str = "label",
    arguments: Mapping[str, Any] | None = None,
    shape: Shape | None = None,
    classes: Sequence[str] = (),
    title: str = "",
    threats: Sequence[str] = (),
    draws: int = 10,
    change: Change | None = None,
) -> Dataset:
    """The data set `name` from Hugging Face's `of` (`uoft-cs/cifar10`, or a folder).

    image, label: the columns. arguments: what `load_dataset` is given besides (`name`,
    `revision`). Read from the library's cache, never from the network. The rest is as in
    `from_folder`.

    Raises:
        BenchError: the library is not installed, or the data is not in its cache; the command.
    """
    try:
        shelves, known = _of_huggingface(of, image, label, dict(arguments or {}))
        info = DatasetInfo(
            name, title or of, (0, 0, 0), tuple(classes), threat, tuple(threats), draws
        )
        return from_shelves(shelves, info, known, shape, change)
    except BenchError as error:
        raise _of(name, error) from None


def _of(name: str, error: BenchError) -> BenchError:
    start = f"data set '{name}': "
    text = str(error)
    return BenchError(text if text.startswith(start) else start + text)


def _of_torchvision(
    of: str, root: Path, arguments: Mapping[str, Any] | None
) -> tuple[dict[str, LibraryPart], tuple[str, ...]]:
    """By split, the parts of a class of torchvision; the names of its classes, where it has any."""
    from torchvision import datasets

    made = getattr(datasets, of, None)
    if not inspect.isclass(made):
        raise unknown("data set of torchvision", of, datasets.__all__)
    takes = _takes(made)
    given = {"root": str(root), **(arguments or {})}
    ways: dict[str, list[dict[str, Any]]] = {WHOLE: [{}]}
    if "train" in takes and "train" not in given:
        ways = {"train": [{"train": True}], "test": [{"train": False}]}
    elif "split" in takes and "split" not in given:
        ways = {split: [{"split": word} for word in words] for split, words in PARTS.items()}
    _require_arguments(made, of, {*given, *next(iter(ways.values()))[0]})
    found: dict[str, LibraryPart] = {}
    known: tuple[str, ...] = ()
    for split, tries in ways.items():
        for way in tries:
            part = _instance(made, of, {**given, **way})
            if part is not None:
                where = f"torchvision's {of}, {split}"
                labels = _labels(part, where, joint="transforms" in given)
                found[split] = LibraryPart(where, labels, partial(_first, part))
                known = known or tuple(map(str, getattr(part, "classes", ())))
                break
    if not found:
        raise BenchError(
            f"torchvision's {of} has none of the parts {', '.join(ways)}; "
            "say arguments={'split': ...}"
        )
    return found, known


def _takes(made: type) -> set[str]:
    """The names of a class's arguments, and of those that it hands on to the classes below it."""
    found: set[str] = set()
    for kind in inspect.getmro(made):
        takes = inspect.signature(kind).parameters if kind is not object else {}
        found |= set(takes)
        if not any(each.kind is each.VAR_KEYWORD for each in takes.values()):
            break
    return found


def _require_arguments(made: type, of: str, given: Collection[str]) -> None:
    """Refuse a class that needs more than it is given."""
    for name, argument in inspect.signature(made).parameters.items():
        needed = argument.default is argument.empty
        if needed and name not in given and argument.kind is argument.POSITIONAL_OR_KEYWORD:
            known = plain(", ".join(map(str, getattr(made, f"{name}s", ()))), 200)
            hint = f" (one of {known})" if known else ""
            raise BenchError(
                f"torchvision's {of} needs {name}; say arguments={{'{name}': ...}}{hint}"
            )


def _first(part: Any, row: int) -> Any:
    return part[row][0]


def _cell(table: Any, column: str, row: int) -> Any:
    return table[row][column]


def _instance(made: Callable[..., Any], of: str, given: Mapping[str, Any]) -> Any:
    """One part; None where the class has no such part."""
    try:
        return made(**given)
    except ValueError as error:
        if "split" in given and "split" in str(error):
            return None
        raise BenchError(f"torchvision's {of} cannot be read: {told(error)}") from None
    except (RuntimeError, OSError, TypeError) as error:
        words = ", ".join(f"{key}={value!r}" for key, value in given.items())
        command = f'python -c "from torchvision.datasets import {of}; {of}({words}, download=True)"'
        raise BenchError(
            f"torchvision's {of} is not in {given['root']} ({plain(told(error), 120)}); where it "
            f"may be downloaded: {command}"
        ) from None


def _labels(part: Any, where: str, *, joint: bool) -> list[int]:
    """Of a data set of torchvision, as it gives them with its images.

    Where it keeps them apart no image is decoded but a few, which show that these are the same.
    joint: it has a transform of images and labels at once, which can only be told image by image.
    """
    for key in () if joint else ("targets", "labels", "_labels"):
        values = getattr(part, key, None)
        if values is not None and len(values) == len(part):
            kept = _transformed(part, values, where)
            if kept is not None and all(_label(part, r, where) == kept[r] for r in _spots(kept)):
                return kept
    return [_label(part, row, where) for row in range(len(part))]


def _spots(listed: Sequence[int]) -> set[int]:
    """The first row, the last, the one in the middle, and some between; none of nothing."""
    last = len(listed) - 1
    return {i * last // (SPOTS - 1) for i in range(SPOTS)} if listed else set()


def _transformed(part: Any, values: Any, where: str) -> list[int] | None:
    """A list of labels after the data set's own `target_transform`; None where it is none."""
    change = getattr(part, "target_transform", None)
    try:
        kept = whole_numbers(values, where)
        return kept if change is None else whole_numbers([change(label) for label in kept], where)
    # Whatever it is made for: rows of the data set say what is meant.
    except Exception:
        return None


def _label(part: Any, row: int, where: str) -> int:
    try:
        found = part[row][1]
    # Whatever a library makes of a damaged file, it is a damaged file.
    except Exception as error:
        raise BenchError(f"{where}[{row}] cannot be read: {told(error)}") from None
    return whole_numbers([found], where)[0]


def _of_huggingface(
    of: str, image: str, label: str, arguments: dict[str, Any]
) -> tuple[dict[str, LibraryPart], tuple[str, ...]]:
    """By split, the parts of a data set; the names of its classes, where the label has them."""
    tables = _tables(of, arguments)
    parts = {
        split: (word, tables[word])
        for split, words in PARTS.items()
        for word in words
        if word in tables
    }
    if not parts and len(tables) == 1:
        parts = {WHOLE: next(iter(tables.items()))}
    found: dict[str, LibraryPart] = {}
    known: tuple[str, ...] = ()
    for split, (word, table) in parts.items():
        columns = list(table.column_names)
        for key, column in (("image", image), ("label", label)):
            if column not in columns:
                raise BenchError(
                    f"{of} has no column '{column}' (it has {plain(', '.join(columns), 200)}); "
                    f"say {key}="
                )
        where = f"{of}, {word}"
        labels = whole_numbers(table[label], where)
        found[split] = LibraryPart(where, labels, partial(_cell, table, image))
        known = known or tuple(getattr(table.features[label], "names", None) or ())
    if not found:
        raise BenchError(f"{of} has the parts {', '.join(tables)}; train and test are needed")
    return found, known


def _tables(of: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The parts of a data set under the library's names, from a folder or its cache."""
    before = {key: os.environ.get(key) for key in OFFLINE}
    os.environ.update(dict.fromkeys(OFFLINE, "1"))  # read when the library is imported
    try:
        library = importlib.import_module("datasets")
    except ImportError:
        raise BenchError(
            f"Hugging Face's datasets is not installed; pip install 'purifybench[{EXTRA}]'"
        ) from None
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    folder = Path(of).expanduser()
    try:
        if folder.is_dir():
            found = library.load_from_disk(str(folder))
        else:
            settings = library.DownloadConfig(local_files_only=True)
            found = library.load_dataset(of, download_config=settings, **arguments)
    except Exception as error:
        if folder.is_dir():
            raise BenchError(
                f"{folder} is not what save_to_disk writes ({plain(told(error), 200)}); "
                "from_folder reads class folders"
            ) from None
        words = "".join(f", {key}={value!r}" for key, value in arguments.items())
        command = f"python -c \"import datasets; datasets.load_dataset('{of}'{words})\""
        raise BenchError(
            f"{of} is not in the cache of Hugging Face's datasets ({plain(told(error), 120)}); "
            f"where it may be downloaded: {command}"
        ) from None
    return dict(found) if isinstance(found, dict) else {WHOLE: found}
