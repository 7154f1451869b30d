"""One column of a pandas table: its kind, its values as numbers, and a column of the same dtype made from numbers."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pathline.data.columns import CATEGORICAL, NUMERIC, Categorical, Numeric

if TYPE_CHECKING:
    from numpy import ndarray

Frame: TypeAlias = Any
"""A `pandas.DataFrame`; pandas is imported when a table is read."""
Series: TypeAlias = Any
"""A `pandas.Series`."""
Missing = Literal["error", "drop", "impute"]
MAX_CATEGORIES = 1000


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table.

    Attributes:
        name, dtype: as in the table.
        code: how its values become numbers.
        categories: values of a categorical column in the order of their codes; None for numbers.
        ordered: the categories are an order.
        indicator: one more number, 1 where the value is missing.
        fill: what stood in for missing values.
        shares: how often each category occurs.
    """

    name: str
    dtype: str
    code: Numeric | Categorical
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    indicator: bool = False
    fill: float = 0.0
    shares: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Numbers a row."""
        return self.code.width + self.indicator


def pandas_library() -> Any:
    """The library, or an error that tells how to get it."""
    try:
        import pandas
    except ImportError:
        raise ImportError("tables need pandas: pip install 'pathline[tables]'") from None
    return pandas


def fit_column(series: Series, numbers: str, categories: str, missing: Missing, *, as_category: bool = False) -> Column:
    """How a column becomes numbers; ``as_category`` treats numbers as categories."""
    pandas = pandas_library()
    types = pandas.api.types
    absent = series.isna()
    if absent.any() and missing == "error":
        raise ValueError(
            f'column {series.name!r} has {int(absent.sum())} missing values: choose missing="drop" or "impute"'
        )
    present = series[~absent]
    if not len(present):
        raise ValueError(f"column {series.name!r} is empty")
    column = Column(name=str(series.name), dtype=str(series.dtype), code=CATEGORICAL["onehot"](categories=1))  # pyright: ignore[reportCallIssue]
    is_time = types.is_datetime64_any_dtype(series)
    if not as_category and (is_time or (types.is_numeric_dtype(series) and not types.is_bool_dtype(series))):
        values = _as_float(present)
        if not np.isfinite(values).all():
            raise ValueError(f"column {series.name!r} has infinite values: remove them")
        return replace(
            column, code=NUMERIC[numbers].fit(values), indicator=bool(absent.any()), fill=float(np.median(values))
        )
    is_category = isinstance(series.dtype, pandas.CategoricalDtype)
    found = list(series.cat.categories) if is_category else sorted(present.unique().tolist())
    found = [v.item() if isinstance(v, np.generic) else v for v in found]
    if not all(isinstance(v, str | int | float | bool) for v in found):
        raise ValueError(
            f"column {series.name!r} holds {type(found[0]).__name__}: only numbers, texts and times are known"
        )
    if len(found) > MAX_CATEGORIES:
        raise ValueError(
            f"column {series.name!r} has {len(found)} categories, more than {MAX_CATEGORIES}: leave it out"
        )
    codes = pandas.Categorical(present, categories=found).codes
    return replace(
        column,
        code=CATEGORICAL[categories].fit(codes, len(found)),
        categories=tuple(found),
        ordered=bool(is_category and series.cat.ordered),
        indicator=bool(absent.any()),
        fill=float(np.bincount(codes).argmax()),
        shares=tuple((np.bincount(codes, minlength=len(found)) / len(codes)).tolist()),
    )


def values_of(series: Series, column: Column) -> "tuple[ndarray, ndarray]":
    """(numbers or codes with missing ones filled in, where they were missing)."""
    absent = series.isna().to_numpy()
    if column.categories is None:
        filled = np.full(len(series), column.fill)
        filled[~absent] = _as_float(series[~absent])
        return filled, absent
    codes = np.array(pandas_library().Categorical(series, categories=list(column.categories)).codes, dtype=np.int64)
    unknown = (codes < 0) & ~absent
    if unknown.any():
        raise ValueError(f"column {column.name!r} has the unknown category {series[unknown].iloc[0]!r}")
    codes[absent] = int(column.fill)
    return codes, absent


def _as_float(series: Series) -> "ndarray":
    """Numbers as float64, times as seconds since 1970."""
    if pandas_library().api.types.is_datetime64_any_dtype(series):
        if series.dt.tz is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return series.astype("datetime64[ns]").astype("int64").to_numpy() / 1e9
    return series.to_numpy(dtype=np.float64)


def as_series(values: "ndarray", absent: "ndarray", column: Column) -> Any:
    """Values or codes as a column of the dtype of the data."""
    pandas = pandas_library()
    if column.categories is not None:
        found = pandas.Categorical.from_codes(
            np.where(absent, -1, values), categories=list(column.categories), ordered=column.ordered
        )
        return (
            pandas.Series(found)
            if column.dtype == "category"
            else pandas.Series(found.astype(object)).astype(column.dtype)
        )
    if column.dtype.startswith("datetime64"):
        times = pandas.Series(pandas.to_datetime(np.round(values * 1e9).astype("int64")))
        if "," in column.dtype:
            times = times.dt.tz_localize("UTC").dt.tz_convert(column.dtype.split(",")[1].strip(" ]"))
        return times.astype(column.dtype).mask(absent)
    integer = column.dtype.lower().lstrip("u").startswith("int")
    series = pandas.Series(np.round(values) if integer else values)
    return series.mask(absent).astype(column.dtype) if absent.any() else series.astype(column.dtype)
