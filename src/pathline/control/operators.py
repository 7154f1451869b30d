"""What is seen of a state: linear operators A with their adjoint, pseudo-inverse and regularised inverse.

States are (B, ...), images (B, C, H, W). A new operator needs ``__call__`` and ``adjoint``; the rest follows by conjugate gradients,
sample by sample, unless a closed form is given. `testing.check_operator` judges it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pathline._typing import Scalar
from pathline.guidance.branches import inner


class Operator(ABC):
    """A linear map from states (B, ...) to what is seen of them, (B, ...), the same for every sample."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """A x."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, shaped like a state."""

    def solve(self, y: Tensor, scale: Scalar = 1.0, ridge: Scalar = 0.0) -> Tensor:
        """(scale A A^T + ridge)^{-1} y on the range of A, for numbers or tensors (B, 1, ...) ``scale``, ``ridge``."""
        scale, ridge = fit(scale, y), fit(ridge, y)
        return conjugate_gradients(lambda v: scale * self(self.adjoint(v)) + ridge * v, y, iterations=100)

    def pinv(self, y: Tensor) -> Tensor:
        """The shortest x with the least |A x - y|."""
        return self.adjoint(self.solve(y))

    def fill(self, y: Tensor) -> Tensor:
        """``y`` with zeros where nothing is seen."""
        return y


@dataclass(frozen=True)
class Mask(Operator):
    """y = x where ``known`` (a boolean tensor of the trailing shape of a state, or one that broadcasts to it), 0 elsewhere: inpainting."""

    known: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.known, Tensor) or self.known.dtype != torch.bool:
            raise TypeError("known must be a boolean tensor, True where the state is seen")

    def __call__(self, x: Tensor) -> Tensor:
        return torch.where(self.known.to(x.device), x, 0.0)

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)

    def solve(self, y: Tensor, scale: Scalar = 1.0, ridge: Scalar = 0.0) -> Tensor:
        return self(y) / (fit(scale, y) + fit(ridge, y))

    def pinv(self, y: Tensor) -> Tensor:
        return self(y)

    def fill(self, y: Tensor) -> Tensor:
        return self(y)


@dataclass(frozen=True)
class AveragePool(Operator):
    """The mean over blocks of ``factor`` x ``factor`` pixels, (B, C, H, W) -> (B, C, H/factor, W/factor): super-resolution.

    A A^T = 1/factor²; the pseudo-inverse repeats each pixel.
    """

    factor: int

    def __post_init__(self) -> None:
        if not isinstance(self.factor, int) or self.factor < 1:
            raise ValueError(f"factor must be a positive integer, got {self.factor!r}")

    def __call__(self, x: Tensor) -> Tensor:
        *lead, h, w = x.shape
        if h % self.factor or w % self.factor:
            raise ValueError(f"factor {self.factor} must divide the sides of the image, got {h} x {w}")
        return x.reshape(*lead, h // self.factor, self.factor, w // self.factor, self.factor).mean((-3, -1))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.pinv(y) / self.factor**2

    def solve(self, y: Tensor, scale: Scalar = 1.0, ridge: Scalar = 0.0) -> Tensor:
        return y / (fit(scale, y) / self.factor**2 + fit(ridge, y))

    def pinv(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)


@dataclass(frozen=True)
class Blur(Operator):
    """Circular convolution of each channel with ``kernel`` (h, w), whose centre is its middle: deblurring.

    Diagonal in Fourier space with eigenvalues K: A^T has conj(K), and the inverse leaves out frequencies with |K| below ``cutoff`` max |K|.
    """

    kernel: Tensor
    cutoff: float = 1e-4

    def __post_init__(self) -> None:
        if self.kernel.ndim != 2 or not self.kernel.is_floating_point():
            raise ValueError(
                f"kernel must be a floating tensor (h, w), got {self.kernel.dtype} {tuple(self.kernel.shape)}"
            )

    @classmethod
    def gaussian(cls, std: float, radius: int | None = None, *, cutoff: float = 1e-4) -> "Blur":
        """The Gaussian kernel of standard deviation ``std`` pixels, cut at ``radius`` (3 std), with the sum 1."""
        if not std > 0.0:
            raise ValueError(f"std must be positive, got {std}")
        radius = max(1, round(3.0 * std)) if radius is None else radius
        line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / std) ** 2)
        kernel = torch.outer(line, line)
        return cls(kernel / kernel.sum(), cutoff)

    def __call__(self, x: Tensor) -> Tensor:
        return self._filter(x, self._response(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._filter(y, self._response(y).conj())

    def solve(self, y: Tensor, scale: Scalar = 1.0, ridge: Scalar = 0.0) -> Tensor:
        power = self._response(y).abs() ** 2
        seen = power > self.cutoff**2 * power.max()
        total = fit(scale, y) * power + fit(ridge, y)
        return self._filter(y, torch.where(seen, 1.0 / torch.where(seen, total, 1.0), 0.0))

    def _response(self, x: Tensor) -> Tensor:
        h, w = self.kernel.shape
        if x.ndim < 3 or x.shape[-2] < h or x.shape[-1] < w:
            raise ValueError(
                f"a kernel of {h} x {w} needs images (B, ..., H, W) of at least that size, got {tuple(x.shape)}"
            )
        wide = torch.zeros(x.shape[-2:], dtype=x.dtype, device=x.device)
        wide[:h, :w] = self.kernel.to(x)
        return torch.fft.rfft2(wide.roll((-(h // 2), -(w // 2)), (0, 1)))

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * response, s=x.shape[-2:])


@dataclass(frozen=True)
class Gray(Operator):
    """The weighted sum of the channels, (B, C, H, W) -> (B, 1, H, W): colourisation. ``weights`` (C,): luma of ITU-R BT.601."""

    weights: tuple[float, ...] = (0.299, 0.587, 0.114)

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim < 3 or x.shape[1] != len(self.weights):
            raise ValueError(f"weights are for {len(self.weights)} channels (B, C, H, W), got shape {tuple(x.shape)}")
        return (self._column(x) * x).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._column(y) * y

    def solve(self, y: Tensor, scale: Scalar = 1.0, ridge: Scalar = 0.0) -> Tensor:
        return y / (fit(scale, y) * sum(w**2 for w in self.weights) + fit(ridge, y))

    def _column(self, x: Tensor) -> Tensor:
        return x.new_tensor(self.weights).reshape(1, -1, *(1,) * (x.ndim - 2))


class Matrix(Operator):
    """y = A x for the flattened state, with any matrix ``a`` (m, n); ``shape`` is that of a state, (n,) if None."""

    def __init__(self, a: Tensor, shape: Sequence[int] | None = None) -> None:
        if a.ndim != 2 or not a.is_floating_point():
            raise ValueError(f"a must be a floating matrix (m, n), got {a.dtype} of shape {tuple(a.shape)}")
        self.a, self.shape = a, (a.shape[1],) if shape is None else tuple(shape)
        if torch.Size(self.shape).numel() != a.shape[1]:
            raise ValueError(f"shape {self.shape} must hold the {a.shape[1]} columns of the matrix")
        u, s, _ = torch.linalg.svd(a.double(), full_matrices=False)
        kept = s > 1e-10 * s.max()
        self._u, self._s = u[:, kept], s[kept]

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.a.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.a.to(y)).reshape(len(y), *self.shape)

    def solve(self, y: Tensor, scale: Scalar = 1.0, ridge: Scalar = 0.0) -> Tensor:
        u, s = self._u.to(y), self._s.to(y)
        return (y @ u / (fit(scale, y) * s**2 + fit(ridge, y))) @ u.T


def fit(value: Scalar, y: Tensor) -> Scalar:
    """A number, or a tensor with one entry per sample, shaped to multiply y."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return value.reshape(-1, *(1,) * (y.ndim - 1))


def conjugate_gradients(apply: Callable[[Tensor], Tensor], y: Tensor, iterations: int, least: float = 0.0) -> Tensor:
    """The solution v of M v = y for a positive semi-definite ``apply``, each sample with steps of its own (Hestenes and Stiefel 1952).

    A sample is left as it is once its residual has fallen to rounding, or a direction shows less curvature than ``least``, the smallest
    eigenvalue that M may have: then M is not what it should be (the Jacobian of a network, or of a guided field), and a step would be huge.
    """
    v, residual = torch.zeros_like(y), y
    direction, square = residual, inner(residual, residual)
    enough = square * (100.0 * torch.finfo(y.dtype).eps) ** 2
    going = square > enough
    for _ in range(iterations):
        image = apply(direction)
        curvature = inner(direction, image)
        going = (
            going & (square > enough) & (curvature > 0.0) & (curvature >= 0.99 * least * inner(direction, direction))
        )
        if not bool(going.any()):
            break
        step = torch.where(going, square / torch.where(going, curvature, 1.0), 0.0)
        v, residual = v + step * direction, residual - step * image
        after = inner(residual, residual)
        direction = residual + torch.where(going, after / torch.where(going, square, 1.0), 0.0) * direction
        square = torch.where(going, after, square)
    return v


OPERATORS: dict[str, Callable[..., Operator]] = {
    "mask": Mask,
    "average_pool": AveragePool,
    "blur": Blur,
    "gray": Gray,
    "matrix": Matrix,
}
"""Operators by name."""
