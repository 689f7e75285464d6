"""The models of RobustBench, through its package.

The package is made importable: it asks for `autoattack`, PyPI has `pyautoattack`. And it is asked
whether its files are its own: torchattacks 3.5.1 ships an older copy of them, and whichever package
was installed last has overwritten the other.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.metadata
import sys
import warnings
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, unknown
from bench.models.zoo.weights import THREATS, model_of

if TYPE_CHECKING:
    from torch import nn

    from bench.api.context import Weights

PUBLISHED, EXPECTED = "pyautoattack", "autoattack"
# What robustbench imports of it.
MODULES = ("", ".state", ".autopgd_base")


@cache
def load() -> ModuleType:
    """The module `robustbench`, imported at the first call and without its warnings.

    Raises:
        BenchError: it is not installed or does not import, with the reason, or another package has
            overwritten its files.
    """
    try:
        if changed := overwritten(importlib.metadata.distribution("robustbench")):
            raise BenchError(
                f"robustbench: {changed[0]} is not that of its version (torchattacks has an older "
                "copy); run: make setup, or pip install --force-reinstall --no-deps robustbench"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if EXPECTED not in sys.modules:
                for name in MODULES:
                    sys.modules[EXPECTED + name] = importlib.import_module(PUBLISHED + name)
            return importlib.import_module("robustbench")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"robustbench does not import ({reason}); run: make setup") from None


def overwritten(package: Distribution) -> list[str]:
    """Modules of an installed package whose content is not what its own list says."""
    found = []
    for file in package.files or ():
        if file.hash and file.suffix == ".py" and (path := Path(str(file.locate()))).is_file():
            digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
                found.append(str(file))
    return found


DATASETS = ("cifar10", "cifar100", "imagenet")


def models(dataset: str, board: str = "linf") -> dict[str, Any]:
    """RobustBench's models of a board (of THREATS) on a data set, with what the package knows.

    None where it has no such board.
    """
    load()
    zoo = importlib.import_module("robustbench.model_zoo")
    boards = zoo.model_dicts[_enum("BenchmarkDataset", dataset)]
    found: dict[str, Any] = boards.get(_enum("ThreatModel", THREATS[board]), {})
    return found


def _enum(kind: str, value: str) -> Any:
    return getattr(importlib.import_module("robustbench.model_zoo.enums"), kind)(value)


def check(model: str, dataset: str) -> None:
    """Raise BenchError unless RobustBench has a file of a model of that name (`model_of`) there."""
    board, name = model_of(model)
    if dataset not in DATASETS:
        raise BenchError(
            f"robustbench/{model}: RobustBench has models for {', '.join(DATASETS)}, "
            f"not for '{dataset}'"
        )
    if not (known := models(dataset, board)):
        raise BenchError(f"robustbench/{model}: RobustBench has no {board} models on {dataset}")
    if name not in known:
        raise unknown(f"RobustBench model on {dataset} ({board})", name, known)
    if not known[name].get("gdrive_id"):
        raise BenchError(
            f"robustbench/{model}: RobustBench has no file of this model (its class downloads "
            "weights by itself)"
        )


def classifier(model: str, dataset: str, weights: Weights) -> nn.Module:
    """The model from its files that lie here, frozen, [B,C,H,W] in [0,1] to logits.

    Nothing is downloaded. Raises BenchError when files of it are missing or do not fit.
    """
    check(model, dataset)
    folder, (board, name) = weights.path.parent, model_of(model)
    needed = models(dataset, board)[name]["gdrive_id"]
    parts = range(len(needed)) if isinstance(needed, list) else ()
    files = [folder / f"{name}.pt_m{i}.pt" for i in parts] or [folder / f"{name}.pt"]
    if missing := [file for file in files if not file.is_file()]:
        raise BenchError(f"robustbench/{model}: {missing[0]} is missing")
    utils = importlib.import_module("robustbench.utils")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # torch.load reads weights only, which is torch's default since 2.6.
            made: nn.Module = utils.load_model(
                name, model_dir=folder.parents[1], dataset=dataset, threat_model=THREATS[board]
            )
    except Exception as error:  # from any class of its zoo, over any file
        reason = " ".join(str(error).split())[:200]
        raise BenchError(
            f"robustbench/{model} does not load from {folder} ({type(error).__name__}: {reason})"
        ) from None
    return made.eval().requires_grad_(False)
