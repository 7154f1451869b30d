"""How close a synthetic table is to a real one: column by column, pair by pair, and as a whole.

Works on any pair of `pandas.DataFrame` with the same columns; pandas itself is not imported here.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Generator, Tensor

from pathline.metrics.two_sample import c2st

Frame: TypeAlias = Any
"""A `pandas.DataFrame`."""


@dataclass(frozen=True, kw_only=True)
class ColumnDistance:
    """Distance of one column's distributions.

    Attributes:
        name: of the column.
        kind: "wasserstein", W1 in standard deviations of the real column, or "total variation" for categories.
        value: 0 for equal distributions.
    """

    name: str
    kind: str
    value: float


@dataclass(frozen=True, kw_only=True)
class TableComparison:
    """What `compare_tables` measures; every number is lower-better, and 0 (0.5 for `c2st`) at equal distributions.

    Attributes:
        columns: one distance a column.
        correlations: mean absolute difference of the associations of all pairs of columns.
        worst_correlation: the largest of them.
        c2st: accuracy of a small classifier that tells real from synthetic rows.
        missing: largest difference of a column's share of missing values.
        n: rows compared.
    """

    columns: tuple[ColumnDistance, ...]
    correlations: float
    worst_correlation: float
    c2st: float
    missing: float
    n: int

    def mean(self, kind: str) -> float:
        """Mean distance over the columns of a kind; NaN if there are none."""
        found = [column.value for column in self.columns if column.kind == kind]
        return float(np.mean(found)) if found else float("nan")

    def __str__(self) -> str:
        rows = [f"{column.name:<20} {column.kind:<16} {column.value:.4f}" for column in self.columns]
        rows += [
            f"{'all pairs':<20} {'correlations':<16} {self.correlations:.4f} (worst {self.worst_correlation:.4f})",
            f"{'all columns':<20} {'C2ST':<16} {self.c2st:.4f}",
        ]
        return "\n".join(rows)


def compare_tables(
    samples: Frame, real: Frame, *, max_rows: int = 5000, generator: "Generator | None" = None
) -> TableComparison:
    """Compare two tables with the same columns.

    Numbers are compared by W1 = integral |F^-1 - G^-1|, over the standard deviation of the real column; categories by
    the total variation sum |p - q|/2. Association of two columns is Pearson's correlation of their `features`, for a
    category of several the largest over its indicators in absolute value. The classifier test sees numbers as ranks
    among both tables, categories as indicators, and missing values as an indicator more.

    Args:
        samples: a table; missing values are compared as their share, and left out of the distances.
        real: a table of the same columns.
        max_rows: rows of each for the classifier test, drawn at random.
        generator: for that draw and the classifier.

    Raises:
        ValueError: other columns, or fewer than 10 rows.
    """
    names = [str(name) for name in real.columns]
    if [str(name) for name in samples.columns] != names:
        raise ValueError(f"the tables must have the same columns, got {list(samples.columns)} and {names}")
    if min(len(samples), len(real)) < 10:
        raise ValueError(f"each table needs at least 10 rows, got {len(samples)} and {len(real)}")
    distances, missing = [], 0.0
    blocks: list[tuple[np.ndarray, np.ndarray]] = []
    for name in names:
        a, b = samples[name], real[name]
        missing = max(missing, abs(float(a.isna().mean() - b.isna().mean())))
        found = _numbers(a), _numbers(b)
        if found[0] is not None and found[1] is not None:
            distances.append(ColumnDistance(name=name, kind="wasserstein", value=wasserstein(found[0], found[1])))
            blocks.append(_ranks(found[0], found[1]))
        else:
            one, two = _indicators(a.astype(str).to_numpy(), b.astype(str).to_numpy())
            gap = 0.5 * float(np.abs(one.mean(0) - two.mean(0)).sum())
            distances.append(ColumnDistance(name=name, kind="total variation", value=gap))
            blocks.append((one, two))
    gaps = np.abs(association([one for one, _ in blocks]) - association([two for _, two in blocks]))
    pairs = gaps[np.triu_indices(len(names), 1)] if len(names) > 1 else np.zeros(1)
    x, y = (_rows(np.concatenate([block[k] for block in blocks], 1), max_rows, generator) for k in (0, 1))
    return TableComparison(
        columns=tuple(distances),
        correlations=float(pairs.mean()),
        worst_correlation=float(pairs.max()),
        c2st=c2st(x, y, generator=generator),
        missing=missing,
        n=min(len(samples), len(real)),
    )


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """W1 of two samples of numbers, in standard deviations of the second; missing values are left out."""
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not len(a) or not len(b):
        return float("nan")
    points = np.sort(np.concatenate([a, b]))
    gap = np.searchsorted(a, points[:-1], "right") / len(a) - np.searchsorted(b, points[:-1], "right") / len(b)
    distance = float((np.abs(gap) * np.diff(points)).sum())
    std = float(b.std())
    return distance / std if std > 0 else distance


def association(blocks: "list[np.ndarray]") -> np.ndarray:
    """Strength of association of every pair of columns, each given as (N, width) features.

    The correlation of two single features with its sign; where a column has several, the largest in absolute value.
    """
    z = []
    for block in blocks:
        centred = block - block.mean(0)
        norm = np.sqrt((centred**2).sum(0))
        z.append(np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0))
    found = np.eye(len(z))
    for i, one in enumerate(z):
        for j, two in enumerate(z[:i]):
            table = one.T @ two
            found[i, j] = found[j, i] = table[0, 0] if table.size == 1 else np.abs(table).max()
    return found


def _numbers(series: Any) -> "np.ndarray | None":
    """The column as float64 with NaN for what is missing; None for categories, truth values and texts."""
    kind = str(series.dtype).lower()
    if kind.startswith("datetime"):
        values = series.astype("int64").to_numpy().astype(np.float64)
        return np.where(series.isna().to_numpy(), np.nan, values)
    if kind.startswith(("int", "uint", "float")):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    return None


def _ranks(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both samples as mid-ranks among all values in [0, 1], and an indicator of missing ones where there are any."""
    both = np.concatenate([a, b])
    known = np.sort(both[~np.isnan(both)])
    low, high = np.searchsorted(known, both, "left"), np.searchsorted(known, both, "right")
    absent = np.isnan(both)
    ranks = np.where(absent, 0.5, 0.5 * (low + high) / max(1, len(known)))[:, None]
    if absent.any():
        ranks = np.concatenate([ranks, absent[:, None].astype(np.float64)], 1)
    return ranks[: len(a)], ranks[len(a) :]


def _indicators(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both samples of texts as one column a category."""
    found, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    rows = np.eye(len(found))[codes]
    return rows[: len(a)], rows[len(a) :]


def _rows(x: np.ndarray, limit: int, generator: "Generator | None") -> Tensor:
    rows = torch.from_numpy(x).float()
    return rows[torch.randperm(len(rows), generator=generator)[:limit]]
