"""SOAP against the authors' numbers: losses, every radius's walk, the choice, training, attacks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api.purifier import Network
from bench.errors import BenchError
from bench.models.nets import make
from bench.models.nets.soap import SoapAutoEncoder
from defenses.soap import (
    SOAP,
    Loss,
    chosen,
    consistency,
    descend,
    fixed_view,
    joint,
    misled,
    reconstruction,
    rotation,
    slope,
    turned,
    views,
)
from tests.reference import facts_of, tensors_of

TASKS = ("soap_pi", "soap_rot", "soap_rec")
PUBLISHED = Path(os.environ.get("SOAP_CHECKPOINT", "soap-resnet-pi-cifar10.pth"))


class Tiny(nn.Module):
    """That of the golden files: two strided convolutions and one or two heads."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.fc = nn.Linear(state["fc.weight"].shape[1], 10)
        self.turning = "rot.weight" in state
        if self.turning:
            self.rot = nn.Linear(16, 4)
        self.load_state_dict(state)

    def pooled(self, x: Tensor) -> Tensor:
        h = self.c2(self.c1(x).relu()).relu()
        return h.mean((2, 3)) if self.turning else F.avg_pool2d(h, 2).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pooled(x))
        return logits

    def auxiliary(self, x: Tensor) -> Tensor:
        logits: Tensor = self.rot(self.pooled(x))
        return logits


def asked(name: str) -> tuple[dict[str, Tensor], Callable[[Tensor], Tensor], Loss]:
    """The stored tensors, the classifier and the auxiliary loss of a golden file."""
    stored, state = tensors_of(name), tensors_of(name, "sd/")
    if name == "soap_rec":
        made = make("soap-autoencoder", {"hidden": 8})
        made.load_state_dict(state)
        network = made.eval().requires_grad_(False)
        assert isinstance(network, SoapAutoEncoder)
        return stored, network, reconstruction(network.auxiliary)
    tiny = Tiny(state).requires_grad_(False)
    return stored, tiny, rotation(tiny.auxiliary) if tiny.turning else consistency(tiny)


def runs(name: str) -> dict[str, dict[str, float]]:
    told = json.loads(facts_of(name)["runs"])
    return {k: {n: eval_fraction(v) for n, v in run.items()} for k, run in told.items()}


def eval_fraction(value: float | str) -> float:
    top, _, bottom = str(value).partition("/")
    return float(top) / float(bottom or 1)


def close(a: Tensor, b: Tensor, share: float = 0.99) -> None:
    assert ((a - b).abs() <= 1e-5).float().mean() >= share


@pytest.mark.parametrize("name", TASKS)
def test_logits_and_losses(name: str) -> None:
    stored, network, loss = asked(name)
    torch.testing.assert_close(network(stored["x"]), stored["logits"], atol=1e-4, rtol=0)
    for which, x in (("clean", stored["x"]), ("adv", stored["attack/pgd_10"])):
        torch.testing.assert_close(loss(x).mean(), stored[f"aux_{which}"], rtol=1e-4, atol=0)


@pytest.mark.parametrize("run", ["pgd", "default"])
@pytest.mark.parametrize("name", TASKS)
def test_walks_of_all_radii_and_the_chosen_one(name: str, run: str) -> None:
    stored, network, loss = asked(name)
    x, told = stored["attack/pgd_10"], runs(name)[run]
    purifier = SOAP(loss, told["delta"], told["step"], int(told["iterations"]))
    ends = purifier.ends(x)
    losses = loss(ends.flatten(0, 1)).view(len(ends), len(x))
    torch.testing.assert_close(losses.mean(1), stored[f"{run}/aux_final"], rtol=1e-4, atol=1e-8)
    if f"{run}/deltas" in stored:
        close(ends - x, stored[f"{run}/deltas"])
    together = losses.mean(1, keepdim=True).expand_as(losses)
    close(chosen(together, ends), stored[f"{run}/purified"])
    logits = network(chosen(together, ends))
    torch.testing.assert_close(logits, stored[f"{run}/logits_purified"], atol=1e-3, rtol=1e-3)
    if f"{run}/alone_purified" in stored:
        close(purifier(x), stored[f"{run}/alone_purified"])


@pytest.mark.parametrize("name", TASKS)
def test_one_step_of_the_whole_radius(name: str) -> None:
    stored, _, loss = asked(name)
    purifier = SOAP(loss, runs(name)["fgsm"]["delta"], 0.0, 1, method="fgsm")
    ends = purifier.ends(stored["attack/pgd_10"])
    losses = loss(ends.flatten(0, 1)).view(len(ends), -1).mean(1)
    torch.testing.assert_close(losses, stored["fgsm/aux_final"], rtol=1e-4, atol=1e-8)
    close(ends[int(stored["fgsm/selected"])], stored["fgsm/purified"])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 20), (28, 28)])
def test_the_gradient_of_torch_1_4_is_of_the_same_view(height: int, width: int) -> None:
    """Its kernel took floor where the receivers of pixel d begin at the ceiling of d m / n."""
    torch.manual_seed(0)
    x = torch.rand(2, 3, height, width, requires_grad=True)
    view = fixed_view(x, "torch-1.4")
    torch.testing.assert_close(view, fixed_view(x))
    up = torch.randn_like(view)
    (right,) = torch.autograd.grad(fixed_view(x), x, up)
    (told,) = torch.autograd.grad(view, x, up)
    expected = torch.zeros_like(x)
    top, left = height // 16, width // 16
    n, m = height - 2 * top, width - 2 * left
    for i in range(n):
        for j in range(m):
            rows = slice(i * height // n, (i + 1) * height // n)
            columns = slice(j * width // m, (j + 1) * width // m)
            expected[:, :, top + i, width - 1 - left - j] = up[:, :, rows, columns].sum((2, 3))
    torch.testing.assert_close(told, expected)
    assert not torch.allclose(told, right)


def test_the_gradient_of_torch_1_4_goes_where_its_issue_says() -> None:
    """pytorch issue 38985: at a quarter of the size to the bottom right, not to the top left."""
    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    small = F.interpolate(x, (2, 2))
    (right,) = torch.autograd.grad(small.sum(), x)
    (told,) = torch.autograd.grad(misled(F.interpolate(x, (2, 2)), x).sum(), x)
    assert right.nonzero()[:, 2:].tolist() == [[0, 0], [0, 4], [4, 0], [4, 4]]
    assert told.nonzero()[:, 2:].tolist() == [[3, 3], [3, 7], [7, 3], [7, 7]]


def test_noise_of_every_radius() -> None:
    """The code draws for the radius 0 too; the draws are the same here but for that one."""
    stored, _, loss = asked("soap_rot")
    x, delta = stored["attack/pgd_10"], runs("soap_rot")["noise"]["delta"]
    ends = torch.stack(
        [(x + i * delta * n).clamp(0, 1) for i, n in enumerate(stored["noise/draws"])]
    )
    losses = loss(ends.flatten(0, 1)).view(len(ends), -1).mean(1)
    torch.testing.assert_close(losses, stored["noise/aux_final"], rtol=1e-4, atol=1e-8)
    close(ends[int(losses.argmin())], stored["noise/purified"])
    torch.manual_seed(0)
    own = SOAP(loss, delta, 0.0, 1, method="noise").ends(x)
    assert torch.equal(own[0], x)
    inside = (own > 0) & (own < 1)
    spread = ((own - x) * inside)[10].std() / (10 * delta)
    assert 0.5 < spread < 1.1


@pytest.mark.parametrize("name", TASKS)
def test_the_attack_that_keeps_the_loss_low(name: str) -> None:
    stored, network, loss = asked(name)
    told = json.loads(facts_of(name)["attack"])
    x, z = stored["x"], stored["x"]
    for _ in range(5):
        point = z.clone().requires_grad_()
        value = F.cross_entropy(network(point), stored["y"]) - 100 * 0.5 * loss(point).mean()
        (g,) = torch.autograd.grad(value, point)
        z = (z + told["step"] * g.sign()).clamp(x - told["eps"], x + told["eps"]).clamp(0, 1)
    close(z, stored["attack/aux_aware_beta05_5"])


@pytest.mark.parametrize("name", ["soap_pi", "soap_rot"])
def test_the_gradient_of_the_loss_is_per_image(name: str) -> None:
    stored, _, loss = asked(name)
    x = stored["attack/pgd_10"]
    torch.testing.assert_close(slope(loss, x)[:1], slope(loss, x[:1]))
    purifier = SOAP(loss, 0.01, 0.01, 1)
    torch.testing.assert_close(purifier.direction(x), -slope(loss, x))
    lower = loss(x + 1e-3 * purifier.direction(x) / slope(loss, x).abs().amax())
    assert (lower < loss(x)).all()


def test_training_for_consistency() -> None:
    stored, network, _ = asked("soap_pi")
    box = tuple(int(n) for n in stored["train/top_left_height_width"])
    top, left, height, width = box
    flip = float(stored["train/flip_draw"]) > 0.5
    both = views(stored["x"], stored["train/noise"], flip, (top, left, height, width))
    noisy = stored["x"] + (0.1 * stored["train/noise"]).clamp(0, 1)
    torch.testing.assert_close(noisy, stored["train/batch_after"])
    torch.testing.assert_close(both[len(noisy) :], fixed_view(noisy))
    logits, y = network(both), stored["y"]
    torch.testing.assert_close(joint(logits, y, 0.0), stored["train/ce"], atol=1e-4, rtol=1e-4)
    aux = joint(logits, y) - joint(logits, y, 0.0)
    torch.testing.assert_close(aux, stored["train/aux"], atol=1e-4, rtol=1e-4)
    whole = joint(logits, y, 2.0)
    torch.testing.assert_close(whole, stored["train/joint_alpha2"], atol=1e-4, rtol=1e-4)


def test_turns_go_clockwise_first_and_one_angle_after_the_other() -> None:
    x = torch.arange(4.0).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    quarter = turned(x)[2:4]
    assert quarter[0, 0].tolist() == [[2, 0], [3, 1]]
    assert turned(x).shape == (8, 1, 2, 2)


def test_walks_stay_within_their_radius_and_the_image() -> None:
    x = torch.rand(3, 1, 4, 4)
    radii = torch.tensor([0.05, 0.3])
    moved = descend(lambda z: z.flatten(1).sum(1), x, radii, 0.1, 5)
    assert torch.allclose(moved[0], (x - 0.05).clamp(min=0) - x, atol=1e-6)
    assert torch.allclose(moved[1], (x - 0.3).clamp(min=0) - x, atol=1e-6)


def test_equal_losses_choose_the_smallest_radius() -> None:
    ends = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 2, 1, 1, 1)
    losses = torch.tensor([[3.0, 1.0], [2.0, 1.0], [2.0, 0.5], [2.0, 0.5]])
    assert chosen(losses, ends).flatten().tolist() == [1.0, 2.0]


def test_a_task_without_its_head_is_refused() -> None:
    from defenses.soap import _head

    with pytest.raises(BenchError, match="no second head"):
        _head(nn.Identity())


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published file is not here")
def test_the_published_checkpoint_purifies_as_the_authors_does() -> None:
    stored, content = tensors_of("soap_released_resnet_pi"), PUBLISHED.read_bytes()
    assert hashlib.sha256(content).hexdigest() == facts_of("soap_released_resnet_pi")["sha256"]
    from bench.api.context import Weights
    from bench.models.zoo.networks import rebuild

    weights = Weights("soap", PUBLISHED, "", {"dataset": "cifar10"})
    network = rebuild(weights)
    x = stored["x"]
    torch.testing.assert_close(network(x), stored["logits"], atol=1e-3, rtol=0)
    loss = consistency(Network(network, "auxiliary"))
    ends = SOAP(loss, 4 / 255, 4 / 255, 5).ends(x)
    close(ends - x, stored["default/deltas"], 0.98)
    losses = loss(ends.flatten(0, 1)).view(len(ends), -1).mean(1)
    torch.testing.assert_close(losses, stored["default/aux_final"], rtol=1e-3, atol=0)
