"""Laws of operators and of posterior methods."""

import torch
from torch import Tensor

from pathline.control import Mask, Observation, Operator, Posterior, PosteriorStep, Replacement, observe
from pathline.guidance.branches import inner
from pathline.solvers import sample
from pathline.solvers.base import Bound
from pathline.testing import oracles
from pathline.testing.laws.base import close, gap, generator, linear_path, require


def check_operator(operator: Operator, shape: tuple[int, ...]) -> None:
    """Linear, sample by sample, with its adjoint, its regularised inverse and its pseudo-inverse (Penrose's equations)."""
    x, z = (torch.randn(3, *shape, generator=generator(seed), dtype=torch.float64) for seed in (1, 2))
    y = operator(x)
    v = torch.randn(y.shape, generator=generator(3), dtype=torch.float64)
    what = type(operator).__name__
    require(close(operator(2.0 * x - z), 2.0 * y - operator(z), 1e-9), f"{what} is linear", "A(2x - z) is not 2Ax - Az")
    require(close(operator(x[1:2]), y[1:2], 1e-9), f"{what} acts on each sample alone", "another batch, another result")
    back = operator.adjoint(v)
    require(back.shape == x.shape, f"The adjoint of {what} has the shape of a state", f"{tuple(back.shape)}")
    left, right = inner(y, v).flatten(), inner(x, back).flatten()
    require(close(left, right, 1e-9), f"<A x, v> = <x, A^T v> for {what}", f"a gap of {gap(left, right):.1e}")
    scale, ridge = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64), 0.3
    wide = scale.reshape(-1, *(1,) * (y.ndim - 1))
    rhs = operator(operator.adjoint(v))  # in the range of A
    solved = operator.solve(rhs, scale.reshape(-1, *(1,) * (x.ndim - 1)), ridge)
    again = wide * operator(operator.adjoint(solved)) + ridge * solved
    require(close(again, rhs, 1e-6), f"solve of {what} inverts scale A A^T + ridge", f"a gap of {gap(again, rhs):.1e}")
    inverse = operator.pinv(y)
    require(close(operator(inverse), y, 1e-6), f"A A^+ A = A for {what}", f"{gap(operator(inverse), y):.1e}")
    twice = operator.pinv(operator(inverse))
    require(close(twice, inverse, 1e-6), f"A^+ A A^+ = A^+ for {what}", f"{gap(twice, inverse):.1e}")
    rest = inner(x - inverse, inverse).flatten()
    require(
        close(rest, torch.zeros_like(rest), 1e-6), f"A^+ A of {what} is orthogonal", f"{float(rest.abs().max()):.1e}"
    )


def problem() -> tuple[oracles.FullMixture, Observation, Tensor]:
    """A mixture in three dimensions, eight different observations of its first two, and states."""
    means = torch.tensor([[1.0, 0.0, 0.5], [-1.0, 1.0, -0.5]], dtype=torch.float64)
    root = torch.tensor([[0.6, 0.0, 0.0], [0.2, 0.5, 0.0], [0.1, 0.3, 0.4]], dtype=torch.float64)
    field = oracles.full_mixture(means, torch.stack([root @ root.T, root.T @ root]), None, linear_path())
    known = torch.tensor([True, True, False])
    seen = observe(Mask(known), field.sample_data(8, generator(4)), 0.3, generator=generator(5))
    return field, seen, torch.randn(8, 3, generator=generator(6), dtype=torch.float64)


def check_posterior(make: "type[Posterior]", **options: float) -> None:
    """A function from field to field: batch, inference mode and gradients change nothing, each sample has its own observation."""
    field, seen, x = problem()
    guided = make(seen, **options)(field)
    whole = Bound(guided)
    for time in (0.0, 0.4, 0.9, 1.0):
        t = torch.tensor(time, dtype=torch.float64)
        together = whole(x, t).velocity.detach()
        require(torch.isfinite(together).all(), "The guided velocity is finite", f"not at t = {time}")
        for rows in (torch.tensor([5]), torch.tensor([6, 1, 2])):
            alone = whole.take(rows)(x[rows], t.expand(len(rows))).velocity.detach()
            require(
                close(alone, together[rows], 1e-8),
                "A sample does not see its batch",
                f"a gap of {gap(alone, together[rows]):.1e} for samples {rows.tolist()} alone at t = {time}",
                "A norm taken over the batch is the usual mistake.",
            )
        with torch.inference_mode():
            quiet = whole(x.clone(), t.clone()).velocity
        require(close(quiet, together, 1e-10), "Inference mode changes nothing", f"{gap(quiet, together):.1e}")
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(whole(point, torch.tensor(0.4).double()).velocity.sum(), point)
    moved = whole(x + 1e-5, torch.tensor(0.4).double()).velocity - whole(x - 1e-5, torch.tensor(0.4).double()).velocity
    rate, expected = slope.sum(1), moved.detach().sum(1) / 2e-5
    require(close(rate, expected, 1e-4), "The guided field is differentiable", f"a gap of {gap(rate, expected):.1e}")
    other = make(Observation(seen.operator, seen.y.flip(0), seen.std), **options)(field)(x, 0.5).velocity.detach()
    require(not close(other, guided(x, 0.5).velocity.detach(), 1e-6), "The observation is read", "no change with y")


def check_posterior_step(make: "type[PosteriorStep] | type[Replacement]") -> None:
    """Seeds make sample i independent of its batch, steps are finite, and the observation is met better than without it."""
    field, seen, _ = problem()
    together = sample(field, (8, 3), solver=make(seen), steps=20, seeds=range(8))
    require(torch.isfinite(together).all(), "Samples are finite", f"{together.tolist()}")
    alone = sample(field, (1, 3), solver=make(Observation(seen.operator, seen.y[5:6], seen.std)), steps=20, seeds=[5])
    require(
        close(alone, together[5:6], 1e-5),
        "A sample does not see its batch",
        f"a gap of {gap(alone, together[5:6]):.1e} for sample 5 alone",
    )
    plain = sample(field, (8, 3), solver="euler", steps=20, seeds=range(8))
    ours, theirs = (seen.residual(x).square().sum() for x in (together, plain))
    require(ours < 0.5 * theirs, "The observation is met", f"a squared misfit of {ours:.2f}, {theirs:.2f} without it")
