"""Every reader of files and texts that others may have made."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.checkpoints import CHECKPOINTS
from tests.faults.data import DATA
from tests.faults.fuzz import Reader
from tests.faults.results import RESULTS
from tests.faults.texts import TEXTS

READERS: Mapping[str, Reader] = {**CHECKPOINTS, **DATA, **TEXTS, **RESULTS}
