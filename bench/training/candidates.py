"""The settings among which `bench.training.choose` chooses, by data set and defense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def _each(name: str, key: str, values: Iterable[object], more: str = "") -> tuple[str, ...]:
    return tuple(f"{name}:{key}={value}{more and ',' + more}" for value in values)


FILTERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cifar10-compact": {},
    "patches": {
        "wiener": _each("wiener", "sigma", (0.03, 0.06, 0.09, 0.12, 0.15)),
        "median": _each("median", "size", (3, 5)),
        "gaussian": _each("gaussian", "sigma", (0.02, 0.04, 0.06, 0.09)),
        "jpeg": _each("jpeg", "quality", (10, 25, 50, 75)),
        "bits": _each("bits", "depth", (1, 2, 3, 4, 5)),
    },
    "digits": {
        "wiener": _each("wiener", "sigma", (0.15, 0.2, 0.25, 0.3, 0.4)),
        "median": _each("median", "size", (3, 5)),
        "gaussian": _each("gaussian", "sigma", (0.05, 0.1, 0.15, 0.25)),
        "jpeg": _each("jpeg", "quality", (5, 10, 25, 50)),
        "bits": _each("bits", "depth", (1, 2, 3)),
    },
}
"""Cheap controls."""

ALPHAS = (0.003, 0.01, 0.03, 0.07, 0.15)
"""Of the anti-adversary's steps."""

PURIFIERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "patches": {
        "adp": (
            "adp:rule=fixed,sigma=0.06,alpha=0.02",
            "adp:rule=fixed,sigma=0.09,alpha=0.03",
            "adp:rule=fixed,sigma=0.12,alpha=0.04",
            "adp:rule=adaptive,sigma=0.09,lam=0.1,alpha_max=0.05",
        ),
        "denoise": _each("denoise", "sigma", (0.03, 0.06, 0.09, 0.12, 0.15, 0.2)),
        "diffpure": _each("diffpure", "t", (15, 30, 50, 75)),
        "gdmp": _each("gdmp", "t", (20, 36, 60, 90)),
        "gradual": (
            "gradual:forward=15x4-25x2-50x2",
            "gradual:forward=8x4-12x2-30x2",
            "gradual:forward=25x4-40x2-80x2",
        ),
        "scoreopt-o": (
            "scoreopt-o:lr=0.01,steps=5,t_min=0.05,t_max=0.15",
            "scoreopt-o:lr=0.02,steps=5,t_min=0.1,t_max=0.25",
            "scoreopt-o:lr=0.04,steps=5,t_min=0.1,t_max=0.25",
            "scoreopt-o:lr=0.04,steps=5,t_min=0.1,t_max=0.25,loss=sr",
            "scoreopt-o:lr=0.02,steps=5,t_min=0.2,t_max=0.4",
            "scoreopt-o:lr=0.02,steps=5,t_min=0.4,t_max=0.6",
        ),
        "scoreopt-n": (
            "scoreopt-n:lr=0.01,steps=5,t_min=0.12,t_max=0.12",
            "scoreopt-n:lr=0.03,steps=5,t_min=0.18,t_max=0.18",
            "scoreopt-n:lr=0.03,steps=5,t_min=0.3,t_max=0.3",
            "scoreopt-n:lr=0.1,steps=5,t_min=0.3,t_max=0.3",
            "scoreopt-n:lr=0.03,steps=5,t_min=0.45,t_max=0.45",
            "scoreopt-n:lr=0.03,steps=5,t_min=0.45,t_max=0.45,loss=sr",
            "scoreopt-n:lr=0.03,steps=5,t_min=0.6,t_max=0.6",
        ),
        "aid": tuple(f"aid:eps={eps}/255@madry" for eps in (2, 4, 8, 12)),
        "pixeldefend": tuple(f"pixeldefend:eps={eps}/255" for eps in (4, 8, 16)),
        "langevin": _each("langevin", "steps", (10, 20, 40)),
        "anti-adversary": tuple(f"anti-adversary:alpha={a}@madry" for a in ALPHAS),
    },
    "cifar10-compact": {
        "adp": (
            "adp:rule=fixed,sigma=0.06,alpha=0.02",
            "adp:rule=fixed,sigma=0.12,alpha=0.04",
            "adp:rule=fixed,sigma=0.18,alpha=0.06",
            "adp:rule=adaptive,sigma=0.12,lam=0.05,alpha_max=0.1",
            "adp:rule=adaptive,sigma=0.25,lam=0.05,alpha_max=0.1",
        ),
        "denoise": _each("denoise", "sigma", (0.06, 0.1, 0.15, 0.2, 0.25)),
    },
    "digits": {
        "adp": (
            "adp:rule=adaptive,sigma=0.15,lam=0.05,alpha_max=0.1",
            "adp:rule=adaptive,sigma=0.25,lam=0.05,alpha_max=0.1",
            "adp:rule=fixed,sigma=0.15,alpha=0.05",
            "adp:rule=fixed,sigma=0.25,alpha=0.08",
        ),
        "denoise": _each("denoise", "sigma", (0.1, 0.15, 0.2, 0.25, 0.3)),
        "diffpure": _each("diffpure", "t", (60, 90, 120, 160)),
        "gdmp": _each("gdmp", "t", (60, 100, 140, 180)),
        "gradual": ("gradual:forward=30x4-50x2-125x2", "gradual:forward=50x4-80x2-150x2"),
        "scoreopt-o": (
            "scoreopt-o:lr=0.05,steps=5,t_min=0.2,t_max=0.4",
            "scoreopt-o:lr=0.1,steps=5,t_min=0.2,t_max=0.4",
            "scoreopt-o:lr=0.1,steps=5,t_min=0.4,t_max=0.6",
        ),
        "scoreopt-n": (
            "scoreopt-n:lr=0.03,steps=5,t_min=0.3,t_max=0.3",
            "scoreopt-n:lr=0.1,steps=5,t_min=0.3,t_max=0.3",
            "scoreopt-n:lr=0.1,steps=5,t_min=0.5,t_max=0.5",
            "scoreopt-n:lr=0.03,steps=5,t_min=0.6,t_max=0.6",
        ),
        "aid": tuple(f"aid:eps={eps}@madry" for eps in (0.03, 0.06, 0.125, 0.2)),
        "pixeldefend": tuple(f"pixeldefend:eps={eps}" for eps in (0.0625, 0.125, 0.1875)),
        "langevin": _each("langevin", "steps", (10, 20, 40)),
        "anti-adversary": tuple(f"anti-adversary:alpha={a}@madry" for a in ALPHAS),
    },
}
"""Far dearer: the script looks at half as many images for them."""
