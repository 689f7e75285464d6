"""Matrix completion: the authors' own numbers, and the exact gradient of a function of S."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.api.purifier import Defense, Network
from defenses.menet import Completion, MENet, completed, nuclear, soft_impute, spectral, usvt
from tests.reference import Classifier, facts_of, tensors_of

WAYS: dict[str, Completion] = {"softimp": soft_impute(), "nucnorm": nuclear(1.0)}
STORED = tensors_of("menet")
SETTINGS = {
    name: facts
    for name, facts in json.loads(facts_of("menet")["settings"]).items()
    if f"{name}/mask" in STORED
}
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2023, 0.1994, 0.2010]).view(3, 1, 1)


def way(facts: dict[str, str | float]) -> Completion:
    if facts["method"] == "nucnorm":
        return nuclear(float(facts["mu"]))
    return usvt(float(facts["svdprob"])) if facts["method"] == "usvt" else WAYS["softimp"]


def as_mask(mask: Tensor, concat: bool) -> Tensor:
    """Stored [B,h,w] or, side by side, [B,h,3w], as a mask of images [B,C,H,W]."""
    if not concat:
        return mask[:, None].float()
    count, height, _ = mask.shape
    return mask.view(count, height, 3, -1).permute(0, 2, 1, 3).float()


@pytest.mark.parametrize("name", SETTINGS)
def test_completions_are_the_authors(name: str) -> None:
    stored, facts = tensors_of("menet"), SETTINGS[name]
    images = stored["grey" if facts["images"] == "grey" else "rgb"].permute(0, 3, 1, 2)
    mask = as_mask(stored[f"{name}/mask"], facts["me_channel"] == "concat")
    x = images[: len(mask)].double() / 255
    out = 255 * completed(x, mask, way(facts)).permute(0, 2, 3, 1)
    if facts["method"] == "nucnorm":
        best = stored[f"{name}/completed_optimum"].double()
        torch.testing.assert_close(out, best, atol=1e-3, rtol=0)
        assert (out - stored[f"{name}/completed"]).abs().max() < 0.15
        return
    torch.testing.assert_close(out, stored[f"{name}/completed"].double(), atol=1e-3, rtol=0)
    # Theirs is truncated, by which what was left may fall to the level below, or not.
    below = out.floor() - stored[f"{name}/completed_uint8"]
    assert below.abs().max() <= 1
    assert facts["method"] != "usvt" or (below == 0).float().mean() > 0.999


@pytest.mark.parametrize(
    "name", ["usvt_concat", "usvt_separate", "softimp_concat", "softimp_separate"]
)
def test_the_layer_and_its_straight_gradient_are_the_authors(name: str) -> None:
    stored, classifier = tensors_of("menet"), Classifier("menet")
    mask = as_mask(stored[f"wb/{name}/mask"], name.endswith("concat"))
    complete = usvt(0.8) if name.startswith("usvt") else soft_impute()
    layer = (completed(stored["wb/x"], mask, complete) - MEAN) / STD
    torch.testing.assert_close(layer, stored[f"wb/{name}/layer_out"], atol=1e-5, rtol=0)
    point = layer.requires_grad_()
    logits = classifier(point)
    torch.testing.assert_close(logits, stored[f"wb/{name}/logits"], atol=1e-5, rtol=0)
    (g,) = torch.autograd.grad(F.cross_entropy(logits, stored["wb/y"], reduction="sum"), point)
    torch.testing.assert_close(g, stored[f"wb/{name}/grad_x"], atol=1e-6, rtol=0)


def test_white_box_pgd_meets_the_authors_images() -> None:
    stored, classifier = tensors_of("menet"), Classifier("menet")
    x, y, steps = stored["wb/x"], stored["wb/y"], json.loads(facts_of("menet")["pgd"])["steps"]
    masks = [as_mask(mask, concat=True) for mask in stored["pgd/mask"]]

    def logits(point: Tensor) -> Tensor:
        out: Tensor = classifier((point - MEAN) / STD)
        return out

    z = x + stored["pgd/start_noise"]
    for mask in masks[:steps]:
        point = completed(z, mask, usvt(0.8)).requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(logits(point), y), point)
        z = (z + 2 / 255 * g.sign()).clamp(x - 8 / 255, x + 8 / 255).clamp(0, 1)
    close = (z - stored["pgd/x_adv"]).abs() < 1e-6
    assert close.float().mean() > 0.99
    end = logits(completed(z, masks[-1], usvt(0.8)))
    torch.testing.assert_close(end, stored["pgd/logits_x_adv"], atol=1e-3, rtol=1e-3)


def test_pixels_at_the_border_that_are_left_keep_their_gradient() -> None:
    x = torch.tensor([0.0, 0.3, 1.0, 0.5]).view(1, 1, 2, 2).requires_grad_()
    (g,) = torch.autograd.grad(completed(x, torch.ones_like(x), soft_impute()).sum(), x)
    torch.testing.assert_close(g, torch.ones_like(x))


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 6, 4), (2, 4, 4)])
@pytest.mark.parametrize(("cut", "keep"), [(0.0, 2), (0.4, 9), (0.7, 2)])
def test_the_gradient_of_cut_singular_values_is_exact(
    shape: tuple[int, int, int], cut: float, keep: int
) -> None:
    torch.manual_seed(0)
    a = torch.randn(shape, dtype=torch.double, requires_grad=True)
    cuts = torch.full(shape[:1], cut, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, cuts: spectral(a, cuts, keep), (a, cuts))


@pytest.mark.parametrize("complete", [usvt(0.7), soft_impute(8, 4.0), nuclear(0.3, 9)])
def test_the_gradient_goes_through_the_whole_completion(complete: Completion) -> None:
    torch.manual_seed(1)
    x = (0.1 + 0.8 * torch.rand(2, 1, 4, 6, dtype=torch.double)).requires_grad_()
    mask = torch.rand(2, 1, 4, 6) < 0.6
    assert torch.autograd.gradcheck(lambda x: completed(x, mask.double(), complete), (x,))


def test_equal_singular_values_give_a_finite_gradient() -> None:
    a = torch.eye(4, dtype=torch.double).expand(2, 4, 4).clone().requires_grad_()
    (g,) = torch.autograd.grad(spectral(a, torch.zeros(2, dtype=torch.double), 2).sum(), a)
    assert g.isfinite().all()


def test_a_low_rank_image_is_completed_from_a_part_of_it() -> None:
    """Rank one with 60 % of it left: the nuclear norm finds the rest, the zero fill does not."""
    torch.manual_seed(0)
    x = (torch.rand(1, 1, 24, 1) * torch.rand(1, 1, 1, 24) + 1) / 2
    mask = (torch.rand(1, 1, 24, 24) < 0.6).float()
    assert (completed(x, mask, nuclear(1e-3)) - x).abs().max() < 0.01
    assert (completed(x, mask, soft_impute()) * mask - x * mask).abs().max() < 1e-6
    assert (completed(x, mask, usvt(0.8)) - x).abs().mean() > 0.02


def test_colours_apart_share_the_mask_and_no_more() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8)
    mask = (torch.rand(2, 1, 8, 8) < 0.5).float()
    grey = torch.cat([completed(x[:, i : i + 1], mask, usvt(0.8)) for i in range(3)], 1)
    torch.testing.assert_close(completed(x, mask, usvt(0.8)), grey)


def test_masks_are_drawn_anew_for_each_image_and_run() -> None:
    defense = MENet(lambda a, mask: a * mask, 0.5)
    net = Defense(Network(torch.nn.Flatten(), "classifier"), [defense])
    torch.manual_seed(0)
    one, two = net.purify(torch.ones(64, 3, 8, 8)), net.purify(torch.ones(64, 3, 8, 8))
    assert set(one.flatten().tolist()) == {0.5, 1.0}
    assert (one != two).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert (one == 1).float().mean().item() == pytest.approx(0.5, abs=0.03)
    apart = MENet(lambda a, mask: a * mask, 0.5, apart=True)(torch.ones(4, 3, 8, 8))
    torch.testing.assert_close(apart[:, :1].expand_as(apart), apart)
