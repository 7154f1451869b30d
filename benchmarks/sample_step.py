"""What 100 Euler steps cost over the bare network evaluations: pathline, flow_matching, torchdiffeq, azula, diffusers, torchdyn.

Every contender carries the same states through the same network on a uniform grid of 100 steps, called as its
documentation says. Two networks: the 3 x 256 MLP at a batch of 1,024 points, and one multiplication, under which the
solver is all the cost there is. "Bare" calls the network 100 times and does nothing else, without gradients; it and a
hand-written loop are also shown in inference mode, which spares the bookkeeping of versions and views.

Times are CPU time of one thread. Each contender is timed right beside the bare evaluations, in pairs, with the C library told to
keep freed memory and blocks of random size that move the heap from pair to pair: page faults and the places of arrays would
cost more than any solver. A ratio is formed inside a pair, its median taken over the rounds. "At best" compares the fastest.
"Bare" beside itself shows the noise. Where the conventions of a contender allow it, its result is checked against the
hand-written loop. Memory is the peak of the resident set above the start, in states of 64 MB, over 10 steps. Contenders
that cannot be imported are named and left out.
"""

import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

import _bench
import pathline as pl
from train_step import MLP, attempt

Sampler: TypeAlias = Callable[[Tensor], object]
Builder: TypeAlias = Callable[[nn.Module, int], Sampler]


class Product(nn.Module):
    """x t, one operation: a network that costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(()))  # azula asks the parameters for their dtype

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * t


def bare(net: nn.Module, steps: int) -> Sampler:
    times = torch.linspace(0.0, 1.0, steps + 1)[:-1].unbind()

    def evaluate(x: Tensor) -> None:
        with torch.no_grad():
            for t in times:
                net(x, t)

    return evaluate


def raw_loop(net: nn.Module, steps: int) -> Sampler:
    times = torch.linspace(0.0, 1.0, steps + 1)

    def sample(x: Tensor) -> Tensor:
        with torch.no_grad():
            for t, s in pairwise(times):
                x = x + (s - t) * net(x, t)
        return x

    return sample


def in_inference_mode(builder: Builder) -> Builder:
    def inference(net: nn.Module, steps: int) -> Sampler:
        return torch.inference_mode()(builder(net, steps))

    return inference


def pathline(net: nn.Module, steps: int) -> Sampler:
    field = pl.Field(net, pl.AffinePath(pl.Linear()), pl.VELOCITY)
    return lambda x: pl.sample(field, x, solver="euler", steps=steps)


def flow_matching(net: nn.Module, steps: int) -> Sampler:
    from flow_matching.solver import ODESolver

    solver = ODESolver(velocity_model=net)
    return lambda x: solver.sample(x_init=x, step_size=1.0 / steps, method="euler")


def torchdiffeq(net: nn.Module, steps: int) -> Sampler:
    from torchdiffeq import odeint

    ends = torch.tensor([0.0, 1.0])

    def sample(x: Tensor) -> Tensor:
        with torch.no_grad():
            return odeint(lambda t, x: net(x, t), x, ends, method="euler", options={"step_size": 1 / steps})[-1]

    return sample


def azula(net: nn.Module, steps: int) -> Sampler:
    from azula.denoise import KarrasDenoiser
    from azula.noise import RectifiedSchedule
    from azula.sample import EulerSampler

    return EulerSampler(KarrasDenoiser(net, RectifiedSchedule()), steps=steps, silent=True)


def diffusers(net: nn.Module, steps: int) -> Sampler:
    from diffusers.schedulers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()

    def sample(x: Tensor) -> Tensor:
        scheduler.set_timesteps(steps)
        with torch.no_grad():
            for t in scheduler.timesteps:
                x = scheduler.step(net(x, t), t, x, return_dict=False)[0]
        return x

    return sample


def torchdyn(net: nn.Module, steps: int) -> Sampler:
    from torchdyn.numerics import odeint

    times = torch.linspace(0.0, 1.0, steps + 1)

    def sample(x: Tensor) -> Tensor:
        with torch.no_grad():
            return odeint(lambda t, x: net(x, t), x, times, solver="euler")[1][-1]

    return sample


CONTENDERS: dict[str, Builder] = {
    "bare": bare,
    "bare, inference mode": in_inference_mode(bare),
    "raw loop": raw_loop,
    "raw loop, inference mode": in_inference_mode(raw_loop),
    "pathline": pathline,
    "flow_matching": flow_matching,
    "torchdiffeq": torchdiffeq,
    "azula": azula,
    "diffusers": diffusers,
    "torchdyn": torchdyn,
}
SAME_CONVENTION = ("raw loop, inference mode", "pathline", "flow_matching", "torchdiffeq", "torchdyn")


def build(net: nn.Module, steps: int) -> tuple[dict[str, Sampler], dict[str, str]]:
    """(samplers by name, why the others are missing)."""
    tried = {name: attempt(lambda b=builder: b(net, steps)) for name, builder in CONTENDERS.items()}
    samplers = {name: sampler for name, (sampler, _) in tried.items() if sampler is not None}
    return samplers, {name: reason for name, (_, reason) in tried.items() if reason}


def check(samplers: dict[str, Sampler], x: Tensor) -> None:
    """All that share the convention of time must agree with the hand-written loop."""
    expected = samplers["raw loop"](x)
    for name in SAME_CONVENTION:
        if name in samplers:
            torch.testing.assert_close(samplers[name](x), expected, rtol=1e-3, atol=1e-4)


def timings(samplers: dict[str, Sampler], x: Tensor, steps: int, rounds: int) -> list[list[_bench.Cell]]:
    """Rows of (name, ms, ratio to bare, the same at best, µs beyond bare per evaluation, the same at best)."""
    calls = {name: (lambda s=sampler: s(x)) for name, sampler in samplers.items()}
    rows: list[list[_bench.Cell]] = []
    for name, (base, t) in _bench.beside(calls["bare"], calls, rounds=rounds).items():
        beyond = statistics.median(a - b for a, b in zip(t.rounds, base.rounds, strict=True))
        at_best = min(t.rounds) - min(base.rounds)
        rows.append(
            [
                name, 1e3 * t.median, t.over(base), min(t.rounds) / min(base.rounds),
                1e6 * beyond / steps, 1e6 * at_best / steps,
            ]
        )  # fmt: skip
    return rows


def memory(steps: int = 10, size: int = 2**24) -> list[list[_bench.Cell]]:
    """Rows of (name, peak memory in states)."""
    x = torch.randn(2**14, size // 2**14)
    rows: list[list[_bench.Cell]] = []
    for name, sampler in build(Product(), steps)[0].items():
        peak = _bench.peak_memory(lambda s=sampler: s(x))
        rows.append([name, peak / (4 * size)])
    return rows


def our_solver(name: str) -> Builder:
    """pathline with one of its solvers, ``steps`` evaluations."""

    def build_it(net: nn.Module, steps: int) -> Sampler:
        field = pl.Field(net, pl.AffinePath(pl.Linear()), pl.VELOCITY)
        grid = None if name in BOUNDED else pl.times.log_snr_uniform(pl.Linear(), -4.0, 4.0)
        return lambda x: pl.sample(field, x, solver=name, evaluations=steps, grid=grid)

    return build_it


BOUNDED = ("heun", "rk4", "ab2", "ab3", "abm2", "abm4")
HISTORY = {
    "heun": 2,
    "rk4": 2,
    "ab2": 2,
    "ab3": 3,
    "abm2": 3,
    "abm4": 5,
    "dpmpp_2m": 2,
    "dpmpp_3m": 3,
    "unipc2": 3,
    "unipc3": 4,
}
"""Predictions and partial sums that each method carries through a step by its definition."""


def our_solvers(steps: int, rounds: int) -> tuple[list[list[_bench.Cell]], dict[str, list[float]]]:
    """Rows of (name, ratio to bare, the same at best, memory in states, history + 2)."""
    x, net = torch.randn(1024, 2), MLP()
    samplers = {name: our_solver(name)(net, steps) for name in HISTORY}
    evaluate = bare(net, steps)
    taken = _bench.beside(lambda: evaluate(x), {n: (lambda s=s: s(x)) for n, s in samplers.items()}, rounds=rounds)
    large, rows, record = torch.randn(2**14, 2**10), [], {}
    for name, history in HISTORY.items():
        sampler = our_solver(name)(Product(), 12)
        states = _bench.peak_memory(lambda s=sampler: s(large)) / (4 * large.numel())
        base, t = taken[name]
        cells = [t.over(base), min(t.rounds) / min(base.rounds), states, history + 2]
        rows.append([name, *cells])
        record[name] = cells
    return rows, record


def main() -> None:
    options = _bench.parser(__doc__)
    options.add_argument("--steps", type=int, default=100)
    options.set_defaults(rounds=24)
    args = options.parse_args()
    _bench.setup(args.threads)
    _bench.keep_pages()
    rounds = min(args.rounds, 5) if args.quick else args.rounds
    columns = ["", "ms", "ratio to bare", "ratio at best", "µs per evaluation beyond bare", "the same at best"]
    sections, data = [], {}
    for title, net, x, turns in (
        ("3 x 256 MLP, batch 1,024", MLP(), torch.randn(1024, 2), rounds),
        ("one multiplication, batch 1,024", Product(), torch.randn(1024, 2), 5 * rounds),
    ):
        samplers, missing = build(net, args.steps)
        check(samplers, x)
        rows = timings(samplers, x, args.steps, turns)
        sections.append((f"{args.steps} Euler steps, {title}", _bench.table(columns, rows)))
        names = ["name", "ms", "ratio", "ratio_at_best", "us_per_evaluation", "us_per_evaluation_at_best"]
        data[title] = [dict(zip(names, row, strict=True)) for row in rows]
    rows = memory()
    sections.append(("Peak memory, 10 Euler steps", _bench.table(["", "states"], rows)))
    data["peak memory in states"] = dict(rows)
    rows, data["our solvers"] = our_solvers(args.steps, max(3, rounds // 2))
    text = (
        f"{args.steps} evaluations of the same MLP at batch 1,024; memory with one multiplication as the network.\n\n"
    )
    columns = ["", "ratio to bare", "ratio at best", "memory, states", "history + 2"]
    sections.append(("Our other solvers", text + _bench.table(columns, rows)))
    if missing:
        sections.append(("Left out", "\n".join(f"- {name}: {reason}" for name, reason in missing.items())))
    if args.quick:
        print("\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections))
        return
    _bench.write("sample_step", "Euler sampling over the bare network evaluations", sections, {"tasks": data})


if __name__ == "__main__":
    main()
