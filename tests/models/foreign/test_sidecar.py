"""NCSNv2's config.yml: tags of Namespaces become dictionaries, others are refused."""

from __future__ import annotations

import re
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench.errors import BenchError
from bench.models.foreign import sidecar
from bench.models.zoo import published
from tests.reference import GOLDEN

LIST = "ckpt_ncsnv2_list.pth"


def config(ngf: int = 2) -> Namespace:
    model = Namespace(ngf=ngf, num_classes=10, sigma_begin=1, ema=True, ema_rate=0.999)
    return Namespace(
        data=Namespace(dataset="CIFAR10", channels=3, image_size=32, logit_transform=False),
        model=model,
        optim=Namespace(lr=0.0001, eps=1e-8, betas=(0.9, 0.999), note=None),
    )


def test_namespaces_are_dictionaries(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(yaml.dump(config()))
    assert "python/object:argparse.Namespace" in (tmp_path / "config.yml").read_text()
    found = sidecar.read(tmp_path / "config.yml")
    assert found["data"] == {
        **{"dataset": "CIFAR10", "channels": 3, "image_size": 32, "logit_transform": False}
    }
    assert found["model"]["ema_rate"] == 0.999
    assert found["optim"]["betas"] == [0.9, 0.999]
    assert found["optim"]["note"] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: !!python/object/apply:os.system ['touch harm']", "an object of 'object/apply:os.sys"),
        ("!!python/object/new:os.system {args: ['touch harm']}", "an object of 'object/new"),
        ("a: !!python/name:os.system", "an object of 'name:os.system'"),
        ("a: !!python/module:os", "an object of 'module:os'"),
        ("- 1", "no names to values"),
        ("a: [", "is no configuration"),
        ("", "no names to values"),
        ("x" * 300_000, "more than 200,000 bytes"),
        ("a: " + "[" * 5_000, "is no configuration"),
    ],
)
def test_other_objects_are_not_made(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(BenchError, match=re.escape(says)) as caught:
        sidecar.read(tmp_path / "config.yml")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_a_billion_laughs(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "config.yml").write_text("\n".join(lines))
    with pytest.raises(BenchError, match="more values than a configuration"):
        sidecar.read(tmp_path / "config.yml")


@pytest.mark.parametrize(("ngf", "fits"), [(2, True), (64, False)])
def test_it_is_compared_with_the_checkpoint(
    ngf: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    shutil.copy(GOLDEN / LIST, tmp_path)
    (tmp_path / "config.yml").write_text(yaml.dump(config(ngf)))
    entry = replace(published.find("ncsnv2-cifar10"), arguments={})
    if fits:
        assert published.fetch(entry, tmp_path / LIST).is_file()
        return
    with pytest.raises(BenchError, match=r"says model\.ngf=64, ckpt_ncsnv2_list\.pth has 2"):
        published.fetch(entry, tmp_path / LIST)
