"""The Bayes-optimal loss: what no network can beat (theory T13, T16).

The squared error of the best prediction p* = E[p | x_t] is the posterior variance of p. As p is linear in x_1 given x_t, it is
that of the data times a known factor (T18):

    L*_p(t) = (D_p/D_data)² E|x_1 - D(x_t)|² / dim,

with the exact D of a Gaussian, a mixture, or the empirical distribution of the training data.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pathline._draws import chosen
from pathline._shapes import working_dtype
from pathline.couplings import Independent
from pathline.objectives import Matching
from pathline.paths import AffinePath
from pathline.predictions import DATA, Prediction, gain
from pathline.testing import oracles
from pathline.testing.oracles import Oracle

EDGE = 1e-3
"""Times keep this distance from 0 and 1, where some readings are singular."""


@dataclass(frozen=True, kw_only=True)
class BayesLoss:
    """The least loss per bin of time, a mean over the dimensions of a sample."""

    edges: Tensor
    """(bins + 1,)."""
    loss: Tensor
    """(bins,), in the space of the prediction."""
    error: Tensor
    """(bins,), standard errors of the Monte Carlo mean."""


def time_edges(bins: "int | Tensor") -> Tensor:
    """``bins`` equal bins of [0, 1], or the edges that are given: rising, in [0, 1], float64."""
    if isinstance(bins, int) and not isinstance(bins, bool):
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}")
        return torch.linspace(0.0, 1.0, bins + 1, dtype=torch.float64)
    edges = torch.as_tensor(bins, dtype=torch.float64)
    if (
        edges.ndim != 1
        or len(edges) < 2
        or not bool((edges.diff() > 0.0).all() and edges[0] >= 0.0 and edges[-1] <= 1.0)
    ):
        raise ValueError(f"bins must be a number or rising edges within [0, 1], got {edges.tolist()}")
    return edges


def times_within(low: float, high: float, n: int, generator: torch.Generator | None, like: Tensor) -> Tensor:
    """``n`` times spread evenly over [low, high], one in each n-th of it, kept `EDGE` away from 0 and 1."""
    place = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return (low + (high - low) * place).clamp(EDGE, 1.0 - EDGE).to(like.device, working_dtype(like))


def as_oracle(source: "Oracle | Tensor", path: AffinePath | None, labels: Tensor | None = None) -> Oracle:
    """An oracle as it is, or that of the points ``source`` (N, ...) with ``labels`` under ``path``."""
    if isinstance(source, Oracle):
        if path is not None and path != source.path:
            raise ValueError(f"path {path!r} is not that of the oracle, {source.path!r}: give one of the two")
        return source
    if path is None:
        raise ValueError("path is needed to make an oracle of data: give path=pl.AffinePath(...)")
    return oracles.empirical(source, path, labels)


def draw_data(
    oracle: Oracle, n: int, generator: torch.Generator | None, label_dropout: float
) -> tuple[Tensor, Tensor | None]:
    """(x_1, y): ``n`` draws of the data with their labels, each dropped to -1 at the rate ``label_dropout``; y is None without."""
    if oracle.labels is None:
        return oracle.sample_data(n, generator), None
    classes, log_prior = oracle.class_prior()
    y = classes[chosen(log_prior.exp(), n, generator)]
    x_1 = oracle.sample_data(n, generator, y=y)
    return x_1, torch.where(torch.rand(n, generator=generator) < label_dropout, -1, y)


def least_errors(oracle: Oracle, x_t: Tensor, t: Tensor, y: Tensor | None, prediction: Prediction) -> Tensor:
    """(D_p/D_data)² E[|x_1 - D|² | x_t]/dim at states ``x_t`` (n, ...) and times ``t`` (n,), shape (n,)."""
    variance = oracle.posterior_variance(x_t, t, **({} if y is None else {"y": y}))
    return in_space(oracle.path, t, variance, prediction) / x_t[0].numel()


def in_space(path: AffinePath, t: Tensor, variance: Tensor, prediction: Prediction) -> Tensor:
    """(D_p/D_data)² times the posterior variance of the data at the times ``t``, both (n,); float64."""
    return torch.as_tensor(gain(path.schedule(t.double()), DATA, prediction)) * variance.double()


def noised(path: AffinePath, x_1: Tensor, t: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """(x_0, x_t) with fresh noise x_0."""
    x_0 = torch.randn(x_1.shape, generator=generator, dtype=x_1.dtype).to(x_1.device)
    return x_0, path.sample(x_0, x_1, t)


def bayes_loss(
    source: "Oracle | Tensor",
    prediction: Prediction,
    *,
    path: AffinePath | None = None,
    labels: Tensor | None = None,
    bins: "int | Tensor" = 10,
    n: int = 1024,
    label_dropout: float = 1.0,
    generator: torch.Generator | None = None,
) -> BayesLoss:
    """The Bayes-optimal loss of ``prediction`` in each bin of time, from ``n`` draws a bin, t uniform within it.

    ``source`` is an oracle, or data (N, ...) with their ``labels`` (N,), which need a ``path``. ``label_dropout`` is the share of draws
    whose label the network is not told: 1 for a network without labels. For training data the result bounds the training loss
    of every network. It is concave in the distribution, so over the choice of a part of the data it is lower on average:
    fewer points are easier to tell apart.
    """
    oracle, edges = as_oracle(source, path, labels), time_edges(bins)
    losses = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        x_1, y = draw_data(oracle, n, generator, label_dropout)
        t = times_within(low, high, n, generator, x_1)
        x_t = noised(oracle.path, x_1, t, generator)[1]
        losses.append(least_errors(oracle, x_t, t, y, prediction))
    each = torch.stack(losses)
    return BayesLoss(edges=edges, loss=each.mean(1), error=each.std(1) / n**0.5)


def bayes_objective(
    source: "Oracle | Tensor",
    objective: Matching,
    *,
    labels: Tensor | None = None,
    n: int = 8192,
    generator: torch.Generator | None = None,
) -> tuple[float, float]:
    """(least value of ``objective``, its standard error): the level that a training curve cannot fall below, weights included.

    ``labels`` are those that the network is told, dropped at the rate of the objective; None for a network without labels.
    Raises ValueError for a coupling: then x_0 depends on x_1, and the posterior is another one.
    """
    if objective.coupling is not None and not isinstance(objective.coupling, Independent):
        raise ValueError(f"the Bayes-optimal loss is known for the independent coupling, got {objective.coupling!r}")
    oracle = as_oracle(source, objective.path, labels)
    x_1, y = draw_data(oracle, n, generator, 1.0 if labels is None else objective.label_dropout)
    t = objective.times.sample(n, generator=generator, dtype=working_dtype(x_1)).clamp(EDGE**2, 1.0 - EDGE**2)
    errors = least_errors(oracle, noised(oracle.path, x_1, t, generator)[1], t, y, objective.prediction)
    errors = errors * torch.as_tensor(objective.factor(objective.path.schedule(t.double())))
    return float(errors.mean()), float(errors.std() / n**0.5)
