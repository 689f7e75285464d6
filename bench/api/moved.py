"""Where the modules are now that plug-ins imported under older names."""

from __future__ import annotations

import re

MOVED = {
    "bench.registry": "bench.api",
    "bench.attack": "bench.api.attacked",
    "bench.defense": "bench.api.purifier",
    "bench.chain": "bench.api.chain",
    "bench.data.base": "bench.api.images",
    "bench.build": "bench.measure.build",
    "bench.classifiers": "bench.models.classifiers.named",
    "bench.device": "bench.compute.device",
    "bench.diffusion": "defenses.schedule",
    "bench.evaluate": "bench.measure.judge",
    "bench.network": "bench.compute.network",
    "bench.nets": "bench.models.nets",
    "bench.points": "bench.data.points",
    "bench.resized": "bench.measure.resize",
    "bench.rng": "bench.compute.rng",
    "bench.zoo": "bench.models.zoo",
}
"""Old module or package -> new one."""
NAMES = {("bench.threat", "ThreatModel"): "bench.api.ball"}
"""Module and name -> where the name is now."""


def hint(error: BaseException) -> str:
    """`; 'bench.registry' is now 'bench.api'`, where an import failed for an older name, or ''."""
    if not isinstance(error, ImportError) or not error.name:
        return ""
    missing = re.match(r"cannot import name '(\w+)'", str(error))
    if missing:
        there = NAMES.get((error.name, missing[1]))
        return f"; {missing[1]} is now in '{there}'" if there else ""
    for old, new in MOVED.items():
        if error.name == old or error.name.startswith(f"{old}."):
            return f"; '{error.name}' is now '{new}{error.name[len(old) :]}'"
    return ""
