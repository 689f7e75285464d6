"""PurifyBench: whether an adversarial-purification defense really works, measured.

The public names in Python (docs/python.md); each is imported where it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api.purifier import Purifier, Traits
    from bench.errors import BenchError
    from bench.python.evaluate import benchmark, evaluate
    from bench.python.evaluation import Evaluation
    from bench.python.frames import load

__all__ = ["BenchError", "Evaluation", "Purifier", "Traits", "benchmark", "evaluate", "load"]

_HOMES = {
    "BenchError": "bench.errors",
    "Evaluation": "bench.python.evaluation",
    "Purifier": "bench.api.purifier",
    "Traits": "bench.api.purifier",
    "benchmark": "bench.python.evaluate",
    "evaluate": "bench.python.evaluate",
    "load": "bench.python.frames",
}


def __getattr__(name: str) -> Any:
    """A public name, from its home."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    """What there is to complete."""
    return sorted({*globals(), *__all__})
