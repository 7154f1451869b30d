"""The exact field of a finite data set (theory T16): one attention call over the data, streamed in blocks.

Given x_t the data point is z_i with probability softmax_i(-|x_t - alpha z_i|²/(2v)), v = sigma² + alpha² s² for points
smoothed to Gaussians of standard deviation s. With query alpha x_t/v, keys and values z and bias -alpha²|z|²/(2v) the
posterior average is an attention call; here its softmax is carried through blocks of points (the running maximum and sum
of the "online softmax", Milakov and Gimelshein 2018), so that memory is O(batch x block), never batch x data x dimension.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from pathline._draws import integers, normal
from pathline._shapes import check_time, working_dtype
from pathline.paths.affine import AffinePath
from pathline.predictions import DATA, VELOCITY
from pathline.testing.oracles.base import LOG_2PI, ExactEstimate, Oracle, check_labels, check_y

Values: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""What is averaged, (N, n), from the centred points (N, D) and their squared lengths (N,)."""
LOG_2 = math.log(2.0)
SMALL_SPACE = 16
"""Up to this many dimensions weights are computed in float64: there the time goes into exponentials, not products."""
BLOCK = 2**19
"""Weights held at once, batch x block: two megabytes of float32, about what stays in cache."""


class Store(NamedTuple):
    """The data in one dtype on one device."""

    points: Tensor
    """Less their mean, (N, D)."""
    squares: Tensor
    """Their squared lengths, (N,)."""
    centre: Tensor
    """Their mean, (D,)."""


class Empirical(Oracle):
    """Data (1/N) sum_i N(z_i, s² I); a label ``y`` restricts it to the points of that label, -1 to none.

    At sigma = 0 and s = 0 the data prediction is the nearest point (the mean of equally near ones). In float32 with more than
    16 dimensions, distances carry a rounding error of about 1e-7 |z|² for points z centred about their mean.
    """

    def __init__(
        self,
        points: Tensor,
        path: AffinePath,
        labels: Tensor | None = None,
        *,
        std: float = 0.0,
        block: int | None = None,
    ) -> None:
        if points.ndim < 2 or len(points) == 0 or not points.is_floating_point():
            raise ValueError(
                f"points must be a floating tensor (N, ...) of at least one point, got {points.dtype} of shape "
                f"{tuple(points.shape)}"
            )
        if not 0.0 <= std < math.inf:
            raise ValueError(f"std must not be negative, got {std}")
        if block is not None and block < 1:
            raise ValueError(f"block must be a positive number of points, got {block}")
        self.path, self.shape, self.std, self.block = path, points.shape[1:], float(std), block
        # at t = 1 the velocity towards a point mass is infinite: let solvers know
        self.prediction = VELOCITY if std > 0.0 else DATA
        labels = check_labels(labels, len(points))
        flat = points.flatten(1)
        if labels is not None:  # each class is one slice
            order = torch.argsort(labels, stable=True)
            flat, labels = flat[order], labels[order]
            self.classes, counts = labels.unique_consecutive(return_counts=True)
            stops = counts.cumsum(0).tolist()
            self._slices = {
                int(c): slice(stop - int(n), stop) for c, n, stop in zip(self.classes, counts, stops, strict=True)
            }
        self.labels = labels
        self.centre = flat.double().mean(0)
        centred = (flat - self.centre.to(flat)).contiguous()
        self._stores = {(flat.dtype, flat.device): Store(centred, (centred**2).sum(1), self.centre.to(flat))}

    @property
    def points(self) -> Tensor:
        """The data, (N, *shape), sorted by label if there are labels."""
        store = self._first()
        return (store.points + store.centre).reshape(-1, *self.shape)

    def evaluate(self, x_t: Tensor, t: Tensor, y: "Tensor | int | None" = None) -> ExactEstimate:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = self._flat(x_t)
        alpha, sigma, variance = scales = self._scales(x, t)
        mean = self._stream(x, scales, y, _itself)[0] + self._store(x).centre
        pull = (x - alpha * mean) / variance  # = -score
        data = mean + (alpha * self.std**2) * pull if self.std > 0.0 else mean
        return ExactEstimate(self, x_t, t, data, sigma, pull)

    def log_prob(self, x: Tensor, t: "Tensor | float" = 1.0, y: "Tensor | int | None" = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """log p_t(x), shape (B,), nats. ValueError where there is no density: sigma = 0 without smoothing."""
        t = check_time(t, x)
        if self.std == 0.0 and not bool((torch.as_tensor(self.path.schedule(t).sigma) > 0.0).all()):
            raise ValueError("point masses have no density at sigma = 0: smooth them with std=, or give an earlier t")
        return self._log_density(x, t, y)

    def posterior_variance(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, t: "Tensor | float", y: "Tensor | int | None" = None
    ) -> Tensor:
        flat, t = self._flat(x), check_time(t, x)
        _, sigma, variance = scales = self._scales(flat, t)
        mean, square = (self._stream(flat, scales, y, values)[0] for values in (_itself, _length))
        between = (square[:, 0] - (mean**2).sum(1)).clamp(min=0.0)
        ratio = (sigma**2 / variance).reshape(-1)
        return (ratio**2 * between + flat.shape[1] * self.std**2 * ratio).to(x.dtype)

    def class_prior(self) -> tuple[Tensor, Tensor]:
        if self.labels is None:
            raise ValueError("this data set has no labels: build the oracle with labels=")
        counts = torch.tensor([s.stop - s.start for s in self._slices.values()], dtype=torch.float64)
        return self.classes, torch.log(counts / counts.sum())

    def sample_data(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n: int, generator: torch.Generator | None = None, y: "Tensor | int | None" = None
    ) -> Tensor:
        store = self._first()
        chosen = torch.empty(n, dtype=torch.long, device=store.points.device)
        for rows, part in self._groups(chosen, y):
            count = n if rows is None else len(rows)
            drawn = part.start + integers(part.stop - part.start, count, generator, chosen.device)
            chosen[slice(None) if rows is None else rows] = drawn
        x = store.points[chosen] + store.centre
        if self.std > 0.0:
            x = x + self.std * normal(x.shape, generator, x)
        return x.reshape(n, *self.shape)

    def _working(self, x: Tensor) -> torch.dtype:
        if self.shape.numel() <= SMALL_SPACE and x.device.type != "mps":
            return torch.float64
        return working_dtype(x)

    def _first(self) -> "Store":
        return next(iter(self._stores.values()))

    def _store(self, x: Tensor) -> "Store":
        """The data in the dtype and on the device of x."""
        key = (x.dtype, x.device)
        if key not in self._stores:
            with torch.inference_mode(False):  # a tensor made in inference mode could not take part in a gradient later
                points = self._first().points.to(x.device, x.dtype)
                centre = self.centre.to(x.device, x.dtype)
                self._stores[key] = Store(points, (points**2).sum(1), centre)
        return self._stores[key]

    def _scales(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(alpha, sigma, v), each of shape () or (B, 1)."""
        alpha, sigma = self._flat_coefs(t, x)
        variance = sigma**2 if self.std == 0.0 else sigma**2 + (alpha * self.std) ** 2
        return alpha, sigma, variance

    def _log_density(self, x: Tensor, t: Tensor, y: "Tensor | int | None") -> Tensor:
        flat = self._flat(x)
        alpha, _, variance = scales = self._scales(flat, t)
        total = self._stream(flat, scales, y, _length)[1]
        counts = torch.empty(len(flat), dtype=flat.dtype, device=flat.device)
        for rows, part in self._groups(flat, y):
            counts[slice(None) if rows is None else rows] = float(part.stop - part.start)
        rest = ((flat - alpha * self._store(flat).centre) ** 2).sum(1, keepdim=True) / variance
        normaliser = rest + flat.shape[1] * (torch.log(variance) + LOG_2PI)
        return (total - torch.log(counts) - 0.5 * normaliser[:, 0]).to(x.dtype)

    def _groups(self, x: Tensor, y: "Tensor | int | None") -> Iterator[tuple[Tensor | None, slice]]:
        """Rows of x that look at the same slice of the points: (row indices, slice); None stands for all rows."""
        everything = slice(0, len(self._first().points))
        if y is None:
            yield None, everything
            return
        y = check_y(y, self.labels, x)
        wanted = y.unique().tolist()
        for label in wanted:
            part = everything if label == -1 else self._slices[label]
            yield None if len(wanted) == 1 else torch.nonzero(y == label)[:, 0], part

    def _stream(
        self, x: Tensor, scales: tuple[Tensor, Tensor, Tensor], y: "Tensor | int | None", values: Values
    ) -> tuple[Tensor, Tensor]:
        """The posterior mean of ``values`` of the centred points, (B, n), and the log-sum of the weights, (B,)."""
        alpha, _, variance = scales
        # in base 2, whose exponential costs half as much
        rate = alpha / (variance * LOG_2)
        points, squares, centre = self._store(x)
        query, half = rate * (x - alpha * centre), -0.5 * alpha * rate
        parts, order = [], []
        for rows, part in self._groups(x, y):
            q, h = (query, half) if rows is None else (query[rows], half if half.ndim == 0 else half[rows])
            block = self.block or max(512, BLOCK // max(1, len(q)))
            parts.append(_attend(q, h, points[part], squares[part], block, values))
            order.append(rows)
        if len(parts) == 1:
            return parts[0]
        back = torch.argsort(torch.cat(order))
        return torch.cat([mean for mean, _ in parts])[back], torch.cat([total for _, total in parts])[back]


def _itself(points: Tensor, squares: Tensor) -> Tensor:
    return points


def _length(points: Tensor, squares: Tensor) -> Tensor:
    return squares[:, None]


def _attend(
    query: Tensor, half: Tensor, points: Tensor, squares: Tensor, block: int, values: Values
) -> tuple[Tensor, Tensor]:
    """The average of ``values`` under the weights 2^(query.z + half |z|²), and the log of their sum, nats."""
    top = mass = mean = None
    for keys, lengths in zip(points.split(block), squares.split(block), strict=True):
        weights = torch.mm(query, keys.T).add_(half * lengths)
        # the maximum only scales: no gradient needs to pass through it
        peak = weights.detach().amax(1, keepdim=True)
        peak = peak if top is None else torch.maximum(top, peak)
        weights = weights.sub_(peak).exp2_()
        if top is None or mass is None or mean is None:
            mass, mean = weights.sum(1, keepdim=True), weights @ values(keys, lengths)
        else:
            old = torch.exp2(top - peak)
            mass = weights.sum(1, keepdim=True) + old * mass
            mean = torch.addmm(old * mean, weights, values(keys, lengths))
        top = peak
    if top is None or mass is None or mean is None:
        raise ValueError("there are no points to average")
    return mean / mass, LOG_2 * (top + torch.log2(mass))[:, 0]


def empirical(
    points: Tensor,
    path: AffinePath,
    labels: Tensor | None = None,
    *,
    std: float = 0.0,
    block: int | None = None,
) -> Empirical:
    """The exact field of the data set ``points`` (N, *shape), each smoothed to a Gaussian of standard deviation ``std``.

    ``labels`` (N,), integers from 0, make it conditional on ``y``. ``block`` points are looked at at a time; by default
    as many as keep batch x block within two megabytes or so. Gradients through a call keep the weights of all blocks.
    """
    return Empirical(points, path, labels, std=std, block=block)
