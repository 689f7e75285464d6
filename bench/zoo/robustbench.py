"""The library robustbench, made importable: it asks for `autoattack`, PyPI has `pyautoattack`."""

from __future__ import annotations

import importlib
import sys
import warnings
from functools import cache
from types import ModuleType

from bench.errors import BenchError

PUBLISHED, EXPECTED = "pyautoattack", "autoattack"
# What robustbench imports of it.
MODULES = ("", ".state", ".autopgd_base")


@cache
def load() -> ModuleType:
    """The module `robustbench`, imported at the first call and without its warnings.

    Raises:
        BenchError: it is not installed or does not import, with the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if EXPECTED not in sys.modules:
                for name in MODULES:
                    sys.modules[EXPECTED + name] = importlib.import_module(PUBLISHED + name)
            return importlib.import_module("robustbench")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"robustbench does not import ({reason}); run: make setup") from None
