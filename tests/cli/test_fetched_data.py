"""`bench run` and `bench fetch` on tiny copies of every data set, in the true formats on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench import cli
from bench.api.images import DatasetInfo
from bench.measure import build
from bench.models.nets import make
from bench.models.zoo.weights import own, save
from bench.plan.request import find_info
from bench.results.store import Record, Store
from tests.cli.test_cli import bench
from tests.data import copies

RUN = ["run", "--subset", "first-32", "--preset", "quick", "--control", "off"]
Command = Callable[..., int]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENCH_DATA", "/nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "copy"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The command line in this process: importing torch takes longer than these runs."""

    def typed(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        monkeypatch.setattr(cli.interrupt, "leave_at_once", lambda: None)
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    yield typed
    for kept in (build.dataset, build._context, build._defense, build._attack):
        kept.cache_clear()


def classifier(info: DatasetInfo, name: str = "natural") -> None:
    """A small network of random weights where a run looks for the published one."""
    arguments = {"width": 4, "classes": len(info.classes), "channels": info.shape[0]}
    torch.manual_seed(1)
    facts = {"dataset": info.name, "network": "cnn", "arguments": json.dumps(arguments)}
    save(own(info.name) / f"{name}.safetensors", make("cnn", arguments).state_dict(), facts)


def found(dataset: str) -> dict[str, Record]:
    records = list(Store(Path("results")).records(dataset))
    return {f"{r.asked['defense']} {r.asked['attack']}": r for r in records}


@pytest.mark.parametrize("name", sorted(copies.WRITERS))
def test_every_data_set_is_swept(name: str, root: Path, command: Command) -> None:
    info = find_info(name)
    copies.WRITERS[name](root)
    classifier(info)
    attacks = "clean,bpda:steps=1"
    where = ["--dataset", name, "--data-root", str(root)]
    assert command(*RUN, *where, "--defense", "jpeg", "--attacks", attacks) == 0
    records = found(name)
    rows = ("jpeg@natural", "none@natural")
    assert set(records) == {f"{row} {attack}" for row in rows for attack in attacks.split(",")}
    labels = build.dataset(name).read("test").y
    for record in records.values():
        assert sorted(record.index) == list(range(32))
        assert list(record.label) == labels[list(record.index)].tolist()
        assert record.block == record.index
    attacked = records["jpeg@natural bpda:steps=1"]
    assert attacked.cell.threat == info.threat
    assert command("table", "--dataset", name) == 0


@pytest.mark.slow
def test_workers_read_the_same_copy_and_shards_may_be_short(
    root: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """The public command in processes of its own; 40 images are a shard and a quarter."""
    copies.cifar10(root)
    copies.corrupted(root, "CIFAR-10-C", [i % 10 for i in range(40)])
    classifier(find_info("cifar10"))
    arguments = [*RUN, "--subset", "first-40", "--dataset", "cifar10", "--data-root", str(root)]
    arguments += ["--defense", "gaussian", "--attacks", "clean,corruption", "--workers", "2"]
    result = bench(*arguments, "--control", "wiener")
    assert result.returncode == 0, result.stderr
    records = list(Store(Path("results")).records("cifar10"))
    assert len(records) == 3 * 2 * 2
    assert {len(r.index) for r in records if r.shard == 1} == {8}
    seen = [r for r in records if r.asked == records[0].asked]
    assert sorted(i for r in seen for i in r.index) == list(range(40))
    (corrupted,) = [r for r in records if r.variants and r.shard == 1 and "none@" in r.cell.defense]
    assert "source=CIFAR-10-C" in corrupted.cell.attack
    assert corrupted.variants[0] == "gaussian_noise/1"
    capsys.readouterr()
    assert command("table", "--dataset", "cifar10") == 0
    assert "subset first-40, linf:8/255, preset quick, 40 images" in capsys.readouterr().out


def test_what_is_missing_is_one_line_and_nothing_is_written(
    root: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier(find_info("cifar10"))
    run = [*RUN, "--dataset", "cifar10", "--defense", "none", "--attacks", "clean"]
    assert command(*run, "--data-root", str(root)) == 2
    assert "bench fetch cifar10" in capsys.readouterr().err
    copies.cifar10(root, test=20)
    assert command(*run, "--data-root", str(root)) == 2
    assert "not a whole one" in capsys.readouterr().err
    assert not Path("results").exists()


def test_without_the_papers_networks_a_run_takes_the_compact_ones_and_says_so(
    root: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    copies.cifar10(root)
    run = [*RUN, "--dataset", "cifar10", "--defense", "none", "--attacks", "clean"]
    assert command(*run, "--data-root", str(root)) == 0
    said = capsys.readouterr()
    assert "this measures the compact ones that are shipped" in said.err
    assert said.out == "bench table --results results --dataset cifar10-compact\n"
    assert set(found("cifar10-compact")) == {"none@natural clean"}
    assert found("cifar10") == {}
    classifier(find_info("cifar10"))
    assert command(*run, "--data-root", str(root)) == 0
    assert "compact" not in capsys.readouterr().err
    assert set(found("cifar10")) == {"none@natural clean"}


def test_corruption_without_its_files_is_a_skip(root: Path, command: Command) -> None:
    classifier(find_info("cifar10"))
    copies.cifar10(root)
    run = [*RUN, "--dataset", "cifar10", "--data-root", str(root), "--defense", "none"]
    assert command(*run, "--attacks", "clean,corruption") == 0
    (plan,) = Store(Path("results")).plans("cifar10")
    (skip,) = plan.skips
    assert (skip.attack, "bench fetch cifar10-c" in skip.reason) == ("corruption", True)
    assert skip.absent
    generated = "corruption:source=generated,kinds=contrast,severities=1"
    assert command(*run, "--attacks", generated) == 0
    assert found("cifar10")[f"none@natural {generated}"].variants == ("contrast/1",)


def test_fetch_lists_and_says_what_is_wrong(
    root: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    copies.svhn(root)
    assert command("fetch", "--list", "--json", "--data-root", str(root)) == 0
    listing = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["here"] for row in listing["data"]}["svhn"]
    assert [row["name"] for row in listing["data"] if row["here"]] == ["svhn"]
    assert command("fetch", "svhn", "--data-root", str(root)) == 0
    assert "there already" in capsys.readouterr().out
    page = root / "cifar-10-python.tar.gz"
    page.write_bytes(b"<!doctype html>")
    for arguments, says in (
        (["cifra10"], "did you mean 'cifar10'"),
        ([], "name what to fetch"),
        (["imagenet"], "in a browser"),
        (["weights/nothing"], "unknown weights to fetch"),
        (["cifar10", "--generate"], "unknown data set to generate"),
        (["cifar10", "--from", str(root)], "it is a web page"),
        (["cifar10", "--from", "nowhere"], "nowhere"),
    ):
        assert command("fetch", *arguments, "--data-root", str(root)) == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1


def test_generated_files_are_used_by_their_name(root: Path, command: Command) -> None:
    copies.cifar10(root, test=8)
    classifier(find_info("cifar10"))
    assert command("fetch", "cifar10-c", "--generate", "--data-root", str(root)) == 0
    attack = "corruption:source=CIFAR-10-C-generated,kinds=fog,severities=5"
    where = ["--dataset", "cifar10", "--data-root", str(root)]
    assert (
        command(*RUN, "--subset", "first-8", *where, "--defense", "none", "--attacks", attack) == 0
    )
    assert found("cifar10")[f"none@natural {attack}"].variants == ("fog/5",)
