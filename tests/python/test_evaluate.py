"""`bench.evaluate`: the numbers of `bench run`, of objects too, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bench
from bench.api.purifier import Purifier
from bench.cli.group import cli
from bench.compute.network import Network
from bench.results.store import Store
from tests.factories import repeatable

ATTACKS = ("clean", "classifier-pgd")


class Plain(nn.Module):
    """A linear classifier of 3x4x4 images."""

    def __init__(self, seed: int = 0, classes: int = 3) -> None:
        super().__init__()
        weights = torch.randn(classes, 48, generator=torch.Generator().manual_seed(seed))
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.T


class Halve(nn.Module):
    """Moves pixels towards grey."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2 + 0.25


class Noise(nn.Module):
    """Another image at each call."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 0.05 * torch.randn_like(x)).clamp(0, 1)


class Steps(nn.Module):
    """Autograd ends at its rounding."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.detach() * 15).round() / 15


class Own(Purifier):
    """A purifier that says itself what it is."""

    traits = bench.Traits(random=True, runs=3)

    def forward(self, x: Tensor) -> Tensor:
        return (x + 0.05 * torch.randn_like(x)).clamp(0, 1)


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    x = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return x, Plain()(x).argmax(1)


def evaluate(*args: Any, attacks: Any = ATTACKS, **named: Any) -> bench.Evaluation:
    return bench.evaluate(*args, attacks=attacks, preset="quick", progress=False, **named)


def test_names_give_the_records_of_the_command(tmp_path: Path) -> None:
    found = evaluate(
        "natural", "jpeg", attacks=",".join(ATTACKS), dataset="digits", images=32, controls=()
    )
    found.save(tmp_path / "python")
    asked = ["--defense", "jpeg@natural", "--attacks", ",".join(ATTACKS), "--dataset", "digits"]
    more = ["--images", "32", "--preset", "quick", "--control", "off"]
    assert cli(["run", *asked, *more, "--results", str(tmp_path / "r")], standalone_mode=False) == 0

    def records(root: Path) -> dict[str, Any]:
        files = (root / "digits").rglob("*.json")
        return {str(p.relative_to(root)): repeatable(p.read_text()) for p in files}

    assert records(tmp_path / "python") == records(tmp_path / "r")


def test_a_linear_model_falls_exactly_where_its_margin_is_reached(
    data: tuple[Tensor, Tensor],
) -> None:
    """linf moves the margin of class y over j by eps times the l1 norm of their difference."""
    x, y = data
    model = Plain()
    threat, eps = "linf:0.02", 0.02
    found = evaluate(
        model, dataset=data, threat=threat, attacks=["clean", "classifier-pgd:steps=20"]
    )
    logits, w = model(x), model.weights
    other = [[j for j in range(3) if j != int(label)] for label in y]
    stays = [
        all(logits[i, y[i]] - logits[i, j] > eps * (w[y[i]] - w[j]).abs().sum() for j in other[i])
        for i in range(len(x))
    ]
    assert found.clean == 1.0
    # Pixels end at 0 and 1, which only helps the model.
    assert found.robust is not None
    assert float(np.mean(stays)) <= found.robust < 1


def test_what_a_module_is_shows_itself(data: tuple[Tensor, Tensor]) -> None:
    kinds = {"halve": Halve(), "noise": Noise(), "steps": Steps(), "own": Own()}
    found = {name: evaluate(Plain(), module, dataset=data) for name, module in kinds.items()}
    records = {name: each.row.records[0] for name, each in found.items()}
    assert [records[name].draws for name in kinds] == [1, 10, 1, 10]
    judged = {name: record.calls["classifier"]["judge"][0] for name, record in records.items()}
    assert "purifier" not in records["halve"].calls
    assert judged["own"] == 3 * judged["noise"]
    with pytest.raises(bench.BenchError, match=r"pgd-exact against my-steps"):
        evaluate(Plain(), Steps(), dataset=data, attacks=["pgd-exact"])


def test_another_network_of_the_same_class_has_other_records(
    data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    right = evaluate(Plain(), dataset=data, results=tmp_path)
    wrong = evaluate(Plain(seed=7), dataset=data, results=tmp_path)
    again = evaluate(Plain(), dataset=data, results=tmp_path)
    assert right.clean == again.clean == 1.0
    assert wrong.clean is not None
    assert wrong.clean < 0.7
    assert len(list(Store(tmp_path).records(right.analysis.board.dataset))) == 8
    frame = bench.load(tmp_path)
    assert sorted(frame[frame.attack == "clean"].measured)[-1] == 100.0


class Power(nn.Module):
    """What it does stands in an attribute: the images, or their negatives."""

    def __init__(self, how: Any) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(x) if callable(self.how) else (x if self.how > 0 else 1 - x)


def redefined(code: str) -> nn.Module:
    """A class of one name, as a notebook's cell defines it again and again."""
    names: dict[str, Any] = {"nn": nn}
    exec(f"class Cell(nn.Module):\n    def forward(self, x):\n        return {code}", names)
    made: nn.Module = names["Cell"]()
    return made


def hooked(sign: int) -> nn.Module:
    model = Plain()
    model.register_forward_hook(lambda module, inputs, out: sign * out)
    return model


PAIRS = {
    "number": ((Plain(), Power(1.0)), (Plain(), Power(-1.0))),
    "function": ((Plain(), Power(lambda x: x)), (Plain(), Power(lambda x: 1 - x))),
    "class": ((Plain(), redefined("x")), (Plain(), redefined("1 - x"))),
    "hook": ((hooked(1), "none"), (hooked(-1), "none")),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_what_a_module_does_counts_and_not_what_it_looks_like(
    data: tuple[Tensor, Tensor], tmp_path: Path, kind: str
) -> None:
    right, wrong = PAIRS[kind]
    assert evaluate(*right, dataset=data, attacks=["clean"], results=tmp_path).clean == 1.0
    found = evaluate(*wrong, dataset=data, attacks=["clean"])
    assert found.clean is not None
    assert found.clean < 0.7
    if kind != "number":  # whose attribute is in the digest
        with pytest.raises(bench.BenchError, match="differ"):
            evaluate(*wrong, dataset=data, attacks=["clean"], results=tmp_path)


def test_the_traits_of_this_call_count(data: tuple[Tensor, Tensor]) -> None:
    four = bench.Traits(random=True, runs=4)
    each = [evaluate(Plain(), Noise(), dataset=data, traits=t) for t in (four, None, four)]
    calls = [found.row.records[0].calls["classifier"]["judge"][0] for found in each]
    assert calls[0] == calls[2] == 4 * calls[1]


def test_images_that_change_later_are_not_what_was_measured(data: tuple[Tensor, Tensor]) -> None:
    x, y = data[0].clone(), data[1].clone()
    assert evaluate(Plain(), dataset=(x, y), attacks=["clean"]).clean == 1.0
    x.copy_(1 - x)
    assert evaluate(Plain(), dataset=data, attacks=["clean"]).clean == 1.0


def test_clean_images_are_always_asked(data: tuple[Tensor, Tensor]) -> None:
    found = evaluate(Plain(), dataset=data, attacks="classifier-pgd")
    assert found.clean == 1.0
    assert found.robust is not None


def test_an_attack_of_another_plan_makes_no_bound_of_this_one(tmp_path: Path) -> None:
    named = {"dataset": "digits", "images": 32, "results": tmp_path}
    evaluate("natural", attacks=["classifier-pgd", "square:queries=2"], **named)
    found = evaluate("madry", attacks=["classifier-pgd"], **named)
    assert found.robust is not None
    assert sorted(found.figures) == ["classifier-pgd", "clean"]


def test_what_planning_has_to_say_is_said() -> None:
    found = evaluate("natural", dataset="digits", images=20, attacks=["clean"])
    assert "20 images rounded up to 32" in str(found)


class Cut(nn.Module):
    """Has parameters, and lets no gradient reach its input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x.detach() * self.scale


def test_a_gradient_that_ends_before_the_images_is_none(data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(bench.BenchError, match="pgd-exact against my-cut"):
        evaluate(Plain(), Cut(), dataset=data, attacks=["pgd-exact"])


def test_a_session_is_left_as_it_was(data: tuple[Tensor, Tensor]) -> None:
    model = Plain().train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = torch.get_num_threads(), Network.chunk, dict(os.environ)
    evaluate(model, Halve(), dataset=data)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_num_threads(), Network.chunk, dict(os.environ)) == found
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_failed_attack_leaves_no_worst_case(data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    class Fragile(Halve):
        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                raise RuntimeError("no gradients here")
            return super().forward(x)

    traits = bench.Traits(exact=True)
    found = evaluate(Plain(), Fragile(), dataset=data, traits=traits, attacks=["clean", "bpda"])
    assert "no gradients here" in " ".join(found.failures.values())
    assert found.worst is None
    assert found.robust is None
    assert "no number under" in str(found)
    assert "<li>no number under" in found._repr_html_()


def test_it_shows_itself(
    data: tuple[Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(Plain(), dataset=data)
    found.save(tmp_path)
    name = found.analysis.board.dataset
    cli(["table", "--results", str(tmp_path), "--dataset", name], standalone_mode=False)
    assert "none@my-plain" in capsys.readouterr().out
    html = found._repr_html_()
    assert "<th>classifier-pgd</th>" in html
    assert "<td>none@my-plain</td>" in html
    assert "clean 100.0 [91.2, 100.0]" in str(found)
    assert "bench.evaluate('my-plain', 'none'" in found.analysis.board.commands[0]


X, Y = torch.rand(4, 3, 4, 4), torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((Plain(), "none", (X * 255, Y)), "they lie in [0,1]"),
        ((Plain(), "none", (X[0], Y)), "not [N,C,H,W]"),
        ((Plain(), "none", (X, Y[:3])), "4 images and 3 labels"),
        ((Plain(), "none", (X, Y + 3)), "label 3, and the classifier has 3 classes"),
        ((Plain(), "none", (X, Y.float())), "not whole numbers"),
        ((Plain, "none", (X, Y)), "not type"),
        ((Plain(), 3, (X, Y)), "a purifier is a torch module"),
        ((Plain(), nn.Linear(7, 7), (X, Y)), "the purifier does not take an image"),
        ((Plain(), "none", (X, Y, Y)), "a pair (images, labels)"),
        ((Plain(), "none", 3), "a pair (images, labels)"),
        ((Plain(), "none", (X, [None] * 4)), "neither a tensor nor an array"),
        ((nn.Linear(7, 7), "none", (X, Y)), "the classifier does not take an image"),
        ((Plain().double(), "none", (X, Y)), "the classifier does not take an image"),
        (("naturel", "none", "digits"), "natural"),
        (("natural", "adpp", "digits"), "adp"),
        (("natural", "none", "digitz"), "digits"),
    ],
)
def test_a_mistake_is_one_line(asked: tuple[Any, Any, Any], said: str) -> None:
    model, purifier, dataset = asked
    with pytest.raises(bench.BenchError) as error:
        evaluate(model, purifier, dataset=dataset)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_images_need_no_negative_number() -> None:
    with pytest.raises(bench.BenchError, match="images=-1"):
        evaluate("natural", dataset="digits", images=-1)


def test_importing_bench_imports_nothing_heavy() -> None:
    code = (
        "import sys, bench; dir(bench); print([n for n in ('torch', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not hasattr(bench, "evaluat")
