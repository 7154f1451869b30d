"""What an objective of the user's regresses, found out by calling it with a network that returns 0 (theory T11, T17).

The state and time that the network is shown tell alpha and sigma: alpha = cov(x_t, x_1)/var(x_1), sigma² = var(x_t - alpha x_1). The
gradient of a squared error with respect to the output 0 is -2 w p, so it points along what should have been predicted:
its regression on x_1 and x_t gives the row (a, b) of p = a x_1 + b x_0 up to a positive factor, and the angle of
(a, b) tells which prediction that is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pathline.train.order import derive_seed
from pathline.train.preflight.finding import Finding

BINS = 10
DRAWS = 4096
NUMBERS = 1 << 22
NEAR = 0.2
"""Mean angle, in radians, between a row and that of a prediction which it is taken for."""
ORDER = 0.3
"""Difference of the correlation of x_t and x_1 between late and early times that settles the direction of time."""


class Recorder(nn.Module):
    """Returns 0 and keeps what it was shown and what it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor, *args: Any, **cond: Any) -> Tensor:
        out = torch.zeros_like(x_t).requires_grad_()
        self.calls.append((x_t.detach(), torch.as_tensor(t).detach(), out))
        return out


@dataclass(frozen=True, kw_only=True)
class Regressed:
    """What an objective does, in ``BINS`` bins of its times."""

    t: Tensor
    """Mean time of a bin."""
    alpha: Tensor
    sigma: Tensor
    correlation: Tensor
    """Of x_t and x_1."""
    angle: Tensor
    """Of the row (a, b), in radians."""
    kind: "str | None"
    """Name of the prediction; with a minus sign where it is its negative, None if it is none of those known."""

    @property
    def forward(self) -> "bool | None":
        """Whether t runs from noise to data; None if that cannot be told."""
        rise = float(self.correlation[-1] - self.correlation[0])
        return None if abs(rise) < ORDER else rise > 0.0


def regressed(objective: Callable[..., Tensor], x_1: Tensor, rest: dict[str, Tensor]) -> "Regressed | None":
    """What ``objective(net, x_1, generator=…, **rest)`` regresses; None where it is no regression on one call of a network."""
    n = max(64, min(DRAWS, NUMBERS // x_1[0].numel()))
    rows = torch.arange(n, device=x_1.device) % len(x_1)
    data, net = x_1[rows], Recorder()
    try:
        loss = objective(
            net,
            data,
            generator=torch.Generator(x_1.device).manual_seed(derive_seed(0, "regress")),
            **{name: value[rows] for name, value in rest.items()},
        )
    except Exception:  # a network of another kind is asked for
        return None
    if len(net.calls) != 1 or not isinstance(loss, Tensor) or not loss.requires_grad:
        return None
    x_t, t, out = net.calls[0]
    pull = -torch.autograd.grad(loss, out)[0]
    if x_t.shape != data.shape or t.shape != (n,) or not bool(pull.isfinite().all()):
        return None
    order = torch.argsort(t)
    parts = [_in_bin(*(v[part].double().flatten(1) for v in (data, x_t, pull))) for part in order.chunk(BINS)]
    alpha, sigma, correlation, angle = (torch.tensor(column, dtype=torch.float64) for column in zip(*parts))
    times = torch.stack([t[part].double().mean() for part in order.chunk(BINS)]).cpu()
    kind = _kind(times, alpha, sigma, angle)
    return Regressed(t=times, alpha=alpha, sigma=sigma, correlation=correlation, angle=angle, kind=kind)


def _in_bin(x_1: Tensor, x_t: Tensor, pull: Tensor) -> tuple[float, float, float, float]:
    """(alpha, sigma, correlation, angle of the row) of the samples of a bin, each (n, D)."""
    x_1, x_t, pull = (v - v.mean(0) for v in (x_1, x_t, pull))
    power = float((x_1**2).mean())
    alpha = float((x_t * x_1).mean()) / max(power, 1e-30)
    sigma = float((x_t - alpha * x_1).square().mean()) ** 0.5
    correlation = alpha * power**0.5 / max(float((x_t**2).mean()) ** 0.5, 1e-30)
    x_0 = (x_t - alpha * x_1) / max(sigma, 1e-30)  # up to what the times of a bin differ
    a, b = float((pull * x_1).mean()) / max(power, 1e-30), float((pull * x_0).mean())
    return alpha, sigma, correlation, math.atan2(b, a)


def _kind(t: Tensor, alpha: Tensor, sigma: Tensor, angle: Tensor) -> "str | None":
    """The prediction whose rows point the way that ``angle`` does."""
    slopes = [torch.gradient(values, spacing=(t,))[0] for values in (alpha, sigma)]
    rows = {
        "data": (torch.ones_like(t), torch.zeros_like(t)),
        "noise": (torch.zeros_like(t), torch.ones_like(t)),
        "velocity": (slopes[0], slopes[1]),
        "v": (-sigma, alpha),
    }
    inner = slice(1, -1)  # derivatives at the ends are one-sided
    apart: dict[str, float] = {}
    for name, (a, b) in rows.items():
        for sign, called in ((1.0, name), (-1.0, f"-{name}")):
            gap = angle - torch.atan2(sign * b, sign * a)
            apart[called] = float(torch.atan2(gap.sin(), gap.cos()).abs()[inner].mean())
    best = min(apart, key=lambda name: apart[name])
    return best if apart[best] < NEAR else None


def look_at_objective(objective: Callable[..., Tensor], x_1: Tensor, rest: dict[str, Tensor]) -> Finding:
    """A finding on the direction of time and on the target of an objective of the user's."""
    found = regressed(objective, x_1, rest)
    if found is None:
        seen = "no regression on one call of the network: time and target cannot be told"
        return Finding(level="note", about="objective", seen=seen)
    path = f"x_t is {found.alpha[0]:.2f} x_1 + {found.sigma[0]:.2f} x_0 at t = {found.t[0]:.2f}, " + (
        f"{found.alpha[-1]:.2f} x_1 + {found.sigma[-1]:.2f} x_0 at t = {found.t[-1]:.2f}"
    )
    told = f"{path}; target: {found.kind or 'none that is known'}"
    if bool((found.t < 0.0).any()) or bool((found.t > 1.0).any()):
        return Finding(level="note", about="objective", seen=f"{told}; the network is shown another clock than t")
    if found.forward is False:
        remedy = "show the network 1 - t, and regress the velocity from noise to data: here t = 0 is noise, t = 1 data"
        return Finding(level="error", about="objective", seen=f"time runs backwards: {path}", remedy=remedy)
    if found.kind is not None and found.kind.startswith("-"):
        remedy = "change the sign of the target, or every sample runs the wrong way"
        if found.kind == "-noise":  # a score up to its scale
            return Finding(level="note", about="objective", seen=f"{path}; target: score, up to its scale")
        return Finding(
            level="error", about="objective", seen=f"the target is the negative of {found.kind[1:]}", remedy=remedy
        )
    level = "ok" if found.kind else "note"
    return Finding(level=level, about="objective", seen=told)
