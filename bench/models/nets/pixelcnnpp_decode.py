"""Raster decoding with a PixelCNN++: every activation is computed once.

`decode_plainly` runs the whole network for each position; `decode` gives the same pixels. A row of
the vertical stream depends on finished rows only, so it is computed when its row begins, and with
it all that the horizontal stream reads from the row above. What is left for each position are the
lower halves of the 2x2 kernels. Half resolution works in every second row and column, a quarter
in every fourth. One evaluation per position serves all its channels.

    python -m bench.models.nets.pixelcnnpp_decode

times a few positions of both at the published size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.nets.pixelcnnpp import STAGES, CausalConv, Deconv, PixelCNNpp, as_kind, with_ones
from bench.models.nets.pixelcnnpp_parts import Level, PointConv, RowConv, over_row, pointwise

Choose = Callable[[Tensor, int, int], Tensor]
"""(params [B,P] at a position, its row, its column) -> the pixel there, [B,C] in [-1,1]."""


@torch.no_grad()
def decode_plainly(network: PixelCNNpp, x: Tensor, choose: Choose, stop: int = 0) -> Tensor:
    """`x` [B,C,H,W] in [-1,1] with each pixel replaced, in raster order, by what is chosen.

    `stop`: how many positions; 0 for all.
    """
    x = x.clone()
    width = x.shape[3]
    for place in range(stop or x[0, 0].numel()):
        i, j = divmod(place, width)
        x[:, :, i, j] = choose(network(x)[:, :, i, j], i, j)
    return x


@torch.no_grad()
def decode(network: PixelCNNpp, x: Tensor, choose: Choose, stop: int = 0) -> Tensor:
    """The pixels of `decode_plainly`."""
    x = x.clone()
    cache = _Cache(network, x)
    width = x.shape[3]
    for place in range(stop or x[0, 0].numel()):
        i, j = divmod(place, width)
        if j == 0:
            cache.begin_row(i)
        x[:, :, i, j] = choose(cache.params(i, j), i, j)
        cache.finish(i, j, x[:, :, i, j])
    return x


def _deconv(module: nn.Module) -> tuple[Tensor, Tensor]:
    made = as_kind(Deconv, module)
    return made.deconv.weight(), made.deconv.bias


class _Cache:
    """A network between two positions of `x` [B,C,H,W]."""

    def __init__(self, network: PixelCNNpp, x: Tensor) -> None:
        batch, _, _, width = x.shape
        self.width = width
        few = range(STAGES - 1)
        self.levels = [Level(network, d, batch, width >> d) for d in range(STAGES)]
        self.u_down = [RowConv(as_kind(CausalConv, network.downsize_u_stream[d])) for d in few]
        self.ul_down = [
            PointConv(as_kind(CausalConv, network.downsize_ul_stream[d]), batch, width >> d)
            for d in few
        ]
        # Between depths d+1 and d; the network counts from the coarsest.
        self.u_up = [_deconv(network.upsize_u_stream[STAGES - 2 - d]) for d in few]
        self.ul_up = [_deconv(network.upsize_ul_stream[STAGES - 2 - d]) for d in few]
        self.u_init = network.u_init.conv
        self.above_init, self.left_init = (as_kind(CausalConv, c).conv for c in network.ul_init)
        self.kernels = [c.weight() for c in (self.u_init, self.above_init, self.left_init)]
        self.out = pointwise(network.nin_out)
        # The image so far in a frame of zeros: two rows above it, one column on each side.
        self.image = F.pad(with_ones(x), (1, 1, 2, 0))
        self.ul_first = x.new_zeros(0)

    def begin_row(self, i: int) -> None:
        """All that row i needs of the rows above it."""
        above = self.image[:, :, i : i + 2]
        u = F.conv2d(above, self.kernels[0], self.u_init.bias)[:, :, 0]
        first = F.conv2d(above[:, :, 1:], self.kernels[1], self.above_init.bias)[:, :, 0]
        if i == 0:  # what is shifted in at the top is zeros, without a bias
            u, first = torch.zeros_like(u), torch.zeros_like(first)
        self.ul_first = over_row(first)
        rows: list[list[Tensor]] = []
        for depth, level in enumerate(self.levels):
            if i % (1 << depth):
                break
            rows.append(level.rise_row(u))
            if depth < STAGES - 1:
                wanted = i % (2 << depth) == 0
                u = self.u_down[depth](rows[-1][-1], wanted)
                if wanted:
                    self.ul_down[depth].begin_row()
        self._fall_rows(i, rows)

    def _fall_rows(self, i: int, rows: list[list[Tensor]]) -> None:
        deepest = len(rows) - 1
        u = rows[-1].pop() if deepest == STAGES - 1 else self._row_of(deepest, i)
        for depth in range(deepest, -1, -1):
            if depth < deepest:
                weight, bias = self.u_up[depth]
                twice = F.conv_transpose2d(u[:, :, None], weight, bias, 2, output_padding=1)
                self.levels[depth].u_coarse = twice[:, :, :2, 1:-1]
                u = self._row_of(depth, i)
            u = self.levels[depth].fall_row(u, rows[depth])

    def _row_of(self, depth: int, i: int) -> Tensor:
        return self.levels[depth].u_coarse[:, :, (i >> depth) % 2]

    def params(self, i: int, j: int) -> Tensor:
        """The network's output [B,P] at a position, once all pixels before it are chosen."""
        ul = self.ul_first[:, j]
        if j:
            left = self.image[:, :, i + 1 : i + 3, j]
            ul = torch.addmm(
                ul + self.left_init.bias, left.flatten(1), self.kernels[2].flatten(1).T
            )
        points: list[list[Tensor]] = []
        for depth, level in enumerate(self.levels):
            step = 1 << depth
            if i % step or j % step:
                break
            points.append(level.rise(j >> depth, ul))
            if depth < STAGES - 1:
                down = self.ul_down[depth]
                down.put(j >> depth, points[-1][-1])
                if i % (2 * step) == 0 and j % (2 * step) == 0:
                    ul = down.at(j >> (depth + 1))
        ul = self._fall(i, j, points)
        weight, bias = self.out
        return torch.addmm(bias, F.elu(ul), weight)

    def _fall(self, i: int, j: int, points: list[list[Tensor]]) -> Tensor:
        deepest = len(points) - 1
        ul = points[-1].pop() if deepest == STAGES - 1 else self._point_of(deepest, i, j)
        for depth in range(deepest, -1, -1):
            column = j >> depth
            if depth < deepest:
                weight, bias = self.ul_up[depth]
                four = (ul @ weight.flatten(1)).view(len(ul), -1, 2, 2) + bias[:, None, None]
                self.levels[depth].ul_coarse[:, :, :, column : column + 2] = four
                ul = self._point_of(depth, i, j)
            ul = self.levels[depth].fall(column, ul, points[depth])
        return ul

    def _point_of(self, depth: int, i: int, j: int) -> Tensor:
        return self.levels[depth].ul_coarse[:, :, (i >> depth) % 2, j >> depth]

    def finish(self, i: int, j: int, pixel: Tensor) -> None:
        """The pixel [B,C] that was chosen at a position."""
        self.image[:, :-1, i + 2, j + 1] = pixel


def main(arguments: Sequence[str]) -> None:
    """Print milliseconds a position of both ways, and what a whole image would take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--filters", type=int, default=160)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--positions", type=int, default=2, help="of the plain form")
    parser.add_argument("--rows", type=int, default=0, help="of the cached form; 0 for all")
    asked = parser.parse_args(arguments)
    torch.manual_seed(0)
    network = PixelCNNpp(nr_resnet=asked.blocks, nr_filters=asked.filters).eval()
    whole, cached_positions = asked.side**2, (asked.rows or asked.side) * asked.side
    for batch in asked.batch:
        x = 2 * torch.rand(batch, 3, asked.side, asked.side) - 1

        def keep(params: Tensor, i: int, j: int, x: Tensor = x) -> Tensor:
            return x[:, :, i, j] + 0 * params[:, :3]

        per_position = []
        for way, stop in ((decode_plainly, asked.positions), (decode, cached_positions)):
            start = time.process_time()
            way(network, x, keep, stop)
            per_position.append((time.process_time() - start) / stop)
        plain, cached = (1000 * seconds / batch for seconds in per_position)
        print(
            f"batch {batch}: plain {plain:.1f}, cached {cached:.2f} ms a position and image, "
            f"{plain / cached:.0f} x; an image {plain * whole / 1000:.0f} or "
            f"{cached * whole / 1000:.2f} CPU seconds",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
