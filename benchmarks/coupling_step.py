"""What exact transport costs a training step: pairs made ahead by a thread, made in the step, and torchcfm's.

Batch 256 of 8 Gaussians in the plane, MLP 3 x 256, AdamW: a whole step of training, by three clocks. Wall-clock time is
what a user waits, and means something only on an idle machine; CPU time of the main thread is what a step costs beside
a free core; CPU time of all threads what it costs without one. Once with all cores, and once with the process bound to
one. Rounds alternate between the contenders; a ratio, to the same loop without coupling, is formed within a round.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

import _bench
import pathline as pl
from pathline.couplings import exact_ot
from pathline.train.order import Batches
from pathline.train.pairing import Ahead, Plain, coupled

BATCH, STEPS, SEED = 256, 300, 0
REST = 0.1
"""Seconds before a round, in which a thread makes the pairs that it may make ahead: no other contender pays for those. So the
first steps of its own round find them made, which is why a round has many more steps."""
Step = Callable[[int], None]


class Loop:
    """A training loop that goes on from round to round."""

    def __init__(self, loss: Callable[[nn.Module, int], Tensor]) -> None:
        torch.manual_seed(SEED)
        self.net = pl.nets.MLP(2, 256, 3)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4, fused=True)
        self.loss, self.done = loss, 0

    def __call__(self) -> None:
        for _ in range(STEPS):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(self.net, self.done).backward()
            self.optimizer.step()
            self.done += 1


def contenders(x: Tensor) -> tuple[dict[str, Loop], list[Ahead]]:
    """Loops by name, and the threads to close."""
    generator = torch.Generator().manual_seed(SEED)
    plain = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    within = pl.Matching(plain.path, pl.VELOCITY, coupling=exact_ot())
    feeds: dict[str, Plain | Ahead] = {
        "no coupling": Plain(Batches(x, None, BATCH, SEED)),
        "exact OT, made ahead": Ahead(coupled(exact_ot(), Batches(x, None, BATCH, SEED), None, SEED), x.device),
    }

    def fed(name: str, objective: pl.Matching) -> Loop:
        def loss(net: nn.Module, step: int) -> Tensor:
            x_1, given = feeds[name](step)
            return objective(net, x_1, generator=generator, **given)

        return Loop(loss)

    loops = {name: fed(name, plain) for name in feeds}
    batches = Batches(x, None, BATCH, SEED)
    loops["exact OT, in the step"] = Loop(lambda net, step: within(net, batches(step)[0], generator=generator))
    try:
        from torchcfm import ConditionalFlowMatcher, ExactOptimalTransportConditionalFlowMatcher
    except ImportError:
        return loops, [feed for feed in feeds.values() if isinstance(feed, Ahead)]
    for name, matcher in (
        ("torchcfm, no coupling", ConditionalFlowMatcher(sigma=0.0)),
        ("torchcfm, OT in the step", ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)),
    ):

        def loss(net: nn.Module, step: int, matcher: ConditionalFlowMatcher = matcher) -> Tensor:
            x_1 = batches(step)[0]
            t, x_t, u = matcher.sample_location_and_conditional_flow(torch.randn_like(x_1), x_1)
            return (net(x_t, t) - u).square().mean()

        loops[name] = Loop(loss)
    return loops, [feed for feed in feeds.values() if isinstance(feed, Ahead)]


CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "main thread": time.thread_time,
    "all threads": time.process_time,
}


def measure(rounds: int, cores: "set[int]") -> list[dict[str, float | str]]:
    """Microseconds a step of each contender on ``cores`` by each clock, and ratios to its own loop without coupling."""
    os.sched_setaffinity(0, cores)
    x = pl.data.eight_gaussians(20_000, generator=torch.Generator().manual_seed(SEED)).x
    loops, threads = contenders(x)
    found: dict[str, dict[str, float | str]] = {name: {"name": name} for name in loops}
    taken: dict[str, dict[str, list[float]]] = {name: {clock: [] for clock in CLOCKS} for name in loops}
    for turn in range(-1, rounds):
        order = list(loops)[turn % len(loops) :] + list(loops)[: turn % len(loops)]
        for name in order:
            time.sleep(REST)
            before = {clock: read() for clock, read in CLOCKS.items()}
            loops[name]()
            if turn >= 0:  # the first turn warms up
                for clock, read in CLOCKS.items():
                    taken[name][clock].append((read() - before[clock]) / STEPS)
    for name, clocks in taken.items():
        base = taken["torchcfm, no coupling" if name.startswith("torchcfm") else "no coupling"]
        for clock, values in clocks.items():
            ratios = [a / b for a, b in zip(values, base[clock], strict=True)]
            found[name] |= {f"{clock}, µs": 1e6 * median(values), f"{clock}, ratio": median(ratios)}
    for thread in threads:
        thread.close()
    return list(found.values())


def load() -> float:
    """How many processes want a core."""
    return os.getloadavg()[0]


def main() -> None:
    """Measure with all cores and with one."""
    options: argparse.ArgumentParser = _bench.parser(__doc__)
    options.set_defaults(rounds=9)
    args = options.parse_args()
    _bench.setup(args.threads)
    allowed = os.sched_getaffinity(0)
    sections, data = [], {}
    for title, cores in ((f"All {len(allowed)} cores", allowed), ("One core", {min(allowed)})):
        before = load()
        rows = measure(3 if args.quick else args.rounds, cores)
        table = _bench.table(["", *list(rows[0])[1:]], [list(row.values()) for row in rows])
        note = f"\n\nLoad average of the machine before: {before:.1f} (this process alone adds about 1)."
        sections.append((title, table + note))
        data[title] = {"rows": rows, "load": before}
    if args.quick:
        print("\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections))
        return
    _bench.write("coupling_step", "A training step with exact transport", sections, {"cores": data})


if __name__ == "__main__":
    main()
