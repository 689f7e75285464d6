"""The judge: attack, check, predict again with randomness that the attack never saw.

Pure and public: `evaluate(defense, attack, x, y, threat)` serves people's own scripts too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.api.attacked import Attack, Attacked, Trace
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.compute import rng
from bench.compute.network import plain
from bench.errors import BenchError
from bench.measure.guard import guarded
from bench.measure.looks import hidden, watched
from bench.measure.resubmit import Tried, tried
from bench.results.record import SPREAD
from bench.threat import CERTIFIED, KNOWN, RESUBMIT

Calls = dict[str, tuple[int, int]]
Summary = dict[str, tuple[float, ...]]
UNDERFLOW = 104.0
"""exp(-104) is 0 in float32: logits further apart than this leave one class with all of softmax."""


@dataclass(frozen=True)
class Outcome:
    """The verdicts on one batch of images, and what they cost.

    correct: bool [V, M, B] for V variants (1 without), M draws of the judge, B images; where
    something is proven instead, [1, 1, B]: the certificate names the right class.
    distance: [B], the largest over variants. calls: network -> {attack, judge} -> images
    (forward, backward). trace: see `Record`. seconds: CPU seconds of this process; on an
    accelerator, by the clock. rounded: where it was asked for, `correct` of the images rounded to 8
    bits, on the same draws; it is in neither calls nor seconds. tried: of a threat `resubmit`, what
    the tries gave; `correct` is then [1, 1, B], the images that none of them broke.
    """

    attacked: Attacked
    correct: Tensor
    distance: Tensor
    calls: dict[str, dict[str, tuple[int, int]]]
    trace: Summary
    seconds: float
    rounded: Tensor | None = None
    tried: Tried | None = None


def evaluate(
    defense: Defense,
    attack: Attack,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    draws: int = 1,
    key: str = "",
    rounded: bool = False,
) -> Outcome:
    """Attack images x [B,C,H,W] in [0,1] with labels y [B], then judge them on fresh draws.

    `key` names the unit of work; every stream of random numbers is seeded from it. rounded: also
    judge what is left of the attack in images of 8 bits.

    Raises:
        BenchError: an attacked image is outside the ball, outside [0,1] or not finite.
    """
    clock = time.process_time if x.device.type == "cpu" else time.perf_counter
    began = clock()
    counts = [defense.calls()]
    with rng.work(key), rng.drawn_on_cpu(x.device):
        attacked = under_attack(defense, attack, x, y, threat)
        counts.append(defense.calls())
        points = _points(attacked, x)
        distance = torch.stack([_check(point, x, threat) for point in points]).amax(0)
        attempts: Tried | None = None
        with _watched(defense, len(x)) as answers:
            if threat.norm == CERTIFIED:
                correct = _proven(attacked, y)
            elif threat.aside == RESUBMIT:
                candidates = _candidates(attacked, x, threat)
                attempts = tried(defense, candidates, x, y, attacked.tries)
                answers.clear()  # of those images alone that were left: whose, nobody knows
                correct = attempts.robust.view(1, 1, -1)
            else:
                correct = judge(defense, points, y, draws)
        counts.append(defense.calls())
        seconds, coarse = clock() - began, None
        if rounded and threat.norm != CERTIFIED and attempts is None:
            coarse = judge_rounded(defense, points, y, correct)
    return Outcome(
        attacked=attacked,
        correct=correct,
        distance=distance,
        calls=_phases(counts),
        trace=(_summary(attacked.trace) if attacked.trace else _seen(attacked))
        | no_logits(answers),
        seconds=seconds,
        rounded=coarse,
        tried=attempts,
    )


def under_attack(
    defense: Defense, attack: Attack, x: Tensor, y: Tensor, threat: ThreatModel
) -> Attacked:
    """What the attack makes of images x with labels y, on its own stream of the current work.

    Raises:
        BenchError: it left something behind that cannot be put back.
    """
    shared = {"defense": defense, "attack": attack, "threat": threat}
    streams = () if threat.aside == KNOWN else ("attack", "select")
    with (
        guarded("the attack", **shared),
        rng.stream("attack"),
        rng.only(*streams),
        watched(defense, x) as doors,
    ):
        # Copies: what an attack writes into its arguments is not what it is judged by.
        found = attack(defense, x.clone(), y.clone(), threat)
    if not isinstance(found, Attacked):
        raise BenchError(f"the attack gave {type(found).__name__}, not Attacked")
    return replace(found, hidden=hidden(doors))


def judge(defense: Defense, points: Tensor, y: Tensor, draws: int, stream: str = "judge") -> Tensor:
    """Whether each of `draws` predictions of points [V,B,C,H,W] is right, bool [V,M,B].

    Draw m is that of the current work's `stream`, for every variant.

    Raises:
        BenchError: the defense left something behind that cannot be put back.
    """
    with guarded("the defense", defense=defense):
        return torch.stack([_judge(defense, point, y, draws, stream) for point in points])


def judge_rounded(
    defense: Defense, points: Tensor, y: Tensor, correct: Tensor, stream: str = "judge"
) -> Tensor:
    """`judge` of the points in 8 bits, on the draws that gave `correct` [V,M,B].

    What rounding leaves as it is needs no second look.
    """
    rows = []
    for point, verdicts in zip(points, correct, strict=True):
        coarse = eight_bits(point)[None]
        same = torch.equal(coarse[0], point)
        rows.append(verdicts if same else judge(defense, coarse, y, len(verdicts), stream)[0])
    return torch.stack(rows)


def eight_bits(x: Tensor) -> Tensor:
    """Images in [0,1] on the grid k/255, as a file of 8 bits holds them."""
    return (x * 255).round() / 255


def _points(attacked: Attacked, x: Tensor) -> Tensor:
    """What is judged, [V,B,C,H,W]: plain tensors, so that no class of a plug-in's answers for them.

    Raises:
        BenchError: they are no images like x [B,C,H,W], one for each variant.
    """
    found, names = attacked.x_adv, attacked.variants
    if not isinstance(found, Tensor) or (found.dtype, found.layout) != (x.dtype, x.layout):
        told = f"a {found.dtype} tensor" if isinstance(found, Tensor) else type(found).__name__
        raise BenchError(f"the attack gave {told} for images, not a dense {x.dtype} tensor")
    if names and len(found) != len(names):
        raise BenchError(f"the attack gave {len(found)} variants under {len(names)} names")
    points = plain(found.detach())
    return points if names else points.unsqueeze(0)


def _candidates(attacked: Attacked, x: Tensor, threat: ThreatModel) -> Tensor:
    """Every point that is to be tried, [T,B,C,H,W], checked like the one that is handed over.

    Raises:
        BenchError: there is none, or one is no attack within the threat.
    """
    if attacked.candidates is None or not len(attacked.candidates) or attacked.tries < 1:
        raise BenchError(f"threat '{RESUBMIT}' is for attacks that hand over their candidates")
    points = plain(attacked.candidates.detach())
    for point in points:
        _check(point, x, threat)
    return points


def _check(x_adv: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    if x_adv.shape != x.shape:
        raise BenchError(f"the attack returned shape {tuple(x_adv.shape)} for {tuple(x.shape)}")
    distance = threat.distance(x_adv, x)
    valid = threat.contains(x_adv, x)
    if not valid.all():
        worst = int((~valid).nonzero()[0])
        low, high = float(x_adv[worst].min()), float(x_adv[worst].max())
        raise BenchError(
            f"the attack broke its threat model {threat}: image {worst} of the shard has "
            f"distance {float(distance[worst]):.6g} and pixels in [{low:.4g}, {high:.4g}]"
        )
    return distance


def _judge(defense: Defense, x: Tensor, y: Tensor, draws: int, stream: str) -> Tensor:
    rows = []
    for draw in range(draws):
        with rng.stream(stream, draw):
            rows.append(defense.predict(x) == y)
    return torch.stack(rows)


def _proven(attacked: Attacked, y: Tensor) -> Tensor:
    if attacked.certificate is None:
        raise BenchError(f"threat '{CERTIFIED}' is for attacks that give a certificate")
    return (attacked.certificate.label == y).view(1, 1, -1)


def _phases(counts: list[Calls]) -> dict[str, dict[str, tuple[int, int]]]:
    phases = {}
    for network in counts[0]:
        start, middle, end = (count[network] for count in counts)
        phases[network] = {
            "attack": (middle[0] - start[0], middle[1] - start[1]),
            "judge": (end[0] - middle[0], end[1] - middle[1]),
        }
    return phases


def _summary(trace: Trace) -> Summary:
    """First and last loss, the share of zero gradients, and of NaN where there are any.

    First and last cosine of two gradients, where they were compared; how far the draws of a
    gradient differ, meaned over the looks, where that was.
    """
    found = {
        "first_loss": _texts(trace.loss[0]),
        "last_loss": _texts(trace.loss[-1]),
        "zero_gradients": _texts((trace.grad_norm == 0).float().mean(0)),
    }
    if trace.cosine is not None:
        found |= {"first_cosine": _texts(trace.cosine[0]), "last_cosine": _texts(trace.cosine[-1])}
    if trace.spread is not None:
        found |= dict(zip(SPREAD, map(_texts, trace.spread.mean(0)), strict=True))
    lost = trace.grad_norm.isnan()
    return found | ({"nan_gradients": _texts(lost.float().mean(0))} if lost.any() else {})


def _seen(attacked: Attacked) -> Summary:
    """What an attack without a trace says of gradients: shares of zero and of NaN, and errors."""
    shares = zip(("zero_gradients", "nan_gradients"), attacked.hidden or (), strict=False)
    found = {name: _texts(share) for name, share in shares if share.any()}
    return found if attacked.error is None else found | {"gradient_error": _texts(attacked.error)}


class _Ear:
    """A hook that keeps a classifier's answers, each [replicates,images,K].

    It is no function: what functions hold is put back after the defense was judged.
    """

    def __init__(self, images: int) -> None:
        self.images = images
        self.answers: list[Tensor] = []

    def __call__(self, module: nn.Module, args: object, out: Tensor) -> None:
        if out.dim() == 2 and out.shape[1] > 1 and not len(out) % self.images:
            self.answers.append(out.detach().view(-1, self.images, out.shape[1]))


@contextmanager
def _watched(defense: Defense, images: int) -> Iterator[list[Tensor]]:
    """What the classifier answers inside the block."""
    ear = _Ear(images)
    handle = defense.classifier.register_forward_hook(ear)
    try:
        yield ear.answers
    finally:
        handle.remove()


def no_logits(answers: Sequence[Tensor]) -> Summary:
    """What is wrong with a classifier's answers, each [R,B,K], as logits: mostly nothing.

    probabilities: 1 per image where all answers are probabilities. saturated: the share of the R
    answers on each image whose softmax is one class alone, where it is not 0 everywhere.
    """
    if not answers:
        return {}
    logits = torch.cat(list(answers)).float()
    first, second = logits.topk(2, dim=2).values.unbind(2)
    saturated = (first - second > UNDERFLOW).float().mean(0)
    shares = (logits >= 0) & (logits <= 1) & ((logits.sum(2, keepdim=True) - 1).abs() < 1e-2)
    found = {"saturated": _texts(saturated)} if saturated.any() else {}
    return found | ({"probabilities": (1.0,) * len(saturated)} if shares.all() else {})


def _texts(values: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values.tolist())
