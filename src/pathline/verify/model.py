"""Where in time is a trained model wrong, and by how much (theory T2, T7, T10, T12, T16).

Everything is measured in bins of t on states x_t of the path, beside what is exact: the posterior of the training data
(`testing.oracles.empirical`), identities that hold for every true field, and fresh data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.likelihood import divergence
from pathline.paths import AffinePath
from pathline.predictions import DATA
from pathline.solvers import Solver
from pathline.solvers.sampling import evaluating
from pathline.testing import oracles
from pathline.testing.oracles import Empirical
from pathline.verify.bayes import in_space, noised, time_edges, times_within
from pathline.verify.trajectories import Distance, along_paths, bend, projected_distance, sampled_paths


@dataclass(frozen=True, kw_only=True)
class TimeBin:
    """One bin of time; losses are means over the dimensions, in the space of the network's prediction."""

    low: float
    high: float
    train: float
    """Loss on training data."""
    held_out: float
    """Loss on data that were held out; NaN without."""
    bayes: float
    """What no network can beat on the training data."""
    excess: float
    """The loss above Bayes on training data, from the exact field: `train` less `bayes` without their noise."""
    velocity: float
    """|u - u*|/|u*|, root mean squares, u* the exact velocity of the training data."""
    calibration: float
    """Slope of x_1 against the data prediction on held-out data: 1 if E[x_1 | D] = D, below 1 if D is too bold."""
    calibration_error: float
    """Its standard error."""
    continuity: float
    """Weak residual of the continuity equation, as a share of the rate of change; see `continuity_residual`."""
    stein: float
    """E[div u + u.s]/dim in units of E|u.s|/dim: 0 if the score is that of the states it is read at."""
    asymmetry: float
    """|J - J^T|/|J| of the data prediction's Jacobian: 0 if it belongs to a gradient, as every true one does."""
    divergence: float
    """E div u/dim."""
    exact_divergence: float
    """The same of the exact velocity."""
    bend: float
    """E|u - (x_1 - x_0)|²/E|x_1 - x_0|² along the model's own paths: 0 where they are straight."""
    distance: float
    """Distance of the model's states to those of the path at the end of the bin."""
    floor: float
    """The same distance between training and held-out data on the path."""


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """What `verify_model` found."""

    prediction: str
    bins: tuple[TimeBin, ...]
    evaluations: int
    """Field evaluations of each sampled path."""

    @property
    def worst(self) -> TimeBin:
        """The bin in which the velocity is furthest from the exact one."""
        return max(self.bins, key=lambda each: each.velocity)


def verify_model(
    field: BaseField,
    train: Tensor,
    held_out: Tensor | None = None,
    *,
    y_train: Tensor | None = None,
    y_held_out: Tensor | None = None,
    bins: "int | Tensor" = 10,
    n: int = 512,
    solver: "Solver | str" = "heun",
    steps: int = 40,
    distance: Distance | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> ModelReport:
    """Check ``field`` on the standardised data that it was trained on and, if there are any, on data that it has not seen.

    ``train`` (N, ...), ``held_out`` (M, ...), with their labels (N,), (M,) if the network takes ``y``; at most ``n`` points of each
    go into a bin, while the posterior is that of all of ``train``. ``distance`` compares two sets of states (n, ...); the mean
    W2 of projections to random lines if None. Without held-out data, training data stand in, except for that loss.
    """
    path = field.path
    if not isinstance(path, AffinePath):
        raise ValueError(f"the exact field is known for an AffinePath, got {path!r}")
    draws = torch.Generator().manual_seed(seed)
    posterior = oracles.empirical(train, path, y_train)
    fresh, y_fresh = (train, y_train) if held_out is None else (held_out, y_held_out)
    edges = time_edges(bins)
    spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    rows = []
    with evaluating(field), torch.no_grad():
        paths = sampled_paths(field, fresh, y_fresh, n, solver, steps, draws)
        for index, (low, high) in enumerate(spans):
            told = {
                **on_training_data(field, posterior, train, y_train, (low, high), n, batch_size, draws),
                **on_fresh_data(field, fresh, y_fresh, (low, high), n, batch_size, draws),
                **along_paths(paths, (train, fresh), high, path, distance or projected_distance(seed), draws),
                "bend": bend(paths, low, high),
            }
            if held_out is None:
                told["held_out"] = float("nan")
            rows.append(TimeBin(low=low, high=high, **told))
            if progress is not None:
                progress(index + 1, len(spans))
    return ModelReport(prediction=str(field.prediction), bins=tuple(rows), evaluations=paths.evaluations)


def _cond(y: Tensor | None, rows: Tensor) -> dict[str, Any]:
    return {} if y is None else {"y": y[rows]}


def on_training_data(
    field: BaseField, posterior: Empirical, data: Tensor, y: Tensor | None, span: tuple[float, float], n: int,
    batch_size: int, draws: torch.Generator,
) -> dict[str, float]:  # fmt: skip
    """Losses, velocity and divergence beside those of the exact posterior."""
    path, prediction, size = posterior.path, field.prediction, data[0].numel()
    sums: dict[str, list[Tensor]] = {
        name: [] for name in ("train", "bayes", "excess", "gap", "size", "div", "exact_div")
    }
    for rows, t in _batches(len(data), span, n, batch_size, draws, data):
        cond = _cond(y, rows)
        x_0, x_t = noised(path, data[rows], t, draws)
        coefs = path.coefs(t, x_t)
        found, exact = field.evaluate(x_t, t, **cond), posterior.evaluate(x_t, t, **cond)
        error = found.read(prediction) - prediction.of(coefs, data[rows], x_0)
        sums["train"].append(_mean_square(error))
        sums["gap"].append(_mean_square(found.velocity - exact.velocity))
        sums["size"].append(_mean_square(exact.velocity))
        sums["excess"].append(_mean_square(found.read(prediction) - exact.read(prediction)))
        spread = posterior.posterior_variance(x_t, t, **cond).double()
        sums["bayes"].append(in_space(path, t, spread, prediction) / size)
        sums["div"].append(divergence(field, x_t, t, method="hutchinson", probes=4, generator=draws, **cond) / size)
        sums["exact_div"].append(exact_divergence(path, t, spread, size))
    mean = {name: float(torch.cat(values).double().mean()) for name, values in sums.items()}
    return {
        "train": mean["train"],
        "bayes": mean["bayes"],
        "excess": mean["excess"],
        "velocity": (mean["gap"] / mean["size"]) ** 0.5,
        "divergence": mean["div"],
        "exact_divergence": mean["exact_div"],
    }


def exact_divergence(path: AffinePath, t: Tensor, variance: Tensor, size: int) -> Tensor:
    """div u*/dim = sigma'/sigma + (alpha' - sigma' alpha/sigma) tr(dD/dx)/dim, with dD/dx = (alpha/sigma²) Cov[x_1 | x_t]."""
    c = path.schedule(t.double())
    slope = c.alpha / c.sigma**2 * variance / size
    return torch.as_tensor(c.dsigma / c.sigma + (c.dalpha - c.dsigma * c.alpha / c.sigma) * slope)


def on_fresh_data(
    field: BaseField, data: Tensor, y: Tensor | None, span: tuple[float, float], n: int, batch_size: int,
    draws: torch.Generator,
) -> dict[str, float]:  # fmt: skip
    """Loss, calibration, and the identities that every true field obeys on the states of the path."""
    path, prediction, size = field.path, field.prediction, data[0].numel()
    centre = data.mean(0)
    waves = torch.randn(128, size, generator=draws, dtype=data.dtype).to(data.device)
    waves = waves / waves.norm(dim=1, keepdim=True)
    phases = 6.2832 * torch.rand(128, generator=draws, dtype=data.dtype).to(data.device)
    parts: dict[str, list[Tensor]] = {}

    def keep(**values: Tensor) -> None:
        for name, value in values.items():
            parts.setdefault(name, []).append(value.double())

    for rows, t in _batches(len(data), span, n, batch_size, draws, data):
        cond, x_1 = _cond(y, rows), data[rows]
        x_0, x_t = noised(path, x_1, t, draws)
        coefs = path.coefs(t, x_t)
        found = field.evaluate(x_t, t, **cond)
        u, s, bold = found.velocity, found.score, found.data - centre
        error = found.read(prediction) - prediction.of(coefs, x_1, x_0)
        missing = coefs.dalpha * x_1 + coefs.dsigma * x_0 - u
        div = divergence(field, x_t, t, method="hutchinson", probes=4, generator=draws, **cond)
        flat = x_t.flatten(1)
        wave = torch.sin((2.0 / flat.std()) * flat @ waves.T + phases)
        keep(
            held_out=_mean_square(error),
            missed=_dot(x_1 - found.data, bold),
            bold=_dot(bold, bold),
            residual=wave * (missing.flatten(1) @ waves.T),
            flux=wave * (u.flatten(1) @ waves.T),
            stein=div + _dot(u, s),
            pull=_dot(u, s).abs(),
            **dict(zip(("odd", "even"), antisymmetry(field, x_t, t, draws, cond), strict=True)),
        )
    v = {name: torch.cat(values) for name, values in parts.items()}
    return {
        "held_out": float(v["held_out"].mean()),
        "calibration": float(1.0 + v["missed"].mean() / v["bold"].mean()),
        "calibration_error": float(v["missed"].std() / v["bold"].mean() / len(v["bold"]) ** 0.5),
        "continuity": continuity_residual(v["residual"], v["flux"]),
        "stein": float(v["stein"].mean() / v["pull"].mean()),
        "asymmetry": float((v["odd"].square().mean() / v["even"].square().mean().clamp(min=1e-30)).sqrt()),
    }


def continuity_residual(residual: Tensor, flux: Tensor) -> float:
    """d/dt E f(x_t) = E[grad f . u] for every test function f, tested on waves f_k = -cos(w_k . x + b_k).

    ``residual`` (n, K) holds grad f_k . (u(x_t | x_1) - u), ``flux`` grad f_k . u. Root mean square of the means of the first over k,
    less their Monte Carlo noise, as a share of the root mean square of the second: 0 where u moves the marginals rightly.
    """
    square = residual.mean(0).square().mean() - residual.var(0).mean() / len(residual)
    return float((square.clamp(min=0.0) / flux.square().mean()).sqrt())


def antisymmetry(
    field: BaseField, x_t: Tensor, t: Tensor, draws: torch.Generator, cond: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """(v^T J w - w^T J v, its size if both were independent), J the Jacobian of the data prediction; each (B,)."""
    v, w = (torch.randn(x_t.shape, generator=draws, dtype=x_t.dtype).to(x_t.device) for _ in range(2))
    with torch.enable_grad():
        point = x_t.detach().requires_grad_(True)
        data = field.evaluate(point, t, **cond).read(DATA)
        if not data.requires_grad:  # it does not depend on x
            return torch.zeros_like(t), torch.zeros_like(t)
        (back_v,) = torch.autograd.grad(data, point, v, retain_graph=True)
        (back_w,) = torch.autograd.grad(data, point, w)
    one, other = _dot(back_v, w), _dot(back_w, v)
    return one - other, (one.square() + other.square()).sqrt()


def _batches(
    count: int, span: tuple[float, float], n: int, batch_size: int, draws: torch.Generator, like: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Rows of the data and times within ``span``, (rows, t), ``n`` in all or as many as there are data."""
    rows = torch.randperm(count, generator=draws)[:n]
    times = times_within(*span, len(rows), draws, like)[torch.randperm(len(rows), generator=draws)]
    return list(zip(rows.split(batch_size), times.split(batch_size), strict=True))


def _mean_square(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)
