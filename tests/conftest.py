from __future__ import annotations

import torch
from hypothesis import settings

import bench.cli.group  # noqa: F401  # offers training where weights are missing, as the command does

# Nothing here is timed; the same examples on every machine.
settings.register_profile("bench", deadline=None, derandomize=True)
settings.load_profile("bench")
torch.set_num_threads(1)
