"""The same images, model, loss and number of steps in a hand-written loop with torchcfm, and with pathline's Trainer.

A transformer on the 8 × 8 digits, or a U-Net on Fashion-MNIST, by class: velocity prediction, AdamW, averaged weights, equal
learning rates. The loops alternate, one after the other for each seed. FD is that of 100 Euler steps in the features of one
classifier, which both are measured with; the last columns are ours with fewer evaluations, from the same noise.

    python benchmarks/image_training.py --steps 600 --seeds 3
    python benchmarks/image_training.py --data fashion --steps 1000 --points 500
"""

import copy
import time
from typing import Any

import torch
from torch import Tensor, nn

import _bench
import pathline as pl
from pathline.experiments.training import Yardstick, trained
from pathline.train import RECIPES, Settings
from pathline.train.assemble import make_net
from pathline.train.optim import rate_at

FEW = (8, 12, 25)
NETS = {
    "digits": "dit(patch=2, width=64, depth=4, heads=4)",
    "fashion": "unet(patch=2, widths=(32, 64), blocks=1, bottom=2)",
}


def net_of(name: str, yardstick: Yardstick, seed: int) -> nn.Module:
    """The model, with the same first weights for both."""
    return make_net(NETS[name], yardstick.train, labels=True, seed=seed)


def by_hand(net: nn.Module, x: Tensor, y: Tensor, settings: Settings) -> float:
    """A loop as one writes it around torchcfm; ``net`` gets the averaged weights. CPU seconds."""
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    matcher = ConditionalFlowMatcher(sigma=0.0)
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.lr, betas=settings.betas, weight_decay=0.0, fused=True)
    torch.manual_seed(settings.seed + 1)
    begin = time.process_time()
    for step in range(settings.steps):
        rows = torch.randint(len(x), (settings.batch_size,))
        x_1, given = x[rows], y[rows]
        given = torch.where(torch.rand(len(rows)) < 0.1, -1, given)
        t, x_t, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x_1), x_1)
        loss = ((net(x_t, t, given) - velocity) ** 2).mean()
        optimiser.param_groups[0]["lr"] = rate_at(step, settings)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        keep = min(settings.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, weight in zip(average.parameters(), net.parameters(), strict=True):
                kept.lerp_(weight, 1.0 - keep)
    seconds = time.process_time() - begin
    net.load_state_dict(average.state_dict())
    return seconds


def round_of(name: str, yardstick: Yardstick, seed: int, steps: int) -> list[dict[str, Any]]:
    """Both trainings of one seed, and what their samples are like."""
    settings = Settings(steps=steps, batch_size=64, lr=2e-3, warmup=100, ema=0.998, seed=seed, held_out=0.0)
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY, label_dropout=0.1)
    ours, seconds = trained(net_of(name, yardstick, seed), objective, yardstick.train, settings)
    theirs = net_of(name, yardstick, seed)
    y = yardstick.train.y
    if y is None:
        raise ValueError(f"{name} has lost its labels")
    spent = by_hand(theirs, ours.standardizer.transform(yardstick.train.x).float(), y, settings)
    noise = torch.randn(yardstick.real.x.shape, generator=torch.Generator().manual_seed(100 + seed))
    labels = yardstick.real.y

    def fd(field: pl.Field, **options: Any) -> float:
        return yardstick(ours.decode(pl.sample(field, noise, y=labels, **options)), labels)["FD"]

    other = pl.Field(theirs.eval(), objective.path, pl.VELOCITY)
    euler = {"solver": "euler", "steps": 100}
    return [
        {"loop": "raw PyTorch and torchcfm", "seed": seed, "seconds": spent, "FD, Euler 100": fd(other, **euler)},
        {
            "loop": "pathline", "seed": seed, "seconds": seconds, "FD, Euler 100": fd(ours.field, **euler),
            **{f"FD, ab2 {few}": fd(ours.field, solver="ab2", evaluations=few) for few in FEW},
        },
    ]  # fmt: skip


def main() -> None:
    """Alternate the loops over the seeds, and write the table."""
    options = _bench.parser(__doc__)
    options.add_argument("--data", choices=list(NETS), default="digits")
    options.add_argument("--points", type=int, default=2000, help="samples that FD is measured on, at most")
    options.add_argument("--steps", type=int, default=600)
    options.add_argument("--seeds", type=int, default=3)
    args = options.parse_args()
    _bench.setup(args.threads)
    yardstick = Yardstick.of(RECIPES[args.data](), quick=args.quick, most=args.points)
    rows: list[dict[str, Any]] = []
    for seed in range(1 if args.quick else args.seeds):
        rows += round_of(args.data, yardstick, seed, 5 if args.quick else args.steps)
        print(*rows[-2:], sep="\n", flush=True)
    floor = yardstick.floor()["FD"]
    print(f"real against real: FD {floor:.4g} at n = {yardstick.n}")
    if not args.quick:
        columns = list(dict.fromkeys(key for row in reversed(rows) for key in row))
        text = _bench.table(columns, [[row.get(key) for key in columns] for row in rows])
        title = f"{args.steps} steps of 64; real against real FD {floor:.3g} at n = {yardstick.n}"
        name = "image_training" if args.data == "digits" else f"image_training_{args.data}"
        _bench.write(
            name, "Training on images", [(title, text)], {"rows": rows, "floor": floor},
            command=f"image_training.py --data {args.data} --steps {args.steps} --points {args.points}",
        )  # fmt: skip


if __name__ == "__main__":
    main()
