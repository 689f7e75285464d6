"""What a plug-in from outside is made of is part of what its numbers are kept under."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from bench import api
from bench.api import register
from bench.api.code import _followed, code_of, outside
from bench.api.plugin import Plugin
from bench.boards.gather import boards
from bench.cli.group import cli
from bench.compute.fingerprint import fingerprint
from bench.measure import build, weights_used
from bench.models.nets.normalised import Normalised
from bench.results.store import Store, contradictions, fingerprints

PLUGIN = '''
"""Of the test."""
import torch
from bench.api.purifier import Purifier
from bench.api import attack, classifier, defense
from beside import AMOUNT

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.linear = torch.nn.Linear(256, 10)
    def forward(self, x):
        return self.linear(x.flatten(1))

@classifier("net-of-the-test")
def net(context) -> torch.nn.Module:
    return Net()

class Shift(Purifier):
    def forward(self, x):
        return (x + AMOUNT).clamp(0, 1)

@defense("shift-of-the-test")
def shift(context) -> Shift:
    """Brighter."""
    return Shift()
'''
RUN = "run --plugin mine.py --defense shift-of-the-test@net-of-the-test --control none --attacks "
RUN += "clean --dataset digits --images 32 --results results"
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """What `bench run` says, as in a new process, with the plug-in's text and its neighbour's."""
    versions = count()
    monkeypatch.chdir(tmp_path)

    def forget() -> None:
        register.PLUGINS["defense"].pop("shift-of-the-test", None)
        register.PLUGINS["classifier"].pop("net-of-the-test", None)
        weights_used._built.cache_clear()
        build.forget()

    def run(text: str = PLUGIN, *, beside: str = "AMOUNT = 0.1", images: int = 32) -> str:
        forget()
        folder = tmp_path / f"version{next(versions)}"
        folder.mkdir()
        (folder / "mine.py").write_text(text)
        (folder / "beside.py").write_text(beside)
        command = RUN.replace("mine.py", f"{folder.name}/mine.py").replace("32", str(images))
        done = CliRunner().invoke(cli, command.split(), catch_exceptions=False)
        return " ".join(done.stderr.split())

    yield run
    forget()


def test_edited_code_an_exchanged_network_and_an_edited_neighbour_are_measured_again(
    run: Run,
) -> None:
    assert "2 shards to measure" in run()
    # Neither a comment nor a docstring is a change.
    lighter = PLUGIN.replace("Brighter.", "Lighter.") + "# more\n"
    assert "0 shards to measure, 2 finished before" in run(lighter)
    said = run(beside="AMOUNT = 0.2")
    # The classifier is in the same file, and of both rows.
    assert "code of shift-of-the-test changed: 1 shard measured again" in said
    assert "code of net-of-the-test changed: 2 shards measured again" in said
    assert "network of" not in said
    other = PLUGIN.replace("manual_seed(1)", "manual_seed(2)")
    said = run(other, beside="AMOUNT = 0.2")
    assert "code of net-of-the-test changed: 2 shards measured again" in said
    assert "network of net-of-the-test changed: 2 shards measured again" in said
    assert "0 shards to measure, 2 finished before" in run(other, beside="AMOUNT = 0.2")


def test_a_purifier_and_a_classifier_of_one_name_are_two_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = (PLUGIN.replace(f"{kind}-of-the-test", "same") for kind in ("shift", "net"))
    (tmp_path / "beside.py").write_text("AMOUNT = 0.1")
    (tmp_path / "a_purifier.py").write_text(one.replace("@classifier", "0 and classifier"))
    (tmp_path / "a_network.py").write_text(other.replace("@defense", "0 and defense"))
    try:
        api.load(("a_purifier.py", "a_network.py"))
        used = weights_used.weights_used("same@same", "clean", "digits")
        purifier, network = (code_of(api.find(kind, "same")) for kind in ("defense", "classifier"))
    finally:
        for kind in ("defense", "classifier"):
            register.PLUGINS[kind].pop("same", None)
    codes = {name: digest for name, digest in used.items() if name.startswith("code of")}
    assert codes == {"code of same": purifier, "code of classifier same": network}


def test_a_network_that_was_exchanged_in_its_own_file_is_measured_again(run: Run) -> None:
    text = PLUGIN.replace(
        "manual_seed(1)", "manual_seed(int(__import__('pathlib').Path('seed').read_text()))"
    )
    for seed in ("1", "2"):
        Path("seed").write_text(seed)
        said = run(text)
    assert "network of net-of-the-test changed: 2 shards measured again" in said
    assert "code of" not in said
    # Rows of two networks are no one board.
    Path("seed").write_text("1")
    run(text, images=64)
    store = Store(Path("results"))
    assert len(list(store.records("digits"))) == 4
    path = next(Path("results").rglob("*.json.stale"))
    path.replace(path.with_name("000.json"))
    board = next(b for b in boards(store, "digits") if b.images == 64)
    assert "records of 2 sets of weights" in " ".join(
        entry.gap for row in board.rows for entry in row.entries.values()
    )


def test_a_network_of_unseeded_numbers_is_a_failure_and_no_number(run: Run) -> None:
    said = run(PLUGIN.replace("manual_seed(1)", "seed()"))
    assert said.count("failed: ") == said.count("unseeded random numbers") == 2
    assert "0 shards measured" in said


def test_every_tensor_and_layer_counts_and_no_counter_does() -> None:
    def net(eps: float = 1e-5, act: type[torch.nn.Module] = torch.nn.ReLU) -> torch.nn.Module:
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2, eps=eps), act()
        return Normalised(torch.nn.Sequential(*layers), (0.5,), (0.5,))

    one = fingerprint(net())
    assert one == fingerprint(net())
    others = [net(1e-3), net(act=torch.nn.SiLU), net(), net()]
    next(others[2].parameters()).data[0, 0, 0, 0] += 1e-6
    next(iter(others[3].buffers())).add_(1)
    assert len({one, *map(fingerprint, others)}) == 5
    # Also what is no registered part of a module.
    for inside in ({"hidden": [torch.ones(2)]}, {"hidden": [torch.zeros(2)]}):
        module = net()
        vars(module).update(inside)
        assert fingerprint(module) != one


def test_records_that_other_code_of_the_project_measured_stay_and_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = "run --defense none --control off --attacks clean,fgsm --dataset digits --images 32"

    def bench_run(*more: str) -> Result:
        weights_used.code_used.cache_clear()
        return CliRunner().invoke(cli, [*command.split(), *more], catch_exceptions=False)

    bench_run()
    (record,) = [
        r for r in Store(tmp_path / "results").records("digits") if "fgsm" in r.cell.attack
    ]
    assert set(record.code) == {"none", "natural", "fgsm", "digits"}
    said = " ".join(bench_run().stderr.split())
    assert "2 finished before" in said
    assert "other code" not in said

    def edited(plugin: Plugin) -> str:
        return "0" * 64 if plugin.name == "fgsm" else code_of(plugin)

    monkeypatch.setattr(weights_used, "code_of", edited)
    said = " ".join(bench_run().stderr.split())
    assert "2 finished before" in said
    assert "other code of fgsm measured 1 record that stay" in said
    assert json.loads(bench_run("--json").stdout)["other_code"] == {"fgsm": 1}
    # What was measured before records said so is silent, and agrees with what says it.
    older = replace(record, code={})
    assert '"code"' not in older.to_json()
    assert not contradictions(fingerprints(older), fingerprints(record))
    store = Store(tmp_path / "results")
    path = next(path for path, each in store.files("digits") if each == record)
    path.write_text(older.to_json())
    assert "other code" not in bench_run().stderr
    weights_used.code_used.cache_clear()


def test_only_its_own_folder_is_the_code_of_a_plugin_of_the_project(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.py").write_text("from own import near\nimport harness\n")
    (own / "near.py").write_text("X = 1\n")
    (tmp_path / "harness.py").write_text("X = 1\n")
    found = _followed(own / "mine.py", tmp_path, own)
    assert [path.name for path in found] == ["mine.py", "near.py"]
    assert len(_followed(own / "mine.py", tmp_path, tmp_path)) == 3


def test_no_two_files_of_plugins_have_the_same_code() -> None:
    api.load()
    for kind, named in register.PLUGINS.items():
        shipped = [plugin for plugin in named.values() if not outside(plugin)]
        digests = {plugin.factory.__module__: code_of(plugin) for plugin in shipped}
        assert len(digests) == len(set(digests.values())), kind
