"""A plug-in file and the files beside it, which it imports by name.

Files of one folder are one package of their own, so that equally named files beside two plug-ins do
not mix; what is installed goes before them. Always read from the source: an edited file counts.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

SHIPPED = ("bench", "attacks", "defenses")
_FOLDERS: dict[str, Path] = {}
"""Package -> the folder whose files are its modules."""
_FILES: dict[str, Path] = {}
"""Module -> the plug-in file that it is."""


def import_file(path: Path) -> None:
    """Import a plug-in file once, whose imports find the files beside it too."""
    path = path.resolve()
    package = f"plugin_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"
    module = f"{package}.{path.stem.replace('.', '_')}"
    _FOLDERS[package], _FILES[module] = path.parent, path
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    importlib.import_module(module)


def sources() -> list[str]:
    """Every file that was imported so far as a plug-in or from beside one, sorted."""
    inside = (m for name, m in sys.modules.items() if name.partition(".")[0] in _FOLDERS)
    return sorted(module.__file__ for module in inside if module.__file__)


def file_of(module: str) -> Path | None:
    """The plug-in file that a module is; None where it is none."""
    return _FILES.get(module)


class _Finder:
    """Modules of the packages that stand for folders of plug-ins."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        if package not in _FOLDERS:
            return None
        if not rest:
            return ModuleSpec(package, None, is_package=True)
        file = _FILES.get(name) or _beside(_FOLDERS[package], rest)
        if file is None:
            return None
        inside = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _Loader(name, str(file))
        return spec_from_file_location(name, file, loader=loader, submodule_search_locations=inside)


class _Loader(SourceFileLoader):
    """Gives a module an `import` that looks beside it, and keeps no compiled copy."""

    def exec_module(self, module: ModuleType) -> None:
        package = self.name.partition(".")[0]
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _Import(package)}
        super().exec_module(module)

    def path_stats(self, path: str | bytes) -> Mapping[str, Any]:
        raise OSError("no compiled copy: it is told by the second and the size alone")


class _Import:
    """`import NAME` of the modules of one package: installed, or else beside them."""

    def __init__(self, package: str) -> None:
        self.package = package

    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or _beside(_FOLDERS[self.package], top) is None or _installed(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        whole = f"{self.package}.{name}"
        if fromlist:
            return builtins.__import__(whole, globals, locals, fromlist)
        importlib.import_module(whole)
        return sys.modules[f"{self.package}.{top}"]


def _beside(folder: Path, name: str) -> Path | None:
    """The file of a module, or of a package, of that name in a folder."""
    place = folder.joinpath(*name.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return None


def _installed(name: str) -> bool:
    """Whether Python finds a package of that name elsewhere than in the working directory."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # a module without a spec, as __main__
        return name in sys.modules
    if spec is None:
        return False
    here, origin = Path.cwd(), Path(spec.origin or "")
    return name in SHIPPED or origin.parent not in (here, here / name)
