"""CIFAR-10-C: which rows of its files are which images, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.corruption import GENERATED, Corruption
from bench.api import find_attack, find_dataset
from bench.api.attacked import Attacked, Indexed
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.data.corruptions import SEVERITIES
from bench.data.corruptions.stored import rows
from bench.data.generate import generate
from bench.errors import BenchError
from bench.measure.weights_used import weights_used
from bench.plan.plan import make
from bench.plan.request import Request
from bench.spec import parse_part
from tests.data import copies
from tests.tiny import smooth

LABEL = [i % 10 for i in range(40)]
THREAT = ThreatModel.parse("corruption")
C10 = Corruption(("fog", "snow"), (1, 3, 5), "CIFAR-10-C")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def attacked(
    attack: Corruption, index: list[int], shape: tuple[int, ...] = (3, 32, 32)
) -> Attacked:
    x = torch.zeros(len(index), *shape)
    y = torch.tensor([LABEL[i] for i in index])
    return attack.at("test", index)(Defense(smooth()), x, y, THREAT)


def test_severities_are_blocks_of_the_test_set() -> None:
    """The published files: 5 x 10,000 rows."""
    assert rows(10_000, 1, [0, 9_999]) == [0, 9_999]
    assert rows(10_000, 5, [0, 9_999]) == [40_000, 49_999]
    assert rows(10_000, 3, [7]) == [20_007]


def test_every_image_gets_its_own_row_of_its_severity(root: Path) -> None:
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    index = [31, 4, 17]
    found = attacked(C10, index)
    assert found.variants == ("fog/1", "fog/3", "fog/5", "snow/1", "snow/3", "snow/5")
    levels = (found.x_adv * 255).round()
    for variant, severity in enumerate((1, 3, 5, 1, 3, 5)):
        for row, image in enumerate(index):
            assert (levels[variant, row] == 50 * (severity - 1) + image).all()


def test_the_extra_kinds_are_in_the_files_too(root: Path) -> None:
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    found = attacked(Corruption(("saturate",), (2,), "CIFAR-10-C"), [3])
    assert set((found.x_adv * 255).round().flatten().tolist()) == {53}


def test_channels_stay_in_order(root: Path) -> None:
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    content = np.zeros((200, 32, 32, 3), np.uint8)
    content[3, 5, 7] = (10, 20, 30)
    np.save(root / "CIFAR-10-C" / "fog.npy", content)
    found = attacked(Corruption(("fog",), (1,), "CIFAR-10-C"), [3]).x_adv[0, 0]
    assert (found[:, 5, 7] * 255).round().tolist() == [10, 20, 30]
    assert (found.sum() * 255).round() == 60


def test_the_attack_asks_for_the_images_that_it_gets() -> None:
    assert isinstance(C10, Indexed)
    with pytest.raises(BenchError, match="is not known"):
        C10(Defense(smooth()), torch.zeros(1, 3, 32, 32), torch.zeros(1), THREAT)
    with pytest.raises(BenchError, match="test images, not validation"):
        C10.at("validation", [0])
    Corruption(source=GENERATED).at("validation", [0])


def test_what_is_wrong_with_the_files_is_named(root: Path) -> None:
    folder = root / "CIFAR-10-C"
    with pytest.raises(BenchError, match="no folder CIFAR-10-C"):
        attacked(C10, [0])
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    with pytest.raises(BenchError, match="image 41 is not among them"):
        C10.at("test", [41])(
            Defense(smooth()), torch.zeros(1, 3, 32, 32), torch.zeros(1).long(), THREAT
        )
    with pytest.raises(BenchError, match=r"holds images \(3, 32, 32\), not \(1, 28, 28\)"):
        attacked(C10, [0], (1, 28, 28))
    (folder / "fog.npy").unlink()
    with pytest.raises(BenchError, match=r"no fog\.npy"):
        attacked(C10, [0])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("labels", np.zeros(200), "not those of the test images"),
        ("labels", np.zeros(199), "labels of 200 images"),
        ("fog", np.zeros((199, 32, 32, 3), np.uint8), "not .5n,H,W,3."),
        ("fog", np.zeros((200, 32, 32, 3)), "float64"),
        ("fog", np.array([None] * 5), "not a whole .npy file"),
    ],
)
def test_files_of_another_form_are_named(
    name: str, content: np.ndarray, says: str, root: Path
) -> None:
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    np.save(root / "CIFAR-10-C" / f"{name}.npy", content)
    with pytest.raises(BenchError, match=says):
        attacked(C10, [1, 2])


def test_bytes_that_slipped_in_are_noticed(root: Path) -> None:
    """The pixels behind them would be others."""
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    path = root / "CIFAR-10-C" / "fog.npy"
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\0" + content[200:])
    with pytest.raises(BenchError, match=f"{len(content) + 1} bytes, of {len(content)} that"):
        attacked(C10, [1, 2])


def test_records_of_other_files_are_no_records_of_these(root: Path) -> None:
    """The same folder, generated or copied once more: its name is all that a cell knows."""
    asked = "none@natural", "corruption:kinds=fog,source=CIFAR-10-C", "digits"
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    before = weights_used(*asked)
    for kind, name in (("snow", "another"), ("fog", "asked")):
        path = root / "CIFAR-10-C" / f"{kind}.npy"
        images = np.load(path)
        np.save(path, images + 1)
        os.utime(path, ns=(0, 0))
        after = weights_used(*asked)
        assert (after == before) == (name == "another")
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"images of CIFAR-10-C"}
    assert not any("images" in name for name in weights_used("none", "corruption", "digits"))


def test_settings_by_data_set_and_their_mistakes() -> None:
    def source(dataset: str) -> object:
        plugin = find_attack("corruption")
        return dict(plugin.resolve(parse_part("corruption"), dataset).settings)["source"]

    found = [source(name) for name in ("cifar10", "cifar100", "svhn", "digits")]
    assert found == ["CIFAR-10-C", "CIFAR-100-C", GENERATED, GENERATED]
    with pytest.raises(BenchError, match="neither 'generated' nor the name of a folder"):
        find_attack("corruption").factory(source="../elsewhere")


def test_planning_lists_the_cell_and_a_run_without_the_files_skips_it(root: Path) -> None:
    asked = Request(["none"], ["corruption:kinds=fog"], "cifar10", subset="first-32")
    assert [p.attack for p in make(asked)[0].cells] == ["corruption:kinds=fog"]
    with pytest.raises(BenchError, match=r"no folder CIFAR-10-C in .*: bench fetch cifar10-c"):
        make(asked, here=True)
    grouped = Request(["none"], ["all"], "cifar10", subset="first-32")
    (skip,) = [s for s in make(grouped, here=True)[0].skips if s.attack == "corruption"]
    assert "bench fetch cifar10-c, or take corruption:source=generated" in skip.reason
    copies.corrupted(root, "CIFAR-10-C", LABEL)
    assert "corruption" in [p.attack for p in make(grouped, here=True)[0].cells]


def test_files_can_be_generated_and_are_called_so(root: Path) -> None:
    copies.cifar10(root)
    dataset = find_dataset("cifar10").factory()
    kinds = ("gaussian_noise", "contrast")
    made = generate(dataset, "CIFAR-10-C", root, kinds=kinds)
    assert made == root / "CIFAR-10-C-generated"
    assert sorted(p.name for p in made.iterdir()) == [
        *("contrast.npy", "gaussian_noise.npy", "labels.npy")
    ]
    content = np.load(made / "gaussian_noise.npy")
    assert content.shape == (200, 32, 32, 3)
    assert content.dtype == np.uint8
    x = dataset.images("test").x.permute(0, 2, 3, 1).numpy() * 255
    damage = [np.abs(content[40 * s : 40 * s + 40] - x).mean() for s in range(len(SEVERITIES))]
    assert damage == sorted(damage)
    found = attacked(Corruption(("contrast",), (2,), made.name), [3, 5])
    assert found.x_adv.shape == (1, 2, 3, 32, 32)
    with pytest.raises(BenchError, match="is there already"):
        generate(dataset, "CIFAR-10-C", root, kinds=kinds)
