"""Matching: the conditional loss has the gradient of the marginal one (theory T13)."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.field import Field
from pathline.objectives import Matching
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound, slope, value
from pathline.verify.reference import MIXTURE, TRIG, generator

Loss: TypeAlias = Callable[[Prediction, Callable[[Tensor, Tensor], Tensor], Tensor, Tensor, Tensor], Tensor]
"""(prediction, net, x_1, x_0, t) -> the loss of each sample, (n,)."""

_WIDTH = 8


class _Net:
    """tanh network of one hidden layer with a copy of its weights per sample, so that gradients come per sample."""

    def __init__(self, n: int, seed: int) -> None:
        start = 0.7 * torch.randn(4 * _WIDTH, generator=generator(seed), dtype=torch.float64)
        self.weights = start.expand(n, -1).clone().requires_grad_(True)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        a, b, c, d = self.weights.chunk(4, dim=1)
        hidden = torch.tanh(a * x + b * t.reshape(-1, 1) + c)
        return (hidden * d).sum(1, keepdim=True)

    def gradients(self, losses: Tensor) -> Tensor:
        """d loss_i / d weights, (n, weights)."""
        return torch.autograd.grad(losses.sum(), self.weights)[0]


def _marginal(prediction: Prediction, net: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, t: Tensor) -> Tensor:
    """|net - p_t(x_t)|² against the exact marginal prediction: flow matching, explicit score matching."""
    exact = MIXTURE.oracle(TRIG).evaluate(x_t, t).read(prediction)
    return (net(x_t, t) - exact).square().mean(1)


@torch.enable_grad()
def _gradients(loss: Loss) -> Outcome:
    n = 32_768
    x_1 = MIXTURE.quantile(torch.rand(n, generator=generator(1), dtype=torch.float64))[:, None]
    x_0 = torch.randn(n, 1, generator=generator(2), dtype=torch.float64)
    t = 0.05 + 0.75 * torch.rand(n, generator=generator(3), dtype=torch.float64)
    x_t = TRIG.sample(x_0, x_1, t)
    readings, angles = [], {}
    for prediction in (VELOCITY, SCORE, NOISE, DATA):
        constants, curves = [], None
        for seed in (4, 5):
            net = _Net(n, seed)
            conditional = loss(prediction, net, x_1, x_0, t)
            marginal = _marginal(prediction, net, x_t, t)
            constants.append((conditional - marginal).detach())
            ours, exact = net.gradients(conditional), net.gradients(marginal)
            gaps = ours - exact
            z = gaps.mean(0) / (gaps.std(0) / math.sqrt(n))
            readings.append(
                bound(
                    f"{prediction}: gap of the gradients in standard errors, net {seed - 3}", float(z.abs().max()), 4.5
                )
            )
            curves = curves or _by_batch(ours, exact)
        change = constants[0] - constants[1]
        error = float(change.mean().abs() / (change.std() / math.sqrt(n)))
        readings.append(bound(f"{prediction}: L_CFM - L_FM is the same for two nets, in standard errors", error, 4.5))
        angles[str(prediction)] = curves
        power = slope(*curves[:2])
        readings.append(value(f"{prediction}: power of the gap in the batch size", power, -0.5, 0.1))
    return Outcome(readings=tuple(readings), arrays={"angles": angles})


def _by_batch(ours: Tensor, exact: Tensor) -> tuple[list[int], list[float], list[float]]:
    """(batch sizes, root mean square gap of the two gradients of a batch, and the angle between them in degrees)."""
    sizes = [2**k for k in range(6, 13)]
    gaps, angles = [], []
    for size in sizes:
        a, b = (g.unflatten(0, (-1, size)).mean(1) for g in (ours, exact))
        gaps.append(float((a - b).square().sum(1).mean().sqrt()))
        angle = torch.rad2deg(torch.acos(torch.cosine_similarity(a, b, dim=1).clamp(-1.0, 1.0)))
        angles.append(float(angle.square().mean().sqrt()))
    return sizes, gaps, angles


def _draw_angles(axes: Any, outcome: Outcome) -> None:
    for (name, (sizes, _, angles)), colour in zip(outcome.arrays["angles"].items(), style.CYCLE, strict=False):
        axes.loglog(sizes, angles, "o-", color=colour, label=name, markersize=3.5, linewidth=1.2)
    sizes, _, angles = outcome.arrays["angles"]["data"]
    axes.loglog(sizes, [angles[0] * (sizes[0] / n) ** 0.5 for n in sizes], ":", color=style.INK, label="n^(-1/2)")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "batch size n", "angle, degrees", "gradients of the two losses")


def _ours(prediction: Prediction, net: Any, x_1: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    return Matching(TRIG, prediction).per_sample(Field(net, TRIG, prediction), x_1, x_0, t=t)


def _straightened(prediction: Prediction, net: Any, x_1: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    x_t = TRIG.sample(x_0, x_1, t)
    target = x_1 - x_0 if prediction is VELOCITY else prediction.of(TRIG.coefs(t, x_1), x_1, x_0)
    return (net(x_t, t) - target).square().mean(1)


def _unrelated(prediction: Prediction, net: Any, x_1: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    x_t = TRIG.sample(x_0, x_1, t)
    return (net(x_t, t) - prediction.of(TRIG.coefs(t, x_1), x_1.roll(1, 0), x_0)).square().mean(1)


T13 = Check(
    id="T13",
    statement="Conditional flow matching has the gradient of flow matching; so has denoising score matching",
    how="per-sample gradients of a small net under both losses on the same 32,768 points; angle against batch size",
    formulas=(
        r"L_{FM}(\theta) = \mathrm{E}\,|v_\theta - u_t(x_t)|^2 = L_{CFM}(\theta) - C, \quad "
        r"L_{CFM}(\theta) = \mathrm{E}\,|v_\theta - u_t(x_t \mid x_1)|^2",
        r"\nabla_\theta L_{FM} = \nabla_\theta L_{CFM}",
    ),
    measure=_gradients,
    right=_ours,
    wrong=(
        Mistake(name="the target x_1 - x_0 on a path that is not straight", formula=_straightened),
        Mistake(name="the target of another data point", formula=_unrelated),
    ),
    draw=_draw_angles,
)
