"""Predictions as rows, and the one conversion between them (theory T17, T18).

Everything that a network of this field predicts is linear in the pair (x_1, x_0): p = a x_1 + b x_0 with a row (a, b)
that depends on time through the coefficients alone. With x_t = alpha x_1 + sigma x_0, D = alpha b - sigma a and
W = a' b - b' a,

    p' = (W x_t + D' p) / D,

so that one function replaces all converters, and an error of p shows in p' multiplied by D'/D. D = 0 is exactly where
the conversion is singular; there |D| is held above a floor, so results stay finite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pathline._autograd import eager_inference
from pathline._typing import Scalar
from pathline.schedules import Coefs

Row: TypeAlias = tuple[Scalar, Scalar]


@dataclass(frozen=True)
class Prediction:
    """A row (a, b): p = a x_1 + b x_0. `input_scale` and `clock` are what the network is shown instead of x_t and t.

    With ``heads`` it is several predictions of one network, stacked behind the batch axis: (B, heads, ...).
    """

    name: str
    row: Callable[[Coefs], Row]
    input_scale: Callable[[Coefs], Scalar] | None = None
    clock: Callable[[Coefs], Scalar] | None = None
    heads: "tuple[Prediction, ...]" = ()

    def __repr__(self) -> str:
        return self.name

    def shape(self, x_t: Tensor) -> torch.Size:
        """What a network returns for ``x_t``: its shape, with an axis of heads behind the batch where there are several."""
        return torch.Size((len(x_t), len(self.heads), *x_t.shape[1:])) if self.heads else x_t.shape

    def of(self, coefs: Coefs, data: Tensor, noise: Tensor) -> Tensor:
        """a x_1 + b x_0, the value that a perfect network returns."""
        a, b = self.row(coefs)
        return combine(a, data, b, noise)


def _times(a: Scalar, x: Tensor) -> Tensor:
    return x if not isinstance(a, Tensor) and a == 1.0 else a * x


def combine(a: Scalar, x: Tensor, b: Scalar, y: Tensor) -> Tensor:
    """a x + b y, sparing the operations of coefficients that are the numbers 0 and 1: this is the training step's hot path."""
    if not isinstance(a, Tensor) and a == 0.0:
        return _times(b, y)
    if not isinstance(b, Tensor):
        out = _times(a, x)
        if b == 0.0:
            return out
        if out is not x and eager_inference() and out.dtype == y.dtype and out.shape == y.shape:
            return out.add_(y, alpha=b)  # one buffer less at the peak
        return torch.add(out, y, alpha=b)
    if b.ndim == 0:  # may live on the CPU beside states on a GPU, which the fused operation refuses
        if b.device.type == "cpu" and eager_inference():
            return combine(a, x, b.item(), y)
        return _times(a, x) + b * y
    return torch.addcmul(_times(a, x), b, y)


def floored(d: Scalar, floor: float) -> Scalar:
    """d moved away from zero to |d| >= floor, keeping its sign (zero counts as positive)."""
    if isinstance(d, Tensor):
        return torch.where(d < 0.0, d.clamp(max=-floor), d.clamp(min=floor))
    return min(d, -floor) if d < 0.0 else max(d, floor)


def default_floor(*values: Scalar) -> float:
    return 1e-10 if any(isinstance(v, Tensor) and v.dtype == torch.float64 for v in values) else 1e-6


def conversion(coefs: Coefs, source: Prediction, target: Prediction, floor: float | None = None) -> Row:
    """(c, d) with target = c x_t + d source. Of one row, whatever their networks are shown, it is (0, 1) at every time."""
    if source.row is target.row:
        return 0.0, 1.0
    a, b = source.row(coefs)
    a_new, b_new = target.row(coefs)
    d_old = coefs.alpha * b - coefs.sigma * a
    d_new = coefs.alpha * b_new - coefs.sigma * a_new
    safe = floored(d_old, default_floor(*coefs) if floor is None else floor)
    return (a_new * b - b_new * a) / safe, d_new / safe


def convert(coefs: Coefs, x_t: Tensor, value: Tensor, source: Prediction, target: Prediction) -> Tensor:
    """What ``value``, predicted as ``source`` at ``x_t``, says about ``target``: (W x_t + D' p)/D."""
    if source.row is target.row:
        return value
    c, d = conversion(coefs, source, target)
    return combine(c, x_t, d, value)


def gain(coefs: Coefs, source: Prediction, target: Prediction, floor: float | None = None) -> Scalar:
    """(D'/D)²: the squared error of ``source`` counted in ``target`` (T18)."""
    return conversion(coefs, source, target, floor)[1] ** 2


def _score_row(c: Coefs) -> Row:
    return 0.0, -1.0 / floored(c.sigma, default_floor(*c))


DATA = Prediction("data", lambda c: (1.0, 0.0))
"""x_1-prediction, the denoiser D = E[x_1 | x_t]."""
NOISE = Prediction("noise", lambda c: (0.0, 1.0))
"""x_0- or epsilon-prediction, E = E[x_0 | x_t]."""
VELOCITY = Prediction("velocity", lambda c: (c.dalpha, c.dsigma))
"""Flow matching: u = alpha' x_1 + sigma' x_0."""
SCORE = Prediction("score", _score_row)
"""s = grad log p_t(x_t) = -E[x_0 | x_t]/sigma."""
V = Prediction("v", lambda c: (-c.sigma, c.alpha))
"""v-prediction of progressive distillation, alpha x_0 - sigma x_1."""
DISPLACEMENT = Prediction("displacement", lambda c: (1.0, -1.0))
"""x_1 - x_0, whatever the schedule."""


def edm_f(sigma_data: float = 0.5) -> Prediction:
    """The network output F of EDM, with its input scale and clock (Karras et al. 2022, eq. 7, for any schedule; T24).

    Row (sigma, -alpha s²)/(s r), input scale 1/r, clock log(sigma/alpha)/4, with r = sqrt(sigma² + alpha² s²) and
    s = ``sigma_data``. Plain squared error on F is EDM's weighting.
    """
    if not sigma_data > 0.0:
        raise ValueError(f"sigma_data must be positive, got {sigma_data}")

    def size(c: Coefs) -> Scalar:
        return (c.sigma**2 + (c.alpha * sigma_data) ** 2) ** 0.5

    def row(c: Coefs) -> Row:
        r = sigma_data * size(c)
        return c.sigma / r, -c.alpha * sigma_data**2 / r

    def clock(c: Coefs) -> Scalar:
        ratio = torch.as_tensor(c.sigma).clamp(min=1e-4) / torch.as_tensor(c.alpha).clamp(min=1e-4)
        return torch.log(ratio) / 4.0

    return Prediction(f"edm_f({sigma_data:g})", row, input_scale=lambda c: 1.0 / size(c), clock=clock)


PREDICTIONS: dict[str, Prediction] = {
    "data": DATA,
    "noise": NOISE,
    "velocity": VELOCITY,
    "score": SCORE,
    "v": V,
    "displacement": DISPLACEMENT,
    "edm_f": edm_f(),
}
"""Predictions by the name that configurations use."""
