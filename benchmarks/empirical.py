"""The exact field of a data set against the time of its two matrix products, and against broadcasting (theory T16).

One call needs x z^T and p z: 4 B N D floating-point operations. The floor is that count at the rate of a large
square product; "its products" are the two products of the same shapes alone. All are timed in the same rounds.
"""

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import _bench
import pathline as pl

SHAPES = ((256, 1797, 64), (256, 60_000, 784), (1024, 60_000, 784))
TIME = 0.6
SIDE = 1024


def products(points: Tensor, x: Tensor) -> Callable[[], Tensor]:
    """The two matrix products and nothing else."""
    weights = torch.empty(len(x), len(points))
    out = torch.empty_like(x)

    def call() -> Tensor:
        torch.mm(x, points.T, out=weights)
        return torch.mm(weights, points, out=out)

    return call


def broadcast(points: Tensor, x: Tensor) -> Tensor:
    """E[x_1 | x_t] as a first draft computes it: all differences, (B, N, D)."""
    gaps = x[:, None] - TIME * points[None]
    weights = torch.softmax(-(gaps**2).sum(2) / (2.0 * (1.0 - TIME) ** 2), dim=1)
    return (weights[..., None] * points[None]).sum(1)


def measure(shape: tuple[int, int, int], points: Tensor, rounds: int) -> dict[str, float]:
    """Seconds, shares of the floor and bytes for one shape."""
    batch, count, dim = shape
    field = pl.testing.oracles.empirical(points, pl.AffinePath(pl.Linear()))
    x = field.sample(batch, TIME, torch.Generator().manual_seed(0))
    a, b, c = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE), torch.empty(SIDE, SIDE)
    contenders = {
        "oracle": lambda: field(x, TIME),
        "products": products(points, x),
        "large product": lambda: torch.mm(a, b, out=c),
    }
    peak = _bench.peak_memory(contenders["oracle"])
    timings = _bench.compare(contenders, rounds=rounds, seconds=0.2)
    few = max(1, min(batch, 2**26 // (count * dim)))  # 256 MB of differences
    naive = _bench.compare({"naive": lambda: broadcast(points, x[:few])}, rounds=3, seconds=0.1)["naive"]
    share = 4.0 * batch * count * dim / (2.0 * SIDE**3)  # large products that a call is worth
    exact = pl.testing.oracles.empirical(points.double(), pl.AffinePath(pl.Linear()))(x[:32].double(), TIME).data
    oracle = timings["oracle"]
    return {
        "seconds": oracle.median,
        "flops_per_second": 2.0 * SIDE**3 / timings["large product"].median,
        "floor_seconds": share * timings["large product"].median,
        "share_of_floor": share * timings["large product"].over(oracle),
        "share_of_its_products": timings["products"].over(oracle),
        "peak_bytes": peak,
        "naive_seconds": naive.median * batch / few,
        "naive_rows_at_once": few,
        "naive_bytes": 4.0 * batch * count * dim,
        "error": float((field(x[:32], TIME).data - exact).abs().max()),
    }


def main() -> None:
    """Measure and write the results."""
    options = _bench.parser(__doc__).parse_args()
    _bench.setup(options.threads)
    rounds = 2 if options.quick else options.rounds
    data = {64: torch.from_numpy(load_digits().data).float() / 8.0 - 1.0}
    rows, record = [], {}
    for shape in SHAPES[:1] if options.quick else SHAPES:
        if shape[2] not in data:
            generator = torch.Generator().manual_seed(0)
            data[shape[2]] = 2.0 * torch.rand(shape[1], shape[2], generator=generator) - 1.0
        found = measure(shape, data[shape[2]], rounds if shape[1] < 10_000 else max(2, rounds // 3))
        record["x".join(map(str, shape))] = found
        rows.append((
            "(" + ", ".join(f"{n:,}" for n in shape) + ")",
            found["flops_per_second"] / 1e9,
            1e3 * found["seconds"],
            1e3 * found["floor_seconds"],
            f"{100.0 * found['share_of_floor']:.0f} %",
            f"{100.0 * found['share_of_its_products']:.0f} %",
            found["peak_bytes"] / 2**20,
            1e3 * found["naive_seconds"],
            found["naive_bytes"] / 2**20,
            found["error"],
        ))  # fmt: skip
    columns = (
        "(B, N, D)", "GFLOP/s", "ms", "floor ms", "of the floor", "of its products", "peak MiB", "broadcast ms", "broadcast MiB",
        "error of D",
    )  # fmt: skip
    text = [
        f"float32, t = {TIME}; digits for D = 64, uniform noise for D = 784. GFLOP/s is the rate of a matrix product of side "
        f'{SIDE:,}, measured in the same rounds; "of the floor" is 4BND at that rate over the time of a call, "of its products" '
        "the time of the two products of the same shapes over the time of a call, each ratio within a round. The peak is what a call "
        "needs beside data and state. Broadcasting is timed on as many rows as fit into 256 MiB and scaled to the batch; its "
        "memory is that of one array of differences. The error is the largest difference of D to float64.",
        _bench.table(columns, rows),
    ]
    if options.quick:
        print("\n\n".join(text))
        return
    data_out = {"rounds": rounds, "shapes": record}
    _bench.write("empirical", "The empirical oracle", [("", "\n\n".join(text))], data_out)


if __name__ == "__main__":
    main()
