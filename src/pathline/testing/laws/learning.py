"""Laws of couplings, guidance and objectives."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pathline.couplings import Coupling
from pathline.field import BaseField, Field
from pathline.guidance import Guidance
from pathline.objectives import Matching
from pathline.solvers.base import Bound
from pathline.testing import oracles
from pathline.testing.laws.base import close, gap, generator, linear_path, require
from pathline.testing.laws.device import check_device
from pathline.testing.laws.kernel import without_input_change


def check_coupling(coupling: Coupling, *, permutation: bool = True) -> None:
    """Indices into the source, a permutation, for any state shape, repeatable, blind to constants, arguments untouched (T27-T30).

    ``permutation=False`` is for a coupling that draws from a plan: each source point is then used once on average only.
    """
    for shape in ((1, 2), (8, 2), (8, 8), (9, 1), (6, 1, 4, 4), (130, 2)):
        x_0 = torch.randn(shape, generator=generator(1))
        x_1 = torch.randn(shape, generator=generator(2)) + 1.0
        y = torch.arange(len(x_0)) % 2
        kept = x_0.clone(), x_1.clone(), y.clone()
        indices = coupling(x_0, x_1, y, generator(3))
        require(
            indices.dtype == torch.int64 and indices.shape == (len(x_0),) and indices.device == x_0.device,
            "A coupling returns one int64 index per data point, on the device of x_0",
            f"{indices.dtype} of shape {tuple(indices.shape)} for a batch of {len(x_0)}",
        )
        require(
            bool(((indices >= 0) & (indices < len(x_0))).all()),
            "A coupling returns rows of the source",
            f"values from {int(indices.min())} to {int(indices.max())} for {len(x_0)} points",
        )
        if permutation:
            require(
                torch.equal(indices.sort().values, torch.arange(len(x_0))),
                "A coupling uses each source point exactly once",
                f"{indices.unique().numel()} of {len(x_0)} points used: {indices.tolist()}",
                "Sampling pairs from a plan draws with replacement; take the assignment.",
            )
        again = coupling(x_0, x_1, y, generator(3))
        require(torch.equal(indices, again), "The same generator gives the same pairs", "two different pairings")
        require(
            all(torch.equal(now, then) for now, then in zip((x_0, x_1, y), kept, strict=True)),
            "A coupling leaves points and labels as they are",
            "an argument has changed",
        )
        wide = coupling(x_0.double().requires_grad_(), x_1.double(), y, generator(3))
        require(not wide.requires_grad, "Indices carry no gradient", "requires_grad is set")
        low = coupling(x_0.bfloat16(), x_1.bfloat16(), y, generator(3))
        require(low.dtype == torch.int64 and low.shape == indices.shape, "A coupling takes bfloat16", f"{low.dtype}")


def check_conditional_coupling(coupling: Coupling, n: int = 256, rounds: int = 8) -> None:
    """p(x_0 | y) is p(x_0): what a coupling must keep to be used with conditions (T30).

    Source N(0, I) in the plane, data of two classes at (−4, 0) and (4, 0). The mean of the sources paired with class 1
    must be 0 to five standard errors; a coupling that looks at the positions alone gives it sources on the right.
    """
    means = []
    for seed in range(rounds):
        draw = generator(100 + seed)
        x_0, y = torch.randn(n, 2, generator=draw), torch.randint(2, (n,), generator=draw)
        x_1 = torch.randn(n, 2, generator=draw) + torch.stack([8.0 * y - 4.0, torch.zeros(n)], 1)
        means.append(x_0[coupling(x_0, x_1, y, draw)][y == 1, 0].mean())
    moved = float(torch.stack(means).mean())
    bound = 5.0 / (0.5 * n * rounds) ** 0.5
    require(
        abs(moved) < bound,
        "A conditional coupling leaves p(x_0 | y) as it is",
        f"sources of one class have mean {moved:.2f} instead of 0 (bound {bound:.2f})",
        "Pair within the class, or add a cost of the condition.",
    )


def check_guidance(make: Callable[[Any], Guidance], *, per_sample: bool = True, tolerance: float = 1e-9) -> None:
    """``make(w)`` guides the field; w = 1 is no guidance, the condition is read, and states keep shape and finiteness (T33).

    A sample does not see its batch, a scale of its own for each included (``per_sample``), not even when a solver goes on with a part
    of the batch; the velocity has finite gradients; inference mode changes nothing. ``tolerance`` is that of w = 1.
    """
    field = oracles.eight_gaussians(linear_path())
    x = torch.randn(8, 2, generator=generator(4), dtype=torch.float64)
    y = torch.arange(8)
    for time in (0.0, 0.3, 0.9, 1.0):
        plain = field(x, time, y=y).velocity
        same = make(1.0)(field)(x, time, y=y).velocity.detach()
        require(close(same, plain, tolerance), "w = 1 is no guidance", f"a gap of {gap(same, plain):.1e} at t = {time}")
        strong = make(3.0)(field)(x, time, y=y)
        for name in ("velocity", "data", "noise"):
            value = getattr(strong, name)
            require(
                value.shape == x.shape and bool(torch.isfinite(value).all()),
                f"The guided {name} is finite and shaped like x_t",
                f"shape {tuple(value.shape)} at t = {time}",
            )
    other = make(3.0)(field)(x, 0.3, y=y.flip(0)).velocity
    require(
        not torch.equal(other, make(3.0)(field)(x, 0.3, y=y).velocity),
        "Guidance reads the condition",
        "no change with y",
    )
    _check_rows(make(3.0)(field), x, y)
    if per_sample:
        _check_rows(make(torch.linspace(1.0, 3.0, 8, dtype=torch.float64))(field), x, y)


def _check_rows(guided: BaseField, x: Tensor, y: Tensor) -> None:
    """One sample on its own, gradients and inference mode, on a guided field."""
    whole, t = Bound(guided, {"y": y}), torch.tensor(0.4, dtype=torch.float64)
    together = whole(x, t).velocity.detach()
    for rows in (torch.tensor([5]), torch.tensor([6, 1, 2])):
        alone = whole.take(rows)(x[rows], t.expand(len(rows))).velocity.detach()
        require(
            close(alone, together[rows], 1e-9),
            "A guided sample does not see its batch",
            f"a gap of {gap(alone, together[rows]):.1e} for samples {rows.tolist()} alone",
            "Tensors of the field that belong to samples travel through `BaseField.carried`.",
        )
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(whole(point, t).velocity.sum(), point)
    require(torch.isfinite(slope).all(), "The guided velocity has finite gradients", f"{slope.flatten().tolist()}")
    with torch.inference_mode():
        quiet = whole(x.clone(), t.clone()).velocity
    require(close(quiet, together, 1e-12), "Inference mode changes nothing", f"a gap of {gap(quiet, together):.1e}")


def gradient_z_score(objective: Matching, shift: float = 0.0, n: int = 40_000) -> float:
    """The largest |mean| / standard error of the loss gradient at the exact field moved by ``shift``.

    The network is the exact prediction plus theta_0 + theta_1 x_t at theta = 0: if the objective's minimiser is the
    posterior mean, both mean gradients vanish (T9, T13), and the score stays near 1; a shift must be seen.
    """
    mean, cov = torch.tensor([1.0, -0.5]).double(), torch.tensor([[0.6, 0.2], [0.2, 0.4]]).double()
    field = oracles.gaussian(mean, cov, objective.path)
    x_1 = field.sample_data(n, generator(5))
    theta = torch.zeros(n, 2, 1, dtype=torch.float64, requires_grad=True)

    def net(x: Tensor, t: Tensor) -> Tensor:
        exact = field.evaluate(x, t).read(objective.prediction)
        return exact + shift + theta[:, 0] + theta[:, 1] * x

    bare = Field(net, objective.path, without_input_change(objective.prediction))
    losses = objective.per_sample(bare, x_1, generator=generator(6))
    (slopes,) = torch.autograd.grad(losses.sum(), theta)
    slopes = slopes[..., 0]
    return float((slopes.mean(0) / (slopes.std(0) / n**0.5)).abs().max())


def check_objective(objective: Matching) -> None:
    """The gradient of the loss vanishes at the exact field, and does not beside it (T13); batches may live on any device."""
    net = torch.nn.Linear(2, 2, device="meta")
    check_device(lambda x: objective(lambda x_t, t: net(x_t), x, generator=generator(7)), (6, 2))
    score = gradient_z_score(objective)
    what = f"{objective.prediction} with loss in {objective.space}"
    require(score < 4.5, f"The gradient is zero at the exact field ({what})", f"{score:.1f} standard errors from zero")
    moved = gradient_z_score(objective, shift=0.5)
    require(moved > 6.0, f"The gradient sees a shifted field ({what})", f"only {moved:.1f} standard errors from zero")
