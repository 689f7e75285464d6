"""torchvision's ImageNet classifiers: its own class, a published file, its normalisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from bench.errors import BenchError
from bench.measure import build
from bench.models.zoo import published


def test_the_file_of_a_published_layout_answers_normalised_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block a stage and few channels, where the published network has 16 blocks."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    theirs = ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=8).eval()
    path = tmp_path / "wide_resnet50_2-95faca4d.pth"
    torch.save(theirs.state_dict(), path)
    entry = replace(published.find("torchvision-wide-resnet50-2"), arguments={})
    published.fetch(entry, path)
    made = build.classifier("torchvision:network=wide_resnet50_2", build.context("imagenet"))
    x = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = theirs((x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
    torch.testing.assert_close(made(x), wanted)
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_photographs_only() -> None:
    with pytest.raises(BenchError, match="for imagenet, not for cifar10"):
        build.classifier("torchvision", build.context("cifar10"))
