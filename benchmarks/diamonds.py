"""A table of diamonds, trained and sampled as a table, against a Gaussian copula and real held-out rows.

OMP_NUM_THREADS=1 python benchmarks/diamonds.py --steps 12000
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

import pathline as pl
from pathline.data import load
from pathline.metrics import GaussianCopula, compare_tables
from pathline.train import TrainConfig
from pathline.train.assemble import load_data

RESULTS = Path(__file__).parent / "results"
ROWS = 5394


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--steps", type=int, default=12_000)
    options.add_argument("--width", type=int, default=256)
    options.add_argument("--depth", type=int, default=4)
    options.add_argument("--categories", default="onehot", choices=["onehot", "bits", "normal"])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--quick", action="store_true", help="few steps, nothing is written: does it run?")
    given = options.parse_args()
    steps = 50 if given.quick else given.steps
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            data=f"diamonds(categories={given.categories!r})", net=f"mlp(width={given.width}, depth={given.depth})",
            steps=steps, batch_size=512, lr=2e-3, seed=given.seed, out=folder + "/run", warmup=min(200, steps // 2),
            log_every=min(50, steps), checkpoint_every=steps,
        )  # fmt: skip
        begin = time.process_time()
        run = pl.fit(config, progress=True)
        trained = time.process_time() - begin
        begin = time.process_time()
        made = run.table(ROWS, seed=1, steps=32)
        sampled = time.process_time() - begin
        parts = run.data
        assert parts.held_out is not None
        codec = run.codec
        assert codec is not None
        real, train = codec.decode(parts.held_out.x), codec.decode(parts.train.x)
        weights = sum(p.numel() for p in run.net.parameters())
    # the naive peer: all columns normal, one covariance; fitted on the same training rows
    normal = load_data("diamonds(categories='normal')")
    peer = load("diamonds", categories="normal").codec
    rows = pl.data.split(normal, config.held_out, seed=config.seed).train.x
    copula = peer.decode(GaussianCopula(rows).sample(ROWS, generator=torch.Generator().manual_seed(1)))
    other = train.sample(ROWS, random_state=1)
    found = {}
    for name, table in (("pathline", made), ("Gaussian copula", copula), ("real training rows", other)):
        # the classifier of the test is fitted anew for each of three seeds
        told = [compare_tables(table, real, generator=torch.Generator().manual_seed(k)) for k in range(3)]
        found[name] = {
            "c2st": sum(t.c2st for t in told) / 3,
            "wasserstein": told[0].mean("wasserstein"),
            "total_variation": told[0].mean("total variation"),
            "correlations": told[0].correlations,
            "worst_correlation": told[0].worst_correlation,
            "columns": {c.name: c.value for c in told[0].columns},
        }
    schema = bool((made.dtypes == real.dtypes).all()) and list(made.columns) == list(real.columns)
    cost = f"{weights:,} weights, {steps} steps of 512 in {trained:.0f} CPU s, {ROWS} rows in {sampled:.1f} CPU s"
    lines = [
        "# Diamonds", "", f"{cost}; seed {given.seed}, categories as {given.categories}; against {len(real)} held-out rows.",
        f"The sampled table has the columns and dtypes of the data: {schema}.", "",
        "| | C2ST | W1 / std, mean of 7 | total variation, mean of 3 | association, mean gap | worst gap |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {v['c2st']:.3f} | {v['wasserstein']:.4f} | {v['total_variation']:.4f} "
            f"| {v['correlations']:.4f} | {v['worst_correlation']:.4f} |"
            for name, v in found.items()
        ),
        "",
    ]  # fmt: skip
    print("\n".join(lines))
    if not given.quick:
        (RESULTS / "diamonds.md").write_text("\n".join(lines), encoding="utf-8")
        (RESULTS / "diamonds.json").write_text(json.dumps({"cost": cost, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
