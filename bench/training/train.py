"""Weights by name: data, recipe, loop, file. The one way by which a checkpoint comes to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from bench.api import Base
from bench.api.context import Weights
from bench.api.images import Dataset
from bench.files.paths import home
from bench.models.nets import make
from bench.models.nets.normalised import Normalised
from bench.models.zoo.weights import SUFFIX, own, packaged, save, vouch, write_manifest
from bench.training import needs
from bench.training.budget import beside_of, steps_within
from bench.training.fit import Fit, Progress, fit
from bench.training.needs import Need, recipe_of
from bench.training.onlooker import Onlooker
from bench.training.recipes import Recipe, add_on


def train(
    need: Need | str,
    dataset: Dataset,
    *,
    seed: int = 0,
    into: Path | None = None,
    device: torch.device | str = "cpu",
    amp: bool = False,
    progress: Progress | None = None,
    plan: Recipe | None = None,
    onlooker: Onlooker | None = None,
    steps: int | None = None,
    hours: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Weights:
    """Train weights (a Need, or the name of a recipe) and write them to the folder `into`.

    Without `into` they go where `find` looks first, `$BENCH_HOME/weights/<dataset>/`; into the
    folder of the packaged weights, with their manifest renewed. A run that was killed continues
    at its last checkpoint when it is started again. `plan` replaces the recipe of that name;
    `steps` its length; with `hours` as many of its steps are made as fit in here, which is
    measured, told to `say` and kept for a run that is continued. The file records what was done.
    Raises BenchError for an unknown name or data set, a diverging loss, hours too few or an
    unwritable folder.
    """
    info, need = dataset.info, Need(need) if isinstance(need, str) else need
    name, base = need.name, _base(need, info.name, into, device)
    plan = plan or (add_on(need.recipe, info, base) if base else recipe_of(need, info))
    images = dataset.images("train")
    x, y = images.x.to(device), images.y.to(device)
    mean, std = _statistics(x)

    def build() -> torch.nn.Module:
        network = plan.own() if plan.own else make(plan.network, plan.arguments)
        return Normalised(network, mean, std) if plan.normalised else network

    run = partial(
        fit, build, plan.loss, x, y, seed=seed + plan.seed_offset, augment=plan.augment, amp=amp
    )
    checkpoint, usual = _checkpoint(info.name, name, seed, base), plan.fit.steps
    say(f"{plan.network}, {len(x):,} images on {device}")
    if hours is not None:
        asked = (onlooker or Onlooker()).stop
        steps, how = steps_within(
            hours, usual, lambda watch: run(plan.fit, onlooker=watch), checkpoint, asked
        )
        say(f"{steps:,} of the recipe's {usual:,} steps in {hours:g} h ({how})")
    settings = plan.fit if steps is None else replace(plan.fit, steps=steps)
    trained, _ = run(
        settings, checkpoint=checkpoint, progress=progress, onlooker=onlooker, leave=True
    )
    network = trained.network if isinstance(trained, Normalised) else trained
    state = _rounded(network) if plan.half else network.state_dict()
    held_out = dataset.images("validation")
    say(f"trained; what it is worth is measured on {len(held_out):,} validation images")
    merit = plan.merit(trained, held_out.x.to(device), held_out.y.to(device))
    facts = {
        "dataset": info.name,
        "network": plan.network,
        "arguments": json.dumps(dict(plan.arguments), sort_keys=True),
        "recipe": name,
        "seed": str(seed),
        "command": f"bench train {need.spec} --dataset {info.name} --seed {seed}",
        "merit": json.dumps(merit),
    } | _lengths(settings)
    if settings.steps != usual:
        facts["command"] += f" --steps {settings.steps}"
    if amp:
        facts["command"] += " --amp"
    if base is not None:
        facts |= {"classifier": str(base.part), "classifier_sha256": base.sha256()}
    if plan.normalised:
        facts["normalisation"] = json.dumps({"mean": mean, "std": std})
    folder = into or own(info.name)
    weights = save(folder / f"{name}{SUFFIX}", state, facts)
    if folder == packaged(info.name):
        write_manifest(info.name)
    else:
        vouch(weights)
    for done in (checkpoint, beside_of(checkpoint)):
        done.unlink(missing_ok=True)
    return weights


def _rounded(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The network's numbers in 16 bits; it goes on with them, in 32."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    network.load_state_dict(state)
    return state


def _base(need: Need, dataset: str, into: Path | None, device: torch.device | str) -> Base | None:
    """The classifier that the weights will belong to."""
    if need.classifier is None:
        return None
    return needs.context(need, dataset, into, str(device)).behind


def _checkpoint(dataset: str, name: str, seed: int, base: Base | None) -> Path:
    """Of one run; training on another classifier never continues it."""
    classifier = f"-{base.sha256()[:12]}" if base else ""
    return home() / "training" / f"{dataset}-{name}-{seed}{classifier}.pt"


def _statistics(x: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of [N,C,H,W], to four digits."""
    mean = [round(value, 4) for value in x.mean((0, 2, 3)).tolist()]
    return mean, [round(value, 4) for value in x.std((0, 2, 3)).tolist()]


def _lengths(settings: Fit) -> dict[str, str]:
    return {"steps": str(settings.steps), "fit": json.dumps(vars(settings), sort_keys=True)}
