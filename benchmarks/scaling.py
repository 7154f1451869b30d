"""Two processes against one at the same global batch, and the trainer against a loop written by hand.

A process is forked for each place, over gloo on the CPU, one thread each. Loss curves are those of every step in
float32; their largest relative difference says whether the processes together do what one does. Speed is told in CPU
time, what two processes spend on a step together over what one does, and in wall time, which needs a core for each. The
trainer is compared in CPU time of one process, step by step in alternating stretches, with a loop that has the same net,
average, clipping, schedule and log.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py
"""

import copy
import itertools
import json
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import _bench
import pathline as pl
from pathline.train import TrainConfig
from pathline.train.cost import count_cost
from pathline.train.loop import trainer_of
from pathline.train.optim import rate_at

STEPS = 200
BASE = {
    "data": "digits", "net": "dit(width=32, depth=2, heads=2)", "batch_size": 64, "steps": STEPS, "warmup": 20,
    "log_every": 1, "checkpoint_every": 10_000, "held_out": 0.1, "time_bins": 0, "cpu": True,
}  # fmt: skip
LARGER = {"net": "dit(width=128, depth=4, heads=4)", "batch_size": 256}
PLACES: dict[str, tuple[int, dict]] = {
    "one process": (1, {}),
    "one, four pieces": (1, {"accumulate": 4}),
    "two, DDP": (2, {}),
    "two, shards (FSDP2), blocks recomputed, two pieces": (2, {"shard": True, "recompute": True, "accumulate": 2}),
}


def train(out: Path, steps: int, changes: dict) -> dict:
    """Losses, wall seconds of the steps, and CPU seconds of all but the first."""
    trainer = trainer_of(TrainConfig.from_dict({**BASE, **changes, "steps": steps, "out": str(out)}), progress=False)
    moments, marks = [], []
    update = trainer.ema.update

    def note(k: int) -> None:  # called once a step, at its end
        moments.append(time.perf_counter())
        marks.append(time.process_time())
        update(k)

    trainer.ema.update = note
    losses = [line["loss"] for line in trainer.fit().log]
    seconds = [b - a for a, b in itertools.pairwise(moments)]
    return {"losses": losses, "seconds": seconds, "cpu": marks[-1] - marks[0]}


def forked(out: Path, count: int, steps: int, changes: dict) -> dict:
    """`train` in ``count`` processes; what the first one tells, and the CPU seconds of all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            code = 1
            try:
                if count > 1:
                    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
                    os.environ.update({n: str(v) for n, v in zip(names, (rank, rank, count, count, port))})
                    os.environ["MASTER_ADDR"] = "127.0.0.1"
                told = train(out, steps, changes)
                (out / f"told{rank}.json").write_text(json.dumps(told))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for child in children:
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"a process failed: {changes}")
    told = [json.loads((out / f"told{rank}.json").read_text()) for rank in range(count)]
    return {**told[0], "cpu": sum(each["cpu"] for each in told)}


def by_hand(net: nn.Module, x: torch.Tensor, settings: TrainConfig, log: Path):
    """A loop with the work of the trainer; ``run(n)`` takes n steps."""
    average = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, betas=settings.betas, weight_decay=0.0, fused=True)
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    generator, weights = torch.Generator().manual_seed(0), list(net.parameters())
    kept, rows, done = list(average.parameters()), torch.randperm(len(x)), [0, 0.0]
    file = log.open("a")

    def run(n: int) -> None:
        for _ in range(n):
            k = done[0]
            place = k * settings.batch_size % (len(x) - settings.batch_size)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(k, settings)
            loss = objective(net, x[rows[place : place + settings.batch_size]], generator=generator)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(weights, 1.0, foreach=True)
            if bool(norm.isfinite()):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(kept, weights, 1e-3)
            done[0], done[1] = k + 1, done[1] + loss.detach()
            if done[0] % settings.log_every == 0:
                file.write(
                    json.dumps({"step": k, "loss": float(done[1]) / settings.log_every, "norm": float(norm)}) + "\n"
                )
                file.flush()
                done[1] = 0.0

    return run


def overhead(folder: Path, stretches: int, length: int) -> dict[str, float]:
    """CPU seconds of a step, of the trainer and by hand, and the ratio of the two, formed within each pair of stretches."""
    config = TrainConfig.from_dict(
        {"data": "moons(n=20000)", "net": "mlp(width=256, depth=3)", "batch_size": 384, "labels": False, "warmup": 20,
         "steps": 100_000, "checkpoint_every": 100_000, "log_every": 50, "cpu": True, "out": str(folder / "run")}
    )  # fmt: skip
    trainer = trainer_of(config, progress=False)
    moments: list[float] = []
    net = copy.deepcopy(trainer.net)
    for each in (trainer.net, net):
        each.register_forward_pre_hook(lambda *given: moments.append(time.process_time()))
    x = trainer.parts.standardizer.transform(trainer.parts.train.x)
    loop = by_hand(net, x, config, folder / "log.jsonl")

    def stretch(call) -> float:
        moments.clear()
        call()
        return statistics.median(b - a for a, b in itertools.pairwise(moments))

    ratios, ours, theirs = [], [], []
    for k in range(stretches + 1):
        calls = [lambda: trainer.fit(until=trainer.step + length), lambda: loop(length)]
        first, second = (stretch(call) for call in (calls if k % 2 else calls[::-1]))
        a, b = (first, second) if k % 2 else (second, first)
        if k:  # the first is a warm-up
            ours, theirs, ratios = [*ours, a], [*theirs, b], [*ratios, a / b]
    return {
        "trainer_ms": 1e3 * statistics.median(ours), "by_hand_ms": 1e3 * statistics.median(theirs),
        "ratio": statistics.median(ratios),
    }  # fmt: skip


def check_cost(rounds: int) -> list[list]:
    """Counted against measured on this CPU: operations a second of CPU time, and bytes above what was resident."""
    rows = []
    for width, depth in ((64, 3), (128, 4), (192, 6)):
        net = pl.nets.DiT(16, 3, patch=2, width=width, depth=depth, heads=4)
        nn.init.normal_(net.head.weight, std=0.1)
        nn.init.normal_(net.modulation.weight, std=0.1)
        x, t = torch.randn(64, 3, 16, 16), torch.rand(64)
        cost = count_cost(net, (3, 16, 16))

        def step(net=net, x=x, t=t) -> None:
            net.zero_grad(set_to_none=True)
            net(x, t).square().mean().backward()

        step()
        peak = _bench.peak_memory(step)
        timing = _bench.compare({"step": step}, rounds=rounds, seconds=0.0)["step"]
        formula = 72 * depth * 64 * width**2 + 12 * depth * 64**2 * width
        counted = (
            cost.memory(64, averages=0) - 12 * cost.weights
        )  # gradients and what is kept: weights were there before
        rows.append(
            [f"{width} × {depth}", cost.flops / 1e6, cost.flops / formula, 64 * cost.flops / timing.median / 1e9,
             counted / 2**20, peak / 2**20]
        )  # fmt: skip
    return rows


def main() -> None:
    parser = _bench.parser(__doc__)
    parser.set_defaults(rounds=12)
    args = parser.parse_args()
    _bench.setup(args.threads)
    steps, timed = (20, 5) if args.quick else (STEPS, 30)
    found, speed = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place, (count, changes) in PLACES.items():
            found[place] = forked(folder / place.replace(" ", "-"), count, steps, changes)
            print(place, f"{1e3 * found[place]['cpu'] / steps:.1f} ms of CPU a step", flush=True)
        for count in (1, 2):
            speed[count] = forked(folder / f"speed{count}", count, timed, LARGER)
        cost = overhead(folder, 3 if args.quick else args.rounds, 100)
    checked = check_cost(min(args.rounds, 5))
    base = found["one process"]
    rows, data = [], {}
    for place, told in found.items():
        apart = max(abs(a - b) / abs(b) for a, b in zip(told["losses"], base["losses"], strict=True))
        rows.append([place, apart])
        data[place] = {"largest_relative_difference": apart}
    work = speed[1]["cpu"] / speed[2]["cpu"]
    wall = statistics.median(speed[1]["seconds"]) / statistics.median(speed[2]["seconds"])
    sections = [
        (
            f"Loss curves over {steps} steps: {BASE['net']} on digits, global batch {BASE['batch_size']}, float32",
            _bench.table(["", "largest relative difference to one process"], rows),
        ),
        (
            f"Speed: {LARGER['net']}, global batch {LARGER['batch_size']}",
            _bench.table(
                ["", "CPU ms a step, all processes", "wall ms a step, median"],
                [
                    [
                        f"{n} process{'es' * (n > 1)}",
                        1e3 * s["cpu"] / (timed - 1),
                        1e3 * statistics.median(s["seconds"]),
                    ]
                    for n, s in speed.items()
                ],
            )
            + f"\n\nTwo processes do {work:.2f} of the work a CPU second that one does, so with a core for each they are "
            f"**{2 * work:.2f}** times as fast. In wall time the ratio was {wall:.2f}, on two cores that others were using "
            f"too (load {os.getloadavg()[1]:.1f} over five minutes).",
        ),
        (
            "The trainer over a loop by hand, MLP 3 × 256, batch (384, 2)",
            _bench.table(["", "ms of CPU a step"], [["by hand", cost["by_hand_ms"]], ["trainer", cost["trainer_ms"]]])
            + f"\n\nRatio, the median over {args.rounds} pairs of stretches of 100 steps: **{cost['ratio']:.3f}**. Both have "
            "the objective, clipping, refusal of gradients that are not finite, the average, the schedule and the log.",
        ),
        (
            "Cost: counted against measured, DiT on (3, 16, 16), patches of 2, batch 64",
            _bench.table(
                [
                    "width × blocks",
                    "MFLOP a sample",
                    "over the formula",
                    "GFLOP/s reached",
                    "MiB counted",
                    "MiB measured",
                ],
                checked,
            ),
        ),
    ]
    if args.quick:
        print("\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections))
        return
    told = {"curves": data, "work_ratio": work, "wall_ratio": wall, "trainer": cost, "cost": checked}
    _bench.write("scaling", "Several processes, and the cost of the trainer", sections, told)


if __name__ == "__main__":
    main()
