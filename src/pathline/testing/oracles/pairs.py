"""The exact field of a finite set of pairs (theory T9, T16, T27, T28, T32): any source, any coupling, no training.

Let (x_0, x_1) be a pair (a_i, b_i), each end smoothed by a Gaussian of its own. Given the pair, x_t is Gaussian about
z_i = alpha b_i + sigma a_i with variance v = alpha² s_1² + sigma² s_0², and (x_1, x_0, x_t) are jointly Gaussian; the
pairs mix by softmax_i(-|x_t - z_i|²/(2 v)). The exponent is linear in (b, a, |b|²/2, |a|²/2, a.b), so the posterior is one
attention call with five groups of columns, at any time.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pathline._draws import integers, normal
from pathline._shapes import check_time
from pathline.paths.affine import AffineEstimate, AffinePath
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction, combine
from pathline.testing.oracles.base import LOG_2PI, Oracle, check_labels, check_y

LOG_2 = math.log(2.0)
BLOCK = 2**19
"""Weights held at once, batch x pairs."""


class PairsEstimate(AffineEstimate):
    """Posterior means of both ends; the score is read from p_t itself, for x_0 need not be Gaussian."""

    __slots__ = ("_ends", "_score")

    def __init__(self, path: AffinePath, x_t: Tensor, t: Tensor, data: Tensor, noise: Tensor, score: Tensor) -> None:
        self._ends, self._score = (data, noise), score
        super().__init__(path, x_t, t, VELOCITY, x_t)
        self.value = combine(self.coefs.dalpha, data, self.coefs.dsigma, noise)

    def read(self, prediction: Prediction) -> Tensor:
        if prediction is self.prediction:
            return self.value
        if prediction is DATA:
            return self._ends[0]
        if prediction is NOISE:
            return self._ends[1]
        if prediction is SCORE:
            return self._score
        return prediction.of(self.coefs, *self._ends)


class PairedPoints(Oracle):
    """Pairs (a_i, b_i) of equal weight, the ends smoothed to Gaussians of standard deviations ``std_0`` and ``std_1``.

    A label ``y`` restricts it to the pairs of that label, -1 to none. Any affine path whose coefficients do not vanish
    together; the score is that of p_t, and -E[x_0 | x_t]/sigma is not, unless the source is N(0, I).
    Weights are computed in the dtype of x_t: in float32 the exponent has a rounding error of about 1e-7 |z|²/v.
    """

    def __init__(
        self,
        x_0: Tensor,
        x_1: Tensor,
        path: AffinePath,
        labels: Tensor | None = None,
        *,
        std_0: float = 0.1,
        std_1: float = 0.1,
    ) -> None:
        if x_0.shape != x_1.shape or x_1.ndim < 2 or len(x_1) == 0 or not x_1.is_floating_point():
            raise ValueError(
                f"x_0 and x_1 must be floating tensors (N, ...) of one shape, row i of both a pair, got "
                f"{tuple(x_0.shape)} and {tuple(x_1.shape)}"
            )
        for name, std in (("std_0", std_0), ("std_1", std_1)):
            if not 0.0 < std < math.inf:
                raise ValueError(f"{name} must be positive, the width of an end of a pair, got {std}")
        self.path, self.shape, self.prediction = path, x_1.shape[1:], VELOCITY
        self.std_0, self.std_1 = float(std_0), float(std_1)
        self.labels = check_labels(labels, len(x_1))
        self.x_0, self.x_1 = x_0, x_1
        b, a = (x.flatten(1).double() for x in (x_1, x_0))
        self.centre_1, self.centre_0 = b.mean(0), a.mean(0)
        b, a = b - self.centre_1, a - self.centre_0
        self._columns = torch.cat([b, a, b.square().sum(1, True), a.square().sum(1, True), (a * b).sum(1, True)], 1)
        self._ready: dict[tuple[torch.dtype, torch.device, int | None], Tensor] = {}

    def evaluate(self, x_t: Tensor, t: Tensor, y: "Tensor | int | None" = None) -> PairsEstimate:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = self._flat(x_t)
        alpha, sigma, variance = self._scales(x, t)
        means, _ = self._attend(x, alpha, sigma, variance, y)
        size = x.shape[1]
        data, noise = means[:, :size] + self.centre_1.to(x), means[:, size : 2 * size] + self.centre_0.to(x)
        pull = (x - alpha * data - sigma * noise) / variance  # = -score
        data = data + (alpha * self.std_1**2) * pull
        noise = noise + (sigma * self.std_0**2) * pull
        parts = (part.reshape(x_t.shape).to(x_t.dtype) for part in (data, noise, -pull))
        return PairsEstimate(self.path, x_t, t, *parts)

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, y: "Tensor | int | None" = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """log p_t(x), shape (B,), nats."""
        return self._log_density(x, check_time(t, x), y)

    def posterior_variance(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, t: "Tensor | float", y: "Tensor | int | None" = None
    ) -> Tensor:
        flat = self._flat(x)
        alpha, sigma, variance = self._scales(flat, check_time(t, x))
        means, _ = self._attend(flat, alpha, sigma, variance, y)
        size = flat.shape[1]
        keep = alpha * self.std_1**2 / variance  # x_1 = b + keep (x_t - z) + rest
        b, a, squares = 1.0 - keep * alpha, keep * sigma, means[:, 2 * size :]
        second = b**2 * squares[:, :1] + a**2 * squares[:, 1:2] - 2.0 * a * b * squares[:, 2:]
        first = b * means[:, :size] - a * means[:, size : 2 * size]
        within = size * (self.std_1 * sigma * self.std_0) ** 2 / variance
        return (second - first.square().sum(1, keepdim=True) + within)[:, 0].clamp(min=0.0).to(x.dtype)

    def class_prior(self) -> tuple[Tensor, Tensor]:
        if self.labels is None:
            raise ValueError("these pairs have no labels: build the oracle with labels=")
        classes, counts = self.labels.unique(return_counts=True)
        return classes, torch.log(counts / counts.sum())

    def sample_data(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n: int, generator: torch.Generator | None = None, y: "Tensor | int | None" = None
    ) -> Tensor:
        return self.sample_pairs(n, generator, y=y)[1]

    def sample_pairs(
        self, n: int, generator: torch.Generator | None = None, y: "Tensor | int | None" = None
    ) -> tuple[Tensor, Tensor]:
        """n draws of (x_0, x_1), each (n, *shape)."""
        like = self.x_1
        chosen = torch.empty(n, dtype=torch.long, device=like.device)
        for rows, label in self._groups(like.new_empty(n), y):
            known = self._members(label)
            count = n if rows is None else len(rows)
            drawn = integers(len(known), count, generator, like.device)
            chosen[slice(None) if rows is None else rows] = known[drawn]
        ends = []
        for x, std in ((self.x_0, self.std_0), (self.x_1, self.std_1)):
            ends.append(x[chosen] + std * normal((n, *self.shape), generator, x))
        return ends[0], ends[1]

    def sample(
        self, n: int, t: "Tensor | float" = 1.0, generator: torch.Generator | None = None, **cond: "Tensor | int | None"
    ) -> Tensor:
        x_0, x_1 = self.sample_pairs(n, generator, **cond)
        return self.path.sample(x_0, x_1, check_time(t, x_1))

    def _working(self, x: Tensor) -> torch.dtype:
        return torch.float64 if x.dtype == torch.float64 else torch.float32

    def _scales(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(alpha, sigma, v), each () or (B, 1)."""
        coefs = self.path.coefs(t, x)
        alpha, sigma = (torch.as_tensor(c, dtype=torch.float64).to(x) for c in (coefs.alpha, coefs.sigma))
        return alpha, sigma, (alpha * self.std_1) ** 2 + (sigma * self.std_0) ** 2

    def _log_density(self, x: Tensor, t: Tensor, y: "Tensor | int | None") -> Tensor:
        flat = self._flat(x)
        alpha, sigma, variance = self._scales(flat, t)
        _, mass = self._attend(flat, alpha, sigma, variance, y)
        off = flat - alpha * self.centre_1.to(flat) - sigma * self.centre_0.to(flat)
        rest = off.square().sum(1, keepdim=True) / variance + flat.shape[1] * (torch.log(variance) + LOG_2PI)
        return (mass - 0.5 * rest)[:, 0].to(x.dtype)

    def _groups(self, x: Tensor, y: "Tensor | int | None") -> Iterator[tuple[Tensor | None, int | None]]:
        """(rows of x, their label); None stands for all rows, and for every pair."""
        if y is None:
            yield None, None
            return
        y = check_y(y, self.labels, x)
        wanted = y.unique().tolist()
        for label in wanted:
            yield None if len(wanted) == 1 else torch.nonzero(y == label)[:, 0], None if label == -1 else int(label)

    def _members(self, label: int | None) -> Tensor:
        """The pairs of ``label``, int64."""
        if label is None or self.labels is None:
            return torch.arange(len(self.x_1), device=self.x_1.device)
        return torch.nonzero(self.labels == label)[:, 0]

    def _keys(self, x: Tensor, label: int | None) -> Tensor:
        place = x.dtype, x.device, label
        if place not in self._ready:
            with torch.inference_mode(False):
                self._ready[place] = self._columns[self._members(label)].to(x.device, x.dtype)
        return self._ready[place]

    def _attend(
        self, x: Tensor, alpha: Tensor, sigma: Tensor, variance: Tensor, y: "Tensor | int | None"
    ) -> tuple[Tensor, Tensor]:
        """Posterior means of the columns (B, 2 D + 3), and the log of the mean weight (B, 1)."""
        off = x - alpha * self.centre_1.to(x) - sigma * self.centre_0.to(x)
        factors = -0.5 * alpha**2 / variance, -0.5 * sigma**2 / variance, -alpha * sigma / variance
        flat = [f.expand(len(x), 1) for f in factors]
        query = torch.cat([alpha / variance * off, sigma / variance * off, *flat], 1)
        parts, order = [], []
        for rows, label in self._groups(x, y):
            keys = self._keys(x, label)
            for q in (query if rows is None else query[rows]).split(max(1, BLOCK // len(keys))):
                logits = q @ keys.T
                top = logits.detach().amax(1, keepdim=True)
                # in base 2, whose exponential costs a tenth in float32 where results underflow
                weights = logits.sub_(top).mul_(1.0 / LOG_2).exp2_()
                mass = weights.sum(1, keepdim=True)
                parts.append(((keys.T @ weights.T).T / mass, top + torch.log(mass / len(keys))))
            order.append(rows)
        means, mass = (torch.cat([part[k] for part in parts]) for k in (0, 1))
        if len(order) == 1:
            return means, mass
        back = torch.argsort(torch.cat([rows for rows in order if rows is not None]))
        return means[back], mass[back]


def pairs(
    x_0: Tensor,
    x_1: Tensor,
    path: AffinePath,
    labels: Tensor | None = None,
    *,
    std_0: float = 0.1,
    std_1: float = 0.1,
) -> PairedPoints:
    """The exact field of the pairs (x_0[i], x_1[i]), (N, *shape) each: what a network trained on them would learn.

    The ends are smoothed to Gaussians of standard deviations ``std_0`` and ``std_1``. Give pairs of an optimal coupling,
    of several random permutations (which come near to the independent coupling), or the ends of paths of another flow:
    then it is the flow after one reflow (T32). ``labels`` (N,), integers from 0, make it conditional on ``y``.

    >>> import pathline as pl
    >>> g = torch.Generator().manual_seed(0)
    >>> x_0, x_1 = torch.randn(64, 2, generator=g), 3.0 + torch.randn(64, 2, generator=g)
    >>> straight = pairs(x_0[pl.couplings.exact_ot()(x_0, x_1)], x_1, pl.AffinePath(pl.Linear()))
    >>> straight(x_0, 0.3).velocity.shape
    torch.Size([64, 2])
    """
    return PairedPoints(x_0, x_1, path, labels, std_0=std_0, std_1=std_1)
