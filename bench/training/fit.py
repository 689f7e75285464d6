"""The only training loop: seeded, resumable after any kill with the very same result."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bench.compute.rng import seeded
from bench.errors import BenchError
from bench.training.onlooker import Onlooker, StoppedError
from bench.training.precision import require_same_direction

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(module in training mode, images [B,C,H,W] in [0,1], labels [B]) -> scalar."""
Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, mean loss since the last call)."""

OPTIMIZERS = ("adam", "adamw", "sgd", "momentum")
LOG_EVERY = 50
KEPT_EVERY = 60.0
"""Seconds after which a checkpoint is written whatever the steps are."""
WARMUP = 0.05
"""Share of the steps in which `warmup` rises (10 of 200 million images: Karras et al. 2022)."""
# Schedules that drop by a factor after these shares of the steps: 60, 120 and 160 of 200 epochs
# (Zagoruyko & Komodakis 2016); 40 and 60 of 80 thousand steps (Madry et al. 2018); 75 of 76 epochs
# (TRADES' code); 30 and 60 of 90 epochs (Cohen et al. 2019).
DROPS: Mapping[str, tuple[float, tuple[float, ...]]] = {
    "wideresnet": (0.2, (0.3, 0.6, 0.8)),
    "madry": (0.1, (0.5, 0.75)),
    "trades": (0.1, (75 / 76,)),
    "thirds": (0.1, (1 / 3, 2 / 3)),
}
SCHEDULES = ("constant", "cosine", "onecycle", "warmup", *DROPS)


@dataclass(frozen=True)
class Fit:
    """How long and how to optimise; every field is part of the identity of a run."""

    steps: int
    batch: int = 128
    lr: float = 2e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "onecycle"
    ema: float = 0.0
    clip: float = 0.0


@dataclass
class _State:
    """All that a step reads and writes besides the random generators."""

    module: nn.Module
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    step: int
    running: list[float]
    log: list[float]
    amp: bool = False

    def parts(self) -> dict[str, Any]:
        """What has a state dict."""
        kept = {"module": self.module, "optimizer": self.optimizer, "schedule": self.schedule}
        return kept if self.average is None else kept | {"average": self.average}


def fit(
    build: Callable[[], nn.Module],
    loss: Loss,
    x: Tensor,
    y: Tensor,
    settings: Fit,
    *,
    seed: int = 0,
    augment: Callable[[Tensor], Tensor] | None = None,
    amp: bool = False,
    checkpoint: Path | None = None,
    every: int | None = None,
    progress: Progress | None = None,
    onlooker: Onlooker | None = None,
    leave: bool = False,
) -> tuple[nn.Module, list[float]]:
    """Train what `build` makes on `x`, `y`; returns it in eval mode with its loss per 50 steps.

    The result is the moving average of the weights where `settings.ema` asks for one. `amp`
    computes the loss in mixed precision (bfloat16, which needs no scaling; weights and optimiser
    stay float32): faster on a GPU, and other bits; an error where its first gradient is not that
    of float32. With a
    `checkpoint` path the state is written there every `every` steps (200, a fifth of a shorter run,
    a hundredth of a longer one; whole or not at all), every minute and where the onlooker stops it,
    and read back at the start, so that a killed run ends with the same bits as an undisturbed one;
    the file is removed at the end, or with `leave` holds all of it. Raises BenchError when the
    loss, its gradient or a stored number is not finite (the last checkpoint is then from before),
    and StoppedError for the onlooker.
    """
    onlooker = onlooker or Onlooker()
    every = every or max(min(200, max(1, settings.steps // 5)), settings.steps // 100)
    with seeded("fit", seed):
        state = _start(_laid_out(build().to(x.device), torch.channels_last), settings)
        state.amp = amp
        identity = _identity(state.module, x, y, settings, seed=seed, amp=amp)
        if checkpoint is not None and checkpoint.exists():
            _restore(state, checkpoint, identity, x.device)
        if amp and state.step == 0:
            first = _batch(len(x), settings.batch, seed, 0).to(x.device)
            require_same_direction(state.module, loss, x[first], y[first])
        onlooker.begins(state.module, state.step, settings.steps, settings.batch)
        last = time.monotonic()
        while state.step < settings.steps:
            index = _batch(len(x), settings.batch, seed, state.step).to(x.device)
            images = x[index] if augment is None else augment(x[index])
            _step(state, loss, images, y[index], settings)
            if state.step % LOG_EVERY == 0 or state.step == settings.steps:
                _report(state, settings.steps, progress)
            onlooker.stepped(state.step, settings.steps, (state.running or state.log)[-1])
            stop, whole = onlooker.stop(), leave and state.step == settings.steps
            late = time.monotonic() - last >= KEPT_EVERY
            if checkpoint is not None and (state.step % every == 0 or late or stop or whole):
                _require_finite(_largest(state.module), "largest weight", state.step, settings)
                _store(state, checkpoint, identity)
                onlooker.kept(state.step)
                last = time.monotonic()
            if stop:
                raise StoppedError
    if checkpoint is not None and not leave:
        checkpoint.unlink(missing_ok=True)
    trained = state.module if state.average is None else state.average.module
    return _laid_out(trained, torch.contiguous_format).eval(), state.log


def _laid_out(module: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """Convolution kernels in `memory_format`: channels last trains a fifth faster on a CPU."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
    return module


def _identity(
    module: nn.Module, x: Tensor, y: Tensor, settings: Fit, *, seed: int, amp: bool
) -> str:
    """Of the run: a checkpoint of another network, data, settings or seed is never continued."""
    shapes = [(key, tuple(value.shape)) for key, value in module.state_dict().items()]
    digest = hashlib.sha256(repr((shapes, settings, seed, amp, tuple(x.shape))).encode())
    digest.update(x.cpu().numpy().tobytes())
    digest.update(y.cpu().numpy().tobytes())
    return digest.hexdigest()


def _start(module: nn.Module, settings: Fit) -> _State:
    optimizers: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": lambda p, **kw: torch.optim.SGD(p, momentum=0.9, nesterov=True, **kw),
        "momentum": lambda p, **kw: torch.optim.SGD(p, momentum=0.9, **kw),
    }
    optimizer = optimizers[settings.optimizer](
        module.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    schedules: dict[str, Callable[[], torch.optim.lr_scheduler.LRScheduler]] = {
        "constant": lambda: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps),
        "onecycle": lambda: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.lr, total_steps=settings.steps + 1, pct_start=0.15
        ),
        "warmup": lambda: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / (WARMUP * settings.steps))
        ),
        **{name: partial(_steps_down, optimizer, name, settings) for name in DROPS},
    }
    average = None
    if settings.ema:
        average = AveragedModel(module, avg_fn=_moving_average(settings.ema), use_buffers=True)
    return _State(module, average, optimizer, schedules[settings.schedule](), 0, [], [])


def _steps_down(
    optimizer: torch.optim.Optimizer, name: str, settings: Fit
) -> torch.optim.lr_scheduler.LRScheduler:
    factor, shares = DROPS[name]
    milestones = [round(share * settings.steps) for share in shares]
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, factor)


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, int | Tensor], Tensor]:
    """Exponential, with a shorter memory at first so that the initial weights are forgotten."""

    def average(old: Tensor, new: Tensor, count: int | Tensor) -> Tensor:
        keep = min(decay, (1 + float(count)) / (10 + float(count)))
        return old * keep + new * (1 - keep)

    return average


def _batch(count: int, size: int, seed: int, step: int) -> Tensor:
    """Indices of the batch of `step`: shuffled passes, a function of seed and step alone."""
    per_pass = max(count // size, 1)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step // per_pass)
    start = (step % per_pass) * size
    return torch.randperm(count, generator=generator)[start : start + size]


def _step(state: _State, loss: Loss, x: Tensor, y: Tensor, settings: Fit) -> None:
    state.module.train()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=state.amp):
        value = loss(state.module, x.contiguous(memory_format=torch.channels_last), y)
    state.optimizer.zero_grad()
    torch.autograd.backward(value)
    parameters = [p for p in state.module.parameters() if p.grad is not None]
    if settings.clip:
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
    else:
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    step = state.step + 1
    _require_finite(value.item(), "loss", step, settings)
    _require_finite(norm.item(), "norm of the gradient", step, settings)
    state.optimizer.step()
    state.schedule.step()
    if state.average is not None:
        state.average.update_parameters(state.module)
    state.step += 1
    state.running.append(value.item())


def _require_finite(value: float, what: str, step: int, settings: Fit) -> None:
    if not math.isfinite(value):
        raise BenchError(
            f"training diverged: the {what} at step {step} of {settings.steps} is {value}; a "
            "smaller learning rate or gradient clipping may help"
        )


@torch.no_grad()
def _largest(module: nn.Module) -> float:
    """Of all parameters and buffers; NaN if one is."""
    kept = [v for v in module.state_dict().values() if v.is_floating_point() and v.numel()]
    return torch.stack([v.abs().max() for v in kept]).max().item() if kept else 0.0


def _report(state: _State, steps: int, progress: Progress | None) -> None:
    state.log.append(sum(state.running) / max(len(state.running), 1))
    state.running.clear()
    if progress is not None:
        progress(state.step, steps, state.log[-1])


def _store(state: _State, path: Path, identity: str) -> None:
    """Write all that a continuation needs, whole or not at all."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    content = {
        "identity": identity,
        "step": state.step,
        "running": state.running,
        "log": state.log,
        "cpu": torch.get_rng_state(),
        "cuda": cuda,
        "parts": {name: part.state_dict() for name, part in state.parts().items()},
    }
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise BenchError(f"cannot write the training checkpoint {path}: {error}") from None


def _restore(state: _State, path: Path, identity: str, device: torch.device) -> None:
    """Continue from `path`; one that is damaged or of another run is ignored, not trusted."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # what a damaged pickle raises is anything at all
        return
    if content.get("identity") != identity:
        return
    for name, part in state.parts().items():
        part.load_state_dict(content["parts"][name])
    state.step, state.running, state.log = content["step"], content["running"], content["log"]
    torch.set_rng_state(content["cpu"].cpu())
    if content["cuda"]:
        torch.cuda.set_rng_state_all([s.cpu() for s in content["cuda"]])
