"""The contract of classifiers."""

from __future__ import annotations

import torch

from bench import api
from bench.contract.asked import Check
from bench.contract.common import close, images_of, leaves, one_line, require, run, settings_typed
from bench.measure import build, probe
from bench.measure.judge import no_logits
from bench.spec import Part


def check_classifier(part: Part, context: api.Context) -> list[Check]:
    """The contract of a classifier: logits [B,K], the same alone and in a batch, a gradient."""
    plugin = api.find_classifier(part.name)
    plugin.resolve(part, context.dataset)
    x = images_of(context)
    checks = [run("settings", lambda: settings_typed(plugin))]
    try:
        network = build.network_of(part, context)
    except Exception as error:
        return [*checks, Check("builds", False, one_line(error))]

    def logits() -> str:
        shape = (len(x), context.classes)
        require(network(x).shape == shape, f"logits are {tuple(network(x).shape)}, not {shape}")
        wrong = no_logits([network(x)[None]])
        require("probabilities" not in wrong, "these are probabilities, not logits")
        require("saturated" not in wrong, "logits so large that softmax has one class")
        return f"logits {shape}"

    def behaves() -> str:
        probe.of_classifier(network, x, part.name)
        if network.random:
            return "random, as declared"
        return close(network(x[:1]), network(x)[:1], "alone and in a batch", 1e-3)

    def gradient() -> str:
        point = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(network(point).logsumexp(1).sum(), point)
        require(bool(g.isfinite().all() and g.any()), "the gradient at the images is zero or NaN")
        return "finite and not zero"

    checks += [
        run("logits", logits),
        run("behaves", behaves),
        run("gradient", gradient),
        run("leaves", lambda: leaves(network, x)),
    ]
    return checks
