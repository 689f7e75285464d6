"""The golden files, which hold what the authors' public code gave, and the classifier in them."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden"


def tensors_of(name: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a golden file whose names begin with `prefix`, without it."""
    found = load_file(str(GOLDEN / f"{name}.safetensors"))
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


def facts_of(name: str) -> dict[str, str]:
    """What a golden file says of itself."""
    with safe_open(str(GOLDEN / f"{name}.safetensors"), framework="pt") as file:
        return dict(file.metadata() or {})


class Classifier(nn.Module):
    """That of the golden attacks: two strided convolutions, the mean, a linear layer."""

    def __init__(self, name: str) -> None:
        """With the weights of the golden file `name`, frozen."""
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.c2 = nn.Conv2d(8, 16, 3, 2, 1)
        self.fc = nn.Linear(16, 10)
        self.load_state_dict(tensors_of(name, "clf/"))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.c2(self.c1(x).relu()).relu().mean((2, 3)))
        return logits
