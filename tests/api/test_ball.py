from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api.ball import ThreatModel
from bench.errors import BenchError

BALLS = st.builds(ThreatModel, st.sampled_from(["linf", "l2", "l1"]), st.floats(1e-3, 3))


def images(seed: int, batch: int = 3) -> torch.Tensor:
    return torch.rand(batch, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "text",
    [
        "linf:8/255",
        "l2:0.5",
        "l1:12",
        "linf:0",
        "linf:255/255",
        "l2:0",
        "none",
        "corruption",
        "known:l2:0.5",
        "probe:linf:8/255",
        "flow:0.2",
        "ssim:0.05",
    ],
)
def test_text_round_trip(text: str) -> None:
    assert str(ThreatModel.parse(text)) == text


@pytest.mark.parametrize("text", ["linf : 8/255", " linf:8 / 255", "linf:0.03137254901960784"])
def test_other_spellings_of_a_ball_are_the_same_ball(text: str) -> None:
    assert str(ThreatModel.parse(text)) == "linf:8/255"


def test_no_radius_has_a_sign() -> None:
    assert str(ThreatModel.parse("linf:-0")) == "linf:0"


@pytest.mark.parametrize(
    "text",
    [
        "flow",
        "ssim",
        "known:",
        "probe:x:1",
        "linf",
        "linf:-1",
        "linf:x",
        "linf:1.5",
        "linf:8",
        "l3:1",
        "linf:1/0",
        "",
    ],
)
def test_bad_threats(text: str) -> None:
    with pytest.raises(BenchError):
        ThreatModel.parse(text)


@settings(max_examples=40)
@given(BALLS, st.integers(0, 10**6))
def test_projection_lands_inside_and_moves_nothing_that_is_inside(
    threat: ThreatModel, seed: int
) -> None:
    x = images(seed)
    far = x + 3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    inside = threat.project(far, x)
    assert threat.contains(inside, x).all()
    torch.testing.assert_close(threat.project(inside, x), inside)


@settings(max_examples=40)
@given(BALLS, st.integers(0, 10**6))
def test_random_start_is_inside(threat: ThreatModel, seed: int) -> None:
    x = images(seed)
    assert threat.contains(threat.random_start(x), x).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_ball_of_radius_zero_is_its_centre(norm: str) -> None:
    threat, x = ThreatModel(norm, 0.0), images(0)
    assert torch.equal(threat.project(images(1), x), x)
    assert torch.equal(threat.project(x, x), x)
    assert torch.equal(threat.random_start(x), x)


def test_contains_sees_every_violation() -> None:
    threat = ThreatModel("linf", 0.1)
    x = torch.full((4, 1, 2, 2), 0.95)
    low = torch.full((1, 1, 2, 2), 0.05)
    assert not threat.contains(low - 0.06, low).any()  # inside the ball, below 0
    x_adv = x.clone()
    x_adv[1, 0, 0, 0] = 0.84  # outside the ball
    x_adv[2, 0, 0, 0] = 1.04  # inside the ball, outside [0,1]
    x_adv[3, 0, 0, 0] = float("nan")
    assert threat.contains(x_adv, x).tolist() == [True, False, False, False]


def test_markers() -> None:
    x = images(0)
    changed = (x + 0.01).clamp(0, 1)
    assert not ThreatModel.parse("none").contains(changed, x).any()
    assert ThreatModel.parse("none").contains(x, x).all()
    assert ThreatModel.parse("corruption").contains(1 - x, x).all()


def test_steepest_maximises_a_linear_loss() -> None:
    g = torch.tensor([[[[3.0, -4.0]]]])
    assert torch.equal(ThreatModel("linf", 1.0).steepest(g), torch.tensor([[[[1.0, -1.0]]]]))
    torch.testing.assert_close(ThreatModel("l2", 1.0).steepest(g), torch.tensor([[[[0.6, -0.8]]]]))
    faint = ThreatModel("l2", 1.0).steepest(2e-12 * g)
    torch.testing.assert_close(faint, torch.tensor([[[[0.6, -0.8]]]]))
    assert not ThreatModel("l2", 1.0).steepest(torch.zeros_like(g)).any()
    assert torch.equal(ThreatModel("l1", 1.0).steepest(g), torch.tensor([[[[0.0, -1.0]]]]))
    wide = torch.arange(1.0, 201).view(1, 2, 10, 10)
    step = ThreatModel("l1", 1.0).steepest(-wide).flatten()
    assert step[-2:].tolist() == [-0.5, -0.5]
    assert not step[:-2].any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_step_along_what_is_not_a_number_goes_nowhere(norm: str) -> None:
    g = torch.tensor([[[[torch.nan, torch.nan]]], [[[3.0, -4.0]]]])
    step = ThreatModel(norm, 1.0).steepest(g)
    assert not step[0].any()
    assert step[1].any()


@pytest.mark.parametrize(
    ("threat", "slack"),
    [("linf:0.1", 1e-6), ("none", 1e-6), ("l2:0.5", 1e-5), ("l2:3", 3e-5), ("l1:12", 1.2e-4)],
)
def test_the_ball_ends_where_rounding_ends(threat: str, slack: float) -> None:
    """A little less than the slack beyond the ball is rounding, a little more is another threat."""
    ball = ThreatModel.parse(threat)
    x = torch.full((2, 1, 30, 30), 0.3, dtype=torch.double)
    x_adv = x.clone()
    # The side of the square that is moved, and how often a pixel's way goes into the distance.
    side, ways = {"l1": (30, 900), "l2": (30, 30)}.get(ball.norm, (1, 1))
    for image, share in enumerate((0.95, 1.05)):
        x_adv[image, 0, :side, :side] += (ball.eps + share * slack) / ways
    assert ball.contains(x_adv, x).tolist() == [True, False]


def test_a_flow_ends_where_rounding_ends() -> None:
    flow = ThreatModel.parse("flow:0.05")
    x = torch.full((2, 1, 4, 4), 0.3, dtype=torch.double)
    x_adv = x + torch.tensor([5e-7, 2e-6], dtype=torch.double).view(-1, 1, 1, 1)
    assert flow.contains(x_adv, x).tolist() == [True, False]
    assert flow.contains(2 * x - x_adv, x).tolist() == [True, False]


def test_a_random_start_is_uniform_in_the_ball() -> None:
    """In D dimensions (r / eps)^D of l1 and l2 is uniform; so is each pixel of an linf ball."""
    x = torch.full((4000, 1, 1, 3), 0.5)
    torch.manual_seed(0)
    for norm, power in (("l1", 3), ("l2", 3), ("linf", 1)):
        ball = ThreatModel(norm, 0.2)
        found = ball.random_start(x)
        size = ball.distance(found, x) if norm != "linf" else (found - x)[:, 0, 0, 0].abs()
        share = (size / 0.2) ** power
        assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
        assert float(share.std()) == pytest.approx(12**-0.5, abs=0.02)


def test_a_flow_reaches_as_many_pixels_as_it_says() -> None:
    """Units in which the image reaches from -1 to 1: of 5 pixels, one is .5."""
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 0, 0] = 1
    for eps, far in ((0.5, 1), (0.51, 2), (1.0, 2)):
        flow = ThreatModel("flow", eps)
        for place in range(5):
            moved = torch.zeros_like(x)
            moved[0, 0, 0, place] = 1
            assert flow.contains(moved, x).item() == (place <= far)
            assert flow.contains(moved.mT, x).item() == (place <= far)


@given(st.floats(0, 3), st.integers(0, 10**6))
@settings(max_examples=30)
def test_the_projection_onto_l1_is_the_nearest_point(eps: float, seed: int) -> None:
    """No point of the ball lies at an obtuse angle: (v - p) (q - p) <= 0 for each corner q."""
    v = 2 * images(seed).flatten(1)[:, :5].double()[:, None, None] - 1
    p = ThreatModel("l1", eps).onto(v, torch.zeros_like(v))
    away = (v - p).flatten(1)
    corners = eps * torch.cat([torch.eye(5), -torch.eye(5)]).double()
    ahead = (away @ corners.T).amax(1) - (away * p.flatten(1)).sum(1)
    assert (ahead <= 1e-9).all()
    assert (p.flatten(1).abs().sum(1) <= eps + 1e-9).all()


def test_a_step_beyond_the_range_takes_nothing_from_others_within_l1() -> None:
    """One pixel has room for .1 and was moved by 5, the other by .3: both fit into .5."""
    x = torch.tensor([0.9, 0.5]).view(1, 1, 1, 2)
    point = ThreatModel("l1", 0.5).project(x + torch.tensor([5.0, 0.3]), x)
    assert point.flatten().tolist() == pytest.approx([1.0, 0.8])


@given(st.floats(0, 3), st.integers(0, 10**6))
@settings(max_examples=30)
def test_within_l1_no_point_of_the_range_is_nearer_than_the_projection(
    eps: float, seed: int
) -> None:
    threat = ThreatModel("l1", eps)
    x, far, other = (images(seed + i).double() for i in range(3))
    v = x + 6 * (far - 0.5)
    p, q = threat.project(v, x), threat.project(other, x)
    assert (((v - p) * (q - p)).flatten(1).sum(1) <= 1e-9).all()
    assert threat.contains(p, x).all()


def test_rounding_of_very_many_values_is_no_way_out_of_l1() -> None:
    torch.manual_seed(0)
    threat, x = ThreatModel("l1", 12.0), torch.rand(2, 3, 224, 224)
    point = threat.project(x + 1.1e-4 * torch.randn_like(x), x)
    assert threat.contains(point, x).all()
    assert not threat.contains(x + 1.001 * (point - x), x).any()
