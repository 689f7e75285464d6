"""A file of a network of another kind is refused before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.run import run_command
from bench.errors import BenchError
from bench.measure import build
from bench.models.zoo.weights import packaged

NATURAL = packaged("digits") / "natural.safetensors"
pytestmark = pytest.mark.skipif(not NATURAL.is_file(), reason="no packaged weights yet")
ASKS = {
    "adp": ("score", "a score network"),
    "langevin": ("ebm", "an energy model"),
    "pixeldefend": ("pixelcnn", "a PixelCNN\\+\\+"),
    "denoise": ("edm", "an EDM denoiser"),
    "diffpure": ("edm", "an EDM denoiser"),
    "gdmp": ("edm", "an EDM denoiser"),
    "gradual": ("edm", "an EDM denoiser"),
    "scoreopt-o": ("edm", "an EDM denoiser"),
    "scoreopt-n": ("edm", "an EDM denoiser"),
}


@pytest.mark.parametrize("name", ASKS)
@pytest.mark.parametrize(("file", "holds"), [("natural", "WideResNet"), ("score-ncsnv2", "NCSNv2")])
def test_each_purifier_takes_its_own_kind_of_network(name: str, file: str, holds: str) -> None:
    weights, needs = ASKS[name]
    path = packaged("digits") / f"{file}.safetensors"
    context = build.context("digits", weights_override={weights: path})
    if (name, file) == ("adp", "score-ncsnv2"):
        assert build.purifier(name, context)
        return
    says = f"weights .*{file}.safetensors hold a {holds}; here {needs} is needed"
    with pytest.raises(BenchError, match=says):
        build.purifier(name, context)


@pytest.mark.parametrize(
    ("defense", "weights"), [("adp", "score"), ("median+pixeldefend@madry", "pixelcnn")]
)
def test_a_run_says_so_before_anything_is_written(
    defense: str, weights: str, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    asked = [*("--defense", defense, "--attacks", "clean", "--images", "32"), "--dataset", "digits"]
    files = ["--weights", f"{weights}={NATURAL}", "--results", str(results), "--control", "off"]
    ran = CliRunner().invoke(run_command, [*asked, *files])
    assert isinstance(ran.exception, BenchError)
    assert "hold a WideResNet; here" in str(ran.exception)
    assert not list(tmp_path.rglob("*.json"))
