"""The loop: closed-form optima, kills that change nothing, divergence that is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.training import fit as fitting
from bench.training.fit import Fit, fit
from bench.training.onlooker import Onlooker, StoppedError


class Killed(BaseException):
    """Stands for SIGKILL: no handler between it and the test."""


def data(count: int = 96) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, 1, 4, 4, generator=generator), torch.arange(count) % 3


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)
    )


def dense(outputs: int = 3) -> nn.Module:
    """No convolution: that of one channel in bfloat16 is wrong on some processors."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))


def noisy(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A loss that draws random numbers, as denoising and adversarial training do."""
    return nn.functional.cross_entropy(module(x + 0.1 * torch.randn_like(x)), y)


def flipped(x: Tensor) -> Tensor:
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize(
    "settings",
    [
        Fit(24, batch=32, ema=0.9, clip=1.0),
        Fit(24, batch=32, optimizer="sgd", lr=0.1, schedule="cosine", weight_decay=1e-3),
        Fit(24, batch=32, optimizer="adamw", schedule="constant"),
    ],
)
@pytest.mark.parametrize("killed_at", [1, 9, 23])
def test_a_killed_run_ends_with_the_same_bits(
    settings: Fit, killed_at: int, tmp_path: Path
) -> None:
    x, y = data()
    undisturbed, log = fit(small, noisy, x, y, settings, seed=3, augment=flipped)
    calls = 0

    def dies(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == killed_at + 1:
            raise Killed
        return noisy(module, x, y)

    path = tmp_path / "run.pt"
    with pytest.raises(Killed):
        fit(small, dies, x, y, settings, seed=3, augment=flipped, checkpoint=path, every=4)
    torch.rand(7)
    assert path.exists() == (killed_at >= 4)
    again, log_again = fit(
        small, noisy, x, y, settings, seed=3, augment=flipped, checkpoint=path, every=4
    )
    assert equal(undisturbed, again)
    assert log == log_again
    assert not path.exists()


def test_seeds_matter_and_the_callers_generator_does_not(tmp_path: Path) -> None:
    x, y = data()
    settings = Fit(6, batch=32)
    first, _ = fit(small, noisy, x, y, settings, seed=0)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    second, _ = fit(small, noisy, x, y, settings, seed=0)
    assert equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    third, _ = fit(small, noisy, x, y, settings, seed=1)
    assert not equal(first, third)


def test_checkpoints_of_other_runs_or_damaged_ones_are_not_continued(tmp_path: Path) -> None:
    x, y = data()
    settings, path = Fit(6, batch=32), tmp_path / "run.pt"
    plain, _ = fit(small, noisy, x, y, settings, seed=0)

    def stops(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if path.exists():
            raise Killed
        return noisy(module, x, y)

    with pytest.raises(Killed):
        fit(small, stops, x, y, settings, seed=1, checkpoint=path, every=2)
    other, _ = fit(small, noisy, x, y, settings, seed=0, checkpoint=path)
    assert equal(plain, other)
    path.write_bytes(b"half a checkp")
    again, _ = fit(small, noisy, x, y, settings, seed=0, checkpoint=path)
    assert equal(plain, again)


def test_it_finds_a_closed_form_optimum() -> None:
    # Least squares through the origin: the mean of the images.
    x, y = data()

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.zeros(1, 1, 4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.value.expand_as(x)

    def squared(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.mse_loss(module(x), x)

    settings = Fit(300, batch=len(x), lr=0.05, schedule="cosine")
    found, log = fit(Constant, squared, x, y, settings)
    torch.testing.assert_close(found.get_parameter("value")[0], x.mean(0), atol=1e-3, rtol=0)
    assert len(log) == 6
    assert log[-1] < log[0]


def test_mixed_precision_calls_in_bfloat16_and_keeps_weights_in_float32(tmp_path: Path) -> None:
    x, y = data()
    settings, path = Fit(60, batch=32, lr=0.02), tmp_path / "run.pt"
    seen: list[torch.dtype] = []

    def watch(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen.append(module(x).dtype)
        return noisy(module, x, y)

    mixed, _ = fit(dense, watch, x, y, settings, amp=True)
    plain, _ = fit(dense, noisy, x, y, settings)
    # Once in float32, to compare the first gradients.
    assert seen == [torch.float32, *[torch.bfloat16] * 61]
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    assert not equal(mixed, plain)
    # A checkpoint of one precision is not continued in the other.

    def stops(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if path.exists():
            raise Killed
        return noisy(module, x, y)

    with pytest.raises(Killed):
        fit(dense, stops, x, y, settings, amp=True, checkpoint=path, every=2)
    again, _ = fit(dense, noisy, x, y, settings, checkpoint=path)
    assert equal(plain, again)


def test_mixed_precision_finds_the_same_optimum_of_a_convex_loss() -> None:
    # x -> 2 x by a linear map; a bfloat16 keeps eight bits.
    x, y = data()

    def doubled(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.mse_loss(module(x).float(), 2 * x.flatten(1))

    settings = Fit(400, batch=len(x), lr=0.02, schedule="cosine")
    found, _ = fit(lambda: dense(16), doubled, x, y, settings, amp=True)
    assert doubled(found, x, y) < 0.02 * doubled(dense(16), x, y)


def test_mixed_precision_that_turns_the_gradient_is_refused() -> None:
    # As some processors' small convolutions in bfloat16 do: pytorch/pytorch#163347.
    x, y = data()

    def turned(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return noisy(module, x, y) * (-1 if torch.is_autocast_enabled("cpu") else 1)

    settings = Fit(20, batch=32)
    with pytest.raises(BenchError, match=r"2 of its length apart.*--amp"):
        fit(dense, turned, x, y, settings, amp=True)
    fit(dense, turned, x, y, settings)


def test_a_mixed_training_that_goes_on_is_not_asked_again(tmp_path: Path) -> None:
    """Where it has come far its gradient is small, and rounding is much of it."""
    x, y = data()
    settings, path, far = Fit(20, batch=32), tmp_path / "run.pt", False

    def late(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return noisy(module, x, y) * (-1 if far and torch.is_autocast_enabled("cpu") else 1)

    fit(dense, late, x, y, settings, amp=True, checkpoint=path, leave=True)
    far = True
    fit(dense, late, x, y, settings, amp=True, checkpoint=path)


def test_progress_is_reported_every_fifty_steps_and_at_the_end() -> None:
    x, y = data()
    seen: list[tuple[int, int]] = []
    fit(small, noisy, x, y, Fit(120, batch=8), progress=lambda s, n, loss: seen.append((s, n)))
    assert seen == [(50, 120), (100, 120), (120, 120)]


class Seen(Onlooker):
    """Notes what it is told, and stops after a step."""

    def __init__(self, last: int = 0) -> None:
        self.last, self.told = last, [0]
        self.on_disk: list[int] = []

    def begins(self, module: nn.Module, step: int, steps: int, batch: int) -> None:
        self.told = [step]

    def stepped(self, step: int, steps: int, loss: float) -> None:
        self.told.append(step)

    def kept(self, step: int) -> None:
        self.on_disk.append(step)

    def stop(self) -> bool:
        return self.told[-1] == self.last


def test_a_run_that_is_stopped_is_kept_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    x, y = data()
    settings, path = Fit(24, batch=32, ema=0.9), tmp_path / "run.pt"
    undisturbed, log = fit(small, noisy, x, y, settings, seed=3)
    first = Seen(last=7)
    with pytest.raises(StoppedError):
        fit(small, noisy, x, y, settings, seed=3, checkpoint=path, onlooker=first)
    assert first.on_disk == [4, 7]
    second = Seen()
    again, log_again = fit(small, noisy, x, y, settings, seed=3, checkpoint=path, onlooker=second)
    assert second.told == list(range(7, 25))
    assert equal(undisturbed, again)
    assert log == log_again


def test_a_checkpoint_is_written_by_the_clock_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = data()
    settings, path = Fit(12, batch=32), tmp_path / "run.pt"
    plain, _ = fit(small, noisy, x, y, settings)
    seldom = Seen()
    fit(small, noisy, x, y, settings, checkpoint=path, every=5, onlooker=seldom)
    assert seldom.on_disk == [5, 10]
    monkeypatch.setattr(fitting, "KEPT_EVERY", 0.0)
    often = Seen()
    same, _ = fit(small, noisy, x, y, settings, checkpoint=path, every=5, onlooker=often)
    assert often.on_disk == list(range(1, 13))
    assert equal(plain, same)


def test_a_finished_run_is_left_where_that_is_asked(tmp_path: Path) -> None:
    x, y = data()
    settings, path, seen = Fit(12, batch=32), tmp_path / "run.pt", Seen()
    plain, log = fit(small, noisy, x, y, settings, checkpoint=path, every=5, leave=True)
    again, log_again = fit(small, noisy, x, y, settings, checkpoint=path, onlooker=seen)
    assert seen.told == [12]
    assert equal(plain, again)
    assert log == log_again
    assert not path.exists()


def test_a_loss_that_is_not_finite_is_told() -> None:
    x, y = data()

    def breaks(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return noisy(module, x, y) * float("nan")

    with pytest.raises(BenchError, match="training diverged: the loss at step 1 of 6 is nan"):
        fit(small, breaks, x, y, Fit(6, batch=32))


class Poison(torch.autograd.Function):
    """The identity, with a gradient of NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Tensor:
        return g[0] * float("nan")


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_leaves_the_last_good_checkpoint(
    clip: float, tmp_path: Path
) -> None:
    x, y = data()
    path, settings, calls = tmp_path / "run.pt", Fit(12, batch=32, clip=clip), 0

    def breaks(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        value = noisy(module, x, y)
        poisoned: Tensor = Poison.apply(value) if calls == 6 else value
        return poisoned

    says = "the norm of the gradient at step 6 of 12 is nan; a smaller learning rate"
    with pytest.raises(BenchError, match=says):
        fit(small, breaks, x, y, settings, checkpoint=path)
    kept = torch.load(path, weights_only=True)
    assert kept["step"] == 4  # a fifth of a short run: every second step
    parts = kept["parts"]
    assert all(v.isfinite().all() for v in parts["module"].values())
    # The same run continues from there and ends as if nothing had happened; another starts anew.
    undisturbed, _ = fit(small, noisy, x, y, settings)
    content = path.read_bytes()
    again, _ = fit(small, noisy, x, y, settings, checkpoint=path)
    assert equal(undisturbed, again)
    path.write_bytes(content)
    slower = replace(settings, lr=1e-3)
    expected, _ = fit(small, noisy, x, y, slower)
    found, _ = fit(small, noisy, x, y, slower, checkpoint=path)
    assert equal(expected, found)


def test_weights_that_are_not_finite_are_never_stored(tmp_path: Path) -> None:
    x, y = data()
    path = tmp_path / "run.pt"
    broken = Fit(12, batch=32, optimizer="sgd", lr=float("inf"), schedule="constant")
    with pytest.raises(BenchError, match=r"training diverged: the largest weight at step 1 of 12"):
        fit(small, noisy, x, y, broken, checkpoint=path, every=1)
    assert not path.exists()


def test_every_image_is_seen_once_a_pass() -> None:
    x, y = data(64)
    x = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 1, 4, 4).contiguous()
    seen: list[int] = []

    def watch(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen.extend(x[:, 0, 0, 0].int().tolist())
        return noisy(module, x / 64, y)

    fit(small, watch, x, y, Fit(4, batch=32))
    assert sorted(seen[:64]) == sorted(seen[64:]) == list(range(64))
    assert seen[:64] != seen[64:]
