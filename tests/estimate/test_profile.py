"""Memory and time before a run: closed forms on tiny networks, and stand-ins of full-size ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from bench import api
from bench.cli.plan import plan_command
from bench.cli.profile import profile_command
from bench.errors import BenchError
from bench.estimate import plan_cost, untrained
from bench.estimate.memory import Footprint, Peak, footprints, memory
from bench.estimate.speed import Speed, seconds, speeds
from bench.estimate.untrained import META
from bench.measure import build
from bench.plan.cost import Cost
from bench.plan.plan import make
from bench.plan.request import Request


class Sleeper(nn.Module):
    """Linear layers between vectors of 256 and 1024 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(256, 1024), nn.Linear(1024, 256)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.up(x).tanh())
        return out


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_peak_is_what_is_alive_at_one_time(device: str) -> None:
    """Without a graph: a hidden vector and its tanh; then the hidden one is gone."""
    network, x = Sleeper().to(device).requires_grad_(False), torch.zeros(10, 256, device=device)
    with torch.no_grad(), Peak() as peak:
        network(x)
    assert peak.most == 10 * 2 * 1024 * 4
    with Peak() as peak:
        held = [torch.zeros(100, device=device) for _ in range(5)]
        assert peak.live == 5 * 400
        held.pop()
        assert peak.live == 4 * 400
        held[0].view(10, 10).add_(1)
    assert peak.most == 5 * 400
    assert held


def test_a_backward_pass_keeps_what_it_needs() -> None:
    """The tanh is kept for its derivative, the hidden vector is not."""
    network, x = Sleeper().to(META).requires_grad_(False), torch.zeros(10, 256, device=META)
    with Peak() as peak:
        out = network(x.requires_grad_())
        alive = peak.live
    assert alive == 10 * (1024 + 256) * 4
    assert out.requires_grad


def test_footprints_are_those_of_the_packaged_networks() -> None:
    """The same class and size as the file, by parameters."""
    defense = build.defense("adp@madry", build.context("digits"))
    found = footprints("adp@madry", "digits", frozenset({"score"}))
    for network in defense.networks():
        kept = (*network.module.parameters(), *network.module.buffers())
        assert found[network.name].parameters == sum(tensor.nbytes for tensor in kept)
    assert found["score"].both > found["score"].forward > 0
    assert found["classifier"].both == 0


def test_a_purifier_without_weights_is_measured_on_the_classifier_behind_it() -> None:
    asked = frozenset({"auxiliary", "classifier"})
    found = footprints("soap@soap", "cifar10", asked)
    assert found["auxiliary"].parameters == found["classifier"].parameters < 10**6
    assert footprints("soap", "cifar10", asked)["auxiliary"].parameters > 10**8


def test_the_memory_of_a_cell_is_parameters_and_the_largest_call() -> None:
    found = {"classifier": Footprint(100, 10, 30), "score": Footprint(1000, 20, 50)}
    quiet = Cost({"classifier": (5, 5), "score": (5, 0)})
    assert memory(quiet, found, chunk=32) == 1100 + 32 * 30
    exact = Cost({"classifier": (5, 5), "score": (5, 5)})
    assert memory(exact, found, chunk=64) == 1100 + 64 * 50


def test_seconds_are_calls_times_speed() -> None:
    found = {"classifier": Speed(0.5, 1.0, 32), "score": Speed(2.0, 3.0, 32)}
    cost = Cost({"classifier": (10, 4), "score": (100, 0)})
    assert seconds(cost, found) == 10 * 0.5 + 4 * 1.0 + 100 * 2.0


@pytest.mark.parametrize(
    "spec",
    [
        *("adp:steps=2@natural", "scoreopt-n@natural", "aid@madry", "pixeldefend@natural"),
        *("langevin:steps=2@natural", "gdmp:steps=2,rounds=1@noisy"),
        *("aid:variant=code@natural", "adp:network=rotation@natural"),
    ],
)
def test_stand_ins_are_called_by_the_names_that_are_planned(spec: str) -> None:
    found = footprints(spec, "digits", frozenset())
    made, draft = make(Request([spec], ("clean",), "digits", controls=[]))
    assert made.cells
    assert set(found) == set(draft.costs[0].networks)


def test_stand_ins_read_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a weight file was read")

    monkeypatch.setattr("bench.models.zoo.networks.load_state", refuse)
    measured = speeds("denoise@natural", "digits", "cpu", 4)
    assert measured["denoiser"].forward > 0
    assert measured["denoiser"].images == 4


def test_a_network_that_is_asked_for_several_images_at_once_is_timed_as_any() -> None:
    """SOAP's first call has every radius of an image."""
    measured = speeds("soap:steps=1@soap", "digits", "cpu", 2)
    assert {name: speed.images for name, speed in measured.items()} == {
        "classifier": 2,
        "auxiliary": 2,
    }


def test_networks_that_nobody_describes_are_a_note() -> None:
    with pytest.raises(BenchError, match="nobody says which network"):
        footprints("none@natural", "imagenet", frozenset())
    made, draft = make(Request(["denoise"], ("clean",), "imagenet", controls=[]))
    found = plan_cost.look(made, draft.costs, 32)
    assert not found.memory
    assert "nobody says which network the weights 'natural' of imagenet hold" in found.notes[0]


def test_what_is_not_trained_stands_in_as_it_is_published() -> None:
    assert untrained.context("imagenet", META).weights("guided").metadata["network"] == "guided"
    found = footprints("denoise:network=score-sde@natural", "cifar10", frozenset())
    assert found["denoiser"].parameters > 4 * 60e6


def test_stand_ins_are_the_networks_of_the_recipes() -> None:
    context = untrained.context("cifar10", META)
    assert context.weights("vgg").metadata["network"] == "vgg"
    assert json.loads(context.weights("madry").metadata["arguments"])["depth"] == 34
    assert "normalisation" not in context.weights("madry").metadata
    assert "normalisation" in context.weights("natural").metadata


def test_hours_are_those_of_the_planned_calls() -> None:
    made, draft = make(Request(["denoise"], ("clean", "bpda"), "digits", images=32, controls=[]))
    found = plan_cost.look(made, draft.costs, 32, "cpu")
    assert set(found.cells) == set(found.memory) == {p.cell.digest for p in made.cells}
    for planned, cost in zip(made.cells, draft.costs, strict=True):
        spec = "none@natural" if planned.defense.startswith("none") else "denoise"
        (speed,) = (s for name, s in found.speeds.items() if name.startswith(spec))
        expected = 32 * seconds(cost, speed) / 3600
        assert found.cells[planned.cell.digest] == pytest.approx(expected)


# --- the commands --------------------------------------------------------------------------------


def bench(tmp_path: Path, *arguments: str) -> str:
    environment = {**os.environ, "BENCH_HOME": str(tmp_path / "nothing"), "OMP_NUM_THREADS": "1"}
    environment.pop("BENCH_DATA", None)
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_of_cifar10_is_planned_without_data_or_weights(tmp_path: Path) -> None:
    """Every mission defense against every attack is a cell or has its reason."""
    from attacks.catalog import ALL
    from defenses import catalog

    text = bench(
        tmp_path, "plan", "--defense", "all", "--attacks", "all", "--dataset", "cifar10", "--json"
    )
    plan = json.loads(text)
    assert plan["images"] == 512
    assert not plan["notes"]
    cells = {(c["defense"], c["attack"]): c for c in plan["cells"]}
    skips = {(s["defense"], s["attack"]): s["reason"] for s in plan["skips"]}
    for label in catalog.ALL:
        row = label if "@" in label else f"{label}@natural"
        for attack in ALL:
            assert (row, attack) in cells or skips[row, attack]
    # NCSNv2: two calls a step, ten steps, ten runs, ten draws of the judge.
    calls = cells["adp@natural", "clean"]["calls_per_image"]
    assert calls["score"] == {"forward": 2 * 10 * 10 * 10, "backward": 0}
    assert calls["classifier"] == {"forward": 100, "backward": 0}
    # 29.7 and 36.5 million parameters in float32, and activations.
    assert cells["adp@natural", "clean"]["memory_bytes"] > 4 * (29.7e6 + 36.4e6)
    exact = cells["adp@natural", "pgd-exact"]["memory_bytes"]
    assert exact > 2 * cells["adp@natural", "clean"]["memory_bytes"]


def test_the_plan_prints_memory_and_hours() -> None:
    asked = ("--defense", "denoise", "--attacks", "clean", "--dataset", "digits", "--images", "32")
    arguments = [*asked, "--control", "off", "--time"]
    text = CliRunner().invoke(plan_command, arguments, catch_exceptions=False).stdout
    assert "memory" in text
    assert "hours" in text
    assert "denoiser 40+0" in text
    assert "in CPU seconds" in text


def test_the_profile_of_a_defense() -> None:
    arguments = ["denoise", "--dataset", "digits", "--json"]
    text = CliRunner().invoke(profile_command, arguments, catch_exceptions=False).stdout
    found = json.loads(text)
    rows = found["defenses"]["denoise"]
    assert set(rows) == {
        *("denoiser, forward", "denoiser, with backward"),
        *("classifier, forward", "classifier, with backward"),
        *("one purification", "bpda-eot, a step of one draw", "exact, a step of one draw"),
    }
    assert all(row["seconds"] > 0 and row["bytes"] > 0 for row in rows.values())
    assert "CPU seconds" in found["device"]


def test_every_named_weight_of_cifar10_is_described() -> None:
    from bench.measure.weights_used import known_weights
    from bench.models.zoo.entries import how_to_get

    context = untrained.context("cifar10", META)
    names = known_weights("cifar10")
    assert {"score-ncsnv2", "edm-ddpmpp", "pixelcnn", "vgg", "aid-natural"} <= set(names)
    assert not {"score", "edm", "cnn"} & set(names)
    for name in (name for name in names if "--weights" not in how_to_get("cifar10", name)):
        assert context.weights(name).untrained == "random"
    assert api.find_classifier("vgg")
