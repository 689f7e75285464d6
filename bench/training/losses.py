"""Training losses: (module, images in [0,1], labels) -> scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.nets.ncsnv2 import ladder
from bench.training.fit import Loss


def natural(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy on clean images."""
    return F.cross_entropy(module(x), y)


def smoothed(spread: float) -> Loss:
    """Cross-entropy on clean images, `spread` of the label's weight shared by all classes."""

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(module(x).float(), y, label_smoothing=spread)

    return loss


def consistent(augment: Callable[[Tensor], Tensor], weight: float = 12.0) -> Loss:
    """Cross-entropy on images and `weight` times how much augmented ones change the prediction.

    AugMix (Hendrycks et al. 2020, 3): the Jensen-Shannon divergence of the softmax of an image and
    of two versions of it, all of one batch.
    """

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        views = torch.cat([x, augment(x), augment(x)])
        logs = module(views).float().log_softmax(1).view(3, len(x), -1)
        shares = logs.exp()
        mean = shares.mean(0).clamp_min(1e-7).log()
        apart = (shares * (logs - mean)).sum(2).mean()
        value: Tensor = F.nll_loss(logs[0], y) + weight * apart
        return value

    return loss


def one_step(eps: float, spread: float = 2.0) -> Loss:
    """Cross-entropy on one sign step of `eps` from uniform noise of `spread` times eps.

    N-FGSM (de Jorge et al. 2022), adversarial training at twice the cost of the ordinary. Noise
    outside of the ball, to which the sum is not cut back, is what keeps the network from learning
    to deceive this one step alone.
    """

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        noisy = x + spread * eps * (2 * torch.rand_like(x) - 1)
        module.eval()
        noisy.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(module(noisy).float(), y), noisy)
        module.train()
        adversarial = (noisy.detach() + eps * gradient.sign()).clamp(0, 1)
        return F.cross_entropy(module(adversarial).float(), y)

    return loss


REACH = 1.75
"""How far the steps of an inner PGD go together, in units of eps: 7 of 2/255 for 8/255."""


def madry(eps: float, steps: int = 5, reach: float = REACH) -> Loss:
    """Cross-entropy on linf-PGD examples of size `eps` (Madry et al. 2018, Eq. 2.1)."""

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        start = eps * (2 * torch.rand_like(x) - 1)
        size = reach * eps / steps
        adversarial = ascend(
            module, x, start, lambda z: F.cross_entropy(z, y), eps=eps, steps=steps, size=size
        )
        module.train()
        return F.cross_entropy(module(adversarial), y)

    return loss


def trades(eps: float, beta: float = 6.0, steps: int = 5, reach: float = REACH) -> Loss:
    """Cross-entropy on clean images plus beta times the KL divergence under attack.

    Zhang et al. 2019, Eq. 5; the inner maximisation starts at Gaussian noise of .001.
    """

    def divergence(clean: Tensor, logits: Tensor) -> Tensor:
        return F.kl_div(
            logits.log_softmax(1), clean.log_softmax(1), reduction="batchmean", log_target=True
        )

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        module.eval()
        with torch.no_grad():
            target = module(x)
        start = 1e-3 * torch.randn_like(x)
        size = reach * eps / steps
        adversarial = ascend(
            module, x, start, lambda z: divergence(target, z), eps=eps, steps=steps, size=size
        )
        module.train()
        clean, attacked = module(torch.cat([x, adversarial])).chunk(2)
        return F.cross_entropy(clean, y) + beta * divergence(clean, attacked)

    return loss


def ascend(
    module: nn.Module,
    x: Tensor,
    start: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    eps: float,
    steps: int,
    size: float,
) -> Tensor:
    """Sign steps up `objective(logits)` inside the linf ball; `module` is left in eval mode.

    Training's own inner loop: the parameters still require gradients here, which the networks
    that an attack may see never do.
    """
    module.eval()
    adversarial = (x + start).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_()
        (gradient,) = torch.autograd.grad(objective(module(adversarial)), adversarial)
        moved = adversarial.detach() + size * gradient.sign()
        adversarial = torch.clamp(torch.min(torch.max(moved, x - eps), x + eps), 0, 1)
    return adversarial.detach()


def denoising(begin: float = 0.5, end: float = 0.01, levels: int = 20) -> Loss:
    """Denoising score matching over a ladder of noise levels, one level per image.

    Yoon et al. 2021, Eq. 10: E |sigma s(x + sigma n) + n|^2 per dimension; the network answers
    sigma s, in units of the noise.
    """
    sigmas = ladder(begin, end, levels)

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        del y
        choice = torch.randint(levels, (len(x), 1, 1, 1), device=x.device)
        noise = torch.randn_like(x)
        score: Tensor = module(x + sigmas.to(x)[choice] * noise)
        return (score + noise).square().mean()

    return loss
