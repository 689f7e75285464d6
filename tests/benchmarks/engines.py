"""Forward passes without gradient: eager torch beside engines that prepare the weights.

    .venv/bin/python -m tests.benchmarks.engines [--images 32]

CPU milliseconds an image, one thread, the least of turns in which each engine has its go. Engines
that are not installed (onnxruntime with onnx and onnxscript, openvino) are left out.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from bench.compute.network import Network
from bench.models.nets.ncsnv2 import NCSNv2
from bench.models.nets.unet import ScoreUNet
from bench.models.nets.wideresnet import WideResNet

TURNS = 12
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "compact U-Net, 16x16": (ScoreUNet, 16),
    "WideResNet-10-2, 16x16": (lambda: WideResNet(depth=10, widen=2, classes=8), 16),
    "NCSNv2, ngf 32, 32x32": (lambda: NCSNv2(ngf=32), 32),
}
Engine = Callable[[nn.Module, Tensor], Callable[[Tensor], Any]]


def eager(module: nn.Module, x: Tensor) -> Callable[[Tensor], Any]:
    """As in every run: channels last, behind the door of a network."""
    return Network(module, "network")


def frozen(module: nn.Module, x: Tensor) -> Callable[[Tensor], Any]:
    """torch.jit with weights prepacked by `optimize_for_inference`."""
    trace: Callable[..., Any] = torch.jit.trace
    made: Callable[[Tensor], Any] = torch.jit.optimize_for_inference(
        torch.jit.freeze(trace(module, x))
    )
    return made


def onnxruntime(module: nn.Module, x: Tensor) -> Callable[[Tensor], Any]:
    """ONNX Runtime's CPU provider, all optimisations, one thread."""
    library = import_module("onnxruntime")
    options = library.SessionOptions()
    options.intra_op_num_threads = 1
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        program = torch.onnx.export(module, (x,), dynamo=True)
        if program is None:
            raise ImportError("onnxscript")
        program.save(Path(folder) / "network.onnx")
        session = library.InferenceSession(Path(folder) / "network.onnx", options)
    name = session.get_inputs()[0].name
    return lambda given: session.run(None, {name: given.numpy()})


def openvino(module: nn.Module, x: Tensor) -> Callable[[Tensor], Any]:
    """OpenVINO's CPU plug-in, float32, one thread."""
    library = import_module("openvino")
    model = library.convert_model(module, example_input=x, input=list(x.shape))
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = library.compile_model(model, "CPU", hints)
    return lambda given: compiled(given.numpy())


def clock(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    """One line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32)
    images = parser.parse_args(arguments).images
    torch.set_num_threads(1)
    for name, (build, side) in NETWORKS.items():
        torch.manual_seed(0)
        module, x = build().eval(), torch.rand(images, 3, side, side)
        ready: dict[str, Callable[[Tensor], Any]] = {}
        for engine in (eager, frozen, onnxruntime, openvino):
            with suppress(ImportError):
                ready[engine.__name__] = engine(module, x)
        least = dict.fromkeys(ready, float("inf"))
        for _ in range(TURNS):
            for engine_name, call in ready.items():
                spent = clock(partial(call, x))
                least[engine_name] = min(least[engine_name], spent)
        told = (f"{key} {1000 * value / images:.3f} ms" for key, value in least.items())
        print(f"{name}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
