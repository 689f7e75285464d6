"""A network whose class is somebody's own: `@file:PATH#module:Class`.

The module is imported as Python finds it, and then in the current folder; the class, or a function
that gives such a network, is called without arguments. The file is only read for its tensors.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bench.api.code import code_of_module
from bench.errors import BenchError, plain, told, unknown

NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
"""`module:Class`."""
READ: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""The digest of each module's code as it was when this process imported it."""


def built(name: str) -> nn.Module:
    """The network that `module:Class` makes, on the CPU; the caller's random numbers stay as is.

    Raises:
        BenchError: no such module or class, or it cannot be built without arguments.
    """
    module, _, attribute = name.partition(":")
    found = vars(imported(module)).get(attribute)
    if found is None:
        there = vars(sys.modules[module]).items()
        names = [f"{module}:{key}" for key, value in there if isinstance(value, type)]
        raise unknown("class", name, names)
    try:
        with torch.random.fork_rng(devices=[]):
            network = found()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script may end the process
        raise BenchError(
            f"{name} cannot be built without arguments ({plain(told(error), 200)}); name a class, "
            "or a function of yours, that needs none"
        ) from error
    if not isinstance(network, nn.Module):
        raise BenchError(f"{name} gives a {type(network).__name__}, no torch.nn.Module")
    return network


def imported(module: str) -> ModuleType:
    """The module of that name.

    Raises:
        BenchError: there is none, it fails while it is imported, or its code changed since then.
    """
    here, at = os.getcwd(), len(sys.path)
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script may end the process
        missing = isinstance(error, ModuleNotFoundError) and module.startswith(error.name or "?")
        where = f"in {Path(here)} or on PYTHONPATH"
        why = f"there is no such module {where}" if missing else plain(told(error), 200)
        raise BenchError(f"cannot import '{module}': {why}") from error
    finally:
        # It stays where what was found there may import more later.
        file = getattr(sys.modules.get(module), "__file__", None)
        if len(sys.path) > at and not (file and Path(file).is_relative_to(here)):
            sys.path.remove(here)
    now = code_of_module(module)
    if READ.setdefault(found, now) != now:
        raise BenchError(f"the code of '{module}' changed since it was imported: start again")
    return found
