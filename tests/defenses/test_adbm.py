"""ADBM: the bridge's ends, as its authors write it; DDIM's way back; the attack in its training."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import find_defense
from bench.api.purifier import Network
from bench.errors import BenchError
from bench.spec import parse_part
from defenses.adbm import ADBM, bridge, changes, sigma_at
from defenses.schedule import level, level_at, sigma


def test_noise_against_the_image_is_that_of_the_continuous_process() -> None:
    times = torch.tensor([1e-5, 0.1, 0.2], dtype=torch.double)
    expected = [sigma(level_at(time)) for time in times.tolist()]
    torch.testing.assert_close(sigma_at(times), torch.tensor(expected, dtype=torch.double))


def test_the_bridge_is_that_of_its_authors() -> None:
    """They write x_t itself: a share of the change of a_T (1 - a_t) / ((1 - a_T) sqrt(a_t))."""
    torch.manual_seed(0)
    clean, change, noise = torch.randn(3, 4, 1, 2, 2, dtype=torch.double)
    end = torch.full((1, 1, 1, 1), 0.15, dtype=torch.double)
    time = torch.tensor([1e-5, 0.05, 0.1, 0.15], dtype=torch.double).view(-1, 1, 1, 1)
    a, last = (torch.tensor([level_at(t) for t in each.flatten().tolist()]) for each in (time, end))
    a = a.double().view(-1, 1, 1, 1)
    share = last * (1 - a) / ((1 - last) * a.sqrt())
    theirs = a.sqrt() * clean + (1 - a).sqrt() * noise + share * change
    ours = a.sqrt() * bridge(clean, change, sigma_at(time), sigma_at(end), noise)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    last_noise = sigma_at(end)
    ends = bridge(clean[3:], change[3:], last_noise, last_noise, noise[3:])
    torch.testing.assert_close(ends, clean[3:] + change[3:] + last_noise * noise[3:])


def purified(denoise: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: int = 100) -> Tensor:
    return ADBM(Network(nn.Identity(), "denoiser", denoise), t, 5).forward(x)


def test_a_network_that_knows_the_image_leads_to_it() -> None:
    torch.manual_seed(0)
    clean = torch.rand(2, 3, 4, 4)
    found = purified(lambda x, s: 2 * clean - 1, (clean + 0.1).clamp(0, 1))
    torch.testing.assert_close(found, clean)


def test_noise_is_drawn_once_and_a_network_that_sees_none_leaves_it() -> None:
    x = torch.full((500, 1, 4, 4), 0.5)
    torch.manual_seed(0)
    found = purified(lambda x, s: x, x, t=20)
    torch.manual_seed(0)
    expected = x + sigma(level(19)) / 2 * torch.randn_like(x)
    torch.testing.assert_close(found, expected.clamp(0, 1))
    assert math.isclose(found.std().item(), sigma(level(19)) / 2, rel_tol=0.05)


def test_the_attack_in_training_is_on_what_the_network_makes_of_it() -> None:
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    clean, y = 2 * torch.rand(8, 1, 4, 4) - 1, torch.randint(3, (8,))
    change = changes(lambda change: clean + change / 2, victim, clean, y, 0.05)
    assert change.abs().max() <= 0.1 + 1e-6
    assert (clean + change).abs().max() <= 1
    before, after = (
        F.cross_entropy(victim((clean + each + 1) / 2), y, reduction="none")
        for each in (0, change / 2)
    )
    assert (after > before).all()
    nothing = changes(lambda change: clean + 0 * change, victim, clean, y, 0.05)
    assert nothing.abs().max() <= 0.1  # it sees nothing of the change, which stays where it began


def test_it_takes_no_more_steps_than_it_adds_noise() -> None:
    plugin = find_defense("adbm")
    with pytest.raises(BenchError, match="at most t=3 steps, not 5"):
        plugin.resolve(parse_part("adbm:t=3"), "patches")
    assert plugin.calls({"t": 100, "steps": 5, "runs": 1}) == {"denoiser": 5}
