"""The contract that every plug-in must meet; `bench check NAME` runs it, and so do the tests."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contract.asked import Check, everything, require, unfit

__all__ = ["Check", "check", "everything", "require", "unfit"]


def check(
    name: str, dataset: str = "digits", weights_override: Mapping[str, str] | None = None
) -> list[Check]:
    """Run the contract on a defense, an attack or a classifier, such as `adp:sigma=0`.

    Of `a+b@classifier` every purifier is checked, with that classifier behind it.
    weights_override: as in `bench.measure.build.context`.

    Raises:
        BenchError: as of `require`, or an add-on cannot stand on the classifier.
    """
    require(name, dataset)
    from bench.contract.whole import whole

    return whole(name, dataset, dict(weights_override or {}))
