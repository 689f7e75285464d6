"""The groups of attacks: what a name such as `all` or `strict` stands for. No torch."""

from __future__ import annotations

from collections.abc import Mapping

BLIND = ("clean", "classifier-pgd")
ADAPTIVE = ("bpda", "bpda-eot", "joint-score", "joint-full", "pgd-exact")
BLACKBOX = ("spsa", "square")
TRANSFER = ("transfer:source=same", "transfer:source=other")
CORRUPTION = ("corruption",)
ALL = (*BLIND, *ADAPTIVE, *BLACKBOX, "autoattack", *TRANSFER, *CORRUPTION)
EXTENDED = (
    *("pgd-surrogate", "apgd", "mim", "auxiliary", "noise"),
    *("approximate-input", "one-step-unrolling", "bpda-surrogate", "stadv", "lf"),
    *("known-randomness", "gradient-cosine", "gradient-error", "rays"),
)
"""Beside `all`, whose members are fixed."""
LIBRARY = ("fgsm", "bim", "vmi-fgsm", "jitter", "deepfool", "cw")
"""What older tables name: mostly weaker than the rest, and there to be compared with."""
PROTOCOL = (
    "bpda-eot:protocol=hill",
    "bpda-eot:protocol=adp",
    "joint-score:protocol=adp",
    "joint-full:protocol=adp",
    "apgd:protocol=diffhammer",
    "pgd-surrogate:protocol=hill",
)
"""Attacks of `all` as their papers' code runs them, each under its own settings."""
RESUBMIT = (
    "bpda-eot:protocol=resubmit",
    "pgd-exact:protocol=resubmit",
    "pgd:protocol=strict-resubmit",
    "apgd:protocol=strict-resubmit",
    "autoattack:protocol=resubmit",
)
"""The adaptive searches with every candidate tried many times; other searches have a twin too."""
CERTIFIED = ("certify",)
"""Proofs, which are no attacks."""
SEARCHES = ("pgd:protocol=strict", "apgd:protocol=strict", "square:protocol=strict")
STRICT = (
    *("clean", "noise", "classifier-pgd"),
    *("bpda", "bpda-eot", "joint-score", "joint-full", "pgd-surrogate"),
    *SEARCHES,
    *(*TRANSFER, "transfer:source=base"),
)
"""What a strict reviewer asks of an evaluation, as one worst case."""
GROUPS = {
    "all": ALL,
    "blind": (*BLIND, *TRANSFER),
    "adaptive": ADAPTIVE,
    "blackbox": BLACKBOX,
    "corruption": CORRUPTION,
    "extended": EXTENDED,
    "library": LIBRARY,
    "protocol": PROTOCOL,
    "certified": CERTIFIED,
    "resubmit": RESUBMIT,
    "strict": STRICT,
}
BOARDS: Mapping[str, tuple[str, ...]] = {"strict": SEARCHES}
"""Group without which boards compare rows too -> what only it asks for: any makes a plan of it."""
IMAGES: Mapping[tuple[str, str], int] = {("strict", "standard"): 128}
"""Group and preset -> images of embedded data, where none are asked for; else the whole subset."""
