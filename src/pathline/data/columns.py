"""One column of a table as continuous numbers, and back.

Every kind is a pair of functions between values and float64 columns. Randomness (dequantisation) comes from a NumPy
generator. ``state()`` is plain JSON, ``KINDS[state["kind"]].from_state(state)`` the column again.
"""

from dataclasses import asdict, dataclass
from math import ceil, log2
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

KNOTS = 2000
"""Steps of the stored quantile function."""
MAX_DECIMALS = 6


def normal_quantile(p: "ndarray") -> "ndarray":
    """The inverse of the standard normal distribution function."""
    from scipy.special import ndtri

    return ndtri(p)


def normal_cdf(z: "ndarray") -> "ndarray":
    """The standard normal distribution function."""
    from scipy.special import ndtr

    return ndtr(z)


def decimals_of(values: "ndarray") -> "int | None":
    """The least number of decimals that writes all values; None if more than `MAX_DECIMALS`."""
    scale = max(1.0, float(np.abs(values).max(initial=0.0)))
    for decimals in range(MAX_DECIMALS + 1):
        if np.abs(values - np.round(values, decimals)).max(initial=0.0) <= 1e-12 * scale:
            return decimals
    return None


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """z = Phi^-1(u) with u uniform on [F(v-), F(v)]: the column becomes a standard normal, whatever it was.

    F is the distribution function of the data, kept as its quantiles at `KNOTS` even steps and linear between them. A
    value that many rows share owns an interval of u, and gets a random place in it. Back: F^-1(Phi(z)), rounded to the
    decimals of the data, so the range of the data is never left.
    """

    kind: ClassVar[str] = "quantile"
    width: ClassVar[int] = 1
    knots: tuple[float, ...]
    decimals: int | None
    margin: float
    """u stays in [margin, 1 - margin], half a row of the data."""

    @classmethod
    def fit(cls, values: "ndarray") -> "Quantile":
        """The column of finite ``values``."""
        steps = np.linspace(0.0, 1.0, min(KNOTS, max(2, len(values))))
        knots = np.quantile(values, steps, method="linear" if len(values) <= KNOTS else "inverted_cdf")
        return cls(knots=tuple(knots.tolist()), decimals=decimals_of(values), margin=0.5 / len(values))

    def encode(self, values: "ndarray", rng: "np.random.Generator") -> "ndarray":
        """``(N, 1)`` numbers."""
        knots, last = np.array(self.knots), len(self.knots) - 1
        below = np.searchsorted(knots, values, side="left")
        above = np.searchsorted(knots, values, side="right") - 1
        inside = below > above  # strictly between two knots
        left, right = np.clip(above, 0, last), np.clip(below, 0, last)
        gap = knots[right] - knots[left]
        share = np.divide(values - knots[left], gap, out=np.zeros(len(values)), where=gap > 0)
        tied = below + (above - below) * rng.random(len(values))
        u = np.where(inside, left + share * (right - left), tied) / last
        return normal_quantile(np.clip(u, self.margin, 1.0 - self.margin))[:, None]

    def decode(self, z: "ndarray") -> "ndarray":
        """Values ``(N,)``."""
        u = normal_cdf(z[:, 0])
        values = np.interp(u, np.linspace(0.0, 1.0, len(self.knots)), self.knots)
        return values if self.decimals is None else np.round(values, self.decimals)

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Standard:
    """z = (v + noise - mean)/std with noise uniform over the last decimal; back rounded, and clipped to the range."""

    kind: ClassVar[str] = "standard"
    width: ClassVar[int] = 1
    mean: float
    std: float
    low: float
    high: float
    decimals: int | None

    @classmethod
    def fit(cls, values: "ndarray") -> "Standard":
        """The column of finite ``values``."""
        std = float(values.std())
        return cls(
            mean=float(values.mean()), std=std if std > 0 else 1.0, low=float(values.min()), high=float(values.max()),
            decimals=decimals_of(values),
        )  # fmt: skip

    def encode(self, values: "ndarray", rng: "np.random.Generator") -> "ndarray":
        """``(N, 1)`` numbers."""
        if self.decimals is not None:
            values = values + (rng.random(len(values)) - 0.5) * 10.0**-self.decimals
        return ((values - self.mean) / self.std)[:, None]

    def decode(self, z: "ndarray") -> "ndarray":
        """Values ``(N,)``."""
        values = self.mean + self.std * z[:, 0]
        values = values if self.decimals is None else np.round(values, self.decimals)
        return np.clip(values, self.low, self.high)

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class OneHot:
    """Category k of K is the k-th unit vector; back the largest entry."""

    kind: ClassVar[str] = "onehot"
    categories: int

    @classmethod
    def fit(cls, codes: "ndarray", categories: int) -> "OneHot":
        """The column of category numbers ``codes``."""
        return cls(categories=categories)

    @property
    def width(self) -> int:
        """Columns that it takes."""
        return self.categories

    def encode(self, codes: "ndarray", rng: "np.random.Generator") -> "ndarray":
        """``(N, K)`` numbers."""
        return np.eye(self.categories)[codes]

    def decode(self, z: "ndarray") -> "ndarray":
        """Category numbers ``(N,)``."""
        return z.argmax(1)

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Bits:
    """Category k as the ±1 of its binary digits (analog bits, arXiv 2208.04202): log2 K columns."""

    kind: ClassVar[str] = "bits"
    categories: int

    @classmethod
    def fit(cls, codes: "ndarray", categories: int) -> "Bits":
        """The column of category numbers ``codes``."""
        return cls(categories=categories)

    @property
    def width(self) -> int:
        """Columns that it takes."""
        return max(1, ceil(log2(self.categories)))

    def _signs(self) -> "ndarray":
        return 2.0 * (np.arange(self.categories)[:, None] >> np.arange(self.width) & 1) - 1.0

    def encode(self, codes: "ndarray", rng: "np.random.Generator") -> "ndarray":
        """``(N, width)`` numbers."""
        return self._signs()[codes]

    def decode(self, z: "ndarray") -> "ndarray":
        """Category numbers ``(N,)``: the nearest one that exists."""
        return (z @ self._signs().T).argmax(1)

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Dequantised:
    """Category k owns an interval of [0, 1] as long as its share; z = Phi^-1(u), u uniform in it: one normal column.

    Right for ordered categories, whose intervals lie in their order.
    """

    kind: ClassVar[str] = "normal"
    width: ClassVar[int] = 1
    edges: tuple[float, ...]

    @classmethod
    def fit(cls, codes: "ndarray", categories: int) -> "Dequantised":
        """The column of category numbers ``codes``."""
        counts = np.maximum(np.bincount(codes, minlength=categories), 0.5)
        return cls(edges=tuple(np.concatenate([[0.0], np.cumsum(counts / counts.sum())]).tolist()))

    def encode(self, codes: "ndarray", rng: "np.random.Generator") -> "ndarray":
        """``(N, 1)`` numbers."""
        edges = np.array(self.edges)
        low, high = edges[codes], edges[codes + 1]
        u = low + (high - low) * rng.uniform(0.001, 0.999, len(codes))  # inside, whatever rounding does
        return normal_quantile(u)[:, None]

    def decode(self, z: "ndarray") -> "ndarray":
        """Category numbers ``(N,)``."""
        return np.searchsorted(np.array(self.edges[1:-1]), normal_cdf(z[:, 0]), side="right")

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, **asdict(self)}


Numeric = Quantile | Standard
Categorical = OneHot | Bits | Dequantised
NUMERIC: dict[str, type[Quantile] | type[Standard]] = {"quantile": Quantile, "standard": Standard}
CATEGORICAL: dict[str, type[OneHot] | type[Bits] | type[Dequantised]] = {
    "onehot": OneHot,
    "bits": Bits,
    "normal": Dequantised,
}


def column_from_state(state: dict[str, Any]) -> "Numeric | Categorical":
    """The column whose `state` this is."""
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in state.items() if key != "kind"}
    return {**NUMERIC, **CATEGORICAL}[state["kind"]](**values)
