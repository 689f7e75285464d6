"""Reduced precision only where verdicts stay: a robust network passes, a brittle one does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.compute.network import computing
from bench.measure import precision as gate
from bench.measure import runner, weights_used
from bench.measure.executors.fleet import Fleet
from bench.measure.precision import Compared, verdicts
from bench.measure.runner import Summary
from bench.measure.shard import Shard
from bench.measure.worker import Failure, Setup, Task
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.store import Store
from tests.tiny import SHAPE, Linear, Noise, images, smooth

LINF = ThreatModel("linf", 0.1)
PLAN, _ = make(
    Request(["none", "gaussian:runs=2"], ["clean"], dataset="digits", images=32, controls=[])
)
TASK = Task(PLAN.cells[0], 0, "quick", Setup(precision="bf16"))


class Brittle(nn.Module):
    """Asks for the 12th binary digit of an image's sum, of which bfloat16 has eight."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = nn.Linear(16, 1, bias=False)
        nn.init.ones_(self.sum.weight)

    def forward(self, x: Tensor) -> Tensor:
        odd = (self.sum(x.flatten(1)).float() * 2**9).floor() % 2
        return torch.cat([odd, 1 - odd], 1) + 0 * x.flatten(1)[:, :2]


def differing(defense: Defense, x: Tensor) -> int:
    with torch.no_grad():
        shard = Shard(x, defense.predict(x), "test", (), (), ())
    plain, reduced = (
        verdicts(defense, shard, LINF, "key", precision=precision)
        for precision in ("float32", "bf16")
    )
    assert plain.shape == (2, len(x))
    return int((plain != reduced).sum())


def test_a_network_robust_to_rounding_passes() -> None:
    """Bright images from dark ones."""
    weight = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, *SHAPE)
    x = 0.2 + 0.6 * (torch.arange(64) % 2).view(-1, 1, 1, 1).expand(64, *SHAPE)
    found = differing(Defense(Network(Linear(weight), "classifier")), x)
    decided = gate.decide("bf16", [Compared(TASK, 128, found)])[TASK.planned.cell.defense]
    assert (decided.precision, found) == ("bf16", 0)


def test_a_network_whose_verdicts_flip_is_refused() -> None:
    found = differing(Defense(Network(Brittle(), "classifier")), images(64))
    decided = gate.decide("bf16", [Compared(TASK, 128, found)])[TASK.planned.cell.defense]
    assert found > 10
    assert decided.precision == "float32"
    assert f"{found} of 128 verdicts of bf16 differ from float32" in decided.reason


def test_random_numbers_are_replayed() -> None:
    """Were they not, noise that turns every second verdict would look like rounding."""
    defense = Defense(smooth(), [Noise(0.4)])
    x = images(32)
    shard = Shard(x, defense.predict(x), "test", (), (), ())
    first, again = (verdicts(defense, shard, LINF, "key", precision="float32") for _ in range(2))
    other = verdicts(defense, shard, LINF, "other", precision="float32")
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_one_verdict_in_512_may_differ() -> None:
    def precision(*shards: tuple[int, int]) -> str:
        results = [Compared(TASK, verdicts, differ) for verdicts, differ in shards]
        return gate.decide("tf32", results)[TASK.planned.cell.defense].precision

    assert precision((64, 0), (64, 0)) == "tf32"
    assert precision((64, 1)) == "float32"
    assert precision((256, 1), (256, 0)) == "tf32"
    assert precision((256, 1), (255, 0)) == "float32"
    assert precision((512, 1), (512, 1)) == "tf32"


def test_a_precision_that_fails_is_refused_with_its_reason() -> None:
    failed = Failure(TASK, "network 'score' gave NaN")
    results: list[Compared | Failure] = [Compared(TASK, 64, 0), failed]
    decided = gate.decide("bf16", results)[TASK.planned.cell.defense]
    assert decided.precision == "float32"
    assert "network 'score' gave NaN" in decided.reason


def test_every_image_of_the_plan_is_tried_for_defenses_with_work_left() -> None:
    some = [replace(TASK, planned=cell) for cell in PLAN.cells if "gaussian" in cell.defense]
    found = gate.trials([*some, *some], replace(PLAN, images=64))
    assert [trial.task.shard for trial in found] == [0, 1]
    assert all("gaussian" in trial.task.planned.defense for trial in found)


def test_what_was_decided_is_said_done_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = next(cell for cell in PLAN.cells if "gaussian" in cell.defense)
    compare = gate.compare

    def with_a_flip(trial: gate.Trial) -> Compared | Failure:
        found = compare(trial)
        assert isinstance(found, Compared)
        return replace(found, differ=3) if trial.task.planned == refused else found

    monkeypatch.setattr(gate, "compare", with_a_flip)
    used = list[str]()
    predict = Defense.predict

    def watched(self: Defense, x: Tensor) -> Tensor:
        used.append(Network.precision)
        return predict(self, x)

    store, summary, said = Store(tmp_path), Summary(), list[str]()
    tasks = runner.pending(
        PLAN,
        store,
        lambda defense, attack: weights_used.weights_used(defense, attack, "digits"),
        summary,
        Setup(precision="bf16"),
    )
    tasks = runner.gated(tasks, PLAN, Fleet(), summary, said.append)
    monkeypatch.setattr(Defense, "predict", watched)
    runner.run(tasks, store, Fleet(), summary)
    assert set(used) == {"bf16", "float32"}
    records = list(store.records("digits"))
    for record in records:
        noisy = "gaussian" in record.cell.defense
        assert record.timing["precision"] == ("float32" if noisy else "bf16")
        assert record.timing["gate"] == summary.gate[record.asked["defense"]]
        assert ("3 of 64 verdicts of bf16 differ" in record.timing["gate"]) == noisy
    assert len(records) == 2
    assert sorted(said[1:]) == sorted(f"{label}: {text}" for label, text in summary.gate.items())


def test_adaptive_steps_of_adp_are_always_taken_in_float32() -> None:
    from bench.measure import build

    context = build.context("digits")
    x = images(4, (1, 8, 8))
    for rule, spared in (("adaptive", True), ("fixed", False)):
        adp = build.defense(f"adp:rule={rule},sigma=0", context)
        score = adp.networks()[1]
        expected = score(x)
        with computing("bf16"):
            assert torch.equal(score(x), expected) == spared
