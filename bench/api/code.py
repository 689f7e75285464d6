"""Which code a plug-in is: a digest of its file and of the local files that this imports.

Of the project's own plug-ins only files of the same folder count: the harness has its version.
Layout, comments and docstrings do not count. Files are read, not imported, so that what a function
imports only when it runs counts too.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bench.api.neighbours import SHIPPED, file_of
from bench.api.plugin import Plugin
from bench.errors import BenchError

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed packages."""


def outside(plugin: Plugin) -> bool:
    """Whether a plug-in is in none of the project's own packages."""
    return plugin.factory.__module__.partition(".")[0] not in SHIPPED


def asked_with(*factories: Callable[..., Any]) -> str:
    """What a command needs for plug-ins from files: ` --plugin FILE` for each, or nothing."""
    files = dict.fromkeys(file_of(factory.__module__) for factory in factories)
    return "".join(f" --plugin {shlex.quote(os.path.relpath(file))}" for file in files if file)


def code_of(plugin: Plugin) -> str:
    """The digest of a plug-in's code.

    Raises:
        BenchError: its code lies in no file, or in one that cannot be read any more.
    """
    return code_of_module(
        plugin.factory.__module__, f"{plugin.kind} '{plugin.name}'", beside=not outside(plugin)
    )


def code_of_module(module: str, whose: str = "", *, beside: bool = False) -> str:
    """The digest of an imported module's code, and of the local files that it imports.

    Of an installed module only its own package counts; beside: only files of the same folder.

    Raises:
        BenchError: its code lies in no file, or in one that cannot be read any more.
    """
    whose = whose or f"module '{module}'"
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file:
        raise BenchError(f"{whose}: its code lies in no file")
    try:
        path = Path(file).resolve()
        root = _root(path)
        within = root / module.partition(".")[0] if INSTALLED & {*root.parts} else root
        found = _followed(path, root, path.parent if beside else within)
    except (OSError, SyntaxError, ValueError) as error:
        raise BenchError(f"{whose}: its code cannot be read ({error})") from None
    return hashlib.sha256("\n".join(found.values()).encode()).hexdigest()


def _root(file: Path) -> Path:
    """The folder in which local imports begin: outside of any package that the file is in."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _followed(file: Path, root: Path, within: Path) -> dict[Path, str]:
    """The code of a file and of each one in this folder that it imports, in a fixed order."""
    found: dict[Path, str] = {}
    left = [file]
    while left:
        path = left.pop()
        if path in found:
            continue
        found[path], imports = _read(path.read_bytes())
        near = {each for each in _files(imports, path, root) if each.is_relative_to(within)}
        left += sorted(near - set(found))
    return dict(sorted(found.items()))


@cache
def _read(content: bytes) -> tuple[str, tuple[tuple[int, str], ...]]:
    """What runs of a file, and what it imports: leading dots and name."""
    tree = ast.parse(content)
    imports: dict[tuple[int, str], None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= dict.fromkeys((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}".strip(".") for alias in node.names)]
            imports |= dict.fromkeys((node.level, name) for name in names if name)
    return _plain(tree), tuple(imports)


def _files(imports: Iterable[tuple[int, str]], path: Path, root: Path) -> Iterator[Path]:
    """The local files of what the file at `path` imports."""
    for dots, name in imports:
        place = (path.parents[dots - 1] if dots else root).joinpath(*filter(None, name.split(".")))
        files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
        yield from (file for file in files if file.is_file())


def _plain(tree: ast.Module) -> str:
    """What runs of a file."""
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
