"""The index says of plug-ins what they say themselves, and never what an older file said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from bench import api
from bench.api import index
from bench.api.deferred import Deferred, asked, is_deferred
from bench.api.index import Index
from bench.api.register import PLUGINS
from bench.errors import BenchError
from bench.spec import Part

ROOT = Path(__file__).parents[2]
HEAVY = "print(*sorted({'torch', 'numpy', 'scipy', 'pandas', 'robustbench'} & set(sys.modules)))"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def nothing() -> None:
    raise AssertionError("imported")


def written() -> Path:
    Index().write(PLUGINS)
    return index._path()


def test_the_declared_plugins_are_the_imported_ones(home: Path) -> None:
    api.load()
    written()
    declared = Index().read(nothing)
    shipped = [plugin for known in PLUGINS.values() for plugin in known.values()]
    assert len(declared) == len(shipped)
    for found, real in zip(declared, shipped, strict=True):
        assert type(found) is type(real)
        for field in fields(real):
            told, own = getattr(found, field.name), getattr(real, field.name)
            assert isinstance(told, Deferred) if callable(own) and told is not own else told == own
        assert (found.hints, found.defaults) == (real.hints, real.defaults)
        assert list(found.hints) == list(real.hints)
        assert repr(found.defaults) == repr(real.defaults)  # 1 is not 1.0
        assert found.summary == real.summary
        factories = found.factory, real.factory
        assert len({(f.__module__, f.__qualname__) for f in factories}) == 1


def test_a_list_needs_no_import_and_says_the_same(home: Path) -> None:
    api.load()
    written()
    for found in Index().read(nothing):
        if found.pattern:
            continue
        real = PLUGINS[found.kind][found.name]
        assert found.unfit("") == real.unfit("")
        assert found.resolve(Part(found.name), "") == real.resolve(Part(real.name), "")
        if isinstance(found, api.AttackPlugin) and isinstance(real, api.AttackPlugin):
            settings = real.chosen(Part(real.name))
            assert found.facts(settings) == real.facts(settings)


def test_a_function_that_is_asked_something_else_imports(home: Path) -> None:
    api.load()
    written()
    (found,) = [p for p in Index().read(nothing) if (p.kind, p.name) == ("classifier", "cnn")]
    found.fits({}, "")
    with pytest.raises(AssertionError, match="imported"):
        found.fits({}, "cifar10")
    assert asked((object(),)) == ""


def test_a_plugin_that_no_longer_imports_says_so(home: Path) -> None:
    api.load()
    written()
    found = Index().read(lambda: None)[0]
    assert is_deferred(found)
    with pytest.raises(BenchError, match=f"'{found.name}' no longer imports"):
        found.factory()


@pytest.mark.parametrize("damage", [b"", b"{}", b"no\n{}", b"\x00" * 99])
def test_a_damaged_index_is_none(home: Path, damage: bytes) -> None:
    api.load()
    path = written()
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert Index().read(nothing) == []
    path.write_bytes(whole.replace(b"adp", b"apd", 1))
    assert Index().read(nothing) == []
    path.write_bytes(whole[:-1])
    assert Index().read(nothing) == []
    assert Index().read(nothing) == []
    path.write_bytes(whole)
    assert Index().read(nothing)


def test_a_folder_that_takes_no_file_is_no_error(home: Path) -> None:
    api.load()
    home.write_text("a file")
    Index().write(PLUGINS)
    assert Index().read(nothing) == []


def test_what_cannot_be_said_is_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*, steps: bytes = b"") -> None:
        """Odd."""

    api.load()
    plugin = api.AttackPlugin(name="odd", factory=odd)
    monkeypatch.setitem(PLUGINS, "attack", {**PLUGINS["attack"], "odd": plugin})
    Index().write(PLUGINS)
    assert not home.exists()


def bench(
    words: Sequence[str], cwd: Path, home: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """A command, and at the end what heavy it imported."""
    program = (
        "import atexit, sys\n"
        f"sys.path[:0] = {list(more)!r}\n"
        f"atexit.register(lambda: {HEAVY})\n"
        "from bench.cli import main\n"
        f"sys.argv = ['bench', *{list(words)!r}]\n"
        "main()\n"
    )
    environment = {**os.environ, "BENCH_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose index is there."""
    home = tmp_path_factory.mktemp("warm")
    assert "torch" in bench(["list"], home, home).stdout.splitlines()[-1]
    return home


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("run --defense adpp", "unknown defense 'adpp'; did you mean 'adp'"),
        ("run --defense adp --attacks bpdaa", "unknown attack or group 'bpdaa'"),
        ("run --defense adp:sigmaa=1", "adp has no setting 'sigmaa'; did you mean 'sigma'"),
        ("run --defense adp:sigma=x", "adp: sigma=x is not a number"),
        ("run --defense adp --attacks bpda:stepss=1", "bpda has no setting 'stepss'"),
        ("run --defense adp@nobody", "unknown classifier 'nobody'"),
        ("run --defense adp --threat linf:300", "pixels lie in"),
        ("run --defense adp --preset quik", "unknown preset 'quik'; did you mean 'quick'"),
        ("run --defense adp --dataset patch", "unknown dataset 'patch'; did you mean 'patches'"),
        ("run --defense adp --control no", "unknown defense 'no'"),
        ("plan --defense adpp", "unknown defense 'adpp'"),
        ("plan --defense adp --subset no", "unknown subset of data set 'patches' 'no'"),
        ("plan --defense adp --attacks bpda:steps=0", "steps=0 is out of range"),
        ("profile adpp", "unknown defense 'adpp'"),
        ("list things", "unknown kind 'things'"),
        (
            "run --defense adp --device nope",
            "unknown device 'nope' (known: cpu, cuda, cuda:N, mps)",
        ),
        ("run --defense adp --precision bf61", "did you mean 'bf16'"),
        ("run --defense adp --precision tf32", "tf32 exists on CUDA devices only"),
        ("run --defense adp --weights score=/no", "--weights score: no file '/no'"),
        ("run --defense adp --chunk 33", "chunk 33 is not a positive multiple of 32"),
        ("plan --defense adp --time --device cpu:1", "unknown device 'cpu:1'"),
        ("profile adp --device nope", "unknown device 'nope'"),
        ("check adpp", "unknown defense, attack or classifier 'adpp'; did you mean 'adp'"),
        ("check adp:sigmaa=1", "adp has no setting 'sigmaa'"),
        ("check bpda@madry", "'bpda' is no defense"),
        ("check aid@nobody", "unknown classifier 'nobody'"),
        ("check adp --dataset digit", "unknown dataset 'digit'; did you mean 'digits'"),
        ("check --all --dataset digit", "unknown dataset 'digit'"),
        ("check adp --plugin /no.py", "plug-in file '/no.py' does not exist"),
        ("check adp --weights score", "'score' is not NAME=PATH"),
        ("train adpp", "unknown defense or weights 'adpp'; did you mean 'adp'"),
        ("train score adp:sigmaa=1", "adp has no setting 'sigmaa'"),
        ("train adp --dataset patch", "unknown dataset 'patch'"),
        ("train adp --device nope", "unknown device 'nope'"),
        ("fetch cifar1", "unknown data set to fetch 'cifar1'; did you mean 'cifar10'"),
        ("fetch weights/no", "unknown weights to fetch 'weights/no'"),
        ("fetch cifar10 --generate", "unknown data set to generate 'cifar10'"),
        ("verify /no.npz", "cannot read /no.npz: there is no such file or folder"),
        ("verify /no.npz --defense adpp", "unknown defense 'adpp'"),
        ("verify /no.npz --defense adp:sigmaa=1 --dataset patches", "no setting 'sigmaa'"),
        ("verify /no.npz --dataset patch", "unknown dataset 'patch'"),
        ("verify /no.npz --threat l3:1", "unknown threat 'l3'"),
        ("doctor --dataset digit", "unknown dataset 'digit'"),
        ("merge /no --into there", "there are no results in '/no'"),
        ("show images --defense adpp --attack bpda --out x.png", "unknown defense 'adpp'"),
        ("show images --defense adp --attack bpdaa --out x.png", "unknown attack or group 'bpdaa'"),
        ("show scores --defense adp --attack bpda --out x.gif", "does not end in one of"),
        ("show trajectory --defense adp --attack bpda --out x.png --device no", "unknown device"),
    ],
)
def test_a_wrong_word_is_said_before_anything_heavy_is_imported(
    command: str, says: str, warm: Path, tmp_path: Path
) -> None:
    done = bench(command.split(), tmp_path, warm)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    "command",
    [
        *(f"list {kind}" for kind in ("defenses", "attacks", "classifiers", "datasets")),
        *("list", "list --json", "table --help", "run --help"),
    ],
)
def test_what_is_only_declared_is_told_without_anything_heavy(
    command: str, warm: Path, tmp_path: Path
) -> None:
    done = bench(command.split(), tmp_path, warm)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == ""


def copy(folder: Path) -> Path:
    """The project's sources, without the weights and their like."""
    for package in ("bench", "attacks", "defenses"):
        leave = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(ROOT / package, folder / package, ignore=leave)
    return folder


def test_an_edit_is_seen_at_once(tmp_path: Path, home: Path) -> None:
    tree = copy(tmp_path / "tree")

    def listed(kind: str) -> tuple[str, bool]:
        done = bench(["list", kind], tmp_path, home, str(tree))
        *lines, heavy = done.stdout.splitlines()
        return "\n".join(lines) + done.stderr, "torch" in heavy

    first, imported = listed("attacks")
    assert imported
    assert listed("attacks") == (first, False)
    file = tree / "attacks" / "family.py"
    before, text = file.stat(), file.read_text()
    file.write_text(text.replace("steps: Count = 40", "steps: Count = 41"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    second, imported = listed("attacks")
    assert imported
    assert "steps=41" in second
    assert "steps=41" not in first
    # What others are made of counts too, and so does a new file, but for an editor's lock.
    (tree / "attacks" / ".#catalog.py").symlink_to("nobody@nowhere")
    spec = tree / "bench" / "spec.py"
    spec.write_text(spec.read_text() + "\n")
    assert listed("attacks") == (second, True)
    (tree / "attacks" / "sick.py").write_text("import nothing_of_this_name")
    for _ in range(2):
        third, imported = listed("attacks")
        assert imported
        assert "broken: attacks.sick: ModuleNotFoundError" in third
    (tree / "attacks" / "sick.py").unlink()
    assert listed("attacks")[0] == second


OUTER = """
from outer import STEPS
from bench.api import attack

@attack("outer-of-the-test", fits=lambda settings, dataset: None)
def of_the_test(*, steps: int = STEPS):
    '''Leans on a module of somebody else.'''
"""


def test_what_breaks_outside_of_the_project_is_told_by_the_next_list(
    tmp_path: Path, home: Path
) -> None:
    tree = copy(tmp_path / "tree")
    (tree / "outer.py").write_text("STEPS = 7")
    (tree / "attacks" / "outer.py").write_text(OUTER)

    def listed(*more: str) -> str:
        done = bench(["list", "attacks", *more], tmp_path, home, str(tree))
        return done.stdout + done.stderr

    assert "steps=7" in listed()
    (tree / "outer.py").write_text("raise ValueError('not today')")
    assert "steps=7" in listed()  # nothing of it was imported
    assert "attack 'outer-of-the-test'" in listed("--dataset", "digits")
    assert "broken: attacks.outer: ValueError: not today" in listed()
