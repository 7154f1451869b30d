"""The first losses against their closed forms (theory T11, T13, T17).

A network that returns 0 has the loss E_t w(t) E|a x_1 + b x_0|²/dim = E_t w(t) (a² m_1 + b² m_0 + 2 a b c), with the row (a, b) of
what is predicted, the mean squares m_1, m_0 of data and source, and c the product of their means. The row is taken here with
derivatives of alpha and sigma by central differences, so that a schedule whose derivative is wrong shows. No network
gets below the Bayes-optimal loss (`pathline.verify.bayes`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from pathline.couplings import Independent
from pathline.objectives import Matching
from pathline.schedules import Coefs, Schedule
from pathline.train.order import derive_seed
from pathline.train.preflight.finding import Finding
from pathline.verify.bayes import bayes_objective

DRAWS, CALLS = 4096, 1024
"""Draws of the zero network, and of the network itself."""
EDGE = 0.02
"""Quantiles of the time law that are left out at both ends, where derivatives may be infinite."""
STEP = 1e-5
SLACK = 0.03
"""Relative difference that is allowed besides five standard errors."""
BETTER = 0.7
"""Loss of another reading of the network over its loss, below which it is the likelier one."""
LARGE = 10.0
SUBSET = 1024
"""Samples of the Bayes bound, which is lower for fewer."""
NUMBERS = 1 << 20


class Zero(nn.Module):
    """Returns 0."""

    def forward(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
        return torch.zeros_like(x_t)


def by_differences(schedule: Schedule, t: Tensor) -> Coefs:
    """Coefficients whose derivatives are central differences; float64."""
    t = t.double()
    mid, right, left = schedule(t), schedule(t + STEP), schedule(t - STEP)
    slopes = [
        (torch.as_tensor(b).double() - torch.as_tensor(a).double()) / (2 * STEP)
        for b, a in ((right.alpha, left.alpha), (right.sigma, left.sigma))
    ]
    return Coefs(mid.alpha, mid.sigma, *slopes)


def zero_loss(objective: Matching, t: Tensor, x_1: Tensor, x_0: "Tensor | None" = None) -> float:
    """Closed form of the loss of a network that returns 0, a mean over the times ``t``; standard normal noise if x_0 is None."""
    coefs = by_differences(objective.path.schedule, t)
    a, b = (torch.as_tensor(entry).double() for entry in objective.prediction.row(coefs))
    data = x_1.double()
    m_1, m_0, cross = float(data.square().mean()), 1.0, 0.0
    if x_0 is not None:
        source = x_0.double()
        m_0, cross = float(source.square().mean()), float((source.mean(0) * data.mean(0)).mean())
    return float((torch.as_tensor(objective.factor(coefs)) * (a**2 * m_1 + b**2 * m_0 + 2 * a * b * cross)).mean())


def spread_times(objective: Matching, n: int, like: Tensor) -> Tensor:
    """``n`` quantiles of the objective's time law, shuffled the same way each time."""
    places = EDGE + (1 - 2 * EDGE) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    mixed = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return objective.times.quantile(places)[mixed].to(like.device, like.dtype)


@torch.no_grad()
def look_at_losses(
    net: nn.Module, objective: Matching, x_1: Tensor, rest: dict[str, Tensor], *, paired: bool = False
) -> list[Finding]:
    """Findings on the first losses of ``objective``, uncoupled, for batches of ``x_1`` and what comes with it."""
    n = max(64, min(DRAWS, NUMBERS // x_1[0].numel()))
    t = spread_times(objective, n, x_1)
    rows = torch.arange(n, device=x_1.device) % len(x_1)
    source = rest.get("x_0")
    if source is not None and not paired:  # rows of source and data are not to go together
        source = source.roll(1, 0)
    generator = torch.Generator(x_1.device).manual_seed(derive_seed(0, "first loss"))
    each = objective.per_sample(Zero(), x_1[rows], None if source is None else source[rows], t=t, generator=generator)
    measured, error = float(each.mean()), float(each.std()) / n**0.5
    found, exact = [], float("nan")
    if not paired:
        exact = zero_loss(objective, t, x_1, source)
        if abs(measured - exact) > 5.0 * error + SLACK * abs(exact):
            told = f"a network that returns 0 has the loss {measured:.4g}, in closed form {exact:.4g}"
            remedy = "the schedule's derivatives or the row of the prediction are not what they should be"
            return [Finding(level="error", about="first loss", seen=told, remedy=remedy)]
    found.append(_of_net(net, objective, x_1, rest, t, measured, exact))
    return found


def _of_net(
    net: nn.Module, objective: Matching, x_1: Tensor, rest: dict[str, Tensor], t: Tensor, zero: float, exact: float
) -> Finding:
    """The loss of the network itself, of other readings of it, and the least that there is."""
    n = min(CALLS, len(t))
    rows = torch.arange(n, device=x_1.device) % len(x_1)
    given = {name: value[rows] for name, value in rest.items()}
    was = net.training
    net.eval()

    def loss(reading: Any) -> float:
        total = 0.0
        for part in torch.arange(n).split(256):
            generator = torch.Generator(x_1.device).manual_seed(derive_seed(1, "first loss"))
            now = {name: value[part] for name, value in given.items()}
            total += float(objective.per_sample(reading, x_1[rows][part], t=t[part], generator=generator, **now).sum())
        return total / n

    try:
        ours = loss(net)
        others = {
            "with t reversed: t = 0 is noise here, t = 1 data": lambda x, t, **c: net(x, 1.0 - t, **c),
            "with its sign changed: the velocity points from noise to data here": lambda x, t, **c: -net(x, t, **c),
        }
        tried = {name: loss(reading) for name, reading in others.items()}
    finally:
        net.train(was)
    told = f"{ours:.4g}; a network that returns 0 has {zero:.4g}" + (
        "" if exact != exact else f", in closed form {exact:.4g}"
    )
    best = min(tried, key=lambda name: tried[name])
    if tried[best] < BETTER * ours:
        seen = f"the net has the loss {ours:.4g}, and {tried[best]:.4g} {best}"
        return Finding(level="warning", about="first loss", seen=seen, remedy="it seems to follow another convention")
    if ours > LARGE * zero:
        remedy = "scale its last layer down, or start that at zero"
        return Finding(level="warning", about="first loss", seen=told, remedy=remedy)
    return Finding(level="ok", about="first loss", seen=told)


def least_loss(objective: Matching, x_1: Tensor, rest: dict[str, Tensor]) -> "tuple[float, float] | None":
    """(Bayes-optimal loss on a subset, its standard error), which bounds that of every network; None where it is not known."""
    if "x_0" in rest or (objective.coupling is not None and not isinstance(objective.coupling, Independent)):
        return None
    points = x_1[: max(64, min(SUBSET, NUMBERS // x_1[0].numel()))].cpu()
    y = rest["y"][: len(points)].cpu() if "y" in rest else None
    generator = torch.Generator().manual_seed(derive_seed(2, "first loss"))
    return bayes_objective(points, objective, labels=y, n=1024, generator=generator)
