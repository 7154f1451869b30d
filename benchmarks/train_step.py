"""What a training step costs over a hand-written loop: pathline, torchcfm, flow_matching, azula.

Every contender draws noise and times, builds x_t on the linear path, calls the same network and takes its mean squared
error; a step adds the backward pass and Adam. "Path and loss" calls a network that multiplies by a single weight, so
that what stands around the network is all the cost there is; steps train a 3 x 256 MLP on (256, 2) and a small
convolutional network on (64, 1, 28, 28).

Times are CPU time of one thread in rotating rounds. "Over raw" is a difference (or ratio) formed inside a round, its
median taken over the rounds; "at best" compares the fastest rounds of each, which a busy machine disturbs least. Visits
are short, one step or 10 ms, so that some fall between the disturbances.
Contenders that cannot be imported are named and left out.
"""

import copy
import statistics
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import _bench
import pathline as pl

T = TypeVar("T")
Loss: TypeAlias = Callable[[nn.Module, Tensor], Tensor]


class Scale(nn.Module):
    """One weight times x_t: the smallest network with a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * self.weight


class MLP(nn.Module):
    """Three hidden layers of 256 on (x, t)."""

    def __init__(self, dim: int = 2, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, dim),
        )  # fmt: skip

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(torch.cat([x, t.expand(x.shape[0])[:, None]], 1))


class Conv(nn.Module):
    """Down to 14 x 14 and up again, 24 channels, the time added to the channels."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.time = nn.Linear(1, width)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        hidden = self.enter(x) + self.time(t.expand(x.shape[0])[:, None])[:, :, None, None]
        return self.leave(F.silu(self.middle(F.silu(hidden))))


def raw() -> Loss:
    def loss(net: nn.Module, x_1: Tensor) -> Tensor:
        x_0 = torch.randn_like(x_1)
        t = torch.rand(len(x_1))
        time = t.view(-1, *(1,) * (x_1.ndim - 1))
        x_t = time * x_1 + (1 - time) * x_0
        return F.mse_loss(net(x_t, t), x_1 - x_0)

    return loss


def pathline() -> Loss:
    return pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)


def torchcfm() -> Loss:
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    matcher = ConditionalFlowMatcher(sigma=0.0)

    def loss(net: nn.Module, x_1: Tensor) -> Tensor:
        t, x_t, target = matcher.sample_location_and_conditional_flow(torch.randn_like(x_1), x_1)
        return F.mse_loss(net(x_t, t), target)

    return loss


def flow_matching() -> Loss:
    from flow_matching.path import AffineProbPath
    from flow_matching.path.scheduler import CondOTScheduler

    path = AffineProbPath(CondOTScheduler())

    def loss(net: nn.Module, x_1: Tensor) -> Tensor:
        drawn = path.sample(x_0=torch.randn_like(x_1), x_1=x_1, t=torch.rand(len(x_1)))
        return F.mse_loss(net(drawn.x_t, drawn.t), drawn.dx_t)

    return loss


def azula() -> Loss:
    """Its preconditioned denoiser and the loss that comes with it."""
    from azula.denoise import KarrasDenoiser
    from azula.noise import RectifiedSchedule

    schedule = RectifiedSchedule()
    denoisers: dict[int, KarrasDenoiser] = {}

    def loss(net: nn.Module, x_1: Tensor) -> Tensor:
        if id(net) not in denoisers:  # a user builds it once
            denoisers[id(net)] = KarrasDenoiser(net, schedule)
        return denoisers[id(net)].loss(x_1, torch.rand(len(x_1)))

    return loss


BUILDERS: dict[str, Callable[[], Loss]] = {
    "raw loop": raw,
    "pathline": pathline,
    "torchcfm": torchcfm,
    "flow_matching": flow_matching,
    "azula": azula,
}


def attempt(builder: Callable[[], T]) -> tuple[T | None, str]:
    """(what ``builder`` gives, "") or (None, why it cannot be imported)."""
    try:
        return builder(), ""
    except ImportError as error:
        return None, f"{type(error).__name__}: {error}"


def build() -> tuple[dict[str, Loss], dict[str, str]]:
    """(losses by name, why the others are missing)."""
    tried = {name: attempt(builder) for name, builder in BUILDERS.items()}
    losses = {name: loss for name, (loss, _) in tried.items() if loss is not None}
    return losses, {name: reason for name, (_, reason) in tried.items() if reason}


def path_and_loss(loss: Loss, net: nn.Module, x_1: Tensor) -> Callable[[], Tensor]:
    """What stands between a batch and its loss, recorded for the gradient, without the backward pass."""
    return lambda: loss(net, x_1)


def step(loss: Loss, net: nn.Module, x_1: Tensor) -> Callable[[], None]:
    """A whole step of training."""
    net = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(net, x_1).backward()
        optimizer.step()

    return call


def over(timing: _bench.Timing, base: _bench.Timing) -> float:
    """Median of the differences inside a round, seconds."""
    return statistics.median(a - b for a, b in zip(timing.rounds, base.rounds, strict=True))


def main() -> None:
    options = _bench.parser(__doc__)
    options.set_defaults(rounds=1500)
    args = options.parse_args()
    _bench.setup(args.threads)
    rounds = min(args.rounds, 5) if args.quick else args.rounds
    losses, missing = build()
    for name, reason in missing.items():
        print(f"left out: {name} ({reason})")

    points, images = torch.randn(256, 2), torch.randn(64, 1, 28, 28)
    tasks = {  # name: (what is timed, network, batch, rounds, seconds of a visit)
        "path and loss, batch (256, 2)": (path_and_loss, Scale(), points, rounds // 4, 0.01),
        "path and loss, batch (64, 1, 28, 28)": (path_and_loss, Scale(), images, rounds // 4, 0.01),
        "step, MLP 3 x 256, batch (256, 2)": (step, MLP(), points, rounds, 0.0),
        "step, conv net, batch (64, 1, 28, 28)": (step, Conv(), images, rounds // 4, 0.0),
    }
    sections, data = [], {}
    for title, (timed, net, batch, turns, seconds) in tasks.items():
        calls = {name: timed(loss, net, batch) for name, loss in losses.items()}
        timings = _bench.compare(calls, rounds=max(turns, 3), seconds=seconds, warmup=5)
        base = timings["raw loop"]
        rows = [
            [name, 1e6 * t.median, 1e6 * over(t, base), t.over(base), 1e6 * (min(t.rounds) - min(base.rounds))]
            for name, t in timings.items()
        ]
        columns = ["", "µs", "µs over raw", "ratio to raw", "µs over raw at best"]
        sections.append((title, _bench.table(columns, rows)))
        data[title] = [dict(zip(["name", "us", "us_over_raw", "ratio", "us_over_raw_at_best"], row)) for row in rows]
    if missing:
        sections.append(("Left out", "\n".join(f"- {name}: {reason}" for name, reason in missing.items())))
    if args.quick:
        print("\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections))
        return
    _bench.write("train_step", "A training step over a hand-written loop", sections, {"tasks": data})


if __name__ == "__main__":
    main()
